"""The strategy `merge`: each stage learns a LoRA, and the policy is all of them merged."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import contrail
from contrail import ConfigError

if TYPE_CHECKING:
    import torch

    from contrail import Learner, Policy, Stage, StageContext


Snapshot = dict[str, "torch.Tensor"]


@dataclass
class MergeConfig:
    """The keys of merge in stream.yaml."""

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
    """The method, as in PEFT's add_weighted_adapter; TIES is arXiv:2306.01708, DARE
    arXiv:2311.03099."""
    density: float = field(default=0.5, metadata={"min": 0.01, "max": 1})
    """The fraction of parameters to keep, for TIES, DARE and pruning."""
    majority_sign_method: Literal["total", "frequency"] = "total"
    """How the majority of signs is counted, for TIES."""
    weight: float | None = field(default=None, metadata={"min": 0})
    """The weight of each LoRA, as in PEFT. By default, the weight with which equal LoRAs merge into
    the same LoRA (see `default_weight`)."""
    start: Literal["base", "merged"] = "base"
    """A stage begins with the `base` model, as in task arithmetic (arXiv:2212.04089), or with the
    `merged` model so far."""


class Merge(contrail.Strategy):
    """At the end of each stage, PEFT merges the LoRAs of all stages so far into one of rank r."""

    Config = MergeConfig
    starts_at = 1

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._learnt: list[Snapshot] = []
        if self.config.start == "base":
            self.exclusive = "every stage begins with the base model, unless `start: merged`"
            self.branches = True

    def begin(self, learner: Learner, stages: Sequence[Stage]) -> None:
        self._fresh = learner.policy.snapshot()
        if any("lora_A" not in name and "lora_B" not in name for name in self._fresh):
            raise ConfigError("merge needs an adapter of lora_A and lora_B alone.")
        configs: Any = learner.policy.model.peft_config
        if any(item.rank_pattern for item in configs.values()):
            raise ConfigError(
                "PEFT merges LoRAs of one rank alone. Remove lora.rank_pattern, or merge."
            )

    def enter(self, context: StageContext, resumed: bool) -> None:
        if self.config.start == "base" and not resumed:
            context.policy.load(self._fresh)

    def leave(self, context: StageContext) -> None:
        policy = context.policy
        self._learnt.append(policy.snapshot())
        count = len(self._learnt)
        weight = self.config.weight
        if weight is None:
            weight = default_weight(self.config.combination_type, self.config.density, count)
        if count > 1 or weight != 1:
            seed = contrail.generator(context.seed, "merge", context.number).integers(2**31)
            weights = [weight] * count
            policy.load(merged(policy, self._learnt, weights, self.config, int(seed)))

    def state_dict(self) -> dict[str, Any]:
        return {"learnt": self._learnt} if self._learnt else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._learnt = state["learnt"]


def default_weight(combination_type: str, density: float, count: int) -> float:
    """Return the weight of each of `count` LoRAs with which equal ones merge to what each of them
    is.

    That is: with `density` 1, or a type without it, to the same LoRA; with a pruning type, to the
    LoRA pruned; with DARE, which drops at random, to the LoRA on average.

    - PEFT adds up the products B A (svd), or what is left of them: the sum of t copies is t times
      one, so the weight is 1/t.
    - TIES takes the mean over those of the elected sign: the weight is 1.
    - DARE before TIES takes the mean over those that were neither dropped nor of the other sign,
      each divided by the density d. An entry is in none of t copies with probability (1-d)^t, so
      the mean is (1 - (1-d)^t) / d times the entry.
    - Types without `_svd` do so with A and with B, each times the square root of the weight, so
      that the product has the square of the factor.
    """
    factor = float(count)
    if combination_type.startswith("dare_ties"):
        factor = (1 - (1 - density) ** count) / density
    elif combination_type.startswith("ties"):
        factor = 1.0
    return 1 / factor if combination_type.endswith("svd") else 1 / factor**2


def merged(
    policy: Policy,
    adapters: Sequence[Snapshot],
    weights: Sequence[float],
    config: MergeConfig,
    seed: int,
) -> Snapshot:
    """Return PEFT's merge of earlier LoRAs, as one that the policy can load.

    Args:
        policy: unchanged afterwards.
        adapters: the LoRAs, each by the names of its parameters.
        weights: one per LoRA.
        config: how to merge.
        seed: the seed of DARE's random choice.
    """
    import torch

    model: Any = policy.model
    own = model.active_adapter
    names = [f"merge{index}" for index in range(len(adapters))]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The density")  # a density of 1 prunes nothing
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
                # PEFT's merged B A is meant to be added as it is, whatever scaling (not 1 with
                # rsLoRA) PEFT gives it; the policy's own LoRA is scaled.
                layer = model.get_submodule(name.rpartition(".lora_")[0])
                scale = 1.0 / layer.scaling[own] if "lora_B" in name else 1.0
                value = found[name.replace(f".{own}.", ".merged.")].detach() * scale
                made[name] = _padded(value, found[name].shape)
        finally:
            for name in [*names, "merged"]:
                if name in model.peft_config:
                    model.delete_adapter(name)
            model.set_adapter(own)
    return made


def _padded(value: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """With zeros: of a matrix smaller than the rank, an SVD has fewer rows or columns than that."""
    padded = value.new_zeros(shape)
    padded[: value.shape[0], : value.shape[1]] = value
    return padded


def _copy(model: Any, adapter: Snapshot, own: str, name: str) -> None:
    found = dict(model.named_parameters())
    for key, value in adapter.items():
        found[key.replace(f".{own}.", f".{name}.")].data.copy_(value)


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("merge", Merge)
