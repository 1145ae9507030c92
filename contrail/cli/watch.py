"""`contrail watch`: a run or a comparison, from a second terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from contrail.cli.output import show
from contrail.names import visible
from contrail.progress.reporter import DIVERGENCE
from contrail.runs.estimate import duration
from contrail.runs.following import Following, State, find, planned

EVERY = 1.0  # seconds
BETWEEN = 60.0  # seconds that a comparison has to start its next run
POINTS = 32  # of a sparkline
BARS = "▁▂▃▄▅▆▇█"
LONGEST = 60  # letters of an action

Shown = tuple[RenderableType, bool]
"""What is shown, and whether there is more to come."""


def watch(
    directory: Annotated[
        Path, typer.Argument(help="The directory of a run, a comparison or a study.", metavar="RUN")
    ],
) -> None:
    """Watch a run, a comparison or a study, until it ends.

    It reads the directory alone, from any terminal; Ctrl-C ends the watching, not the run. Without
    a terminal it is shown once.
    """
    look = _comparison(directory) if find(directory) == "comparison" else _run(directory)
    console = Console(highlight=False)
    shown, goes_on = look()
    if not console.is_terminal:
        show(shown)
        return
    with Live(shown, console=console, auto_refresh=False) as live:
        while goes_on:
            time.sleep(EVERY)
            shown, goes_on = look()
            live.update(shown, refresh=True)


def sparkline(values: Sequence[float], low: float = 0.0, high: float = 1.0) -> str:
    """Return the last values as bars between `low` and `high`."""
    width = max(high - low, 1e-9)
    shares = [min(1.0, max(0.0, (value - low) / width)) for value in values[-POINTS:]]
    return "".join(BARS[round(share * (len(BARS) - 1))] for share in shares)


def _run(directory: Path) -> Callable[[], Shown]:
    run = Following(directory)

    def look() -> Shown:
        state = run.look()
        parts = [_heading(run, state), _environments(run), _course(run), _last_episode(run)]
        shown = [part for part in parts if part is not None]
        return Group(*shown), state in ("running", "waiting")

    return look


def _comparison(directory: Path) -> Callable[[], Shown]:
    runs = {name: Following(directory / name) for name in planned(directory)}

    seen = time.monotonic()

    def look() -> Shown:
        nonlocal seen
        table = _table("run", "state", "stage", "update", "success", "left")
        states = []
        for name, run in runs.items():
            state = run.look()
            states.append(state)
            update = (run.updates or [{}])[-1]
            made = f"{update['update']}/{update['updates']}" if update else ""
            success = run.scalars("success")
            bars = f"{sparkline(success[-12:])} {success[-1]:.2f}" if success else ""
            left = run.live.get("left") if state == "running" else None
            table.add_row(
                Text(visible(Path(name).name)),
                state,
                Text(visible(str(update.get("stage", "")))),
                made,
                bars,
                "" if left is None else duration(left),
            )
        ended = states.count("finished")
        title = Text(f"{visible(directory.name)}: {ended} of {len(states)} runs finished", "bold")
        if "running" in states:
            seen = time.monotonic()
        # Between two runs, none is running for a moment.
        goes_on = "waiting" in states and time.monotonic() - seen < BETWEEN
        return Group(title, Text(), table), "running" in states or goes_on

    return look


def _heading(run: Following, state: State) -> Text:
    live = run.live
    text = Text(visible(run.directory.resolve().name), style="bold")
    said = {
        "finished": "finished; `contrail report` shows the result",
        "stopped": "not running; the command that began it goes on with it",
        "waiting": "about to begin",
        "running": f"{live.get('name', '')}: {live.get('count', 0)} of {live.get('total', 0)} "
        "episodes",
    }[state]
    text.append(f"  {visible(said)}", style="not bold")
    if state == "running" and live.get("left") is not None:
        text.append(f", about {duration(live['left'])} left", style="not bold")
    if state == "running" and live.get("waiting"):
        text.append(f"\n{visible(live['waiting'])}", style="not bold yellow")
    stages = run.config.get("stream") or []
    if stages:
        done = {entry["stage"]: entry["update"] for entry in run.updates}
        each = []
        for stage in stages:
            name = str(stage.get("name"))
            each.append(f"{visible(name)} {done.get(name, 0)}/{stage.get('updates')}")
        text.append("\n" + "  ".join(each), style="not bold dim")
    return text.append("\n")


def _environments(run: Following) -> Table | None:
    if not run.environments:
        return None
    table = _table("success", "in training", "", "in evaluations", "")
    for name in run.environments:
        cells = []
        for kind in ("update", "evaluation"):
            values = run.success(name, kind)
            cells += [sparkline(values), f"{values[-1]:.2f}" if values else ""]
        table.add_row(Text(visible(name)), *cells)
    return table


def _course(run: Following) -> Table | None:
    rows = []
    every = dict.fromkeys(name for entry in run.updates for name in entry)
    divergences = [name for name in every if name.startswith(DIVERGENCE)]
    for name, key, form in (
        ("entropy", "policy_entropy", ".2f"),
        ("zero-variance groups", "zero_variance_groups", ".0%"),
        ("tokens per second", "tokens_per_second", ".0f"),
        *(
            (f"divergence, {visible(name.removeprefix(DIVERGENCE))}", name, ".3f")
            for name in divergences
        ),
    ):
        if values := run.scalars(key):
            high = 1.0 if key == "zero_variance_groups" else max(values)
            rows.append((name, sparkline(values, 0.0, high), format(values[-1], form)))
    if not rows:
        return None
    table = _table("course", "", "now")
    for row in rows:
        table.add_row(*row)
    silent = sum(entry.get("no_signal") == 1 for entry in run.updates)
    if silent:
        table.add_row("updates without signal", "", f"{silent} of {len(run.updates)}")
    return table


def _last_episode(run: Following) -> Text | None:
    episode: dict[str, Any] | None = run.episode
    if episode is None:
        return None
    turns = episode.get("turns") or [{}]
    said = str(turns[-1].get("text") or turns[-1].get("action") or "")
    short = said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
    solved = "solved" if episode.get("success") else "not solved"
    return Text(
        f"\nlast episode: {visible(str(episode.get('environment')))}, "
        f"{visible(str(episode.get('task')))}: {len(turns)} turns, {solved}, reward "
        f"{episode.get('reward') or 0:.2f}, ended by {episode.get('ended')}; last answer: "
        f"{visible(' '.join(short.split()))}",
        style="dim",
    )


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table
