"""Outputs of the frozen layers in the rollout, with which the update begins."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from contrail.model.tree import TokenTree


class HiddenStates:
    """Inputs of the first trained layer, by node of a token tree.

    Attributes:
        tree: names the nodes.
    """

    def __init__(self) -> None:
        self.tree = TokenTree()
        self._held: torch.Tensor | None = None
        self._known = torch.zeros(0, dtype=torch.bool)

    def put(self, nodes: Sequence[int], hidden_states: torch.Tensor) -> None:
        """Keep the hidden_states (len(nodes), width) of nodes."""
        size = max(nodes) + 1
        if self._held is None or len(self._held) < size:
            grown = hidden_states.new_empty((max(1024, 2 * size), hidden_states.shape[1]))
            known = torch.zeros(len(grown), dtype=torch.bool)
            if self._held is not None:
                grown[: len(self._held)] = self._held
                known[: len(self._known)] = self._known
            self._held, self._known = grown, known
        places = torch.tensor(nodes)
        self._held.index_copy_(0, places.to(hidden_states.device), hidden_states)
        self._known[places] = True

    def get(self, nodes: Sequence[int]) -> torch.Tensor | None:
        """The hidden_states (len(nodes), width) of nodes; None if one of them is unknown."""
        places = torch.tensor(nodes)
        if self._held is None or int(places.max()) >= len(self._known):
            return None
        if not bool(self._known[places].all()):
            return None
        return self._held.index_select(0, places.to(self._held.device))
