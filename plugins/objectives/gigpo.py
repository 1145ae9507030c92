"""The objective `gigpo`: advantages of turns beside those of episodes."""

from __future__ import annotations

from collections.abc import Callable

import contrail


@contrail.hookimpl
def contrail_objectives(register: Callable[[str, type[contrail.Objective]], None]) -> None:
    register("gigpo", contrail.GiGPO)
