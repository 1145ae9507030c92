"""What a benchmark found: as JSON, and as tables on the terminal."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Timings, machine
from benchmarks.workload import Settings


@dataclass
class Report:
    """
    Attributes:
        name: of the command.
        settings: what it was run with.
        timings: of each contender, by round.
        ratios: how many times faster contrail is, unless `meaning` says otherwise.
        targets: for ratios: (">=" or "<=", bound).
        checks: largest differences between what contenders computed, and what else has a limit.
        limits: for checks, the highest that passes.
        counts: of episodes, tokens and the like.
        meaning: of ratios and contenders, in a sentence.
    """

    name: str
    settings: Settings
    timings: dict[str, Timings] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    targets: dict[str, tuple[str, float]] = field(default_factory=dict)
    checks: dict[str, float] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    meaning: dict[str, str] = field(default_factory=dict)

    def check(self, name: str, value: float, limit: float) -> None:
        """Add a check; it fails above its limit, or if it is no number."""
        self.checks[name], self.limits[name] = value, limit

    def aim(self, name: str, value: float, relation: str, bound: float, meaning: str) -> None:
        """Add a ratio with its target."""
        self.ratios[name], self.targets[name] = value, (relation, bound)
        self.meaning[name] = meaning

    def failed(self) -> list[str]:
        """Names of the checks that did not pass."""
        return [name for name, value in self.checks.items() if not value <= self.limits[name]]

    def values(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        device = self.settings.device
        return {
            "benchmark": self.name,
            "ratios": self.ratios,
            "checks": self.checks,
            "peak_gb": {name: item.highest() for name, item in self.timings.items()},
            "targets": self.targets,
            "limits": self.limits,
            "failed": self.failed(),
            "clock": "wall" if device == "cuda" else "cpu",
            "median_seconds": {
                name: statistics.median(item.seconds(device)) for name, item in self.timings.items()
            },
            "rounds": {name: asdict(item) for name, item in self.timings.items()},
            "counts": self.counts,
            "meaning": self.meaning,
            "settings": asdict(self.settings),
            "machine": machine(device),
        }

    def write(self, file: Path) -> None:
        """Write the JSON file."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(self.values(), indent=2) + "\n")

    def show(self, console: Console) -> None:
        """Print the tables."""
        values = self.values()
        about = values["machine"]
        console.print(
            f"{self.name}: {self.settings.model}, {self.settings.dtype}, "
            f"{about['gpu'] or about['cpu']}, threads: {about['threads']}"
        )
        times = _table("contender", "CPU s", "wall s", "peak GB", "rounds")
        for name, item in self.timings.items():
            peak = item.highest()
            times.add_row(
                name,
                f"{statistics.median(item.cpu):.2f}",
                f"{statistics.median(item.wall):.2f}",
                "–" if peak is None else f"{peak:.2f}",
                str(len(item.cpu)),
            )
        console.print(times)
        ratios = _table("ratio", "value", "target", "meaning")
        for name, value in self.ratios.items():
            relation, bound = self.targets[name]
            target = f"{relation} {bound:g}"
            ratios.add_row(name, f"{value:.2f}", target, self.meaning.get(name, ""))
        console.print(ratios)
        checks = _table("check", "value", "limit", "")
        for name, value in self.checks.items():
            verdict = "failed" if name in values["failed"] else "ok"
            checks.add_row(name, f"{value:.2g}", f"{self.limits[name]:g}", verdict)
        console.print(checks)
        _show_counts(console, self.counts)


def _show_counts(console: Console, counts: Mapping[str, Any]) -> None:
    for name, value in counts.items():
        console.print(f"{name.replace('_', ' ')}: {value}")


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
    for place, heading in enumerate(headings):
        numeric = place > 0 and heading not in ("meaning", "")
        table.add_column(heading, justify="right" if numeric else "left")
    return table
