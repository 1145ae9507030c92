"""The strategy `merge`: each stage learns a LoRA, and what acts is all of them merged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import contrail
from contrail.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from contrail.model import Policy
    from contrail.stream import Experience
    from contrail.trainer import Trainer

Snapshot = dict[str, "torch.Tensor"]


@dataclass
class MergeConfig:
    """`combination_type`, `density` (TIES, DARE, pruning), `majority_sign_method` (TIES): of
    PEFT's add_weighted_adapter; TIES is arXiv:2306.01708, DARE arXiv:2311.03099. `weight`: of each
    LoRA; without it 1/t after stage t. `start`: a stage begins with the `base` model, as in task
    arithmetic (arXiv:2212.04089), or with what is `merged` so far."""

    combination_type: Literal[
        "linear",
        "svd",
        "ties",
        "ties_svd",
        "dare_linear",
        "dare_linear_svd",
        "dare_ties",
        "dare_ties_svd",
        "magnitude_prune",
        "magnitude_prune_svd",
    ] = "svd"
    density: float = field(default=0.5, metadata={"min": 0.01, "max": 1})
    majority_sign_method: Literal["total", "frequency"] = "total"
    weight: float | None = field(default=None, metadata={"min": 0})
    start: Literal["base", "merged"] = "base"


class Merge(contrail.Strategy):
    """At the end of each stage, PEFT merges the LoRAs of all stages so far into one of rank r."""

    Config = MergeConfig

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._learnt: list[Snapshot] = []
        if self.config.start == "base":
            self.alone = "every stage begins with the base model, unless `start: merged`"

    def prefix(self, stage: int) -> str:
        return f"merge {self.config}"

    def begin(self, trainer: Trainer, stages: Sequence[Experience]) -> None:
        self._fresh = trainer.policy.snapshot()
        if any("lora_A" not in name and "lora_B" not in name for name in self._fresh):
            raise ConfigError("merge needs an adapter of lora_A and lora_B alone.")

    def before_training_exp(self, loop: Any) -> None:
        if self.config.start == "base":
            loop.policy.load(self._fresh)

    def after_training_exp(self, loop: Any) -> None:
        self._learnt.append(loop.policy.snapshot())
        count = len(self._learnt)
        weight = 1 / count if self.config.weight is None else self.config.weight
        if count > 1 or weight != 1:
            from contrail.seeding import generator  # heavy: not before it is needed

            seed = generator(loop.run.config.seed, "merge", loop.stage).integers(2**31)
            weights = [weight] * count
            loop.policy.load(merged(loop.policy, self._learnt, weights, self.config, int(seed)))

    def state_dict(self) -> dict[str, Any]:
        return {"learnt": self._learnt} if self._learnt else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._learnt = state["learnt"]


def merged(
    policy: Policy,
    adapters: Sequence[Snapshot],
    weights: Sequence[float],
    config: MergeConfig,
    seed: int,
) -> Snapshot:
    """PEFT's merge of adapters that the policy once had, as one that it can load.

    Args:
        policy: left as it is.
        adapters: by the names of its parameters.
        weights: of each.
        config: how to merge.
        seed: of what DARE drops.
    """
    import torch

    model: Any = policy.model
    own = model.active_adapter
    names = [f"merge{index}" for index in range(len(adapters))]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            for name, adapter in zip(names, adapters, strict=True):
                model.add_adapter(name, model.peft_config[own])
                _copy(model, adapter, own, name)
            model.base_model.add_weighted_adapter(
                names,
                list(weights),
                "merged",
                combination_type=config.combination_type,
                svd_full_matrices=False,
                density=config.density,
                majority_sign_method=config.majority_sign_method,
            )
            found = dict(model.named_parameters())
            made = {}
            for name in policy.parameters:
                # PEFT's merged adapter has the scaling 1, the policy's own may have another.
                layer = model.get_submodule(name.rpartition(".lora_")[0])
                scale = layer.scaling["merged"] / layer.scaling[own] if "lora_B" in name else 1.0
                made[name] = found[name.replace(f".{own}.", ".merged.")].detach() * scale
        finally:
            for name in [*names, "merged"]:
                if name in model.peft_config:
                    model.delete_adapter(name)
            model.set_adapter(own)
    return made


def _copy(model: Any, adapter: Snapshot, own: str, name: str) -> None:
    found = dict(model.named_parameters())
    for key, value in adapter.items():
        found[key.replace(f".{own}.", f".{name}.")].data.copy_(value)


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("merge", Merge)
