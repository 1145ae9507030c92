"""The page of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contrail.names import visible, visible_names
from contrail.plugins.html_report.blocks import (
    Block,
    cell,
    chart,
    matrix,
    section,
    table,
    tables,
    text,
)
from contrail.plugins.html_report.episodes import Packed, packed
from contrail.plugins.reports import why
from contrail.plugins.reports.console import answer, at_chance, notes, waited, without_signal
from contrail.plugins.reports.headline import headline, lost_to_faults
from contrail.plugins.reports.table import interval, number, shown_rows, trained_on
from contrail.tables import (
    OVER_ALL,
    curve_rows,
    difficulty_rows,
    episode_metrics,
    mean_and_least,
    row_names,
)

WIDE = 10_000  # letters: tables of the terminal are never divided
OF_CURVES = ("score", "turns", "generated_tokens")
"""Metrics that have learning curves of their own beside success."""
SHARES = ("success", "score")
"""Those between 0 and 1."""
SMOOTH = 40
"""Points of a training curve, at most: each the mean of neighbouring updates."""


def page(result: dict[str, Any], directory: Path) -> tuple[dict[str, Any], list[bytes]]:
    """Return the content of a run's page, and its packed episodes."""
    episodes = packed(directory, changed_tasks(result))
    shown = visible_names(result)
    about = ", ".join(f"{key} {shown[key]}" for key in ("model", "adapter", "strategy", "seed"))
    sections = [
        section(
            "answer",
            "",
            text(
                *filter(
                    None,
                    (lost_to_faults(shown), headline(shown), *answer(shown), why.worst(shown)),
                )
            ),
            text(*without_signal(shown), *at_chance(shown), *waited(shown)),
        ),
        section("success", "Success", success(shown)),
        section("change", f"Change against {why.beginning(shown)[1]}", change(shown)),
        section("drift", "Drift", *drift(shown)),
        section(
            "kept",
            "Lost and gained since an environment's best",
            *tables("Shares of test tasks", why.turnover(shown), why.TURNOVER_NOTE),
        ),
        section("curves", "Curves", *learning_curves(shown), training_curves(shown, episodes)),
        section("metrics", "Metrics", metrics(shown)),
        section("played", "How it was played", played(shown), difficulties(shown)),
        section("failures", "Failure modes", *failures(shown)),
        section("samples", "Several episodes per task", *tables("", why.samples(shown))),
        section("interface", "Interface reliance", *tables("", why.interface(shown))),
        section("budget", "Budget", budget(shown), provenance(shown), text(*notes(shown))),
    ]
    data = {
        "title": visible(result.get("title") or result["name"]),
        "about": about,
        "sections": [found for found in sections if found],
        "rows": row_names(shown),
        "restarts": bool(result.get("restarts")),
        "environments": shown["environments"],
        "tasks": task_scores(result),
        "failureModes": shown.get("failure_modes", {}),
        "episodes": {"counts": episodes.counts, "packed": len(episodes.chunks)},
    }
    return data, episodes.chunks


def success(result: dict[str, Any]) -> Block:
    """Return R between the players without a model."""
    rows = []
    for row in shown_rows(result):
        cells = [
            cell(
                value,
                row.intervals[j],
                own=row.stage is not None and trained_on(result, row.stage, j),
                at=None if row.stage is None or value is None else [row.stage, j],
            )
            for j, value in enumerate(row.scores)
        ]
        rows.append((row.name, cells))
    return matrix(
        "Success: rows are what was trained so far, columns what was evaluated",
        result["environments"],
        rows,
        scale="share",
        cells="tasks",
        note="Outlined: trained on in this stage. In brackets: 95% intervals over test tasks. "
        "Choose a cell to see the tasks that were lost and gained.",
    )


def change(result: dict[str, Any]) -> Block | None:
    """Return R less its first row."""
    if len(result["R"]) < 2:
        return None
    found = result["change"]
    rows = [
        (
            name,
            [
                cell(value, ends, "+.2f")
                for value, ends in zip(found["value"][i], found["interval"][i], strict=True)
            ],
        )
        for i, name in enumerate(row_names(result))
        if i > 0
    ]
    return matrix(
        f"Change of success against {why.beginning(result)[1]}, task by task",
        result["environments"],
        rows,
        scale="change",
    )


