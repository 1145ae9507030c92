"""textworld-express: TextWorldExpress's eight games (arXiv:2208.01174)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from contrail import (
    SPLITS,
    ConfigError,
    Environment,
    Observation,
    Step,
    Task,
    hookimpl,
    nearest,
    read_action,
)
from contrail.envs.shared.java import Java, require

GAMES = {
    "cookingworld": "Gather the ingredients of a recipe, prepare them and eat the meal.",
    "twc": "Put scattered household things where they belong, by common sense.",
    "coin": "Find a coin in a house of several rooms.",
    "mapreader": "Find a coin by a map, and carry it to a box.",
    "arithmetic": "Solve an arithmetic problem, and take the things of that number.",
    "sorting": "Put things into a box in the order of their quantities.",
    "simonsays": "Do what is said, one instruction after the other.",
    "peckingorder": "Do what is said, by instructions that other instructions follow.",
}
LONGEST = 1000  # characters of an action; the rest of a flood is not sent


@dataclass
class TextWorldExpressConfig:
    """The keys of textworld-express in stream.yaml."""

    game: str = "coin"
    """cookingworld, twc, coin, mapreader, arithmetic, sorting, simonsays or peckingorder."""
    params: str = ""
    """The game's own parameters, such as "numLocations=3, includeDoors=0"."""
    train_tasks: int = 500
    """The number of training seeds, out of the 1,000 of the fold "train"."""
    test_tasks: int = 100
    """The number of test seeds, out of the 1,000 of the fold "test"."""


class TextWorldExpress(Environment):
    """A game of TextWorldExpress. The reward is the rise of the normalised score, 0 to 1.

    The score can fall again, and a game can be lost: then the episode ends without success. Each
    instance has a Java machine of its own, of some 60 MB.
    """

    Config = TextWorldExpressConfig
    max_turns = 50
    workers = 4  # so many Java machines at the same time

    @classmethod
    def catalogue(cls) -> Iterator[tuple[dict[str, Any], str]]:
        for game, about in GAMES.items():
            yield {"game": game}, about

    def __init__(self, config: TextWorldExpressConfig | None = None) -> None:
        super().__init__(config)
        game, params = self.config.game, self.config.params
        if game not in GAMES:
            raise ConfigError(
                f"textworld-express: there is no game {game!r}. {nearest(game, GAMES)}"
            )
        if min(self.config.train_tasks, self.config.test_tasks) < 1:
            raise ConfigError("textworld-express: train_tasks and test_tasks must be 1 or more.")
        require("textworld-express")
        from textworld_express.constants import BASEPATH, JAR_PATH

        # Two games in one machine would disturb each other.
        self._java = Java("textworld-express", JAR_PATH, heap=256, directory=BASEPATH)
        self._game: Any = self._java.jvm.textworldexpress.runtime.PythonInterface()
        refused = self._game.load(game, params)
        if not refused and self._game.gameGenerator() is None:  # which it leaves unsaid
            refused = 'they must read like "numLocations=3, includeDoors=0"'
        if refused:
            self.close()
            raise ConfigError(f"textworld-express: {game} refuses params {params!r}: {refused}")
        self.about_data = f"seeds of the game {game}"

    def tasks(self, split: str) -> list[Task]:
        """Return the first seeds of the game's own folds."""
        if split not in SPLITS:
            raise ConfigError(f"textworld-express has no split {split!r}. {nearest(split, SPLITS)}")
        if split == "train":
            seeds = list(self._game.getSeedsTrain())[: self.config.train_tasks]
        else:
            seeds = list(self._game.getSeedsTest())[: self.config.test_tasks]
        name = self.config.game
        return [Task("textworld-express", f"{name}/{seed}", seed, split) for seed in seeds]

    def reset(self, task: Task) -> Observation:
        seen = json.loads(self._game.generateNewGameJSON(task.seed, task.split, False))
        self._score, self._listed = 0.0, _actions(seen)
        goal = self._game.getTaskDescription()
        return Observation(f"{goal}\n\n{seen['observation'].strip()}", self._listed)

    def step(self, action: str) -> Step:
        # No command contains a letter beyond ASCII, and a surrogate would not get through.
        plain = action[:LONGEST].encode("ascii", "replace").decode()
        wish = " ".join(read_action(plain, self._listed).split())
        seen = json.loads(self._game.stepJSON(wish))
        reward, self._score = seen["score"] - self._score, seen["score"]
        won, lost = bool(seen["tasksuccess"]), bool(seen["taskfailure"])
        self._listed = _actions(seen)
        observation = Observation(seen["observation"].strip(), self._listed)
        valid = "unknown action" not in seen["observation"].lower()
        info = {"score": self._score}
        return Step(observation, reward, won or lost, success=won, valid=valid, info=info)

    def expert(self, task: Task) -> list[str] | None:
        """Return the game's own gold path: it explores as a player must who does not know the
        map."""
        self._game.generateNewGameJSON(task.seed, task.split, True)
        path = [str(action) for action in self._game.getGoldActionSequence()]
        return None if not path or path[0].startswith("ERROR") else path

    def close(self) -> None:
        self._java.close()


def _actions(seen: dict[str, Any]) -> list[str]:
    """Return the valid actions, sorted and each once: the game has an order of its own, and lists
    some twice (Simon says)."""
    return sorted(set(seen["validActions"]))


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    register("textworld-express", TextWorldExpress)
