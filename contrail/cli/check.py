"""`contrail check`: what is checked, with which settings; environments each in a process of their
own."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from contrail.check import (
    NEEDED,
    OTHERS,
    TRACKED,
    Check,
    Finding,
    Report,
    check,
    check_other,
    kinds_of,
    report,
    run,
)
from contrail.check.other_process import TIMEOUT, RemoteSubject, importable
from contrail.check.subject import Subject
from contrail.config import Source, build, read_shift
from contrail.errors import ConfigError, PluginError, nearest
from contrail.names import visible
from contrail.plugin_files import plugin_file
from contrail.registry.plugins import Plugins
from contrail.registry.registered import Registered
from contrail.workers.factory import EnvironmentFactory


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command."""

    tasks: int = 3
    """The largest number of tasks of an environment to play per split."""
    timeout: float = math.inf
    """The number of seconds that one call of an environment may take."""
    environment: str | None = None
    """In which the others are tried; None for a small one."""
    kind: str | None = None
    """What to check, where a name is registered as several things."""


def check_named(
    name: str, more: Sequence[str], plugins: Plugins, options: Options
) -> Iterator[Report]:
    """Check what has a name, or all that a plugin file registers.

    Args:
        name: a registered name, the name of a tracker, or a plugin file.
        more: settings as `key=value`, and plugins to load first.
        plugins: the plugins loaded so far.
        options: of the command.

    Raises:
        ContrailError: a name, plugin or setting is wrong, or something cannot be made.
    """
    for plugin in more:
        if "=" not in plugin:
            plugins.load(plugin, Path.cwd())
    source = Source.of_overrides([text for text in more if "=" in text])
    try:
        subjects = [(kind, name) for kind in kinds_of(name, plugins)]
    except ConfigError:
        file = plugin_file(name)
        if file is None:
            raise
        subjects = _of_file(file, plugins)
    named = subjects
    if options.kind is not None:
        subjects = [item for item in subjects if item[0] == options.kind]
        if not subjects:
            kinds = [*dict.fromkeys(kind for kind, _ in named)]
            raise PluginError(f"{name!r} is no {options.kind}. {nearest(options.kind, kinds)}")
    for kind, one in subjects:
        if kind == "environment":
            yield _check_environment(one, source, plugins, options)
        else:
            settings: Any = None
            if kind != "tracker":
                table: Any = getattr(plugins, TABLES[kind])
                with source.located():
                    settings = build(_config(kind, one, table[one]), source.values)
            with _shown(f"{kind} {one}") as show:

                def run_one(item: Check, subject: Any, show: Show = show) -> Finding:
                    show(item.__name__)
                    return run(item, subject)

                yield check_other(kind, one, plugins, settings, options.environment, run_one)


TABLES = {"adapter": "adapters", "strategy": "strategies", "objective": "objectives"}


def _of_file(file: str, plugins: Plugins) -> list[tuple[str, str]]:
    """Return the kinds and names of what a plugin file registers.

    Raises:
        ContrailError: there is no such file, or there is nothing in it to check.
    """
    plugin = plugins.load(file, Path.cwd())
    found = []
    for entry in plugins.registered_by(plugin):
        kind, _, name = entry.partition(" ")
        if kind == "environment" or kind in TABLES:
            found.append((kind, name))
    hooks = next(info.hooks for info in plugins.info() if info.name == plugin)
    if not found and TRACKED & set(hooks):
        found.append(("tracker", plugin))
    if not found:
        raise PluginError(
            f"plugin {plugin!r} registers nothing that can be checked: environments, adapters, "
            "strategies and objectives can, and trackers."
        )
    return found


def _config(kind: str, name: str, registered: Registered[Any]) -> type:
    config = registered.value.Config
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise PluginError(
            f"plugin {registered.plugin!r}: the {kind} {name!r} has a Config that is not a "
            "dataclass. Decorate it."
        )
    return config


def _check_environment(name: str, source: Source, plugins: Plugins, options: Options) -> Report:
    registered = plugins.environments[name]
    config = _config("environment", name, registered)
    with source.located():
        values = {key: value for key, value in source.values.items() if key != "shift"}
        settings: Any = build(config, values)
        shift = read_shift(source.values.get("shift"), ("shift",), name, registered.value)
    if not importable(registered.value):
        return check(name, settings, tasks=options.tasks, plugins=plugins, shift=shift)
    factory = EnvironmentFactory(name, registered, settings, shift=shift)
    return _check_elsewhere(factory, options)


def _check_elsewhere(factory: EnvironmentFactory, options: Options) -> Report:
    """Check in a worker process, which ends with all that the environment has started.

    Raises:
        ContrailError: the environment cannot be made at all.
    """
    said: list[str] = [""]
    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(Text(visible(f"{factory.name}: {said[0]}: {text}")))

    subject = RemoteSubject(
        factory,
        options.tasks,
        TIMEOUT * max(1, options.tasks / 3),
        limit=min(options.timeout, factory.registered.value.step_timeout),
        say=say,
    )
    try:
        with _shown(factory.name, lambda: subject.activity) as show:

            def run_one(one: Check) -> Finding:
                said[0] = one.__name__
                show(one.__name__)
                finding: Finding = subject.call(_run_named, one.__name__)
                return finding

            return report("environment", factory.name, run_one)
    except KeyboardInterrupt:
        if subject.activity is not None:
            say(str(subject.activity))
        raise
    finally:
        subject.close()


Show = Callable[[str], None]


@contextmanager
def _shown(name: str, activity: Callable[[], object] = lambda: None) -> Iterator[Show]:
    """Context manager: on a terminal, show which check is under way, and what it is doing."""
    console = Console(stderr=True)
    check, since = "", time.monotonic()
    spinner = Spinner("dots")

    def line() -> Spinner:
        doing = activity()
        text = f"{name}: {check}, {time.monotonic() - since:.0f} s" + f": {doing}" * bool(doing)
        spinner.update(text=Text(visible(text), no_wrap=True, overflow="ellipsis"))
        return spinner

    def show(name: str) -> None:
        nonlocal check, since
        check, since = name, time.monotonic()

    if not console.is_terminal:
        yield show
        return
    with Live(get_renderable=line, console=console, transient=True, refresh_per_second=4):
        yield show


def _run_named(subject: Subject, name: str) -> Finding:
    return run(next(one for one in (*NEEDED, *OTHERS) if one.__name__ == name), subject)
