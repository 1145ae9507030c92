"""The strategy `ewc`: parameters that earlier stages depend on are held."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import contrail

if TYPE_CHECKING:
    import numpy
    import torch

    from contrail.rollout.episode import Episode
    from contrail.stream import Experience
    from contrail.trainer import Trainer


@dataclass
class EWCConfig:
    """`strength`: the weight of the penalty, lambda. `mode`: `online` keeps one Fisher matrix, the
    old one times `decay` plus the new one, around the latest parameters (arXiv:1805.06370);
    `separate` keeps one for each stage, around that stage's parameters. `episodes`: the last of a
    stage, from which its Fisher matrix is estimated. `normalize`: divide it by its mean; the Fisher
    matrix of a policy that is sure of what it does is nearly 0, and would protect nothing."""

    strength: float = field(default=1.0, metadata={"min": 0})
    mode: Literal["online", "separate"] = "online"
    decay: float = field(default=1.0, metadata={"min": 0, "max": 1})
    episodes: int = field(default=64, metadata={"min": 1})
    normalize: bool = True


class EWC(contrail.Strategy):
    """Elastic weight consolidation (arXiv:1612.00796) on the LoRA parameters.

    Adds strength/2 * sum_k F_k (theta_k - theta'_k)^2, with theta' the parameters after an earlier
    stage and F the diagonal of its Fisher matrix: the mean, over episodes of the stage's end, of
    the squared gradient of an episode's log-probability. Nothing more is played for it.
    """

    Config = EWCConfig

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._recent: deque[Episode] = deque(maxlen=self.config.episodes)
        self._kept: list[dict[str, dict[str, torch.Tensor]]] = []

    def prefix(self, stage: int) -> str:
        made = f"ewc {self.config.episodes} {self.config.normalize}"
        return made if stage == 1 else f"ewc {self.config}"

    def before_training_exp(self, loop: Any) -> None:
        self._recent.clear()

    def observe(
        self, experience: Experience, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> None:
        self._recent.extend(item for item in episodes if item.fault is None and item.turns)

    def after_training_exp(self, loop: Any) -> None:
        if not self._recent:
            return
        fisher = diagonal_fisher(loop.trainer, list(self._recent))
        if self.config.normalize:
            fisher = _normalized(fisher)
        if self.config.mode == "online" and self._kept:
            old = self._kept.pop()["fisher"]
            decay = self.config.decay
            fisher = {name: decay * old[name].to(new) + new for name, new in fisher.items()}
        self._kept.append({"fisher": fisher, "anchor": loop.policy.snapshot()})

    def penalty(
        self, trainer: Trainer, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> Iterator[torch.Tensor]:
        for name, parameter in trainer.policy.parameters.items():
            for kept in self._kept:
                fisher, anchor = (kept[of][name].to(parameter) for of in ("fisher", "anchor"))
                yield self.config.strength / 2 * (fisher * (parameter - anchor).square()).sum()

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self._kept} if self._kept else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._kept = state["kept"]


def diagonal_fisher(trainer: Trainer, episodes: Sequence[Episode]) -> dict[str, torch.Tensor]:
    """The mean over episodes of (d log p(episode) / d theta_k)^2, by the names of parameters.

    Over episodes that the policy itself has played, this is the diagonal of the Fisher matrix of
    whole episodes: the decisions' cross terms have the mean 0.
    """
    parameters = trainer.policy.parameters
    fisher = {name: parameter.new_zeros(parameter.shape) for name, parameter in parameters.items()}
    for episode in episodes:
        trainer.policy.model.zero_grad()
        for scores in trainer.score([episode]):
            sum(item.logprobs.sum() for item in scores).backward()  # type: ignore[union-attr]
        for name, parameter in parameters.items():
            if parameter.grad is not None:
                fisher[name] += parameter.grad.square() / len(episodes)
    trainer.policy.model.zero_grad()
    return fisher


def _normalized(fisher: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """With the mean 1 over all parameters; what is 0 everywhere stays so."""
    count = sum(item.numel() for item in fisher.values())
    mean = float(sum(item.double().sum() for item in fisher.values())) / count
    return {name: (item / mean if mean else item) for name, item in fisher.items()}


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("ewc", EWC)
