"""`contrail check` of an environment, for tests."""

from __future__ import annotations

from typing import Any

import contrail
import contrail.check
from contrail.check.subject import Skipped


def passes(cls: type[contrail.Environment], settings: Any, skipped: set[str]) -> None:
    findings = contrail.check.check(cls, settings, tasks=1).findings
    assert [finding for finding in findings if finding.state == "failed"] == []
    assert {finding.check for finding in findings if finding.state == "skipped"} == skipped


def skip(*_: Any) -> None:
    raise Skipped("not here")


def seeds(environment: contrail.Environment, split: str) -> set[int]:
    tasks = environment.tasks(split)
    assert all(task.id == f"seed-{task.seed}" for task in tasks)
    return {task.seed for task in tasks}
