"""result.json and compare.json as tables: the content of result.csv, compare.csv and pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PLAYERS = ("random", "expert")
"""Players without a model; rows of theirs follow those of the stages."""
OTHERS = (
    *("scores", "success", "by_difficulty", "difficulties", "tasks", "outcomes", "avg_at"),
    *("pass_at", "drift", "failures"),
)
"""Keys of an evaluation that are not metrics of an episode, or have columns of their own."""

OVER_ALL = {"mean": "mean of all", "least": "worst of each moment"}
"""Headings of what `mean_and_least` returns."""

QUANTITY = (
    "strategy",
    "quantity",
    "seeds",
    "mean",
    "low",
    "high",
    "tasks_low",
    "tasks_high",
    "difference",
    "difference_low",
    "difference_high",
    "difference_p",
    "difference_seeds_needed",
)
"""The keys of `quantities`."""


def episode_metrics(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the metrics of an episode in a result, `success` apart: name -> heading, format, ….

    Args:
        result: the content of result.json, of this version or an older one.
    """
    described = dict(result.get("episode_metrics", {}))
    if not described:  # from before metrics were described
        described = {name: {} for row in result["evaluations"][0].values() for name in row}
    plain = {"description": "", "unit": "", "over": "episodes", "format": ".2f"}
    return {
        name: {**plain, "heading": name.replace("_", " "), **about}
        for name, about in described.items()
        if name not in OTHERS
    }


def columns(result: Mapping[str, Any]) -> list[str]:
    """Return the keys of `rows`."""
    first = ("run", "strategy", "seed", "stage", "stage_name", "environment", "success")
    ends = ("low", "high", "change", "change_low", "change_high")
    return [*first, *ends, *episode_metrics(result), "tasks", *_drift(result, 0, 0)]


def rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the result in long format: a row per stage and environment, keyed by `columns`.

    Undefined values are None. The last rows are those of the players without a model, which belong
    to no stage.
    """
    metrics = [*episode_metrics(result), "tasks"]
    run = {"run": result["name"], "strategy": result["strategy"], "seed": result["seed"]}
    made = []
    for i, j, stage, environment in _cells(result):
        evaluation = result["evaluations"][i].get(environment, {})
        changes = result["change"]
        made.append(
            {
                **run,
                "stage": i,
                "stage_name": stage,
                "environment": environment,
                "success": result["R"][i][j],
                **_ends(result["interval"][i][j], "low", "high"),
                "change": changes["value"][i][j],
                **_ends(changes["interval"][i][j], "change_low", "change_high"),
                **{name: evaluation.get(name) for name in metrics},
                **_drift(result, i, j),
            }
        )
    for player in PLAYERS:
        for environment in result["environments"]:
            if environment in result.get("baselines", {}):
                found = baseline(result, player, environment) or {}
                made.append(
                    {
                        **dict.fromkeys(columns(result)),
                        **run,
                        "stage_name": player,
                        "environment": environment,
                        "success": found.get("success"),
                        **_ends(found.get("interval"), "low", "high"),
                        **{name: found.get(name) for name in metrics},
                    }
                )
    return made


def difficulty_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return success by difficulty: a row per stage, environment and difficulty.

    Empty if no task has a difficulty.
    """
    return [
        {
            "run": result["name"],
            "strategy": result["strategy"],
            "seed": result["seed"],
            "stage": i,
            "stage_name": stage,
            "environment": environment,
            "difficulty": difficulty,
            **found,
        }
        for i, _, stage, environment in _cells(result)
        for difficulty, found in result["evaluations"][i]
        .get(environment, {})
        .get("by_difficulty", {})
        .items()
    ]