def drift(result: dict[str, Any]) -> list[Block]:
    """Return the divergences from the base model and from the stage before."""
    made = []
    base = why.beginning(result)[1]
    titles = {"base": f"Drift from {base}", "previous": "Drift from the stage before"}
    for kind, title in titles.items():
        if not (found := result.get("drift", {}).get(kind)):
            continue
        each, whole = found["per_decision"], found["per_episode"]
        rows = []
        for i, name in enumerate(row_names(result)[1:], start=1):
            values = [*each["value"][i], each["mean"][i]]
            ends = [*each["interval"][i], each["mean_interval"][i]]
            episodes = [*whole["value"][i], whole["mean"][i]]
            cells = [
                {**cell(value, end, why.NATS), "more": f"{why.nats(episode)} per episode"}
                for value, end, episode in zip(values, ends, episodes, strict=True)
            ]
            rows.append((name, cells))
        caption = f"{title}: nats per decision"
        columns = [*result["environments"], "mean"]
        made.append(matrix(caption, columns, rows, scale="size"))
    return made


def learning_curves(result: dict[str, Any]) -> list[Block | None]:
    """Return success, and graded score, turns and tokens where they were kept, on test tasks over
    the updates of the whole stream."""
    rows = curve_rows(result)
    kept = [name for name in OF_CURVES if any(row.get(name) is not None for row in rows)]
    return [_learning_curve(result, rows, name) for name in ("success", *kept)] if rows else []


def _learning_curve(
    result: dict[str, Any], rows: list[dict[str, Any]], metric: str
) -> Block | None:
    heading = episode_metrics(result).get(metric, {}).get("heading", metric)
    series = []
    for name in result["environments"]:
        points = [row for row in rows if row["environment"] == name]
        series.append(
            {
                "name": name,
                "x": [row["updates"] for row in points],
                "y": [row[metric] for row in points],
            }
        )
    if len(series) > 1 and metric in SHARES:
        summaries = mean_and_least(rows, metric)
        for key, name in OVER_ALL.items():
            x, y = ([point[item] for point in summaries] for item in ("updates", key))
            series.append({"name": name, "x": x, "y": y})
    starts = {row["stage"]: row["updates"] for row in reversed(rows)}
    marks = [[at, f"{i}: {result['stages'][i - 1]}"] for i, at in sorted(starts.items())]
    return chart(
        "lines",
        f"Learning curves: {heading} on test tasks, over the whole stream",
        series,
        x="updates",
        y=heading,
        marks=marks,
        **({"range": [0, 1]} if metric in SHARES else {}),
    )


