"""The strategy `replay`: training also uses tasks or episodes of earlier stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import contrail
from contrail import Episode
from contrail.strategies._shared import environment_and_task, on_average, success_by

if TYPE_CHECKING:
    import numpy
    import torch

    from contrail import Learner, Stage, StageContext


FLOOR = 0.1  # of a task's weight in the mode `mastery`: what looks mastered is looked at again


@dataclass
class ReplayConfig:
    """The keys of replay in stream.yaml."""

    mode: Literal["tasks", "episodes", "mastery"] = "tasks"
    """`tasks` plays tasks of earlier stages again. `mastery` does so too, and prefers tasks whose
    success has dropped. `episodes` learns from stored successes in addition to the RL loss."""
    fraction: float = field(default=0.5, metadata={"min": 0, "max": 1})
    """The fraction of old tasks among the tasks of an update; with `episodes`, the number of stored
    episodes per played episode."""
    buffer: int = field(default=256, metadata={"min": 1})
    """The largest number of tasks, or episodes, to keep."""
    weight: float = field(default=1.0, metadata={"min": 0})
    """The weight of the likelihood of stored episodes."""
    normalize: bool = True
    """Weight environments in the loss, and in that likelihood, by their shares of the episodes. If
    false and the loss sums over decisions, environments with long answers count more."""


class Replay(contrail.Strategy):
    """Experience replay, with the earlier environments in equal shares.

    Old tasks take the place of new ones within the update, so the number of episodes stays the
    same. `episodes` is self-imitation (Oh et al., arXiv:1806.05635) of past successes: it raises
    their likelihood, whichever policy played them. It has neither the value function of that paper
    nor the off-policy corrections and the cloning of CLEAR.
    """

    Config = ReplayConfig

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.starts_at = 2 if self.config.mode == "tasks" else 1
        self.replays = self.config.mode != "episodes"
        self._reservoir = Reservoir(self.config.buffer)
        self._success: dict[str, dict[str, list[float]]] = {}  # environment -> task -> best, latest
        self._old: list[str] = []  # environments of earlier stages, not of this one

    def begin(self, learner: Learner, stages: Sequence[Stage]) -> None:
        self._stages = list(stages)
        learner.by_environment = self.config.normalize

    def enter(self, context: StageContext, resumed: bool) -> None:
        past = [stage for stage in self._stages[: context.number - 1] if stage.updates]
        new = context.stage.environments
        old = [name for stage in past for name in stage.environments if name not in new]
        rooms = _rooms(list(dict.fromkeys(old)), self.config.buffer)
        self._old = [name for name in rooms if rooms[name]]
        self._tasks = {}
        for name in self._old:
            rng = contrail.generator(context.seed, "replay", name)
            # Each once, whatever their stages learnt by, and through whichever adapters.
            tasks = list(dict.fromkeys(task for item in past for task in item.tasks.get(name, [])))
            # The first of the same permutation: with less room a task is dropped, not exchanged.
            chosen = rng.permutation(len(tasks))[: rooms[name]]
            self._tasks[name] = [tasks[index] for index in chosen]

    def draw(
        self, stage: Stage, update: int, count: int, rng: numpy.random.Generator
    ) -> list[contrail.Task]:
        old = 0
        if self._old and self.config.mode != "episodes":
            old = on_average(self.config.fraction * count, rng)
        tasks = stage.sample(count - old, rng)
        for name, part in _shares(self._old, old, rng):
            if self.config.mode == "tasks":
                tasks += contrail.draw_tasks(self._tasks[name], part, rng)
            else:
                tasks += self._dropped(name, part, rng)
        return tasks

    def _dropped(self, name: str, count: int, rng: numpy.random.Generator) -> list[contrail.Task]:
        """Tasks, with probabilities that grow with the loss of success since the best play."""
        tasks, seen = self._tasks[name], self._success.get(name, {})
        plays = [seen.get(task.id, [0.0, 0.0]) for task in tasks]
        weights = [max(0.0, best - latest) + FLOOR for best, latest in plays]
        shares = [weight / sum(weights) for weight in weights]
        chosen = rng.choice(len(tasks), size=count, replace=len(tasks) < count, p=shares)
        return [tasks[index] for index in chosen]

    def observe(
        self, stage: Stage, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> None:
        if self.config.mode == "episodes":
            # All decisions of a stored episode are learnt from.
            kept = [item for item in episodes if item.success and all(item.learnt)]
            self._reservoir.add(kept, rng)
        if self.config.mode != "mastery":
            return
        for (environment, task), latest in success_by(environment_and_task, episodes).items():
            known = self._success.setdefault(environment, {})
            known[task] = [max(latest, known.get(task, [0.0])[0]), latest]

    def penalty(
        self, learner: Learner, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> Iterator[torch.Tensor]:
        if self.config.mode != "episodes":
            return
        count = on_average(self.config.fraction * len(episodes), rng)
        stored = self._reservoir.sample(self._old, count, rng)
        of: dict[str, list[Episode]] = {}
        for episode in stored:
            of.setdefault(episode.environment if self.config.normalize else "", []).append(episode)
        for own in of.values():
            share = len(own) / len(stored)
            decisions = sum(len(episode.logprobs) for episode in own)
            for part in learner.score(own):
                likelihood = sum(scores.logprobs.sum() for scores in part)
                yield -self.config.weight * share / decisions * likelihood

    def state_dict(self) -> dict[str, Any]:
        if self.config.mode == "tasks":
            return {}
        return {"reservoir": self._reservoir.state_dict(), "success": self._success}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._reservoir.load_state_dict(state["reservoir"])
        self._success = state["success"]


class Reservoir:
    """A uniform sample of the episodes added so far, with equal shares for the environments.

    Reservoir sampling by random keys keeps the episodes with the smallest keys. A new environment
    takes its share from the others without bias.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: dict[str, list[tuple[float, Episode]]] = {}

    def add(self, episodes: Sequence[Episode], rng: numpy.random.Generator) -> None:
        """Offer episodes; `rng` decides which ones stay."""
        for episode in episodes:
            self._kept.setdefault(episode.environment, []).append((rng.random(), episode))
        for name, room in _rooms(list(self._kept), self._size).items():
            self._kept[name] = sorted(self._kept[name], key=lambda item: item[0])[:room]

    def sample(
        self, environments: Sequence[str], count: int, rng: numpy.random.Generator
    ) -> list[Episode]:
        """Return at most `count` episodes of these environments, in equal shares."""
        having = [name for name in environments if self._kept.get(name)]
        drawn = []
        for name, part in _shares(having, count, rng):
            kept = self._kept[name]
            chosen = rng.choice(len(kept), size=min(part, len(kept)), replace=False)
            drawn += [kept[index][1] for index in chosen]
        return drawn

    def state_dict(self) -> dict[str, Any]:
        """Return all episodes with their keys, as JSON values."""
        return {
            name: [[key, asdict(episode)] for key, episode in kept]
            for name, kept in self._kept.items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self._kept = {
            name: [(key, Episode.from_dict(values)) for key, values in kept]
            for name, kept in state.items()
        }


def _rooms(names: Sequence[str], size: int) -> dict[str, int]:
    """Divide `size` evenly, the first get one more; no share grows when names are added."""
    whole, rest = divmod(size, max(1, len(names)))
    return {name: whole + (index < rest) for index, name in enumerate(names)}


def _shares(
    names: Sequence[str], count: int, rng: numpy.random.Generator
) -> Iterator[tuple[str, int]]:
    """Divide `count` evenly; `rng` decides which names get one more."""
    if not names or not count:
        return
    whole, rest = divmod(count, len(names))
    more = set(rng.permutation(len(names))[:rest].tolist())
    for index, name in enumerate(names):
        yield name, whole + (index in more)


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("replay", Replay)
