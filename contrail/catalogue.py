"""What environments there are, and what each has and needs: `contrail environments`."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field
from typing import Any

from contrail.environment import SPLITS, Environment
from contrail.errors import ContrailError
from contrail.manager import Plugins, blamed
from contrail.rollout.pool import Maker


@dataclass(frozen=True)
class Entry:
    """One environment with its default settings.

    Attributes:
        environment: its name.
        tasks: how many, by split. Empty where it cannot be made.
        difficulties: the values of its training tasks' difficulty.
        actions: whether it lists admissible actions.
        expert: whether it has one.
        extra: what to install, `pip install 'contrail[EXTRA]'`; None where nothing is needed.
        about_data: what its tasks are made of, and where more can be had.
        missing: what is to be done before it can be used; "" where nothing is.
    """

    environment: str
    tasks: dict[str, int] = field(default_factory=dict)
    difficulties: tuple[str | int, ...] = ()
    actions: bool | None = None
    expert: bool | None = None
    extra: str | None = None
    about_data: str = ""
    missing: str = ""


def catalogue(plugins: Plugins) -> list[Entry]:
    """All registered environments, each made once with its default settings."""
    return [_entry(name, plugins) for name in plugins.environments]


def _entry(name: str, plugins: Plugins) -> Entry:
    registered = plugins.environments[name]
    extras = importlib.metadata.metadata("contrail").get_all("Provides-Extra") or []
    known: dict[str, Any] = {
        "extra": name if name in extras else None,
        "expert": registered.value.expert is not Environment.expert,
    }
    try:
        environment = Maker(name, registered).here()
    except ContrailError as error:
        return Entry(name, missing=str(error), **known)
    try:
        listed = {split: environment.tasks(split) for split in SPLITS}
        actions = environment.reset(listed["train"][0]).actions is not None
    except (Exception, SystemExit) as error:  # noqa: BLE001 (it is shown)
        return Entry(
            name,
            missing=str(blamed("environment", name, registered, "first task", error)),
            **known,
        )
    finally:
        environment.close()
    found = {task.difficulty for task in listed["train"]} - {None}
    return Entry(
        name,
        tasks={split: len(tasks) for split, tasks in listed.items()},
        difficulties=tuple(sorted((value for value in found if value is not None), key=str)),
        actions=actions,
        about_data=environment.about_data,
        **known,
    )
