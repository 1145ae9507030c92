"""Checks that an environment keeps the contract.

`contrail check` runs them, and so can the tests of a plugin:

import contrail.check

def test_guess_number():
    assert not contrail.check.check(GuessNumber).failed

subject         the environment under check, and walks through its tasks
episodes        tasks, types, rewards; the same task gives the same episode
games           no game stands in both splits
near            how alike test tasks and training tasks are
actions         listed actions, nonsense, success, the expert
surroundings    randomness, closing, speed
other_process   the environment in a worker process
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from contrail.check import actions, episodes, games, near, surroundings
from contrail.check.subject import Failed, Skipped, Subject, Warned
from contrail.environment import Environment
from contrail.errors import EnvironmentFault, Raised, boundary, describe_error
from contrail.registry import Plugins
from contrail.shift import Shift
from contrail.workers.factory import EnvironmentFactory

__all__ = ["Finding", "Report", "check"]

Check = Callable[[Subject], str | None]
State = Literal["passed", "warned", "failed", "skipped"]
NEEDED: tuple[Check, ...] = (episodes.tasks, episodes.types, episodes.rewards)
"""While one of these fails, the others cannot be judged."""
OTHERS: tuple[Check, ...] = (
    episodes.group,
    episodes.abandoned,
    episodes.process,
    games.splits,
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
    """The results of all checks of an environment."""

    environment: str
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> list[Finding]:
        """The findings that need putting right; an environment that keeps the contract has none."""
        return [finding for finding in self.findings if finding.state == "failed"]


def check(
    environment: str | type[Environment],
    settings: Any = None,
    *,
    tasks: int = 3,
    plugins: Plugins | None = None,
    shift: Shift | None = None,
) -> Report:
    """Check that an environment keeps the contract, in this process.

    Args:
        environment: a registered name, or a class.
        settings: an instance of its `Config`; by default the default settings.
        tasks: the largest number of tasks to play per split; slow tasks may be fewer, at least one.
        plugins: registers the name; by default the installed plugins.
        shift: an interface shift, behind which the environment is checked.

    Raises:
        ContrailError: the environment cannot be made at all.
    """
    make = EnvironmentFactory.of(environment, settings, plugins)
    subject = Subject(replace(make, shift=shift), tasks)
    _ = subject.used  # what is missing, or wrong in the settings, is told before any check
    try:
        return report(subject.make.name, lambda one: run(one, subject))
    finally:
        subject.close()


def report(name: str, run_one: Callable[[Check], Finding]) -> Report:
    """Run one check after the other, except for checks whose preconditions have failed.

    Args:
        name: the environment's name.
        run_one: runs a check; raises EnvironmentFault if that has ended the process.
    """
    findings: list[Finding] = []
    needed = {check.__name__ for check in NEEDED}
    for one in (*NEEDED, *OTHERS):
        before = needed | {BEFORE[one].__name__} if one in BEFORE else needed
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
    return Report(name, tuple(findings))


def run(one: Check, subject: Subject) -> Finding:
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
