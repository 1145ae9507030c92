"""What a run leaves: result.json as numbers and tables, its episodes, its policy.

Everything is read from the run's directory; numpy, pandas, torch and peft are imported when used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PLAYERS = ("random", "expert")
"""Players without a model; rows of theirs follow those of the stages."""
OTHERS = ("scores", "success", "by_difficulty", "tasks", "interval", "samples", "action")
OTHERS += ("first_fault",)
"""Keys of an evaluation that are no metrics of an episode, or have a place of their own."""


def episode_metrics(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics of an episode in a result, `success` apart: name -> heading, format, ….

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
    """The keys of `rows`."""
    first = ("run", "strategy", "seed", "stage", "stage_name", "environment", "success")
    ends = ("low", "high", "change", "change_low", "change_high")
    return [*first, *ends, *episode_metrics(result), "tasks"]


def rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The result in long format: a row per stage and environment, keyed by `columns`.

    What is undefined is None. The last rows are those of the players without a model, which belong
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
    """Success by difficulty: a row per stage, environment and difficulty.

    Empty where no task has a difficulty.
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


def baseline(result: Mapping[str, Any], player: str, environment: str) -> dict[str, Any] | None:
    """What a player without a model reaches; None where it cannot play or did not."""
    found: dict[str, Any] | None = result.get("baselines", {}).get(environment, {}).get(player)
    return found


def _cells(result: Mapping[str, Any]) -> list[tuple[int, int, str, str]]:
    """Row and column of each cell of R, with the names of both."""
    return [
        (i, j, stage, environment)
        for i, stage in enumerate(["base", *result["stages"]])
        for j, environment in enumerate(result["environments"])
    ]


def _ends(ends: Sequence[float] | None, low: str, high: str) -> dict[str, float | None]:
    return {low: None, high: None} if ends is None else {low: ends[0], high: ends[1]}
