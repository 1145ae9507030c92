"""Environments of verifiers; skipped where it is not installed."""

from __future__ import annotations

import signal

import pytest
from checked import passes

from contrail.envs.verifiers.environment import Verifiers, VerifiersConfig
from contrail.errors import ConfigError

pytest.importorskip("verifiers")


def test_it_keeps_the_contract() -> None:
    passes(Verifiers, VerifiersConfig("vf-words"), {"actions", "expert"})


def test_a_single_turn() -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    world = Verifiers(VerifiersConfig("vf-words"))
    [task] = [task for task in world.tasks("test") if task.seed == 4]
    assert len(world.tasks("train")) + len(world.tasks("test")) == 16
    assert world.notes == ["16 rows repeat another, and are left out."]
    assert world.reset(task).text == "Reverse moonlight."
    wrong = world.step("moonlight")
    assert (wrong.reward, wrong.terminated, wrong.success) == (0, True, False)
    world.reset(task)
    right = world.step("thgilnoom")
    assert (right.reward, right.terminated, right.success) == (1, True, True)
    assert right.info["backwards"] == 1
    assert not world.step("thgilnoom").valid
    world.close()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_no_package() -> None:
    with pytest.raises(ConfigError, match="there is no module nonesuch_env"):
        Verifiers(VerifiersConfig("nonesuch-env"))
    with pytest.raises(ConfigError, match="id is missing"):
        Verifiers()


def test_a_rollout_that_contrail_ends_is_scored() -> None:
    world = Verifiers(VerifiersConfig("vf-counter"))
    world.max_turns = 4
    world.reset(world.tasks("train")[0])
    assert world.step("up").reward == world.step("up").reward == 0
    end = world.finish()
    assert end is not None
    assert end.reward == 0.5
    assert world.finish() is None
    world.reset(world.tasks("train")[1])
    assert not any(world.step("up").truncated for _ in range(3))
    assert (last := world.step("up")).truncated
    assert last.reward == 0.75  # the library ends before it answers the last message
    world.close()
