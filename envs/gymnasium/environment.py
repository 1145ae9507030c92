"""gymnasium: any gymnasium environment that speaks in text."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from contrail import ConfigError, Environment, Observation, Step, Task, hookimpl, read_action
from contrail.leaks import seed_tasks

COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
COLOURED = re.compile(r"\x1b\[([\d;]*)m(.*?)\x1b\[0?m", re.DOTALL)
TURNS = 50
KNOWN: dict[str, dict[str, Any]] = {
    "FrozenLake": {"actions": ["left", "down", "right", "up"]},
    "CliffWalking": {"actions": ["up", "right", "down", "left"]},
    "Taxi": {
        "actions": ["south", "north", "east", "west", "pickup", "dropoff"],
        "split_by": "start",
    },
}
"""Settings of gymnasium's own text games, which do not name their actions."""
SHOWN = 200  # characters of a refused action that are looked at


@dataclass
class GymnasiumConfig:
    """The keys of gymnasium in stream.yaml."""

    id: str = ""
    """The id for gymnasium.make: "Taxi-v4" or, with the module that registers it,
    "module:Name-v0"."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Further arguments of gymnasium.make."""
    actions: list[str] = field(default_factory=list)
    """The names of a Discrete space's actions, in its order. Required if the environment itself
    does not name them."""
    train_tasks: int = 500
    """The number of training seeds: 0, 1, 2, 3, 5, 6, ..."""
    test_tasks: int = 100
    """The number of test seeds: every fifth, 4, 9, 14, ..."""
    split_by: str = "seed"
    """What decides whether a task is for training or testing: its "seed", or its "start". The start
    is the first observation; use it if that is the whole start state and seeds may share it (as in
    Taxi). Each start is then one task, and `tasks` resets one game per seed."""
    success_above: float = 0.0
    """An episode has succeeded if it terminates with a last reward above this, unless the
    environment's info contains "success" or "is_success"."""


class Gymnasium(Environment):
    """A gymnasium environment; a task is a seed.

    Its text is, in this order of preference: an observation of a text space; the text parts of a
    Dict observation (with its numbers, without its arrays); its rendering in the mode "ansi", in
    which colours become words, "[red S]". Actions are those of a Text space, or the named ones of a
    Discrete space; `action_mask` and `admissible_commands` in its info restrict or list them.
    """

    Config = GymnasiumConfig

    @classmethod
    def catalogue(cls) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield the registered environments that can be rendered as text."""
        import gymnasium
        from gymnasium.envs.registration import load_env_creator

        for name, spec in list(gymnasium.registry.items()):
            maker: Any = spec.entry_point
            if isinstance(maker, str):
                try:
                    maker = load_env_creator(maker)
                except (ImportError, AttributeError, gymnasium.error.Error):
                    continue  # it needs a package that is not installed
            if "ansi" in (getattr(maker, "metadata", None) or {}).get("render_modes", ()):
                about = (inspect.getdoc(maker) or "").split("\n\n")[0]
                yield {"id": name, **KNOWN.get(re.split(r"\d|Sl|-", name)[0], {})}, about

    def __init__(self, config: GymnasiumConfig | None = None) -> None:
        super().__init__(config)
        if not self.config.id:
            raise ConfigError(
                "gymnasium: id is missing. Name an environment, for example "
                "{name: gymnasium, id: Taxi-v4, actions: [south, north, east, west, pickup, "
                "dropoff]}."
            )
        if min(self.config.train_tasks, self.config.test_tasks) < 1:
            raise ConfigError("gymnasium: train_tasks and test_tasks must be 1 or more.")
        self._game = _make(self.config)
        self._renders = self._game.render_mode == "ansi"
        self._names = self._action_names()
        self._listed: Sequence[str] | None = None
        self._last = Observation("")
        self.max_turns = self._game.spec.max_episode_steps or TURNS
        self.about_data = f"seeds of {self.config.id}"

    def tasks(self, split: str) -> list[Task]:
        return seed_tasks(self, "gymnasium", split)

    def reset(self, task: Task) -> Observation:
        self._over = False
        return self._observe(*self._game.reset(seed=task.seed))

    def step(self, action: str) -> Step:
        if self._over:
            return Step(Observation("The episode is over."), terminated=True, valid=False)
        given = self._given(action)
        if given is None:
            return Step(Observation(self._refusal(), self._listed), valid=False)
        seen, reward, terminated, truncated, info = self._game.step(given)
        self._over = bool(terminated or truncated)
        solved = bool(terminated) and float(reward) > self.config.success_above
        for key in ("success", "is_success"):
            solved = bool(info.get(key, solved))
        return Step(
            self._observe(seen, info),
            float(reward),
            bool(terminated),
            bool(truncated),
            solved,
            info={name: float(value) for name, value in info.items() if _is_number(value)},
        )

    def close(self) -> None:
        self._game.close()

    def _action_names(self) -> list[str] | None:
        """Return the names of a Discrete space's actions; None for a Text space.

        Raises:
            ConfigError: it is neither, or has no names.
        """
        from gymnasium import spaces

        space, named = self._game.action_space, self.config.actions
        if isinstance(space, spaces.Text):
            return None
        if not isinstance(space, spaces.Discrete):
            raise ConfigError(
                f"gymnasium: the actions of {self.config.id} are {space}. The bridge takes Text, "
                "or Discrete with names."
            )
        if not named:
            inner = self._game.unwrapped
            if hasattr(inner, "get_action_meanings"):
                named = [str(name) for name in inner.get_action_meanings()]
            else:  # an enumeration, as minigrid has it
                members = sorted(getattr(inner, "actions", ()), key=int)
                named = [getattr(member, "name", "") for member in members]
        if len(named) != space.n or not all(named) or len(set(named)) < len(named):
            raise ConfigError(
                f"gymnasium: {self.config.id} has {space.n} actions without names. Give each one "
                "in the key `actions`, in the order of their numbers."
            )
        return list(named)

    def _given(self, action: str) -> Any:
        """Return the action in gymnasium's form; None if it is no action."""
        if self._names is None:
            words = (action, read_action(action, self._listed or ()))
            return next((text for text in words if self._game.action_space.contains(text)), None)
        action = read_action(action, self._listed or ())
        wish = " ".join(action[:SHOWN].split())
        if len(action) > SHOWN or wish not in (self._listed or ()):
            return None
        return self._game.action_space.start + self._names.index(wish)

    def _refusal(self) -> str:
        if self._listed is None:
            return f"Not an action. Actions are {self._game.action_space}."
        return f"Not an action now. Actions: {', '.join(self._listed)}."

    def _observe(self, seen: Any, info: dict[str, Any]) -> Observation:
        self._listed = info.get("admissible_commands") if self._names is None else self._names
        mask = info.get("action_mask")
        if self._names is not None and mask is not None:
            self._listed = [name for name, can in zip(self._names, mask, strict=True) if can]
        text = _coloured(self._game.render()) if self._renders else _spoken(seen)
        return Observation(text, None if self._listed is None else list(self._listed))


