"""The result on the terminal: R, changes, metrics, how the agent played, and the cost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

import contrail
from contrail.fitted_tables import Column, filled, fitted
from contrail.names import visible, visible_names
from contrail.plugins.reports.headline import headline, lost_to_faults
from contrail.plugins.reports.table import (
    Row,
    folded,
    interval,
    number,
    shown_rows,
    trained_on,
)
from contrail.plugins.reports.why import NATS, beginning, moments, worst
from contrail.plugins.reports.why import sections as reasons
from contrail.plugins.reports.worst import above_average
from contrail.tables import baseline, difficulty_rows, episode_metrics

OWN = "*"
PLAYED = "How it was played (means per episode)"
CELL = 12  # the width of "[0.25, 0.56]"
LABEL = 24  # longer names are folded


@contrail.hookimpl(
    trylast=True
)  # the list of files is complete once the others have written theirs
def contrail_report(result: dict[str, Any], directory: str) -> None:
    """Print the result as tables."""
    result = visible_names(result)
    console = Console(highlight=False)
    width = console.width
    console.print(_heading(result))
    for said in (lost_to_faults(result), headline(result)):
        if said:
            console.print(Text(f"{filled(said, width)}\n"))
    base = beginning(result)[1]
    sections: dict[str, list[RenderableType]] = {
        "Success: rows trained up to, columns evaluated on": matrix_tables(result, console.width),
        f"Change against {base} and random play, after the last stage": [
            _change_table(result),
            *_warnings(result),
        ],
        f"Metrics (R[i][j]: success on j after stage i of T; row 0: {base})": [
            _metric_table(result)
        ],
        PLAYED: [_detail_table(result, console.width)],
    }
    if result.get("restarts"):
        change = result["change"]["value"]
        no_room = [[None] * len(row) for row in change]  # the intervals are in result.json
        transfer = {**result, "R": change, "interval": no_room, "baselines": {}}
        sections = {
            "Success: rows trained on alone, columns evaluated on": matrix_tables(
                result, console.width
            ),
            f"Transfer: change against {base}": matrix_tables(transfer, console.width, form="+.2f"),
            PLAYED: [_detail_table(result, console.width)],
        }
    sections |= reasons(result, console.width)
    if difficulty_rows(result):
        sections["Success by difficulty"] = [_difficulty_table(result)]
    for title, tables in sections.items():
        console.print(Text(title, style="bold"))
        for table in tables:
            console.print(table)
            console.print()
    for line in notes(result):
        console.print(Text(filled(line, width), style="dim"))
    console.print(_budget(result["budget"]))
    # Not wrapped, so that the path can be copied out of the terminal.
    console.print(Text(f"Everything lies in {visible(directory)}"), soft_wrap=True)
    console.print(Text("  " + ", ".join(_files(Path(directory)))))
    for line in (*without_signal(result), *at_chance(result), *waited(result)):
        console.print(Text(filled(line, width), style="yellow"))
    for line in filter(None, (*answer(result), worst(result))):
        console.print(Text(filled(line, width), style="bold"))


def notes(result: dict[str, Any]) -> list[str]:
    """Return notes on how to read the tables."""
    said = [
        "In brackets: 95% intervals over test tasks and the dice of their evaluation, for this one "
        "training seed; another seed may end elsewhere (contrail compare --seeds).",
        evaluated(result["evaluate"]),
        *result.get("notes", []),
        *filter(None, [above_average(result["metrics"])]),
    ]
    counts = [count for row in result["change"]["tasks"] for count in row]
    tasks = [result["evaluations"][0][name]["tasks"] for name in result["environments"]]
    if counts and any(
        count < tasks[j] for row in result["change"]["tasks"] for j, count in enumerate(row)
    ):
        said.append(
            f"Faults of environments: changes are over the tasks that both rows have, "
            f"{min(counts)} at the least."
        )
    return said


def without_signal(result: dict[str, Any]) -> list[str]:
    """Return a sentence for each stage with updates that taught nothing: how many, what to do."""
    said = []
    for name, stage in zip(result["stages"], result.get("no_signal", []), strict=False):
        if not stage["updates"]:
            continue
        often = "Mostly, " if len(stage["kinds"]) > 1 else "There, "
        said.append(
            f"{name}: {stage['updates']} of {stage['made']} updates taught nothing. "
            f"{often}{stage['advice']}."
        )
    return said


def at_chance(result: dict[str, Any]) -> list[str]:
    """Return a sentence on the environments that their own stages have left at chance."""
    found: dict[str, list[str]] = {}
    for name, stage in zip(result["stages"], result.get("at_chance", []), strict=False):
        for environment in stage["environments"]:
            of = "" if environment == name else f" after {name}"
            found.setdefault(stage["advice"], []).append(f"{environment}{of}")
    return [
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not shown to be above random "
        f"play. {advice}."
        for advice, names in found.items()
    ]


def waited(result: dict[str, Any]) -> list[str]:
    """Return a sentence for each environment that kept the run waiting."""
    longest: dict[str, dict[str, Any]] = {}
    for wait in result.get("waits", []):  # the longest first
        longest.setdefault(wait["environment"], wait)
    return [
        f"The run waited for {name}, longest {wait['seconds']:.0f} s: {wait['call']} in task "
        f"{wait['task']}."
        for name, wait in longest.items()
    ]


def evaluated(settings: dict[str, Any]) -> str:
    """How the test tasks were played, in a sentence."""
    samples = settings["samples"]
    how = (
        "greedily"
        if settings["decoding"] == "greedy"
        else f"by sampling at temperature {settings['temperature']:g}, as in training"
    )
    return f"Evaluated {how}, {samples} episode{'s' * (samples > 1)} per task."


def matrix_tables(result: dict[str, Any], width: int, form: str = ".2f") -> list[RenderableType]:
    """Return R, with the players without a model above and below, in tables that each stay within
    `width` columns of text."""
    rows = shown_rows(result)
    names = [folded(row.name, LABEL) for row in rows]
    label = max(cell_len(line) for name in names for line in name.splitlines())
    environments = result["environments"]
    fit = max(1, (width - label) // (CELL + 2))
    # Equal shares read better than a full table and a rest.
    share = math.ceil(len(environments) / math.ceil(len(environments) / fit))
    made: list[RenderableType] = []
    for start in range(0, len(environments), share):
        columns = range(start, min(start + share, len(environments)))
        table = _table()
        table.add_column(width=label)
        for j in columns:
            table.add_column(Text(folded(environments[j], CELL)), justify="right", width=CELL)
        for name, row in zip(names, rows, strict=True):
            style = "dim" if row.stage is None else ""
            table.add_row(Text(name, style=style), *(_cell(result, row, j, form) for j in columns))
        made.append(table)
    made[-1] = Group(made[-1], Text(f"{OWN} this stage trained on it", style="dim"))
    return made


def _cell(result: dict[str, Any], row: Row, column: int, form: str) -> Text:
    own = row.stage is not None and trained_on(result, row.stage, column)
    # The mark shows own stages without colours.
    score = OWN * own + number(row.scores[column], form)
    style = "bold green" if own else "dim" if row.stage is None else ""
    cell = Text(score, style=style)
    if ends := interval(row.intervals[column]):
        cell.append(f"\n{ends}", style="not bold dim default")
    return cell


def _change_table(result: dict[str, Any]) -> Table:
    trained = {name for stage in result["trained"] for name in stage}
    before = (result.get("begun_from") or {}).get("trained", ())
    table = _table()
    table.add_column("environment")
    table.add_column("trained")
    first = beginning(result)[0]
    for heading in ("warm-up" if first else "base", "end", "change", "over random"):
        table.add_column(heading, justify="right", no_wrap=True)
    for j, name in enumerate(result["environments"]):
        table.add_row(
            Text(folded(name, LABEL)),
            "yes" if name in trained else "before" if name in before else "no",
            number(result["R"][first][j]),
            number(result["R"][-1][j]),
            *(_gain(result[key], -1, j) for key in ("change", "over_random")),
        )
    return table


def _gain(gains: dict[str, Any], row: int, column: int) -> str:
    """Return a difference with its interval: "+0.41 [+0.26, +0.55]"."""
    ends = interval(gains["interval"][row][column], "+.2f")
    return f"{number(gains['value'][row][column], '+.2f')} {ends}".rstrip()


def answer(result: dict[str, Any]) -> list[str]:
    """Return a sentence for each trained environment: its change up to its own stage, and its score
    at the end."""
    said = []
    base = beginning(result)[1]
    last = len(result["R"]) - 1
    for j, name in enumerate(result["environments"]):
        stages = [i for i, names in enumerate(result["own"], start=1) if name in names]
        if not stages or result["R"][stages[-1]][j] is None:
            continue
        own = stages[-1]
        way = _share_of_the_way(result, name, result["R"][own][j])
        text = (
            f"{name}: {number(result['R'][own][j])} after its own stage, "
            f"{_gain(result['change'], own, j)} against {base}"
        )
        if result["over_random"]["value"][own][j] is not None:
            text += f", {_gain(result['over_random'], own, j)} against random play"
        if way is not None:
            text += f" ({way:.0%} of the way from random play to the expert)"
        if own < last and not result.get("restarts"):
            text += f"; {number(result['R'][last][j])} at the end"
        said.append(f"{text}.")
    return said


def _share_of_the_way(result: dict[str, Any], name: str, score: float) -> float | None:
    players = [baseline(result, player, name) or {} for player in ("random", "expert")]
    ends = [player.get("success") for player in players]
    if ends[0] is None or ends[1] is None or ends[1] - ends[0] < 0.05:
        return None
    if len({player.get("tasks") for player in players}) > 1:
        return None  # the expert has no script for some tasks, so the two are of different ones
    return float((score - ends[0]) / (ends[1] - ends[0]))


def _warnings(result: dict[str, Any]) -> list[RenderableType]:
    """Return the environments whose scores say little, as random play has a high one."""
    from contrail.baselines import warning  # inside: it imports numpy, and every command loads this

    chances = {
        name: (baseline(result, "random", name) or {}).get("success")
        for name in result["environments"]
    }
    return [
        Text(f"{name}: {said}", style="yellow")
        for name, chance in chances.items()
        if (said := warning(chance))
    ]


def _metric_table(result: dict[str, Any]) -> Table:
    table = _table()
    table.add_column("metric", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95% interval", justify="right", no_wrap=True)
    table.add_column("formula")
    for name, value in result["metrics"].items():
        table.add_row(
            Text(name.replace("_", " ")),
            number(value, form := NATS if name == "drift" else ".2f"),
            Text(interval(result["metric_intervals"].get(name), form), style="dim"),
            Text(result["formulas"].get(name, ""), style="dim"),
        )
    return table


def _detail_table(result: dict[str, Any], width: int) -> RenderableType:
    """Two rows per environment: how it was played before any training, and at the end.

    A metric that is undefined in all of them has no column.
    """
    played = [row for moment in moments(result).values() for row in moment.values()]
    metrics = {
        name: about
        for name, about in episode_metrics(result).items()
        if any(row.get(name) is not None for row in played)
    }
    rows = [
        (environment, moment, evaluations.get(environment, {}))
        for environment in result["environments"]
        for moment, evaluations in moments(result).items()
    ]
    first = next(iter(moments(result)))
    names = [folded(name, LABEL) if moment == first else "" for name, moment, _ in rows]
    labels = [
        Column("environment", names, left=True),
        Column("", [moment for _, moment, _ in rows], left=True),
    ]
    columns = [
        Column(about["heading"], [number(own.get(name), about["format"]) for _, _, own in rows])
        for name, about in metrics.items()
    ]
    tasks = Column("tasks", [number(own.get("tasks"), "d") for _, _, own in rows])
    return fitted(labels, [*columns, tasks], width)


def _difficulty_table(result: dict[str, Any]) -> Table:
    """Return a row per environment and difficulty: success before any training, and at the end."""
    rows = moments(result)
    table = _table()
    table.add_column("environment")
    for heading in ("difficulty", "tasks", *rows):
        table.add_column(heading, justify="right", no_wrap=True)
    for environment in result["environments"]:
        found = [row.get(environment, {}).get("by_difficulty", {}) for row in rows.values()]
        for index, difficulty in enumerate(found[0]):
            cells = [row.get(difficulty, {}) for row in found]
            table.add_row(
                Text(folded(environment, LABEL) if index == 0 else ""),
                Text(folded(difficulty, LABEL)),
                number(cells[0].get("tasks"), "d"),
                *(number(cell.get("success")) for cell in cells),
            )
    return table


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")


def _heading(result: dict[str, Any]) -> Text:
    about = ", ".join(f"{key} {result[key]}" for key in ("model", "adapter", "strategy", "seed"))
    name = str(result.get("title") or result["name"])
    return Text.assemble((name, "bold"), f"  ({about})\n")


def _budget(budget: dict[str, Any]) -> Text:
    lost = budget.get("faults", 0)
    faults = f" ({lost:,} lost to faults of their environments)" if lost else ""
    return Text(
        f"{budget['updates']:,} updates, {budget['episodes']:,} episodes{faults}, "
        f"{budget['generated_tokens']:,} generated tokens; "
        f"{duration(budget['cpu_seconds'])} CPU, {duration(budget['wall_seconds'])} wall clock"
    )


def duration(seconds: float) -> str:
    """Return seconds as they are read, such as "3 min 05 s"."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _files(directory: Path) -> list[str]:
    if not directory.is_dir():
        return []
    shown = (path for path in directory.iterdir() if not path.name.startswith("."))
    return sorted(visible(path.name) + ("/" if path.is_dir() else "") for path in shown)
