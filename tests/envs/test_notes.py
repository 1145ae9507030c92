"""Notes: what an environment says about its tasks reaches the user, also from a worker process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contrail.cli.list_environments import catalogue, select
from contrail.registry.plugins import load_plugins
from contrail.workers.factory import EnvironmentFactory
from contrail.workers.pool import EnvironmentPool

PLUGIN = """
import contrail


class Noted(contrail.Environment):
    workers = {workers}

    def tasks(self, split):
        self.notes = {notes}
        return [contrail.Task("noted", split, 0, split)]

    def reset(self, task):
        return contrail.Observation("", ["go"])

    def step(self, action):
        return contrail.Step(contrail.Observation(""), terminated=True)


@contrail.hookimpl
def contrail_environments(register):
    register("noted", Noted)
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_notes_reach_the_pool(workers: int, tmp_path: Path) -> None:
    file = tmp_path / f"noted{workers}.py"
    file.write_text(PLUGIN.format(workers=workers, notes=["3 games left out: too dark"]))
    plugins = load_plugins()
    plugins.environments_of(str(file))
    factory = EnvironmentFactory("noted", plugins.environments["noted"], workers=workers)
    pool = EnvironmentPool({"noted": factory})
    try:
        environment = pool.take("noted")
        environment.tasks("train")
        assert list(environment.notes) == ["3 games left out: too dark"]
    finally:
        pool.close()


def test_the_catalogue_has_them_and_refuses_what_is_no_text(tmp_path: Path) -> None:
    for number, (notes, right) in enumerate([(["a", "b"], ("a", "b")), ("a", ()), ([1], ())]):
        file = tmp_path / f"noted{number}.py"
        file.write_text(PLUGIN.format(workers=0, notes=json.dumps(notes)))
        plugins = load_plugins()
        (entry,) = catalogue(plugins, select([str(file)], plugins).makers)
        assert entry.notes == right
        assert bool(right) is not ("notes" in entry.missing)
