"""gem: the environments of GEM, a gym for LLM agents (arXiv:2510.01051)."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from contrail import (
    ConfigError,
    ContrailError,
    Environment,
    Observation,
    Step,
    Task,
    hookimpl,
    nearest,
    read_action,
)
from contrail.envs.shared.lent_random import LentRandom
from contrail.envs.shared.nltk_data import missing_data
from contrail.errors import Raised, boundary
from contrail.leaks import seed_tasks

TURNS = 100  # of a game that draws its own limit
LONGEST = 10_000  # characters of an action; the rest of a flood is not played
DONE = "Congratulations"  # how the games begin the text of a solved game
KINDS = {
    "game": "a game",
    "math": "mathematics",
    "code": "programming",
    "eval": "an evaluation set",
}
END = "<｜TERMINAL_STATE｜>"  # noqa: RUF001 (GEM's text after the only answer)


@dataclass
class GemConfig:
    """The keys of gem in stream.yaml."""

    id: str = "game:GuessTheNumber-v0-easy"
    """The id of an environment, such as "game:Sudoku-v0-easy". `contrail environments --search gem`
    lists them."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Further arguments of gem.make, such as {max_number: 100}."""
    train_tasks: int = 500
    """The number of training seeds: 0, 1, 2, 3, 5, 6, ..."""
    test_tasks: int = 100
    """The number of test seeds: every fifth, 4, 9, 14, ..."""
    split_by: str = "seed"
    """What decides whether a task is for training or testing: its "seed", or its "start". The start
    is the first observation; use it if that is the whole start state and seeds may share it: so for
    the sets of questions (math, code, qa, logic, eval). Each start is then one task, and `tasks`
    resets one game per seed."""


class Gem(Environment):
    """An environment of GEM; a task is a seed.

    Actions are free text. GEM reads them in \\boxed{…}: an action without one is put into it. The
    reward is GEM's. A game is solved if it says so; a question, if its reward is 1.
    """

    Config = GemConfig

    @classmethod
    def catalogue(cls) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield GEM's own environments. Its `rg:` are those of the bridge reasoning-gym."""
        _, registry = _gem()
        for name, spec in registry.items():
            kind, _, _ = name.partition(":")
            if kind == "rg":
                continue
            settings = ", ".join(f"{key} {value}" for key, value in spec.kwargs.items())
            by_start = {} if kind == "game" else {"split_by": "start"}
            yield {"id": name, **by_start}, f"GEM, {KINDS.get(kind, 'questions')}: {settings}."

    def __init__(self, config: GemConfig | None = None) -> None:
        super().__init__(config)
        if min(self.config.train_tasks, self.config.test_tasks) < 1:
            raise ConfigError("gem: train_tasks and test_tasks must be 1 or more.")
        self._random = LentRandom()
        self._over = True
        with self._random():
            self._game = _make(self.config)
        single = not self.config.id.startswith("game:")
        self.max_turns = 1 if single else getattr(self._game, "max_turns", None) or TURNS
        if self.config.id.endswith("-random"):
            self.max_turns = TURNS
        self.about_data = f"seeds of {self.config.id}"
        if single and self.config.split_by == "seed":
            self.notes = [
                f"gem: seeds of {self.config.id} draw from one set of questions, so that test "
                "questions may be trained on. Use `split_by: start`."
            ]

    def tasks(self, split: str) -> list[Task]:
        return seed_tasks(self, "gem", split)

    def reset(self, task: Task) -> Observation:
        with self._random():
            seen, info = self._game.reset(seed=task.seed)
        self._over = False
        return _observed(seen, info)

    def step(self, action: str) -> Step:
        if self._over:
            return Step(Observation("The game is over."), terminated=True, valid=False)
        action = action[:LONGEST]
        move = action if "\\boxed" in action else f"\\boxed{{{read_action(action)}}}"
        try:
            with self._random(), boundary():  # games do not expect all that models write
                seen, reward, terminated, truncated, info = self._game.step(move)
        except Raised as raised:
            answer = f"Not a move: {type(raised.error).__name__}."
            return Step(Observation(answer), valid=False)
        self._over = bool(terminated or truncated)
        solved = self._over and (reward >= 1 or str(seen).startswith(DONE))
        return Step(
            _observed(seen, info),
            float(reward),
            bool(terminated),
            bool(truncated),
            success=solved,
            valid=reward >= 0,  # GEM punishes an action that it cannot read, and nothing else
        )


def _observed(seen: Any, info: dict[str, Any]) -> Observation:
    parts = ["" if seen == END else str(seen), str(info.get("suffix") or "")]
    return Observation("\n".join(part.strip() for part in parts if part.strip()) or "Answered.")


def _make(config: GemConfig) -> Any:
    """Return the environment, tried once.

    Raises:
        ContrailError: it cannot be made here.
    """
    make, registry = _gem()
    name = config.id
    if name not in registry:
        raise ConfigError(f"gem: there is no id {name!r}. {nearest(name, registry)[:300]}")
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # nltk tells of its downloads
            game = make(name, **config.kwargs)
            game.reset(seed=0)
    except LookupError as error:
        raise missing_data("gem", name, error) or _unplayable(name, error) from error
    except (OSError, TypeError, ValueError) as error:
        raise _unplayable(name, error) from error
    return game


def _unplayable(name: str, error: Exception) -> ContrailError:
    text = " ".join(str(error).split())
    return ContrailError(
        f"gem: {name} cannot be made here: {text}. Games need no network, for example "
        "game:Sudoku-v0-easy; sets of questions are fetched from the hub."
    )


def _gem() -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return gem.make and the registry. Importing gem sets up logging, which is undone."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    with LentRandom()():
        import gem
        from gem.envs.registration import ENV_REGISTRY
    root.setLevel(level)
    root.handlers[:] = handlers
    return gem.make, ENV_REGISTRY


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    register("gem", Gem)
