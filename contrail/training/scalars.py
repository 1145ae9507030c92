"""Scalars that a strategy or an objective logs in the course of an update."""

from __future__ import annotations


class Scalars:
    """Collects scalars by name; the mean of each over an update is logged."""

    def log(self, name: str, value: float) -> None:
        """Log a scalar; its mean over the update stands among the update's scalars."""
        # A subclass may not call __init__.
        vars(self).setdefault("_logged", {}).setdefault(name, []).append(float(value))

    def take_logged(self) -> dict[str, float]:
        """Return the means of the scalars logged since the last call."""
        logged: dict[str, list[float]] = vars(self).pop("_logged", {})
        return {name: sum(values) / len(values) for name, values in logged.items()}
