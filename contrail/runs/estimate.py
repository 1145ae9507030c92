"""What a run will cost, extrapolated from a few measured steps.

A run is a sum of parts that are repeated: the evaluation of an environment, and the two halves of a
stage's update, playing and learning. Each part is measured with few episodes, then with more as
time allows. Its time and its peak memory are the straight line through the last two measurements,
at the number of episodes that the run has; a part that was measured in full is taken as measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from contrail.names import visible
from contrail.runs.position import Course

Kind = Literal["evaluation", "playing", "learning"]
Clocks = tuple[float, float]
"""The wall clock (monotonic) and the processor seconds of this process, at some moment."""
WEARING = 2 / 3
"""Groups whose rewards differ become fewer as a policy learns: over a stage, this many of those
that differ at its beginning."""


@dataclass(frozen=True)
class Measured:
    """One measurement of a part."""

    episodes: int
    wall: float
    """Wall-clock seconds."""
    cpu: float
    """Processor seconds of this process."""
    memory: int
    """The peak of resident memory, in bytes."""
    gpu: int = 0
    """The peak of the memory of a GPU, in bytes."""
    written: int = 0
    """Tokens that the model wrote."""
    read: int = 0
    """Tokens of the episodes, as they stand at their ends."""


@dataclass
class Part:
    """A part of a run that is repeated."""

    kind: Kind
    name: str
    """Of the environment, or of the stage."""
    episodes: float
    """The number that one repetition plays, or learns from on average."""
    times: int
    """The number of repetitions."""
    most: float = 0
    """The number that a repetition may learn from at most; by default `episodes`."""
    bound: int = 0
    """Tokens that the model may write in an episode at most."""
    points: list[Measured] = field(default_factory=list)

    def at(self, quantity: str, episodes: float | None = None) -> float:
        """Return a quantity of one repetition: the line through the last two measurements."""
        episodes = self.episodes if episodes is None else episodes
        if not self.points:
            return 0.0
        last = self.points[-1]
        value = float(getattr(last, quantity))
        before = self.points[-2] if len(self.points) > 1 else None
        if before is None or before.episodes == last.episodes:
            # A single measurement: memory stays, everything else is proportional.
            steady = quantity in ("memory", "gpu")
            return value if steady else value * episodes / last.episodes
        slope = (value - getattr(before, quantity)) / (last.episodes - before.episodes)
        return float(max(0.0, value + max(0.0, slope) * (episodes - last.episodes)))

    def total(self, quantity: str) -> float:
        """Return a quantity of all repetitions."""
        return self.times * self.at(quantity)

    @property
    def peak(self) -> float:
        """The largest memory of a repetition, in bytes."""
        largest = max((point.memory for point in self.points), default=0)
        return max(largest, self.at("memory", self.most or self.episodes))


@dataclass(frozen=True)
class Known:
    """Parts that were measured already, and what their episodes took."""

    parts: list[Part]
    children: int
    """The memory of the environments' processes, in bytes."""
    longest: int
    """Tokens of the longest episode."""


@dataclass
class Estimate:
    """What a run will cost."""

    name: str
    updates: int
    training: int
    """Episodes in updates."""
    evaluation: int
    """Episodes in evaluations by the model: at most, unless the course is exact."""
    parts: list[Part] = field(default_factory=list)
    """Measured parts; none if nothing was measured."""
    setup: tuple[float, float] = (0.0, 0.0)
    """Wall-clock and processor seconds before the first episode."""
    baselines: tuple[float, float] = (0.0, 0.0)
    """The same of players without a model."""
    resident: int = 0
    """The peak of resident memory before the first measurement, in bytes."""
    children: int = 0
    """The memory of the environments' processes, in bytes."""
    longest: int = 0
    """Tokens of the longest episode that was measured."""
    left_out: list[str] = field(default_factory=list)
    """What costs time and was not measured."""
    course: Course = field(default_factory=Course)
    """Tells how often the run evaluates."""

    @property
    def seconds(self) -> float:
        """Wall-clock seconds."""
        return self._total("wall", self.setup[0] + self.baselines[0])

    @property
    def cpu_seconds(self) -> float:
        """Processor seconds of the main process."""
        return self._total("cpu", self.setup[1] + self.baselines[1])

    def _total(self, quantity: str, setup: float) -> float:
        return setup + sum(part.total(quantity) for part in self.parts)

    @property
    def memory(self) -> float:
        """The peak of the main process's resident memory, in bytes."""
        return max((part.peak for part in self.parts), default=0) or float(self.resident)

    @property
    def written(self) -> tuple[float, float]:
        """Tokens that the model writes: as measured, and at most."""
        played = [part for part in self.parts if part.kind != "learning"]
        bound = sum(part.times * part.episodes * part.bound for part in played)
        return sum(part.total("written") for part in played), bound

    @property
    def read(self) -> float:
        """Tokens of all episodes: what the model reads and writes."""
        return sum(part.total("read") for part in self.parts if part.kind != "learning")

    def record(self) -> dict[str, Any]:
        """Return the same as JSON values, with the sums."""
        expected, bound = self.written
        return {
            **asdict(self),
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "memory_bytes": self.memory,
            "written_tokens": expected,
            "written_tokens_at_most": bound,
            "tokens": self.read,
        }


