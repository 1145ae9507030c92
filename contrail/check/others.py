"""What is checked of a plugin that is no environment, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from contrail.check import interface, members, training
from contrail.check.interface import AdapterSubject, in_trial
from contrail.check.trial import Trial
from contrail.check.world import NAME, Crossroads
from contrail.registry.plugins import Plugins
from contrail.registry.registered import Registered
from contrail.workers.factory import EnvironmentFactory

Check = Callable[[Any], str | None]


@dataclass(frozen=True)
class Checks:
    """The checks of one kind of plugin."""

    needed: tuple[Check, ...]
    """While one of these fails, the others cannot be judged."""
    others: tuple[Check, ...]


RUNS = (training.repeat, training.resume)
CHECKS: dict[str, Checks] = {
    "adapter": Checks(
        (interface.messages,),
        (
            members.names,
            interface.choices,
            interface.answers,
            interface.nonsense,
            interface.unlisted,
            interface.state,
            interface.randomness,
            *map(in_trial, (training.run, *RUNS)),
        ),
    ),
    "strategy": Checks(
        (training.run,),
        (
            members.names,
            training.cost,
            training.state,
            training.evaluated,
            *RUNS,
            training.extension,
            training.randomness,
            training.sharing,
            training.effect,
        ),
    ),
    "objective": Checks(
        (training.run,),
        (
            members.names,
            training.cost,
            training.state,
            *RUNS,
            training.randomness,
            training.effect,
        ),
    ),
    "tracker": Checks((training.run,), (training.hooks, training.unchanged, training.randomness)),
}


def subject_of(
    kind: str, name: str, plugins: Plugins, settings: Any = None, environment: str | None = None
) -> AdapterSubject | Trial:
    """Return the subject of the checks.

    Args:
        kind: of plugin.
        name: under which it is registered; of a tracker, the plugin's.
        plugins: the loaded ones.
        settings: an instance of its `Config`; None for the default settings.
        environment: the registered environment in which it is tried; by default a small one.

    Raises:
        ContrailError: it, or the environment, cannot be made.
    """
    trial = Trial(kind, name, plugins, settings, environment)
    if kind != "adapter":
        return trial
    if environment is None:
        factory = EnvironmentFactory(NAME, Registered(Crossroads, "contrail"))
    else:
        factory = EnvironmentFactory.of(environment, None, plugins)
    cls = plugins.adapters[name].value
    return AdapterSubject(lambda: cls(settings), factory, trial)
