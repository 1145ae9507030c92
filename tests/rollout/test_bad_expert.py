"""An expert that does not return a list of texts."""

from __future__ import annotations

from typing import Any

import pytest
from playing import Make
from rooms import Rooms

from contrail.errors import PluginError
from contrail.plugins.adapters.choose import Choose
from contrail.registry.registered import Registered
from contrail.seeding import generator
from contrail.workers.factory import EnvironmentFactory
from contrail.workers.pool import EnvironmentPool

from contrail.rollout.play import Job, play  # isort: skip
from contrail.rollout.script import EXPERT, no_sampler  # isort: skip


@pytest.mark.parametrize("value", ["open red", [1, 2], 3, {"open"}])
def test_an_expert_that_returns_no_list_of_texts_is_named(make_tiny: Make, value: Any) -> None:
    cls = type("Odd", (Rooms,), {"expert": lambda self, task: value})
    pool = EnvironmentPool({"rooms": EnvironmentFactory("odd", Registered(cls, "mine"))})
    task = Rooms().tasks("train")[0]
    jobs = [Job("rooms", task, Choose(), generator(0), script=EXPERT)]
    with pytest.raises(PluginError) as raised:
        play(make_tiny(), pool, jobs, open_sampler=no_sampler)
    said = str(raised.value)
    assert said.startswith("environment 'odd' (plugin 'mine'): expert()"), said
    assert f"The task was {task.id!r}." in said
