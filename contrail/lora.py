"""The adapter added into the model's weights: one matrix product where it would take three.

It can also be trained so. With y = x Wᵀ, W = V + s B A (LoRA, arXiv:2106.09685) and dy the loss's
gradient at y:  dA = s (dy B)ᵀ x,  dB = s dyᵀ (x Aᵀ),  dx = dy W.  W's own gradient is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear, LoraLayer


class _MergedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight, down, up)
        ctx.scaling = scaling
        return torch.nn.functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, down, up = ctx.saved_tensors
        # A layer that only embeddings go into has nothing to pass on.
        passed = gradient @ weight if ctx.needs_input_grad[0] else None
        flat, inputs = gradient.flatten(0, -2), x.flatten(0, -2)
        down_gradient = (flat @ up.to(flat.dtype)).T @ inputs
        up_gradient = flat.T @ (inputs @ down.to(inputs.dtype).T)
        return (
            passed,
            None,
            None,
            down_gradient.to(down.dtype).mul_(ctx.scaling),
            up_gradient.to(up.dtype).mul_(ctx.scaling),
            None,
        )


@contextmanager
def merged(model: PeftModel, adapter: str, *, learn: bool = False) -> Iterator[None]:
    """Within, the adapter is added into the model's weights.

    The frozen weights are put aside and put back, never recomputed: no drift.

    Args:
        model: with LoRA layers.
        adapter: its name.
        learn: whether the adapter gets gradients. Where one of its layers does more than LoRA's
            formula (dropout, DoRA, …), that means running them unmerged.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    if learn and not all(_is_plain(layer, adapter) for layer in layers):
        yield
        return
    with ExitStack() as stack:
        with torch.no_grad():
            for layer in layers:
                weight = layer.get_base_layer().weight
                assert isinstance(weight, torch.nn.Parameter)
                stack.callback(setattr, weight, "data", weight.data)
                delta = layer.get_delta_weight(adapter)  # type: ignore[operator]
                weight.data = (weight.data.float() + delta.float()).to(weight.dtype)
        for layer in layers:
            layer.forward = partial(_forward, layer, adapter if learn else None)
            stack.callback(delattr, layer, "forward")
        yield


def _forward(layer: Any, adapter: str | None, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    base = layer.get_base_layer()
    if adapter is None:
        return base(x, *args, **kwargs)
    return _MergedLinear.apply(  # type: ignore[no-untyped-call]
        x,
        base.weight,
        base.bias,
        layer.lora_A[adapter].weight,
        layer.lora_B[adapter].weight,
        layer.scaling[adapter],
    )


def _is_plain(layer: LoraLayer, adapter: str) -> bool:
    return (
        type(layer) is Linear
        and type(layer.get_base_layer()) is torch.nn.Linear
        and isinstance(layer.lora_dropout[adapter], torch.nn.Identity)
        and not layer.use_dora.get(adapter, False)
        and not layer.lora_bias.get(adapter, False)
        and not layer.fan_in_fan_out
        and adapter not in getattr(layer, "lora_variant", {})
    )
