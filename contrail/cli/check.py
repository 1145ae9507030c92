"""`contrail check`: which environments, with which settings, each in a process of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from contrail.check import NEEDED, OTHERS, Check, Finding, Report, check, report, run
from contrail.check.other_process import TIMEOUT, RemoteSubject, importable
from contrail.check.subject import Subject
from contrail.config import Source, build, read_shift
from contrail.errors import PluginError
from contrail.names import visible
from contrail.registry import Plugins
from contrail.workers.factory import EnvironmentFactory


def check_named(name: str, more: Sequence[str], plugins: Plugins, tasks: int) -> list[Report]:
    """Check an environment by name, or all environments that a plugin file registers.

    Args:
        name: a registered environment, or a plugin file.
        more: settings as `key=value`, and plugins to load first.
        plugins: the plugins loaded so far.
        tasks: the largest number of tasks to play per split.

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
        with source.located():
            values = {key: value for key, value in source.values.items() if key != "shift"}
            settings = build(config, values)
            shift = read_shift(source.values.get("shift"), ("shift",), one, registered.value)
        if importable(registered.value):
            factory = EnvironmentFactory(one, registered, settings, shift=shift)
            reports.append(_check_elsewhere(factory, tasks))
        else:
            reports.append(check(one, settings, tasks=tasks, plugins=plugins, shift=shift))
    return reports


def _check_elsewhere(factory: EnvironmentFactory, tasks: int) -> Report:
    """Check in a worker process, which ends with all that the environment has started.

    Raises:
        ContrailError: the environment cannot be made at all.
    """
    subject = RemoteSubject(factory, tasks, TIMEOUT * max(1, tasks / 3))
    console = Console(stderr=True)
    status = console.status(Text(visible(factory.name)))

    def run_one(one: Check) -> Finding:
        status.update(Text(visible(f"{factory.name}: {one.__name__}")))
        finding: Finding = subject.call(_run_named, one.__name__)
        return finding

    if console.is_terminal:
        status.start()
    try:
        return report(factory.name, run_one)
    finally:
        status.stop()
        subject.close()


def _run_named(subject: Subject, name: str) -> Finding:
    return run(next(one for one in (*NEEDED, *OTHERS) if one.__name__ == name), subject)
