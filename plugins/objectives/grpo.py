"""The objective `grpo`, which stages learn by unless they name another one."""

from __future__ import annotations

from collections.abc import Callable

import contrail


@contrail.hookimpl
def contrail_objectives(register: Callable[[str, type[contrail.Objective]], None]) -> None:
    register("grpo", contrail.GRPO)
