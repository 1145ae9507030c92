"""textworld: games that TextWorld makes (arXiv:1806.11532), and games of the Z-machine."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
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
from contrail.envs.shared.lent_random import LentRandom
from contrail.envs.textworld.games import (
    CHALLENGES,
    challenge_settings,
    game_files,
    make_game,
)
from contrail.leaks import split_seeds

LONGEST = 190  # characters of an action; the Z-machine reads no more
META = re.compile(
    r"(q|quit|restart|restore|save|undo|oops|again|g|script|unscript|transcript|recording|replay|"
    r"verbose|brief|superbrief|notify|version|verify|tw-.*|#.*)( .*)?"
)
"""Commands to the interpreter, which would leave the game, take a move back, or write files."""
SEVERAL = re.compile(r"[.;,\n]| then ")
UNPRINTABLE = re.compile(r"[^ -~]")
PROMPT = re.compile(r"\n+> *(\n.*|\s.*)?\Z", re.DOTALL)  # and the status line after it
REFUSED = re.compile(
    r"(That's not a verb|I didn't understand|I only understood|You can't see any such thing|"
    r"I beg your pardon|You seem to have said too little|That's not something you can)",
    re.IGNORECASE,
)
ABOUT = {
    "simple": "Find food by clues and put it where it belongs, in a house of six rooms.",
    "coin_collector": "Find the coin in a chain of rooms, as long as the level.",
    "treasure_hunter": "Find an object among others, behind doors and in boxes, by level 1 to 30.",
    "cooking": "Read a recipe, gather its ingredients, prepare and eat the meal.",
}


@dataclass
class TextWorldConfig:
    """The keys of textworld in stream.yaml."""

    challenge: str = "coin_collector"
    """The kind of games that are made: simple, coin_collector, treasure_hunter or cooking."""
    params: dict[str, Any] = field(default_factory=dict)
    """The options of `tw-make` for that kind, without dashes, such as {level: 10}."""
    data: str = field(default="", metadata={"path": ()})
    """A directory of game files (.z8, .z5, …) to play instead, in folders train and test (or
    valid); without such folders, one game in five is for testing."""
    train_tasks: int = field(default=200, metadata={"min": 1})
    """The number of training seeds (0, 1, 2, 3, 5, 6, ...), or the largest number of games."""
    test_tasks: int = field(default=50, metadata={"min": 1})
    """The number of test seeds (every fifth: 4, 9, 14, ...), or the largest number of games."""


class TextWorld(Environment):
    """A game of TextWorld, or another of the Z-machine; a task is a seed, or a game file.

    The reward is the rise of the score, as a share of the highest score. Games that TextWorld made
    list their admissible actions and have an expert, TextWorld's own walkthrough. Others need
    `adapter: react`, and their score only counts where Jericho knows the game.

    A game is made and compiled when it is first played, which takes a second or more, and is kept
    in contrail's cache.
    """

    Config = TextWorldConfig
    max_turns = 50
    workers = 4

    @classmethod
    def catalogue(cls) -> Iterator[tuple[dict[str, Any], str]]:
        for challenge, about in ABOUT.items():
            params = CHALLENGES[challenge]
            kinds = [params]
            if "level" in params:
                kinds = [{"level": level} for level in (1, 5, 10, 20, 30)]
            elif challenge == "simple":
                kinds = [{**params, "rewards": rewards} for rewards in ("dense", "sparse")]
            for its in kinds:
                yield {"challenge": challenge, "params": its}, about

    def __init__(self, config: TextWorldConfig | None = None) -> None:
        super().__init__(config)
        with LentRandom()():
            import textworld  # noqa: F401  (it draws from numpy's generator)
        self._files: dict[str, list[Path]] | None = None
        if self.config.data:
            self._files = game_files(self.config.data)
            self.about_data = f"games in {self.config.data}"
        else:
            self._settings = challenge_settings(self.config.challenge, self.config.params)
            self.about_data = f"seeds of the challenge {self.config.challenge}"
        self._path: Path | None = None
        self._game: Any = None
        self._over = True

    def tasks(self, split: str) -> list[Task]:
        if split not in SPLITS:
            raise ConfigError(f"textworld has no split {split!r}. {nearest(split, SPLITS)}")
        number = self.config.train_tasks if split == "train" else self.config.test_tasks
        if self._files is None:
            name = self.config.challenge
            seeds = split_seeds(split, number)
            return [Task("textworld", f"{name}/seed-{seed}", seed, split) for seed in seeds]
        root = Path(self.config.data)
        files = self._files[split][:number]
        return [
            Task("textworld", path.relative_to(root).as_posix(), place, split)
            for place, path in enumerate(files)
        ]

    def reset(self, task: Task) -> Observation:
        path = self._game_file(task)
        if path != self._path:
            self._close()
            self._game, self._path = _start(path), path
        self._game.seed(task.seed + 1)  # of the interpreter; without one it takes the time
        state = self._game.reset()
        self._score, self._highest = 0.0, float(state.max_score or 0) or 1.0
        self._over = False
        text = str(state.feedback)
        goal = str(state.objective or "").strip() if _is_made(path) else ""
        if goal:  # the title and the goal stand before the first room
            text = f"{goal}\n\n{text[max(0, text.find('-= ')) :]}"
        return self._observe(state, text)

    def step(self, action: str) -> Step:
        if self._over:
            return Step(Observation("The game is over."), terminated=True, valid=False)
        # To the interpreter, control characters are keys: some record or crash the game.
        plain = UNPRINTABLE.sub(" ", action[:LONGEST])
        wish = " ".join(read_action(plain, self._listed or ()).split())
        if wish not in (self._listed or ()):
            if not wish or META.fullmatch(wish.lower()):
                return Step(Observation("Not an action.", self._listed), valid=False)
            if SEVERAL.search(wish):
                return Step(Observation("One action at a time.", self._listed), valid=False)
        state, score, done = self._game.step(wish)
        gained, self._score = float(score or 0) - self._score, float(score or 0)
        self._over = bool(done)
        text = str(state.feedback)
        return Step(
            self._observe(state, text),
            gained / self._highest,
            self._over,
            success=bool(state.won),
            valid=not REFUSED.match(text.strip()),
            info={"score": self._score / self._highest},
        )

    def expert(self, task: Task) -> list[str] | None:
        """Return TextWorld's own walkthrough of the game; None if TextWorld has not made it."""
        path = self._game_file(task)
        if not _is_made(path):
            return None
        game = _start(path, policy_commands=True)
        try:
            plan = game.reset().policy_commands
        finally:
            game.close()
        return [str(command) for command in plan] if plan else None

    def close(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._game is not None:
            self._game.close()
        self._game = self._path = None

    def _game_file(self, task: Task) -> Path:
        if self._files is None:
            return make_game(self.config.challenge, self._settings, task.seed)
        return Path(self.config.data) / task.id

    def _observe(self, state: Any, text: str) -> Observation:
        listed = state.admissible_commands
        self._listed = None if listed is None else [] if self._over else sorted(listed)
        lines = [line.rstrip() for line in PROMPT.sub("", text).strip().splitlines()]
        return Observation(re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip(), self._listed)


def _is_made(path: Path) -> bool:
    """Return whether TextWorld has made a game: then its description lies beside it."""
    return path.with_suffix(".json").is_file()


def _start(path: Path, **more: bool) -> Any:
    import textworld
    from jericho import UnsupportedGameWarning

    infos: dict[str, bool] = {"won": True, "lost": True, "score": True, "max_score": True, **more}
    if _is_made(path):
        infos |= {"admissible_commands": True, "objective": True}
    with warnings.catch_warnings():
        # Of games that Jericho does not know, TextWorld's own among them.
        warnings.simplefilter("ignore", UnsupportedGameWarning)
        return textworld.start(str(path), textworld.EnvInfos(**infos))


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    register("textworld", TextWorld)
