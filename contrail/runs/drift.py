"""How far training has moved the policy that plays each environment (`evaluate.drift`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from contrail.episode import Episode
from contrail.model.policy import Policy
from contrail.progress.reporter import Reporter
from contrail.runs.composition import Composition
from contrail.stage import Stage
from contrail.training.divergence import divergences
from contrail.training.learner import Learner

if TYPE_CHECKING:
    import torch

Drifts = dict[str, dict[str, list[float]]]
"""To "base" or "previous" -> task id -> nats per episode, and per decision."""


class Drift:
    """Measures the drift of rows of R, on the episodes of their evaluations.

    Args:
        policy: in training.
        learner: with its scorer and temperature.
        strategy: may evaluate each environment with another LoRA.
        reporter: follows the episodes.
        check: called before each episode; raises if the run is interrupted.
    """

    def __init__(
        self,
        policy: Policy,
        learner: Learner,
        strategy: Composition,
        reporter: Reporter,
        check: Callable[[], None],
    ) -> None:
        self._policy = policy
        self._learner = learner
        self._strategy = strategy
        self._reporter = reporter
        self._check = check
        self._previous: dict[str, Mapping[str, torch.Tensor]] = {}

    def remember(self, tests: Sequence[Stage]) -> None:
        """Keep the policies that play the environments now, as those of the previous row."""
        common = self._policy.snapshot()
        self._previous = {}
        for test in tests:
            with self._strategy.playing(self._policy, test.name):
                same = self._policy.has(common)
                self._previous[test.name] = common if same else self._policy.snapshot()

    def measure(self, row: int, name: str, episodes: Sequence[Episode]) -> Drifts:
        """Return the drift of the policy that has played an environment, and still would.

        Args:
            row: of R, at least 1. For row 1 the previous policy is the one before any training.
            name: of the environment.
            episodes: of its evaluation. Faults, and episodes without a turn, are left out.
        """
        others = [None] if row == 1 else [None, self._previous[name]]
        self._reporter.start("drift", f"drift of {name}", len(episodes))
        sums: dict[str, list[tuple[int, list[float]]]] = {}
        for episode in episodes:
            self._check()
            if episode.fault is None and episode.turns:
                nats = divergences(
                    self._policy,
                    self._learner.scorer,
                    self._learner.config.temperature,
                    episode,
                    others,
                )
                sums.setdefault(episode.task.id, []).append((len(episode.logprobs), nats))
            self._reporter.advance(episode)
        found: Drifts = {}
        for index, kind in enumerate(("base", "previous")):
            place = min(index, len(others) - 1)
            found[kind] = {
                task: [
                    sum(nats[place] for _, nats in played) / len(played),
                    sum(nats[place] for _, nats in played) / sum(count for count, _ in played),
                ]
                for task, played in sums.items()
            }
        every = [decision for _, decision in found["base"].values()]
        mean = f"{sum(every) / len(every):.2g} nats per decision" if every else "–"
        self._reporter.done(mean)
        return found
