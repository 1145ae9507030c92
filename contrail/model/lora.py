"""LoRA layers for acting and learning: PEFT's function, computed faster.

A LoRA layer computes y = x Wᵀ + b + s (x Aᵀ) Bᵀ (arXiv:2106.09685). In float32 W + s B A is added
up first, and one matrix product takes the place of three. In a shorter type this would be wrong: a
bfloat16 has 8 bits, so a small update of A and B changes no entry of the rounded sum, and the
policy would act as if it had never been trained. There the two paths stay apart, and results are
rounded in PEFT's order.

Either way, with dy the loss's gradient at y:  dA = s (dy B)ᵀ x,  dB = s dyᵀ (x Aᵀ), dx = dy W + s
(dy B) A.  The gradient of W is not needed.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import Linear, LoraLayer
from torch.nn.functional import linear

# Fields of peft.LoraConfig under which the policy that acts is the one that PEFT loads from a
# checkpoint, and without its adapter the base model.
SUPPORTED = {
    *(
        "r",
        "lora_alpha",
        "lora_dropout",
        "use_rslora",
        "use_dora",
        "lora_bias",
        "init_lora_weights",
    ),
    *("target_modules", "exclude_modules", "target_parameters", "modules_to_save"),
    *("trainable_token_indices", "ensure_weight_tying", "fan_in_fan_out", "rank_pattern"),
    *("alpha_pattern", "layers_to_transform", "layers_pattern"),
    *("task_type", "base_model_name_or_path", "inference_mode", "peft_type", "peft_version"),
    *("revision", "auto_mapping", "runtime_config"),
}
INITIAL = (True, False, "gaussian", "orthogonal")


def unsupported(lora: LoraConfig) -> tuple[str, str] | None:
    """The first field whose value contrail cannot run exactly, and why; None if there is none."""
    if lora.init_lora_weights not in INITIAL:
        return "init_lora_weights", (
            f"{lora.init_lora_weights!r} changes the base model's weights, or needs data of its "
            "own, so a checkpoint would not load to the policy that has learnt. Use true, false, "
            "gaussian or orthogonal."
        )
    if lora.bias != "none":
        return "bias", "must be none: trained biases stay when the adapter is disabled."
    default = LoraConfig()
    for item in dataclasses.fields(lora):
        changed = getattr(lora, item.name) != getattr(default, item.name)
        if changed and item.name not in SUPPORTED | {"bias"}:
            return item.name, "contrail cannot run this variant exactly. Remove the key."
    return None


class _LoraLinear(torch.autograd.Function):
    """A linear layer with a LoRA.

    If `merged`, `weight` is W + s B A; otherwise it is W, and the LoRA is added to the result.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
        merged: bool,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight, down, up)
        ctx.scaling = scaling
        ctx.merged = merged
        if merged:
            return linear(x, weight, bias)
        return _beside(x, weight, bias, down, up, scaling)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, down, up = ctx.saved_tensors
        # In the type of A and B, which is float32 if the model's type is shorter.
        flat, inputs = (item.flatten(0, -2).to(down.dtype) for item in (gradient, x))
        back = flat @ up
        down_gradient = (back.T @ inputs).mul_(ctx.scaling)
        up_gradient = ((inputs @ down.T).T @ flat).T.mul(ctx.scaling)
        passed = None
        if ctx.needs_input_grad[0]:  # a layer that only embeddings go into has nothing to pass on
            passed = gradient @ weight
            if not ctx.merged:
                added = (back @ down).mul_(ctx.scaling).view_as(x)
                passed = (passed + added).to(x.dtype)
        return passed, None, None, down_gradient, up_gradient, None, None


def _beside(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    down: torch.Tensor,
    up: torch.Tensor,
    scaling: float,
) -> torch.Tensor:
    """Return the result of PEFT's lora.Linear, with its rounding and fewer kernels.

    The sum is taken in the type of A and B and rounded once, as it is stored.
    """
    result = linear(x, weight, bias)
    return result.add_(linear(linear(x.to(down.dtype), down), up), alpha=scaling)


@contextmanager
def fused(model: PeftModel, adapter: str, *, learn: bool = False) -> Iterator[None]:
    """Context manager: the LoRA layers run as one function each.

    In float32 the LoRA is added into the weights meanwhile. The frozen weights are put aside and
    restored, never recomputed, so nothing drifts. Layers with more than LoRA's formula (dropout,
    DoRA, layers that are not `torch.nn.Linear`) run as in PEFT, and so do layers that share their
    weight: a change of a tied head would change the embedding, too.

    Args:
        model: a model with LoRA layers.
        adapter: PEFT's name of the LoRA.
        learn: whether the LoRA gets gradients.
    """
    owners = Counter(
        id(parameter)
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
    )
    layers = [
        module
        for module in model.modules()
        if isinstance(module, LoraLayer)
        and _is_plain(module, adapter)
        and owners[id(module.get_base_layer().weight)] == 1
    ]
    with ExitStack() as stack:
        for layer in layers:
            weight = layer.get_base_layer().weight
            assert isinstance(weight, torch.nn.Parameter)
            merged = weight.dtype.itemsize >= 4
            if merged:
                with torch.no_grad():
                    stack.callback(setattr, weight, "data", weight.data)
                    delta = layer.get_delta_weight(adapter)  # type: ignore[operator]
                    weight.data = weight.data + delta.to(weight.dtype)
            layer.forward = partial(_forward, layer, adapter, merged, learn)
            stack.callback(delattr, layer, "forward")
        yield


def _forward(
    layer: Any,
    adapter: str,
    merged: bool,
    learn: bool,
    x: torch.Tensor,
    *args: Any,
    **kwargs: Any,
) -> Any:
    base = layer.get_base_layer()
    if merged and not learn:
        return base(x, *args, **kwargs)
    down, up = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    scaling = layer.scaling[adapter]
    if not learn:
        return _beside(x, base.weight, base.bias, down, up, scaling)
    return _LoraLinear.apply(  # type: ignore[no-untyped-call]
        x, base.weight, base.bias, down, up, scaling, merged
    )


def _is_plain(layer: LoraLayer, adapter: str) -> bool:
    return (
        type(layer) is Linear
        and adapter in layer.lora_A
        and type(layer.get_base_layer()) is torch.nn.Linear
        and isinstance(layer.lora_dropout[adapter], torch.nn.Identity)
        and not layer.use_dora.get(adapter, False)
        and not layer.lora_bias.get(adapter, False)
        and not layer.fan_in_fan_out
        and adapter not in getattr(layer, "lora_variant", {})
    )
