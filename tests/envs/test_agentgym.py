"""The client of AgentGym's servers, on a small server that speaks as they do.

docs/environments.md says on which of AgentGym's own servers `contrail check` was run.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from agentgym_server import NUMBERS, AgentGymServer
from checked import passes

from contrail import Observation, Task
from contrail.envs.agentgym.environment import AgentGym, AgentGymConfig
from contrail.errors import ConfigError, ContrailError


@pytest.fixture
def server() -> Iterator[AgentGymServer]:
    running = AgentGymServer()
    yield running
    running.stop()


def world(server: AgentGymServer) -> AgentGym:
    return AgentGym(AgentGymConfig(server.url, train_tasks=20, test_tasks=8))


def test_it_keeps_the_contract(server: AgentGymServer) -> None:
    passes(AgentGym, AgentGymConfig(server.url, train_tasks=20, test_tasks=8), {"expert"})


def test_an_episode(server: AgentGymServer) -> None:
    game = world(server)
    assert game.reset(Task("agentgym", "seed-2", 2, "train")) == Observation(
        "Find my number. Task 2.", NUMBERS
    )
    assert not game.step("seven").valid
    assert not game.step("1").success
    last = game.step("5")
    assert (last.reward, last.terminated, last.success) == (1, True, True)
    assert last.observation == Observation("Right.")
    assert game.step("5").observation.text == "The episode is over."
    game.close()
    assert server.games == {}


def test_a_server_that_was_restarted(server: AgentGymServer) -> None:
    games = [world(server) for _ in range(2)]
    task = games[0].tasks("train")[0]
    for game in games:
        game.reset(task)
    server.restart()
    with pytest.raises(ContrailError, match="the server was restarted"):
        games[1].step("1")
    # The first instance's number, 0, is given again: it must not play the other's game.
    games[1].reset(task)
    assert games[1]._server._session == 0
    with pytest.raises(ContrailError, match="the server was restarted"):
        games[0].step("1")
    games[0].reset(task)
    assert games[0].step("1").observation.text == games[1].step("1").observation.text
    for game in games:
        game.close()


def test_what_the_server_refuses(server: AgentGymServer) -> None:
    game = world(server)
    with pytest.raises(ContrailError, match="refuses task 40: list index out of range"):
        game.reset(Task("agentgym", "seed-40", 40, "train"))
    game.reset(game.tasks("train")[0])
    with pytest.raises(ContrailError, match=r"answers 500.* The server's own log"):
        game.step("crash")
    game.close()


def test_no_server() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ContrailError, match=r"no server answers at .* Start it"):
        AgentGym(AgentGymConfig(url))


def test_mistakes_in_the_settings(server: AgentGymServer) -> None:
    for config, words in (
        (AgentGymConfig("localhost:1"), "Name a running server"),
        (AgentGymConfig(server.url, index="game"), "knows no 'game'"),
        (AgentGymConfig(server.url, constants={"world": 1}), "knows no 'world'"),
        (AgentGymConfig(f"{server.url}/maze"), "has no /create"),
        (AgentGymConfig(server.url, train_tasks=0), "must be 1 or more"),
        (AgentGymConfig(server.url, train_indices=[1]), "both train_indices and test_indices"),
        (AgentGymConfig(server.url, train_indices=[1], test_indices=[1]), "1 is in train_indices"),
    ):
        with pytest.raises(ConfigError, match=words):
            AgentGym(config)


def test_tasks_by_number(server: AgentGymServer) -> None:
    game = AgentGym(AgentGymConfig(server.url, train_indices=[3, 1], test_indices=[7]))
    assert [task.seed for task in game.tasks("train")] == [3, 1]
    assert [task.id for task in game.tasks("test")] == ["seed-7"]
    game.close()
