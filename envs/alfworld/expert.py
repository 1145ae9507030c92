"""Plays of alfworld's own hand-coded expert."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from contrail.envs.alfworld.engine import Game, module

MOST_STEPS = 100  # it wins in fewer than 50, or goes round in circles
PUT = re.compile(r"put (.+) in/on (.+)")
MOVE = re.compile(r"move (.+) to (.+)")
IDLE = ("look", "examine", "inventory", "help")
WORK = ("take", "put", "move", "use", "heat", "cool", "clean")


def play(data: Mapping[str, Any], task: Mapping[str, Any], seed: str) -> list[str] | None:
    """Return the expert's commands to the win, without its useless visits to places.

    Args:
        data: the content of a game.tw-pddl file.
        task: the content of its traj_data.json: `task_type` and `pddl_params`.
        seed: the seed of its random choices between equally useful objects.

    Returns:
        The commands; None if it gives up.
    """
    agent = _agent(task, seed)
    done: list[str] = []
    with closing(Game(data, facts=True)) as game:
        state = game.reset()
        agent.observe(state.feedback)
        state, _, _ = game.step("look")
        last = "look"
        while not state.won:
            # It knows the newer grammar, but tracks what it holds by the older one.
            state["admissible_commands"] = [
                PUT.sub(r"move \1 to \2", command) for command in state.admissible_commands
            ]
            try:
                wish = agent.act(state, 0, False, last)
            except NameError:  # what its timeout and failure derive from
                return None
            last = MOVE.sub(r"put \1 in/on \2", wish)
            command = last if "put {o} in/on {r}" in state.command_templates else wish
            # It sometimes issues a command that is impossible at its place.
            if command in state["_valid_commands"]:
                done.append(command)
            state, _, _ = game.step(command)
    return without_detours(done)


def _agent(task: Mapping[str, Any], seed: str) -> Any:
    constants = module("alfworld.gen.constants")
    # It draws from the process's own generator: its module is given one of this play instead.
    vars(module("alfworld.agents.expert.handcoded_expert"))["random"] = random.Random(seed)
    agent = module("alfworld.agents.expert.handcoded_expert_tw").HandCodedTWAgent()
    wanted = {**task["pddl_params"], "task_type": task["task_type"]}
    wanted = {
        key: value.lower() if value in constants.OBJECTS else value for key, value in wanted.items()
    }
    agent.policy = agent.get_task_policy(wanted)(wanted, max_steps=MOST_STEPS)
    return agent


def without_detours(commands: list[str]) -> list[str]:
    """Return the same play without the visits that only looked for something; it wins as well.

    Every visit starts with going there, and actions at one place change no other place. So a visit
    that only looked, opened and closed can be dropped, unless it left something open that is used
    later.
    """
    visits: list[list[str]] = []
    for command in commands:
        if command.startswith("go to ") or not visits:
            visits.append([])
        if command.split()[0] not in IDLE:
            visits[-1].append(command)
    used = {visit[0] for visit in visits if any(command.split()[0] in WORK for command in visit)}
    kept: list[str] = []
    at = ""
    for visit in visits:
        work = any(command.split()[0] in WORK for command in visit)
        opened = sum(command.startswith("open ") for command in visit)
        closed = sum(command.startswith("close ") for command in visit)
        if work or (visit and visit[0] in used and opened != closed):
            kept += visit[1:] if visit[0] == at else visit
            at = visit[0]
    return kept