def _make(config: GymnasiumConfig) -> Any:
    """Return the gymnasium environment.

    Raises:
        ConfigError: gymnasium refuses it, or it does not speak.
    """
    import gymnasium

    def make(**more: Any) -> Any:
        try:
            arguments = {"disable_env_checker": True, **config.kwargs, **more}
            return gymnasium.make(config.id, **arguments)
        except ImportError as error:
            raise ConfigError(f"gymnasium: {config.id} needs a package: {error}") from error
        except (gymnasium.error.Error, TypeError, ValueError) as error:
            text = " ".join(str(error).split())
            raise ConfigError(f"gymnasium: {config.id} cannot be made: {text}") from error

    game = make()
    if game.render_mode == "ansi" or _speaks(game.observation_space):
        return game
    modes = game.metadata.get("render_modes") or ()
    space = game.observation_space
    game.close()
    if "ansi" not in modes:
        raise ConfigError(
            f"gymnasium: {config.id} shows {space}, and nothing of it is text. The bridge takes a "
            "Text space, a Dict with one, or what can be rendered in the mode ansi."
        )
    return make(render_mode="ansi")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _speaks(space: Any) -> bool:
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        return any(_speaks(part) for part in space.spaces.values())
    # minigrid's MissionSpace is a text space that does not say so.
    return isinstance(space, spaces.Text) or type(space).__name__.endswith("MissionSpace")


def _spoken(seen: Any) -> str:
    """Return an observation in words: a text, or a mapping's texts and numbers."""
    if isinstance(seen, dict):
        lines = [(name, _spoken(part)) for name, part in seen.items()]
        return "\n".join(f"{name}: {text}" for name, text in lines if text)
    if isinstance(seen, str):
        return seen
    return str(seen) if getattr(seen, "shape", ()) == () else ""


def _coloured(text: Any) -> str:
    """Return a terminal's output, with words in place of colours."""

    def words(match: re.Match[str]) -> str:
        codes = [int(code) for code in match[1].split(";") if code]
        named = [COLOURS[code % 10] for code in codes if code // 10 in (3, 4) and code % 10 < 8]
        return f"[{' '.join(named)} {match[2]}]" if named else match[2]

    return COLOURED.sub(words, str(text)).strip("\n")


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    register("gymnasium", Gymnasium)