def counts(estimate: Estimate) -> str:
    """Return how many updates and episodes a run has."""
    total = estimate.training + estimate.evaluation
    most = "" if estimate.course.exact else "at most "
    return (
        f"{estimate.updates:,} updates; {most}{total:,} episodes: {estimate.training:,} in "
        f"training, {most}{estimate.evaluation:,} in evaluations"
    )


def short(estimate: Estimate) -> str:
    """Return an estimate on one line, for the beginning of a run."""
    if not estimate.parts:
        return counts(estimate)
    expected, _ = estimate.written
    return (
        f"{counts(estimate)}; about {duration(estimate.seconds)}, "
        f"{size(estimate.memory + estimate.children)} of memory, {_rounded(expected)} written "
        "tokens (from a few measured steps)"
    )


def table(estimate: Estimate) -> list[tuple[str, str]]:
    """Return an estimate as lines with headings."""
    expected, bound = estimate.written
    by_kind = [
        (kind, sum(part.total("wall") for part in estimate.parts if part.kind == kind))
        for kind in ("playing", "learning", "evaluation")
    ]
    spent = [("start", estimate.setup[0] + estimate.baselines[0]), *by_kind]
    memory = f"about {size(estimate.memory)} at the peak"
    if estimate.children:
        memory += f", and {size(estimate.children)} in processes of environments"
    gpu = max((part.at("gpu", part.most or None) for part in estimate.parts), default=0)
    if gpu:
        memory += f"; {size(gpu)} on the GPU"
    lines = [
        ("episodes", counts(estimate)),
        (
            "tokens",
            f"about {_rounded(expected)} written by the model, at most {_rounded(bound)}; about "
            f"{_rounded(estimate.read)} with those that it reads (the longest episode measured: "
            f"{estimate.longest:,})",
        ),
        (
            "time",
            f"about {duration(estimate.seconds)} ({duration(estimate.cpu_seconds)} of processor "
            f"time): " + ", ".join(f"{name} {duration(seconds)}" for name, seconds in spent),
        ),
        ("memory", memory),
    ]
    if estimate.left_out:
        lines.append(("not counted", "; ".join(estimate.left_out)))
    return lines


def measured(estimate: Estimate) -> list[tuple[str, str, str, str, str]]:
    """Return a row for each part: what it is, episodes measured, of how many, seconds, times."""
    return [
        (
            f"{part.kind} {visible(part.name)}",
            ", ".join(str(point.episodes) for point in part.points),
            f"{part.episodes:.0f}",
            f"{part.at('wall'):.2f}",
            str(part.times),
        )
        for part in estimate.parts
    ]


def duration(seconds: float) -> str:
    """Return a duration in words, rounded."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours / 24:.1f} days"


def size(count: float) -> str:
    """Return a number of bytes in words, rounded."""
    return f"{count / 1e9:.1f} GB" if count >= 0.95e9 else f"{count / 1e6:.0f} MB"


def _rounded(count: float) -> str:
    """Return a number with two digits that count."""
    if count < 100:
        return f"{count:.0f}"
    return f"{int(float(f'{count:.2g}')):,}"
