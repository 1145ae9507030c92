"""What an environment returns, checked before an episode takes it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from contrail.environment import Observation, Step
from contrail.errors import PluginError
from contrail.values import as_texts, shown


def checked_observation(environment: str, task: str, value: object) -> Observation:
    """Return what `reset` has returned.

    Args:
        environment: its label.
        task: its id.
        value: that was returned.

    Raises:
        PluginError: it is no observation.
    """
    if not isinstance(value, Observation):
        raise PluginError(
            f"environment {environment!r}: reset must return a contrail.Observation; for the task "
            f"{task!r} it returned {shown(value)}"
        )
    return value


def checked_step(environment: str, call: str, value: object) -> Step:
    """Return what `step` or `finish` has returned.

    Args:
        environment: its label.
        call: as it is shown.
        value: that was returned.

    Raises:
        PluginError: it is no step.
        ValueError: its reward is not finite.
    """
    if not (isinstance(value, Step) and isinstance(value.observation, Observation)):
        raise PluginError(
            f"environment {environment!r}: {call} must return a contrail.Step with a "
            f"contrail.Observation; it returned {shown(value)}"
        )
    if not math.isfinite(value.reward):
        raise ValueError(f"the reward is {value.reward}")
    return value


def checked_expert(who: str, task: str, value: object) -> Sequence[str] | None:
    """Return what `expert` has returned.

    Args:
        who: the environment, with its plugin.
        task: its id.
        value: that was returned.

    Raises:
        PluginError: it is neither a list of texts nor None.
    """
    if value is None:
        return None
    try:
        return as_texts(value, "expert()")
    except TypeError as error:
        raise PluginError(f"{who}: {error}, or None. The task was {task!r}.") from error
