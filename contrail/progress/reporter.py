"""The progress of a run: a bar on a terminal, lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from contrail.names import visible
from contrail.progress.live import Live

LINE_SECONDS = 20.0


class Reporter:
    """Shows the progress of a run, and estimates when it will end.

    Used as a context manager; `start` and `advance` follow one piece of work, `done` ends it.

    `live`: where others can read it, if anywhere.
    """

    live: Live | None = None

    def __init__(self, updates: int, evaluations: int, quiet: bool = False) -> None:
        self._quiet = quiet
        # To stderr, so that stdout holds the report alone.
        self._console = Console(stderr=True, quiet=quiet)
        self._bars: Progress | None = None
        if self._console.is_terminal and not quiet:
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=self._console,
                transient=True,
            )
        self._left = {"update": updates, "evaluation": evaluations}
        self._all = dict(self._left)
        self._seconds: dict[str, list[float]] = {"update": [], "evaluation": []}
        self._kind = ""
        self._name = ""
        self._total = 0
        self._count = 0
        self._begun = self._said = time.monotonic()
        self._bar = None if self._bars is None else self._bars.add_task("", total=1, note="")

    def __enter__(self) -> Reporter:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
        if self.live is not None:
            self.live.end(None if error is None else type(error).__name__)

    def skip(self, updates: int, evaluations: int) -> None:
        """Count work as done that an earlier process has done."""
        self._left["update"] -= updates
        self._left["evaluation"] -= evaluations

    def say(self, text: str) -> None:
        """One line that stays."""
        if not self._quiet:
            self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def start(self, kind: str, name: str, total: int) -> None:
        """Begin a piece of work: its kind, its name, and its episodes.

        The kinds are "update", "evaluation" and others, which do not count for the time left.
        """
        name = visible(name)
        self._kind, self._name, self._total, self._count = kind, name, total, 0
        self._begun = self._said = time.monotonic()
        if self._bars is not None and self._bar is not None:
            self._bars.reset(self._bar, total=total, description=name, note=self._eta())
        self._tell(True)

    def expect(self, more: int) -> None:
        """So many more episodes of this piece of work are played now."""
        self._total = max(self._total, self._count + more)
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, total=self._total)

    def advance(self, episode: object = None) -> None:
        """One more episode has been played."""
        self._count += 1
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, completed=self._count, note=self._eta())
        self._tell()
        if self._bars is None and time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            self.say(f"{self._name}: {self._count} of {self._total} episodes played")

    def waiting(self, text: str) -> None:
        """Say what the piece of work is waiting for. May be called from any thread."""
        self.say(f"{self._name}: {text}")
        self._tell(True, waiting=text)

    def done(self, text: str, entry: Mapping[str, Any] | None = None) -> None:
        """End the piece of work.

        Args:
            text: its result.
            entry: the same in numbers, for `live`.
        """
        if self._kind in self._left:
            self._seconds[self._kind].append(time.monotonic() - self._begun)
            self._left[self._kind] -= 1
        self.say(f"{self._name}: {text}  {self._eta()}".rstrip())
        sys.stderr.flush()
        if self.live is not None and entry is not None:
            number = self._all[self._kind] - self._left[self._kind]
            about = {"kind": self._kind, "number": number, "name": self._name}
            self.live.done({**about, **entry})
        self._tell(True)

    def _tell(self, force: bool = False, **more: str) -> None:
        if self.live is not None:
            state = {"kind": self._kind, "name": self._name, "left": self._seconds_left()}
            self.live.now({**state, "count": self._count, "total": self._total, **more}, force)

    def _eta(self) -> str:
        """Return the time left."""
        left = self._seconds_left()
        if left is None:
            return ""
        minutes, seconds = divmod(round(left), 60)
        return f"({minutes}:{seconds:02d} left)"

    def _seconds_left(self) -> float | None:
        """Return the time left: recent updates and evaluations are taken for the coming ones."""
        left = 0.0
        for kind, count in self._left.items():
            recent = self._seconds[kind][-4:]
            if count > 0 and not recent:
                return None
            if count > 0:
                left += count * sum(recent) / len(recent)
        return left


def line(scalars: dict[str, float]) -> str:
    """How an update went, for the line that reports it."""
    shown = {
        "success": "success {:.2f}",
        "reward": "reward {:.2f}",
        "turns": "turns {:.1f}",
        "policy_entropy": "entropy {:.2f}",
        "zero_variance_groups": "zero-variance groups {:.0%}",
        "penalty_only_groups": "penalty-only groups {:.0%}",
        "failed_demonstrations": "failed demonstrations {:.0%}",
        "too_long_demonstrations": "longer than max_new_tokens {:.0%}",
    }
    if scalars.get("no_signal"):
        del shown["zero_variance_groups"]
    said = [text.format(scalars[name]) for name, text in shown.items() if name in scalars]
    if divergences := [value for name, value in scalars.items() if name.startswith(DIVERGENCE)]:
        said.append(f"divergence {sum(divergences) / len(divergences):.3f}")
    if "success" not in scalars and "loss" in scalars:  # the model played nothing
        said.insert(0, f"loss {scalars['loss']:.3f}")
    if scalars.get("no_signal", "loss" not in scalars):
        equal = scalars.get("zero_variance_groups") == 1
        reason = " (all groups are zero-variance: their rewards are equal)" if equal else ""
        said.insert(0, f"nothing to learn from{reason}")
    if scalars.get("fault_rate"):
        said.append(f"{scalars['fault_rate']:.0%} lost to faults")
    return ", ".join(said)


DIVERGENCE = "divergence/"
"""What the scalars of distillation begin with, before the name of the environment."""
SHOWN = ("reward", "success", "policy_entropy", "tokens_per_second", "zero_variance_groups")
"""Scalars of an update that are told to those who watch from elsewhere."""


def entry(stage: str, update: int, updates: int, scalars: Mapping[str, float]) -> dict[str, Any]:
    """Return an update as an entry of `contrail.progress.live`."""
    kept = {
        name: value
        for name, value in scalars.items()
        if name in (*SHOWN, "no_signal", "loss") or name.startswith(("success/", DIVERGENCE))
    }
    return {"stage": stage, "update": update + 1, "updates": updates, **kept}
