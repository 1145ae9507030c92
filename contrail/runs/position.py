"""Where a run stands, and how much there is to do."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_NAME = re.compile(r"(\d{3,})(?:-(\d{5,}))?")


@dataclass(frozen=True, order=True)
class Position:
    """`stage` stages are over, their evaluation included, and `update` updates of the next one."""

    stage: int
    update: int = 0

    @property
    def name(self) -> str:
        """The name of its checkpoint: `002` after stage 2, `003-00007` within stage 3."""
        if not self.update:
            return f"{self.stage:03d}"
        return f"{self.stage + 1:03d}-{self.update:05d}"

    @classmethod
    def of(cls, name: str) -> Position | None:
        """Return the position of a checkpoint's name; None if it is no such name."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        stage, update = match.groups()
        return cls(int(stage)) if update is None else cls(int(stage) - 1, int(update))


def work(
    updates: Sequence[int], every: int | None, position: Position | None = None
) -> tuple[int, int]:
    """Return how many updates a run makes up to a position, and how often each environment is
    evaluated.

    Args:
        updates: of each stage.
        every: how many updates lie between two evaluations within a stage; None for no such.
        position: where the run stands; None for its end.
    """
    if position is None:
        position = Position(len(updates))
    whole = updates[: position.stage]
    evaluations = position.stage + 1
    if every is not None:
        evaluations += sum(1 + math.ceil(count / every) for count in whole if count)
        evaluations += math.ceil(position.update / every)
    return sum(whole) + position.update, evaluations


@dataclass(frozen=True)
class Course:
    """What tells before a run how often the model plays the test tasks of each environment.

    A policy that is as it was when it was evaluated last is not evaluated again (see
    `contrail.runs.rollouts.Rollouts.evaluate`).
    """

    updates: tuple[int, ...] = ()
    """Of each stage that is trained, as the strategy has made them."""
    every: int | None = None
    """See `work`."""
    warmup: bool = False
    """Whether the first stage is a warm-up, in which no strategy acts."""
    restarts: bool = False
    """See `contrail.Strategy.restarts`."""
    enters: float | None = None
    """The first stage, counted without the warm-up, in which a strategy may change the policy at
    the beginning, except by a restart; None for no such."""
    leaves: float | None = None
    """Likewise, at the end."""

    def evaluations(self, given: int = 0) -> int:
        """Return how often each environment is evaluated: at most, unless that is `exact`.

        Args:
            given: rows of R that the run takes over from another one. Their policies count as not
                evaluated yet.
        """
        played = [policy for row in itertools.islice(self._rows(), given, None) for policy in row]
        if not self._remembers:
            return len(played)
        return sum(1 for _ in itertools.groupby(played))

    @property
    def exact(self) -> bool:
        """Whether the evaluations are known: an update may leave the policy as it was, and so may
        a strategy."""
        return not self._remembers or self.evaluations() == 1

    @property
    def _remembers(self) -> bool:
        """Whether the run compares policies at all."""
        return self.every is not None or not all(self.updates)

    def _rows(self) -> Iterator[list[int]]:
        """Yield the policies that are evaluated up to each row of R; equal ones are one number."""
        policies = itertools.count()
        policy = start = next(policies)
        yield [policy]
        for number, count in enumerate(self.updates, start=1 - self.warmup):
            if number and self.restarts:
                policy = start
            if number and self.enters is not None and number >= self.enters:
                policy = next(policies)
            found = [policy] if count and self.every is not None else []
            for update in range(1, count + 1):
                policy = next(policies)
                if self.every is not None and (update % self.every == 0 or update == count):
                    found.append(policy)
            if number and self.leaves is not None and number >= self.leaves:
                policy = next(policies)
            if not number:
                start = policy
            yield [*found, policy]