def curve_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the learning curves over the whole stream: a row per stage, environment and evaluation
    within the stage.

    `updates` counts from the start of the stream, `update` from that of the stage. Beside success
    there are the metrics of an episode and, of several samples, avg@k and pass@k. Empty without
    `evaluate.every`.
    """
    made, found = 0, []
    names = [name for name in episode_metrics(result) if name != "success"]
    kinds = _sampled(result)
    readings = result.get("curve_readings", ())  # an earlier version did not keep them
    for stage, curves in enumerate(result.get("curves", ())):
        for environment, curve in curves.items():
            read = readings[stage].get(environment, ()) if stage < len(readings) else ()
            by_update = {item["update"]: item for item in read}
            found += [
                {
                    "run": result["name"],
                    "strategy": result["strategy"],
                    "seed": result["seed"],
                    "stage": stage + 1,
                    "stage_name": result["stages"][stage],
                    "updates": made + update,
                    "update": update,
                    "environment": environment,
                    "success": success,
                    **{name: by_update.get(update, {}).get(name) for name in names},
                    **{
                        column: by_update.get(update, {}).get(key, {}).get(k, {}).get("value")
                        for column, (key, k) in kinds.items()
                    },
                }
                for update, success in curve
            ]
        made += max((update for curve in curves.values() for update, _ in curve), default=0)
    return found


def mean_and_least(rows: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Return the mean over environments and the least of them, for each moment of the curves.

    Args:
        rows: those of `curve_rows`.
        metric: a column of theirs. Both are None where an environment lacks it, or was not played.
    """
    environments = {row["environment"] for row in rows}
    moments: dict[tuple[int, int], list[float | None]] = {}
    for row in rows:
        moments.setdefault((row["stage"], row["updates"]), []).append(row[metric])
    found = []
    for (stage, updates), values in moments.items():
        known = [value for value in values if value is not None]
        whole = known if len(known) == len(environments) else []
        mean = sum(whole) / len(whole) if whole else None
        found.append(
            {"stage": stage, "updates": updates, "mean": mean, "least": min(whole, default=None)}
        )
    return found


def _sampled(result: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the columns of avg@k and pass@k, with their keys in an evaluation."""
    cells = [cell for row in result["evaluations"] for cell in row.values()]
    first = cells[0] if cells else {}
    return {
        f"{key.removesuffix('_at')}@{k}": (key, k)
        for key in ("avg_at", "pass_at")
        for k in first.get(key, {})
    }


def baseline(result: Mapping[str, Any], player: str, environment: str) -> dict[str, Any] | None:
    """Return the success of a player without a model; None if it cannot play or did not."""
    found: dict[str, Any] | None = result.get("baselines", {}).get(environment, {}).get(player)
    return found


def row_names(result: Mapping[str, Any]) -> list[str]:
    """Return the names of R's rows: "base", "after 1: babyai", …; or, if every stage begins with
    the base model, "1: babyai alone"."""
    form = "{}: {} alone" if result.get("restarts") else "after {}: {}"
    return ["base", *(form.format(i, name) for i, name in enumerate(result["stages"], start=1))]


def quantities(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each strategy and quantity of a comparison, keyed by `QUANTITY`.

    Undefined values are None.
    """
    rows = []
    for label, item in comparison["summary"].items():
        named = dict(item["metrics"])
        named.update((f"success {name}", value) for name, value in item["success"].items())
        for environment, values in item.get("played", {}).items():
            named.update((f"{name} {environment}", value) for name, value in values.items())
        for name, value in named.items():
            difference = value["difference"] or {}
            row = (
                *(label, name, value["seeds"], value["mean"]),
                *(value["interval"] or (None, None)),
                *(value["interval_tasks"] or (None, None)),
                difference.get("mean"),
                *(difference.get("interval") or (None, None)),
                difference.get("p"),
                difference.get("seeds_needed"),
            )
            rows.append(dict(zip(QUANTITY, row, strict=True)))
    return rows


def run_rows(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each run of a comparison: its metrics, how it played at the end, and its
    budget."""
    return [
        {
            "run": row["run"],
            "strategy": row["strategy"],
            "order": " > ".join(comparison["orders"][row["order"]]),
            "seed": row["seed"],
            **row["metrics"],
            **{f"success {name}": score for name, score in row["success"].items()},
            **{
                f"{name} {environment}": value
                for environment, values in row.get("played", {}).items()
                for name, value in values.items()
            },
            **row["budget"],
        }
        for row in comparison["rows"]
    ]


def _cells(result: Mapping[str, Any]) -> list[tuple[int, int, str, str]]:
    """Row and column of each cell of R, with the names of both."""
    return [
        (i, j, stage, environment)
        for i, stage in enumerate(["base", *result["stages"]])
        for j, environment in enumerate(result["environments"])
    ]


def _drift(result: Mapping[str, Any], row: int, column: int) -> dict[str, float | None]:
    """Return the columns of a cell's drift: `drift_base_per_decision`, its ends, …; if any."""
    found: dict[str, float | None] = {}
    for kind, matrices in result.get("drift", {}).items():
        for unit in ("per_decision", "per_episode"):
            name, cells = f"drift_{kind}_{unit}", matrices[unit]
            found[name] = cells["value"][row][column]
            found |= _ends(cells["interval"][row][column], f"{name}_low", f"{name}_high")
    return found


def _ends(ends: Sequence[float] | None, low: str, high: str) -> dict[str, float | None]:
    return {low: None, high: None} if ends is None else {low: ends[0], high: ends[1]}
