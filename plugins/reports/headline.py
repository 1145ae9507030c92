"""The answer of a run in one sentence: what was learnt, forgotten and gained elsewhere."""

from __future__ import annotations

from typing import Any

from contrail.plugins.reports.table import estimate

MOST = 3  # environments that are named with their numbers


def headline(result: dict[str, Any]) -> str:
    """Return the sentence; "" for a result without training."""
    gains = _gains(result)
    if not gains:
        return ""
    learnt = {name: text for name, (text, low) in gains.items() if low is not None and low > 0}
    others = {name: text for name, (text, _) in gains.items() if name not in learnt}
    if learnt:
        said = [f"Learnt {_listed(learnt)}"]
        said += [f"not shown for {_listed(others)}"] if others else []
    else:
        said = [f"No learning shows: {_listed(others)}"]
    if not result.get("restarts"):
        for metric, text in (
            ("forgetting", "forgot {} since" if learnt else "forgetting {}"),
            ("forward_transfer", "gained {} in environments before their own stage"),
            ("delta_held_out", "gained {} in environments never trained on"),
        ):
            value = result["metrics"].get(metric)
            if value is not None:
                said.append(text.format(_metric(result, metric)))
    return "; ".join(said) + "."


def lost_to_faults(result: dict[str, Any]) -> str:
    """Return how many training episodes raised instead of ending; "" if none did."""
    said = []
    for name, found in result.get("faults", {}).items():
        share = found["faults"] / found["episodes"]
        said.append(
            f"{name} lost {found['faults']} of {found['episodes']} training episodes ({share:.0%}) "
            f"to faults, which count nowhere; the first: {found['first']}"
        )
    return ". ".join(said) + "." if said else ""


def _gains(result: dict[str, Any]) -> dict[str, tuple[str, float | None]]:
    """Return by trained environment its change up to the end of its own stage, and the interval's
    lower end."""
    found = {}
    change = result["change"]
    for j, name in enumerate(result["environments"]):
        stages = [i for i, names in enumerate(result["own"], start=1) if name in names]
        if not stages or change["value"][stages[-1]][j] is None:
            continue
        ends = change["interval"][stages[-1]][j]
        gain = estimate(change["value"][stages[-1]][j], ends, "+.2f")
        found[name] = f"{name} {gain}", None if ends is None else ends[0]
    return found


def _listed(texts: dict[str, str]) -> str:
    """Return the texts as a list; of many, the first few and how many more there are."""
    shown = list(texts.values())
    if len(shown) > MOST:
        shown[MOST:] = [f"{len(shown) - MOST} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _metric(result: dict[str, Any], name: str) -> str:
    form = ".2f" if name == "forgetting" else "+.2f"
    return estimate(result["metrics"][name], result["metric_intervals"].get(name), form)
