"""The strategy `balanced`: all environments at once, more of those that are weak and stay so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import contrail
from contrail.strategies._shared import success_by
from contrail.strategies.mixture import Mixture, MixtureConfig

if TYPE_CHECKING:
    import numpy

    from contrail import Episode, Stage


@dataclass
class BalancedConfig(MixtureConfig):
    """The keys of balanced in stream.yaml."""

    rate: float = field(default=1.0, metadata={"min": 0})
    """How fast the shares follow; with 0 they are those of `mixture`."""
    level: float = field(default=0.2, metadata={"min": 0})
    """The weight of an environment's success beside its improvement: lambda of MT-GRPO. The larger
    it is, the more the weakest environment is preferred."""
    decay: float = field(default=0.5, metadata={"min": 0, "max": 0.999})
    """The weight of the past in the running mean of an environment's success."""
    floor: float = field(default=0.1, metadata={"min": 0, "max": 1})
    """The fraction of tasks that is drawn as in `mixture`, whatever the success."""


class Balanced(Mixture):
    """A mixture whose shares rise for environments with low success that does not improve.

    After each update, with J the running mean of an environment's success and I what the update has
    added to it, the logarithm of the environment's share falls by rate * (I + level * J), relative
    to the others. It follows the weights of MT-GRPO (arXiv:2602.05547), whose code optimises them
    by Adam, with exponentiated gradients instead. Its sampler, which plays further tasks in place
    of groups with equal rewards, is left out: it would change the number of episodes.
    """

    Config = BalancedConfig

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._success: dict[str, float] = {}
        self._logits: dict[str, float] = {}

    def draw(
        self, stage: Stage, update: int, count: int, rng: numpy.random.Generator
    ) -> list[contrail.Task]:
        return stage.sample(count, rng, self.shares())

    def shares(self) -> dict[str, float]:
        """Return the present shares of the environments."""
        import numpy

        names = list(self._shares)
        fixed = numpy.array([self._shares[name] for name in names])
        logits = numpy.array([self._logits.get(name, 0.0) for name in names])
        weights = fixed * numpy.exp(logits - logits.max())
        floor = self.config.floor
        shares = floor * fixed / fixed.sum() + (1 - floor) * weights / weights.sum()
        return dict(zip(names, shares.tolist(), strict=True))

    def observe(
        self, stage: Stage, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> None:
        for name, share in self.shares().items():
            self.log(f"share/{name}", share)
        for name, success in success_by(lambda item: item.environment, episodes).items():
            known = self._success.get(name, success)
            mean = self.config.decay * known + (1 - self.config.decay) * success
            self._success[name] = mean
            change = self.config.rate * (mean - known)
            self._logits[name] = self._logits.get(name, 0.0) - change
        for name, mean in self._success.items():  # of all, that those not played do not fall behind
            self._logits[name] -= self.config.rate * self.config.level * mean

    def state_dict(self) -> dict[str, Any]:
        return {"success": self._success, "logits": self._logits} if self._success else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._success, self._logits = state["success"], state["logits"]


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("balanced", Balanced)
