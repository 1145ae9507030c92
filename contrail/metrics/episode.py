"""Metrics of an episode: numbers about how the agent played, beside whether it solved its tasks.

A plugin registers a metric with the hook `contrail_metrics`. result.json, result.csv, TensorBoard,
the tables on the terminal, `contrail eval` and comparisons then contain it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from contrail.episode import Episode
from contrail.errors import PluginError, boundary, describe_error
from contrail.values import as_number

Value = float | Sequence[float | None] | None
RESERVED = {
    *("run", "strategy", "seed", "stage", "stage_name", "environment", "low", "high", "change"),
    *("change_low", "change_high", "scores", "tasks", "difficulty", "by_difficulty", "interval"),
    *("samples", "action", "first_fault", "loss", "episodes", "outcomes", "avg_at", "pass_at"),
    *("difficulties", "drift", "failures"),
}
"""Names with another meaning in the files that contain metrics."""


@dataclass(frozen=True)
class EpisodeMetric:
    """A number of an episode, and how it is averaged and shown.

    Attributes:
        name: its key in files: lower-case letters, digits and underscores.
        value: takes an episode and returns its number, or None where it has none; for `over`
            "turns" a list with one number per turn.
        description: what it is, in a few words.
        unit: of the number, for example "tokens"; empty where it has none.
        over: what the mean is taken over. "episodes": all episodes count alike. "turns": all turns
            of all episodes count alike. "tasks": the mean over tasks of each task's mean.
        heading: of its column in tables; by default the name.
        format: a format specification, for tables.
        faults: whether episodes that ended in a fault of their environment count.
        least, most: the range of the number, for example 0 and 1 of a share; None where it has no
            end. Intervals of means are cut there.
        optional: whether only some environments give it. An episode without a number counts as 0
            if another episode of its environment has one; where none has, the metric is left out.
        plugin: who registered it; set by the registry.
    """

    name: str
    value: Callable[[Episode], Value]
    description: str = ""
    unit: str = ""
    over: Literal["episodes", "turns", "tasks"] = "episodes"
    heading: str = ""
    format: str = ".2f"
    faults: bool = False
    optional: bool = False
    plugin: str = ""
    least: float | None = None
    most: float | None = None

    def check(self) -> None:
        """Refuse a metric that could not be kept or shown.

        Raises:
            PluginError: its name, mean or format makes no sense.
        """
        who = f"plugin {self.plugin!r}: the episode metric {self.name!r}"
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise PluginError(
                f"{who} needs another name: lower-case letters, digits and underscores."
            )
        if self.name in RESERVED:
            raise PluginError(f"{who} has a name that result.csv uses. Choose another.")
        if not callable(self.value):
            raise PluginError(f"{who}: `value` must be a function of an episode.")
        if self.over not in ("episodes", "turns", "tasks"):
            raise PluginError(f"{who}: `over` is {self.over!r}, not episodes, turns or tasks.")
        try:
            format(0.5, self.format)
        except (ValueError, TypeError) as error:
            raise PluginError(f"{who}: `format` {self.format!r} is none: {error}.") from error

    def average(self, episodes: Iterable[Episode], *, by_task: bool = True) -> float | None:
        """Return the mean over episodes; None if no episode has a value.

        Args:
            episodes: of one environment, or of an update.
            by_task: whether a mean over tasks is taken as such. In an update all episodes count
                alike.

        Raises:
            PluginError: the metric's function raised, or returned something else than numbers.
        """
        read = [
            (episode, self._values(episode))
            for episode in episodes
            if episode.fault is None or self.faults
        ]
        giving = {episode.environment for episode, found in read if found}
        values: dict[str, list[float]] = {}
        for episode, found in read:
            task = episode.task.id if by_task and self.over == "tasks" else ""
            zero = self.optional and episode.environment in giving
            values.setdefault(task, []).extend(found or [0.0] * zero)
        return mean([mean(found) for found in values.values() if found])

    def about(self) -> dict[str, Any]:
        """Return the description of the metric for reports, as JSON values."""
        return {
            "description": self.description,
            "unit": self.unit,
            "over": self.over,
            "heading": self.heading or self.name.replace("_", " "),
            "format": self.format,
            "least": self.least,
            "most": self.most,
        }

    def _values(self, episode: Episode) -> list[float]:
        def blame(error: BaseException) -> PluginError:
            return PluginError(
                f"episode metric {self.name!r} (plugin {self.plugin!r}) of the task "
                f"{episode.task.id!r} of {episode.environment!r}: {describe_error(error)}"
            )

        with boundary(blame):
            value = self.value(episode)
            several: Any = value if self.over == "turns" else [value]
            numbers = [as_number(item, "it") for item in several if item is not None]
            if not all(map(math.isfinite, numbers)):
                raise ValueError(f"it is {value}; return None where it is undefined")
        return numbers


def range_of(about: Mapping[str, Any]) -> tuple[float, float]:
    """Return the range of a metric from its description, infinite where it has no end."""
    least, most = about.get("least"), about.get("most")
    return (-math.inf if least is None else least, math.inf if most is None else most)


def averages(
    metrics: Iterable[EpisodeMetric], episodes: Sequence[Episode], *, by_task: bool = True
) -> dict[str, float | None]:
    """Return each metric's mean over the episodes, by name: see `EpisodeMetric.average`.

    Optional metrics that no episode has are left out.
    """
    means = {metric: metric.average(episodes, by_task=by_task) for metric in metrics}
    return {
        metric.name: mean
        for metric, mean in means.items()
        if mean is not None or not metric.optional
    }


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are defined; None if there are none."""
    import numpy

    known = [value for value in values if value is not None]
    return float(numpy.mean(known)) if known else None
