"""`contrail play` by hand: the reward of the episode, and Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SHOP = """
import contrail

class Shop(contrail.Environment):
    max_turns = 3
    def tasks(self, split):
        return [contrail.Task("shop", "one", 1, split)]
    def reset(self, task):
        return contrail.Observation("A shop.", ["bread", "leave"])
    def step(self, action):
        over = action == "leave"
        seen = contrail.Observation("So.", ["bread", "leave"])
        return contrail.Step(seen, 0.5, terminated=over, success=over)

@contrail.hookimpl
def contrail_environments(register):
    register("shop", Shop)
"""


def test_the_rewards_add_up(command: Any, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    file = str(tmp_path / "shop.py")
    assert "Solved in 2 turns; reward 1." in command("play", file, typed="bread\nleave\n").out
    done = command("play", file, typed="bread\nbread\nbread\n")
    assert "Over: the limit is 3 turns; reward 1.5." in done.out


def test_interrupted_at_the_prompt(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(prompt: str) -> str:
        raise KeyboardInterrupt

    (tmp_path / "shop.py").write_text(SHOP)
    monkeypatch.setattr("builtins.input", interrupted)
    assert command("play", str(tmp_path / "shop.py")).code == 130


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            'return contrail.Observation("A shop.", ["bread", "leave"])',
            'return "A shop."',
            "for the task 'one' it returned 'A shop.'",
        ),
        (
            "return contrail.Step(seen, 0.5, terminated=over, success=over)",
            "return seen, 1",
            "step('bread') must return a contrail.Step with a contrail.Observation; it returned (",
        ),
        ("seen, 0.5", "seen, float('nan')", "step('bread'): ValueError: the reward is nan"),
        (
            "def reset(self, task)",
            "def reset(self)",
            "reset of the task 'one': TypeError: Shop.reset",
        ),
    ],
)
def test_what_breaks_the_contract_is_named(
    command: Any, tmp_path: Path, before: str, after: str, words: str
) -> None:
    assert before in SHOP
    (tmp_path / "shop.py").write_text(SHOP.replace(before, after))
    done = command("play", str(tmp_path / "shop.py"), typed="bread\n")
    assert done.code == 2
    assert words in done.err.replace("\n", " ")
    assert "contrail/" not in done.err


def test_a_key_that_all_environments_have_is_known(command: Any, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    done = command("play", str(tmp_path / "shop.py"), "max_turn=2")
    assert done.code == 2
    assert "Did you mean 'max_turns'" in done.err
