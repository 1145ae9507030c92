"""`contrail check`: which environments, with what settings, and in a process of their own."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from contrail.check import NEEDED, OTHERS, Check, Finding, Report, check, report, run
from contrail.check.other_process import importable
from contrail.check.subject import Subject
from contrail.config.convert import build
from contrail.config.source import Source
from contrail.errors import PluginError
from contrail.names import visible
from contrail.registry import Plugins
from contrail.workers.pool import EnvironmentFactory, Remote

TIMEOUT = 300.0  # seconds for one check of few tasks; those of slow environments take a minute


def check_named(name: str, more: Sequence[str], plugins: Plugins, tasks: int) -> list[Report]:
    """Check the environment of a name, or all those that a plugin file registers.

    Args:
        name: a registered environment, or a plugin file.
        more: `key=value` is a setting, anything else a plugin to load before.
        plugins: those loaded already.
        tasks: at most so many tasks of each split are played.

    Raises:
        ContrailError: a name, plugin or setting is wrong, or an environment cannot be made.
    """
    for plugin in more:
        if "=" not in plugin:
            plugins.add_named(plugin, Path.cwd())
    source = Source.of_overrides([text for text in more if "=" in text])
    reports = []
    for one in plugins.environments_of(name):
        registered = plugins.environments[one]
        config = registered.value.Config
        if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
            raise PluginError(
                f"plugin {registered.plugin!r}: the environment {one!r} has a Config that is not a "
                "dataclass. Decorate it."
            )
        settings = build(source, config, source.values, ())
        if importable(registered.value):
            timeout = TIMEOUT * max(1, tasks / 3)
            make = CheckMaker(one, registered, settings, step_timeout=timeout, tasks=tasks)
            reports.append(_apart(make))
        else:
            reports.append(check(one, settings, tasks=tasks, plugins=plugins))
    return reports


class Checks:
    """What a worker process holds in place of an environment: `step` runs the check of a name."""

    system_prompt = ""
    max_turns = 0

    def __init__(self, subject: Subject) -> None:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stdout holds the report alone
        _ = subject.used  # what is missing, or wrong in the settings, is told before any check
        self._subject = subject
        self._checks: dict[str, Check] = {one.__name__: one for one in (*NEEDED, *OTHERS)}

    def step(self, name: str) -> Finding:
        return run(self._checks[name], self._subject)

    def close(self) -> None:
        self._subject.close()


@dataclass(frozen=True)
class CheckMaker(EnvironmentFactory):
    """Makes, in a worker process, the checks of an environment of which `tasks` are played."""

    tasks: int = 3

    def here(self) -> Any:
        plain = EnvironmentFactory(self.name, self.registered, self.settings)
        return Checks(Subject(plain, self.tasks))


def _apart(make: CheckMaker) -> Report:
    """Check in a worker process, which ends with all that the environment has started.

    Raises:
        ContrailError: the environment cannot be made at all.
    """
    worker = Remote(make)
    console = Console(stderr=True)
    doing = console.status(Text(visible(make.name)))

    def ask(one: Check) -> Finding:
        doing.update(Text(visible(f"{make.name}: {one.__name__}")))
        worker.send("step", one.__name__)
        finding: Finding = worker.receive()
        return finding

    if console.is_terminal:
        doing.start()
    try:
        return report(make.name, ask)
    finally:
        doing.stop()
        worker.close()
