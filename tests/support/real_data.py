"""What holds of every game in ../shared/data/alfworld: `pytest tests/real_data.py`, an hour or so.

pytest does not collect this file by itself. What takes seconds, on products and questions too, is
in tests/envs/test_alfworld.py, test_webshop.py and test_searchqa.py.
"""

from __future__ import annotations

import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from contrail.envs.alfworld.environment import AlfWorld, AlfWorldConfig

SHARED = Path(__file__).parents[2] / "../shared/data/alfworld"
SPLITS = ["train", "valid_train", "valid_seen", "valid_unseen"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> AlfWorld:
    """All games that are there, as test tasks."""
    if find_spec("alfworld") is None:
        pytest.skip("needs pip install 'contrail[alfworld]'")
    archives = sorted(SHARED.glob("*.tar.xz"))
    if not archives:
        pytest.skip(f"needs the games in {SHARED}")
    root = tmp_path_factory.mktemp("alfworld")
    for path in archives:
        with tarfile.open(path) as archive:
            archive.extractall(root, filter="data")
    return AlfWorld(AlfWorldConfig(data=str(root), train_splits=[], test_splits=SPLITS))


def test_the_expert_wins_nearly_every_seen_game(environment: AlfWorld) -> None:
    tasks = [task for task in environment.tasks("test") if task.id.startswith("valid_seen/")]
    lost = []
    for task in tasks:
        plan = environment.expert(task)
        environment.reset(task)
        steps = [environment.step(action) for action in plan or ()]
        won = [step.success for step in steps]
        if not (any(won) and won.index(True) == len(won) - 1):
            lost.append(task.id)
    print(f"\nthe expert wins {len(tasks) - len(lost)} of {len(tasks)}", lost)
    assert len(lost) <= len(tasks) / 10


def test_nearly_every_game_loads(environment: AlfWorld) -> None:
    tasks = environment.tasks("test")
    failed = {}
    for task in tasks:
        try:
            assert environment.reset(task).actions
        except Exception as error:  # noqa: BLE001 (counted)
            failed[task.id] = str(error)
    print(f"\n{len(tasks) - len(failed)} of {len(tasks)} games load", failed)
    assert len(failed) <= len(tasks) / 100
