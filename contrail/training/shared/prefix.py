"""The common prefix of several packs, computed once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from transformers import PreTrainedModel

from contrail.model.attention import Keys, Packed, forward
from contrail.model.head import Head
from contrail.model.tree import ROOT, ForwardPlan, TokenTree


class SharedPrefix:
    """The common prefix of several packs: computed once, with gradients.

    Packs see its keys and values as constants. The gradients of their losses with respect to these
    are added up, and `backward` passes the sum on. So the gradients are those of computing all
    packs in one.

    Args:
        tree: numbers the nodes.
        tokens: at least one.

    Attributes:
        plan: the nodes to compute.
        nodes: the nodes of the tokens.
    """

    def __init__(self, tree: TokenTree, tokens: Sequence[int]) -> None:
        self.tree = tree
        self.plan = ForwardPlan(tree)
        self.plan.add(ROOT, [], tokens)
        self.nodes = self.plan.nodes()
        self._computed: Keys = {}
        self.keys: Keys = {}

    def compute(self, model: PreTrainedModel, head: Head | None) -> None:
        """Run the model; gradients can flow back if they are enabled."""
        device = model.device
        layout = Packed(self.plan, device)
        with nullcontext() if head is None else head.bypassed():
            forward(
                model,
                torch.tensor(self.plan.tokens(), device=device),
                torch.from_numpy(self.plan.positions()).to(device),
                torch.tensor([self.plan.size - 1], device=device),
                layout,
            )
        self._computed = layout.keys
        self.keys = {
            layer: tuple(item.detach().requires_grad_(item.requires_grad) for item in pair)  # type: ignore[misc]
            for layer, pair in layout.keys.items()
        }

    def backward(self) -> None:
        """Pass the packs' gradients on to the adapter."""
        computed, gradients = [], []
        for layer, pair in self.keys.items():
            for item, leaf in zip(self._computed[layer], pair, strict=True):
                if leaf.grad is not None:
                    computed.append(item)
                    gradients.append(leaf.grad)
        torch.autograd.backward(computed, gradients)
