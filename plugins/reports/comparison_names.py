"""The names and formats of a comparison's quantities, for its reports."""

from __future__ import annotations

from typing import Any

from contrail.plugins.reports.why import NATS

HEADINGS = {
    "average_score": "average score",
    "worst_environment": "worst environment",
    "backward_transfer": "backward transfer",
    "forgetting": "forgetting",
    "drop_from_best": "drop from best",
    "turnover": "turnover",
    "gained": "gained",
    "forward_transfer": "forward transfer",
    "continual_world_forward_transfer": "forward transfer (Continual World)",
    "delta_held_in": "change held in",
    "delta_held_out": "change held out",
    "delta_overall": "change overall",
    "drift": "drift",
    "interface_reliance": "interface reliance",
}
"""The metrics, in the order of the tables; one that is undefined for all strategies is left out."""

NONE = {"mean": None}  # of a comparison by an earlier version, or without drift

BUDGET = {
    "updates": "updates",
    "episodes": "episodes",
    "faults": "lost to faults",
    "extra_episodes": "extra episodes",
    "generated_tokens": "generated tokens",
    "extra_tokens": "extra tokens",
    "cpu_seconds": "CPU seconds",
}


def shown_metrics(comparison: dict[str, Any]) -> list[str]:
    """Return the metrics that are defined for a strategy at least."""
    summary = comparison["summary"].values()
    return [
        name
        for name in HEADINGS
        if any(item["metrics"].get(name, NONE)["mean"] is not None for item in summary)
    ]


def shown_budget(comparison: dict[str, Any]) -> dict[str, str]:
    """Return headings of the budget's entries that any strategy has spent, by key."""
    spent = [item["budget"] for item in comparison["summary"].values()]
    return {key: name for key, name in BUDGET.items() if any(item.get(key) for item in spent)}


def form_of(name: str) -> str:
    """Return the format of a metric."""
    return NATS if name == "drift" else ".2f"
