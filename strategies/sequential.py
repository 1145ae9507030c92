"""The strategy `sequential`: one stage after the other, without protection of earlier ones."""

from __future__ import annotations

from collections.abc import Callable

import contrail


class Sequential(contrail.Strategy):
    """Each stage trains on its own tasks, in the order of the stream."""

    starts_at = contrail.Strategy.NEVER


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("sequential", Sequential)