def training_curves(result: dict[str, Any], episodes: Packed) -> Block | None:
    """Return success in training, the mean over neighbouring updates, by environment."""
    total = max(episodes.updates.values(), default=0)
    width = max(1, -(-total // SMOOTH))
    series = []
    for name in result["environments"]:
        bins: dict[int, list[float]] = {}
        for raw, updates in episodes.training.items():
            if visible(raw) != name:
                continue
            for update, (solved, count) in updates.items():
                entry = bins.setdefault((update - 1) // width, [0.0, 0])
                entry[0] += solved
                entry[1] += count
        found = sorted((b, s / n) for b, (s, n) in bins.items() if n)
        points: list[tuple[float, float | None]] = []
        for place, value in found:
            if points and place - (points[-1][0] - width / 2) / width > 1.01:
                points.append((place * width, None))  # it was not trained on in between
            points.append(((place + 0.5) * width, value))
        series.append({"name": name, "x": [x for x, _ in points], "y": [y for _, y in points]})
    starts = [0, *episodes.updates.values()]
    marks = [[starts[n], f"{i}: {result['stages'][i - 1]}"] for n, i in enumerate(episodes.updates)]
    return chart(
        "lines",
        "Training: share of episodes solved" + f", the mean over {width} updates" * (width > 1),
        series,
        x="updates",
        y="success",
        range=[0, 1],
        marks=marks,
    )


def metrics(result: dict[str, Any]) -> Block | None:
    """Return transfer and forgetting."""
    rows = []
    for name, value in result["metrics"].items():
        form = why.NATS if name == "drift" else ".2f"
        ends = interval(result["metric_intervals"].get(name), form)
        formula = result["formulas"].get(name, "")
        rows.append((name.replace("_", " "), number(value, form), ends, formula))
    return table(
        f"R[i][j] is success on j after stage i of T; row 0 is {why.beginning(result)[1]}",
        ("metric", "value", "95% interval", "formula"),
        rows,
    )


def played(result: dict[str, Any]) -> Block | None:
    """Return the means of the metrics of an episode, before any training and at the end."""
    moments = why.moments(result)
    every = [row for moment in moments.values() for row in moment.values()]
    shown = {
        name: about
        for name, about in episode_metrics(result).items()
        if any(row.get(name) is not None for row in every)
    }
    rows = []
    for environment in result["environments"]:
        for moment, evaluations in moments.items():
            own = evaluations.get(environment, {})
            values = [number(own.get(name), about["format"]) for name, about in shown.items()]
            rows.append((environment, moment, *values, number(own.get("tasks"), "d")))
    headings = [about["heading"] for about in shown.values()]
    return table("Means per episode", ("environment", "when", *headings, "tasks"), rows)


def difficulties(result: dict[str, Any]) -> Block | None:
    """Return success by difficulty, a column for each row of R."""
    found: dict[tuple[str, str], dict[int, Any]] = {}
    for row in difficulty_rows(result):
        found.setdefault((row["environment"], row["difficulty"]), {})[row["stage"]] = row
    rows = [
        (*names, stages[0]["tasks"], *(number(stages[i]["success"]) for i in sorted(stages)))
        for names, stages in found.items()
        if 0 in stages
    ]
    columns = ("environment", "difficulty", "tasks", *row_names(result))
    return table("Success by difficulty", columns, rows)


def failures(result: dict[str, Any]) -> list[Block]:
    """Return the failure modes, and what they mean."""
    meanings = result.get("failure_modes", {})
    made = tables("The commonest, as shares of all episodes", why.failures(result))
    if made and meanings:
        rows = [(name.replace("_", " "), meaning) for name, meaning in meanings.items()]
        found = table("What they mean", ("mode", "an episode that fails"), rows)
        made += [found] if found else []
    return made


def budget(result: dict[str, Any]) -> Block | None:
    """Return what the run has cost."""
    rows = [(name.replace("_", " "), f"{value:,.0f}") for name, value in result["budget"].items()]
    return table("What the run has cost", ("what", "amount"), rows)


def provenance(result: dict[str, Any]) -> Block | None:
    """Return when, with which versions and on what the run was made."""
    found = result.get("provenance") or {}
    rows = []
    for name, value in found.items():
        shown = (
            ", ".join(f"{key} {item}" for key, item in value.items())
            if isinstance(value, Mapping)
            else value
        )
        rows.append((name, shown))
    return table("How it was made", ("what", "value"), rows)


def task_scores(result: dict[str, Any]) -> dict[str, Any]:
    """Return by environment the ids of its test tasks, and their scores in each row of R."""
    found = {}
    for name in result["environments"]:
        rows = [row.get(name, {}).get("scores", {}) for row in result["evaluations"]]
        ids = list(dict.fromkeys(task for row in rows for task in row))
        scores = [[row.get(task) for task in ids] for row in rows]
        found[visible(name)] = {"ids": list(map(visible, ids)), "scores": scores}
    return found


def changed_tasks(result: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """Return environment and task of the tasks whose scores are not the same in all rows."""
    return [
        (name, task)
        for name, tasks in task_scores(result).items()
        for place, task in enumerate(tasks["ids"])
        if len({row[place] for row in tasks["scores"]}) > 1
    ]
