"""ALFWorld by AgentGym's rules: its lists of games, and how it reads an action."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from contrail import SPLITS, ConfigError, Observation, Task, nearest
from contrail.envs.alfworld import data as alfworld_data
from contrail.envs.alfworld.environment import AlfWorld, AlfWorldConfig
from contrail.envs.shared.agentgym import number_of, task_id

PARTS = {"train": "train", "test": "valid_train"}
"""ALFWorld's split of each of AgentGym's."""
TESTS = 200  # the last ones


class AgentGymAlfWorld(AlfWorld):
    """ALFWorld with `like: agentgym`.

    A task's id is "agentgym-N" for the game that AgentGym numbers N: below 2420 in `train`, from
    2420 to 2619 in `valid_train`.
    """

    system_prompt = (
        "You act in a household to complete a task. First you are told what is around you, your "
        "task, and the actions you can choose from; every turn you give one action and are told "
        "what happens. Choose only actions, things and places from the list in the beginning.\n\n"
        "The actions are:\n\ngo to <place>\n\ntake <thing> from <place>\n\n"
        "put <thing> in/on <place>\n\nopen <place>\n\nclose <place>\n\nuse <thing>\n\n"
        "heat <thing> with <place>\n\ncool <thing> with <place>\n\nclean <thing> with <place>\n\n"
        'examine <thing>\n\nlook\n\ninventory\n\n"Nothing happens." means that the action is not '
        "possible: try another."
    )
    max_turns = 30

    def __init__(self, config: AlfWorldConfig | None = None) -> None:
        super().__init__(config)
        if self._root is None:
            raise ConfigError(
                "alfworld: like: agentgym plays ALFWorld's own games. Fetch them with "
                "`alfworld-download` and name their directory under data or in ALFWORLD_DATA."
            )

    def tasks(self, split: str) -> list[Task]:
        """Return AgentGym's games of a split that are there, of the chosen types."""
        if split not in SPLITS:
            raise ConfigError(f"alfworld has no split {split!r}. {nearest(split, SPLITS)}")
        trials = numbered_trials()
        assert self._root is not None
        games = games_of(self._root, PARTS[split])
        numbers = [
            number
            for number in range(len(trials))
            if (number >= len(trials) - TESTS) == (split == "test")
        ]
        found = {number: games[trials[number]] for number in numbers if trials[number] in games}
        missing = len(numbers) - len(found)
        self._left[split] = (
            [f"{missing} of AgentGym's {len(numbers)} games to {split} are missing"]
            if missing
            else []
        )
        self.notes = [note for notes in self._left.values() for note in notes]
        kinds = {number: Path(name).parts[1].partition("-")[0] for number, name in found.items()}
        return [
            Task("alfworld", task_id(number), 0, split, kind)
            for number, kind in kinds.items()
            if kind in self.config.task_types
        ]

    def reset(self, task: Task) -> Observation:
        start = super().reset(task)
        return replace(start, text=start.text.replace("\n\n", "\n"))

    def _command_of(self, action: str) -> str | None:
        command = action.strip()
        return command if command in self._commands.values() else None

    def game(self, task: Task) -> str:
        trials, number = numbered_trials(), number_of(task.id)
        part = PARTS["test" if number >= len(trials) - TESTS else "train"]
        root = self._root
        assert root is not None
        name = games_of(root, part).get(trials[number]) if number < len(trials) else None
        if name is None:
            raise ValueError(f"alfworld has no task {task.id!r}; tasks() lists them.")
        return name

    def _read(self, task: Task) -> tuple[dict[str, Any], dict[str, Any]]:
        root, name = self._root, self.game(task)
        assert root is not None
        return alfworld_data.read_game(root, name), alfworld_data.read_task(root, name)


@cache
def numbered_trials() -> list[str]:
    """Return the trials of AgentGym's games in its order, such as "20190907_174127_043461"."""
    lines = (Path(__file__).parent / "agentgym_games.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


@lru_cache(maxsize=4)
def games_of(root: Path, part: str) -> dict[str, str]:
    """Return the names of the games of one of ALFWorld's splits by their trials."""
    return {
        path.parent.name.removeprefix("trial_T"): path.parent.relative_to(root).as_posix()
        for path in sorted((root / part).glob(f"*/*/{alfworld_data.GAME}"))
    }
