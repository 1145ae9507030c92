"""textarena: TextArena's games for one player that need nothing from the network."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
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
from contrail.envs.shared.nltk_data import missing_data
from contrail.leaks import seed_tasks

TURNS = 50
LONGEST = 1000  # characters of an action; the rest of a flood is not played


@dataclass
class TextArenaConfig:
    """The keys of textarena in stream.yaml."""

    id: str = "GuessTheNumber-v0"
    """The TextArena id of a game for one player, such as "TowerOfHanoi-v0"."""
    train_tasks: int = 500
    """The number of training seeds: 0, 1, 2, 3, 5, 6, ..."""
    test_tasks: int = 100
    """The number of test seeds: every fifth, 4, 9, 14, ..."""
    split_by: str = "seed"
    """What decides whether a task is for training or testing: its "seed", or its "start". The start
    is the first observation; use it if that is the whole start state and seeds may share it (as in
    Sokoban). Each start is then one task, and `tasks` resets one game per seed."""


class TextArena(Environment):
    """A game of TextArena; a task is a seed. Actions are free text, such as "[7]".

    The reward is the game's, given at its end; 1 or more is success, a smaller reward measures the
    player's progress. A game with a fixed start, such as TowerOfHanoi-v0, begins the same in every
    task.
    """

    Config = TextArenaConfig

    @classmethod
    def catalogue(cls) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield the games whose source says that they are for one player."""
        import textarena
        from textarena.envs.registration import ENV_REGISTRY

        folder = Path(textarena.__path__[0]).parent
        for name in ENV_REGISTRY:
            spec = ENV_REGISTRY.get(f"{name}-raw")
            if spec is None or name.endswith("-raw"):
                continue
            module, _, game = str(spec.entry_point).partition(":")
            source = folder.joinpath(*module.split(".")).with_suffix(".py")
            if source.is_file() and "SinglePlayerState" in source.read_text("utf-8", "replace"):
                settings = ", ".join(f"{key} {value}" for key, value in spec.kwargs.items())
                about = f"A game of TextArena for one player, {game.removesuffix('Env')}"
                yield {"id": name}, f"{about}: {settings}." if settings else f"{about}."

    def __init__(self, config: TextArenaConfig | None = None) -> None:
        super().__init__(config)
        if min(self.config.train_tasks, self.config.test_tasks) < 1:
            raise ConfigError("textarena: train_tasks and test_tasks must be 1 or more.")
        # TextArena draws from Python's global generator: it is lent a state of this instance's.
        self._random = random.Random(0).getstate()
        with self._lent_random():
            self._game, self._refused = _make(self.config.id)
        self.max_turns = getattr(self._game, "max_turns", None) or TURNS
        self.about_data = f"seeds of {self.config.id}"

    def tasks(self, split: str) -> list[Task]:
        return seed_tasks(self, "textarena", split)

    def reset(self, task: Task) -> Observation:
        with self._lent_random():
            self._game.reset(num_players=1, seed=task.seed)
            return Observation(self._news())

    def step(self, action: str) -> Step:
        # Brackets mark the move in a model's text; a move alone needs none.
        move = action[:LONGEST]
        move = move if "[" in move or "]" in move else f"[{read_action(move)}]"
        with self._lent_random():
            if self._game.state.done:
                return Step(Observation("The game is over."), terminated=True, valid=False)
            try:
                done, _ = self._game.step(move)
            except self._refused as error:
                # Games read moves with int() and the like: some do not expect a model's texts.
                answer = f"Not a move: {type(error).__name__}."
                return Step(Observation(answer), valid=False)
            text = self._news()
            if not done:
                return Step(Observation(text), valid=not self._game.state.error_count)
            rewards, infos = self._game.close()
        reward: Any = rewards[0]
        info = infos[0]
        said = str(info.get("reason") or "")
        if isinstance(reward, str):  # some games give an invalid move's reward and reason swapped
            said, reward = reward, 0.0
        invalid = bool(info.get("invalid_move"))
        return Step(
            Observation("\n".join(filter(None, (text, said))) or "The game is over."),
            float(reward),
            terminated=True,
            success=reward >= 1 and not invalid,
            valid=not invalid,
        )

    def _news(self) -> str:
        """Return the game's output since the last turn, without the player's own words."""
        import textarena

        _, messages = self._game.get_observation()
        own = textarena.ObservationType.PLAYER_ACTION
        return "\n".join(str(text).strip() for _, text, kind in messages if kind != own)

    @contextmanager
    def _lent_random(self) -> Iterator[None]:
        """Let the game draw from this instance's state, and put the global one back."""
        outside = random.getstate()
        random.setstate(self._random)
        try:
            yield
        finally:
            self._random = random.getstate()
            random.setstate(outside)


def _make(name: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """Return the game, tried once, and the exceptions that its step may raise on nonsense.

    Raises:
        ContrailError: no game has this name, or it cannot be played here by one player.
    """
    import textarena
    from textarena.envs.registration import ENV_REGISTRY

    if f"{name}-raw" not in ENV_REGISTRY:
        if name in ENV_REGISTRY:
            raise _unplayable(name, ValueError("it has no variant -raw, which tells only news"))
        known = [other.removesuffix("-raw") for other in ENV_REGISTRY if other.endswith("-raw")]
        raise ConfigError(f"textarena: there is no id {name!r}. {nearest(name, known)[:300]}")
    try:
        game = textarena.make(f"{name}-raw")  # what is new each turn; not all of it again
        game.reset(num_players=1, seed=0)
    except LookupError as error:
        raise missing_data("textarena", name, error) or _unplayable(name, error) from error
    except (AssertionError, ValueError, ImportError, SyntaxError, OSError) as error:
        raise _unplayable(name, error) from error
    if not isinstance(game.state, textarena.SinglePlayerState):
        raise _unplayable(name, ValueError("it is a game for several players"))
    # Some games print comments on a move.
    vars(sys.modules[type(game).__module__])["print"] = lambda *_, **__: None
    return game, (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


def _unplayable(name: str, error: Exception) -> ContrailError:
    text = " ".join(str(error).split())
    if isinstance(error, SyntaxError):
        text = f"this Python cannot read its source ({text}); 3.12 can"
    return ContrailError(
        f"textarena: {name} cannot be played here: {text}. The bridge takes games for one player "
        "that need no service, for example GuessTheNumber-v0, Mastermind-v0 or Sokoban-v0."
    )


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    register("textarena", TextArena)
