"""Checks that an environment, an adapter, a strategy, an objective or a tracker keeps the contract.

`contrail check` runs them, and so can the tests of a plugin:

import contrail.check

def test_guess_number():
    assert not contrail.check.check(GuessNumber).failed

Of an environment:

subject         the environment under check, and walks through its tasks
episodes        tasks, types, rewards; the same task gives the same episode
games           no game stands in both splits
members         names of the class that are nearly those of the base class (of the others too)
near            how alike test tasks and training tasks are
actions         listed actions, nonsense, success, the expert
surroundings    randomness, closing, speed
other_process   the environment in a worker process
doing           what it is doing there

Of the others:

others          which checks there are of which kind
interface       what an adapter shows and reads
training        strategies, objectives and trackers in small runs
trial           a small run, repeated and interrupted
world           its environment
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Literal

from contrail.check import actions, episodes, games, members, near, surroundings
from contrail.check.subject import Failed, Skipped, Subject, Warned
from contrail.environment import Environment
from contrail.errors import (
    ConfigError,
    EnvironmentFault,
    Raised,
    boundary,
    describe_error,
)
from contrail.hookspecs import OBSERVERS, REPORTS
from contrail.registry.plugins import Plugins, load_plugins
from contrail.registry.registered import not_registered
from contrail.shift.shifted import Shift
from contrail.workers.factory import EnvironmentFactory

__all__ = ["Finding", "Report", "check"]

Check = Callable[[Any], str | None]
State = Literal["passed", "warned", "failed", "skipped"]
NEEDED: tuple[Check, ...] = (episodes.tasks, episodes.types, episodes.rewards)
"""While one of these fails, the others cannot be judged."""
OTHERS: tuple[Check, ...] = (
    members.names,
    episodes.group,
    episodes.abandoned,
    episodes.process,
    games.splits,
    games.difficulties,
    near.leaks,
    actions.actions,
    actions.nonsense,
    actions.success,
    actions.expert,
    surroundings.randomness,
    surroundings.closing,
    surroundings.speed,
)
BEFORE: dict[Check, Check] = {
    episodes.process: episodes.abandoned,
    games.splits: episodes.abandoned,
    near.leaks: games.splits,
    actions.success: actions.nonsense,
}
"""Checks that would only find again what another has found."""
TRACKED = OBSERVERS - REPORTS
"""The hooks that are called in a run."""
ENDLESS = "Answer every action, and do not end the process."


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    `what` says what was checked; `note` says what was measured, what is wrong, or why the check was
    skipped. "warned" does not violate the contract, but the author should know of it.
    """

    check: str
    state: State
    what: str
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The results of all checks of one thing that a plugin registers."""

    kind: str
    name: str
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> list[Finding]:
        """The findings that need putting right; what keeps the contract has none."""
        return [finding for finding in self.findings if finding.state == "failed"]


def check(
    plugin: str | type | ModuleType,
    settings: Any = None,
    *,
    tasks: int = 3,
    plugins: Plugins | None = None,
    shift: Shift | None = None,
    environment: str | None = None,
) -> Report:
    """Check that a plugin keeps the contract, in this process.

    Args:
        plugin: a registered name, or the class of an environment, an adapter, a strategy or an
            objective; or the module of a tracker.
        settings: an instance of its `Config`; by default the default settings.
        tasks: of an environment, the largest number of tasks to play per split; slow tasks may be
            fewer, at least one.
        plugins: registers the name; by default the installed plugins.
        shift: of an environment, an interface shift, behind which it is checked.
        environment: a registered environment in which the others are tried; by default a small one.

    Raises:
        ContrailError: it cannot be made at all, or there is no such plugin.
    """
    if isinstance(plugin, type) and issubclass(plugin, Environment):
        return _check_environment(EnvironmentFactory.of(plugin, settings), tasks, shift)
    plugins = load_plugins() if plugins is None else plugins
    name = plugin if isinstance(plugin, str) else _registered(plugin, plugins)
    kind = kinds_of(name, plugins)[0]
    if kind == "environment":
        return _check_environment(EnvironmentFactory.of(name, settings, plugins), tasks, shift)
    return check_other(kind, name, plugins, settings, environment, run)


def check_other(
    kind: str,
    name: str,
    plugins: Plugins,
    settings: Any,
    environment: str | None,
    run_one: Callable[[Check, Any], Finding],
) -> Report:
    """Check an adapter, a strategy, an objective or a tracker.

    Args:
        kind: which of them.
        name: under which it is registered; of a tracker, the plugin's.
        plugins: the loaded ones.
        settings: as for `check`.
        environment: as for `check`.
        run_one: runs a check of the subject, as `run` does.

    Raises:
        ContrailError: it cannot be made at all.
    """
    from contrail.check.others import CHECKS, subject_of

    subject = subject_of(kind, name, plugins, settings, environment)
    checks = CHECKS[kind]
    try:
        return report(
            kind, name, lambda one: run_one(one, subject), checks.needed, checks.others, {}
        )
    finally:
        subject.close()


def kinds_of(name: str, plugins: Plugins) -> list[str]:
    """Return as what a name is registered; "tracker" for a plugin that watches runs.

    Raises:
        ConfigError: there is nothing of the name.
    """
    tables = (plugins.environments, plugins.adapters, plugins.strategies, plugins.objectives)
    watching = [info.name for info in plugins.info() if TRACKED & set(info.hooks)]
    if found := [table.kind for table in tables if name in table]:
        return found
    if name in watching:
        return ["tracker"]
    known = [*(item for table in tables for item in table), *watching]
    raise ConfigError(f"nothing to check is called {name!r}. {not_registered(name, known)}")


def _registered(plugin: type | ModuleType, plugins: Plugins) -> str:
    """Return the name of a class or a module, registered if it is not yet."""
    if isinstance(plugin, type):
        return plugins.name_of(plugin) or plugins.add_class(plugin)
    file = getattr(plugin, "__file__", None) or plugin.__name__
    found = plugins.find(file)
    if found is None:
        found = plugin.__name__
        plugins.add(plugin, found, source=file)
    return found


def _check_environment(make: EnvironmentFactory, tasks: int, shift: Shift | None) -> Report:
    subject = Subject(replace(make, shift=shift), tasks)
    _ = subject.used  # what is missing, or wrong in the settings, is told before any check
    try:
        return report("environment", subject.make.name, lambda one: run(one, subject))
    finally:
        subject.close()


def report(
    kind: str,
    name: str,
    run_one: Callable[[Check], Finding],
    necessary: Sequence[Check] = NEEDED,
    others: Sequence[Check] = OTHERS,
    before_others: Mapping[Check, Check] = BEFORE,
) -> Report:
    """Run one check after the other, except for checks whose preconditions have failed.

    Args:
        kind: of plugin.
        name: under which it is registered.
        run_one: runs a check; raises EnvironmentFault if that has ended the process.
        necessary: while one of these fails, the others cannot be judged.
        others: the other checks.
        before_others: by check, one that would find what it would find.
    """
    findings: list[Finding] = []
    needed = {check.__name__ for check in necessary}
    for one in (*necessary, *others):
        before = needed | {before_others[one].__name__} if one in before_others else needed
        failed = [item.check for item in findings if item.state == "failed"]
        first = next((check for check in failed if check in before), None)
        if first is not None:
            findings.append(_finding(one, "skipped", f"first put right: {first}"))
            continue
        try:
            findings.append(run_one(one))
        except EnvironmentFault as fault:
            findings.append(_finding(one, "failed", f"{fault}. {ENDLESS}"))
            needed.add(one.__name__)
    return Report(kind, name, tuple(findings))


def run(one: Check, subject: Any) -> Finding:
    """Return the result of one check."""
    states: dict[type, State] = {Failed: "failed", Warned: "warned", Skipped: "skipped"}
    try:
        with boundary():
            return _finding(one, "passed", one(subject) or "")
    except Raised as raised:
        error = raised.error
        if state := states.get(type(error)):
            return _finding(one, state, str(error))
        return _finding(one, "failed", f"raised {describe_error(error)}")


def _finding(one: Check, state: State, note: str) -> Finding:
    return Finding(one.__name__, state, " ".join((one.__doc__ or "").split()), note)
