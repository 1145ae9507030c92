"""An environment: tasks, observations, steps. Environment authors subclass `Environment`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from contrail.values import (
    as_difficulty,
    as_flag,
    as_number,
    as_numbers,
    as_text,
    as_texts,
    as_whole,
)

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True)
class Task:
    """One start state. The same task always starts, and plays, the same episode."""

    environment: str
    id: str
    seed: int
    split: str
    difficulty: str | int | None = None

    def __post_init__(self) -> None:
        """Convert to plain Python values, from whatever library they come."""
        _set(self, "environment", as_text)
        _set(self, "id", as_text)
        _set(self, "seed", as_whole)
        _set(self, "split", as_text)
        _set(self, "difficulty", as_difficulty)


@dataclass(frozen=True)
class Observation:
    """The environment's answer to the model."""

    text: str
    """The text. It does not repeat the actions: the adapter decides whether to show the list."""
    actions: Sequence[str] | None = None
    """The admissible actions, if the environment knows them."""
    show_actions: bool = field(default=True, repr=False)
    """Whether an adapter may show the list. If not, it still may read and choose by it."""

    def __post_init__(self) -> None:
        """Convert to plain Python values, from whatever library they come."""
        _set(self, "text", as_text)
        if self.actions is not None:
            _set(self, "actions", as_texts)
            # A list of its own: what an adapter does to it must not reach the environment's.
            object.__setattr__(self, "actions", list(self.actions))
        _set(self, "show_actions", as_flag)

    @property
    def shown(self) -> Observation:
        """The same as it may be shown: without a list that must not be."""
        return self if self.show_actions else replace(self, actions=None)


@dataclass(frozen=True)
class Step:
    """The result of an action."""

    observation: Observation
    """The environment's answer."""
    reward: float = 0.0
    """A number; the rewards of an episode add up."""
    terminated: bool = False
    """Whether the task itself has ended, successfully or not."""
    truncated: bool = False
    """Whether the environment cut the episode short."""
    success: bool = False
    """Whether the task is solved, which is not the same as `terminated`. An episode counts by its
    last step."""
    valid: bool = True
    """False if the environment refused the action, as it did not understand it or cannot carry it
    out now (counted as an invalid action)."""
    info: Mapping[str, float] = field(default_factory=dict)
    """Further finite numbers by name, for episode metrics and the log of episodes."""

    def __post_init__(self) -> None:
        """Convert to plain Python values, from whatever library they come."""
        _set(self, "reward", as_number)
        for flag in ("terminated", "truncated", "success", "valid"):
            _set(self, flag, as_flag)
        _set(self, "info", as_numbers)


@dataclass
class NoConfig:
    """The settings of an environment, adapter or strategy that has none."""


class Environment(ABC):
    """A text world with tasks. One instance plays one episode at a time.

    Nonsense actions never raise: they cost a step and are answered in words. An exception out of
    `reset` or `step` counts as a fault of the environment and leaves the episode out of training.
    """

    Config: ClassVar[type] = NoConfig
    """A dataclass; its fields are the environment's keys in stream.yaml."""

    system_prompt: str = ""
    """The model's system message: the rules, not the goal."""

    max_turns: int = 20
    """An episode is truncated after this many answers, valid or not. `reset` may set it for its
    task, unless the settings have set it."""

    workers: int = 0
    """The number of worker processes. 0: instances live in contrail's own process. N: each instance
    lives in a worker process of its own, of which there are at most N; for environments that are
    slow (20 ms a step or more) or need a process of their own."""

    step_timeout: float = 300.0
    """In a worker process, a reset or step that takes longer (seconds) is a fault."""

    finishing: tuple[str, ...] = ()
    """Actions by which an agent says that it is done, right or wrong, as regular expressions of the
    whole action; for failure modes."""

    verifying: tuple[str, ...] = ()
    """Actions that check what an agent would otherwise assume, likewise."""

    idle: tuple[str, ...] = ()
    """Actions that change nothing and tell nothing new, likewise."""

    forms: tuple[str, ...] = ()
    """How actions are written, a text each, as in the system prompt: "drop", or with an example of
    the words that follow in braces: "go to {X}", "click[{text}]", "<answer>{words}</answer>". They
    let `shift: {alias: N}` rename the actions."""

    mentions: str = ""
    """A regular expression of actions that observations mention, for `alias`, where a reader could
    not tell them from other words. What is written between signs, and the forms as they stand in
    `forms`, is found without it."""

    about_data: str = ""
    """The source of the tasks, and of further ones: for `contrail environments`."""

    notes: Sequence[str] = ()
    """What a user should know about the tasks before a run, a sentence each: above all, how many
    records of the data are left out, and why. Set it in the constructor or in `tasks`. `contrail
    environments` shows the notes, and a run begins with them."""

    @classmethod
    def catalogue(cls) -> Iterable[tuple[Mapping[str, Any], str]]:
        """Yield what the environment can play: settings as in stream.yaml, and a line about each.

        `contrail environments --search` looks through it. A bridge yields the games of its library,
        an environment its levels or tasks. It may import the library, and does not make instances.

        Raises:
            ImportError: the library is not installed.
        """
        return ()

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    @abstractmethod
    def tasks(self, split: str) -> list[Task]:
        """Return all tasks of a split ("train" or "test"), in a fixed order.

        No start state is in both splits.
        """

    @abstractmethod
    def reset(self, task: Task) -> Observation:
        """Begin the task, whatever happened before."""

    @abstractmethod
    def step(self, action: str) -> Step:
        """Carry out one action."""

    def game(self, task: Task) -> str | None:
        """Return a name of what the task plays, the same under all settings of the class: a goal, a
        level and its seed.

        Define it if the same game has another id or seed under other settings: contrail refuses a
        stream in which one label tests on a game that another trains on. None, the default: tasks
        with the same id and seed are compared by their first observations.
        """
        return None

    def finish(self) -> Step | None:
        """Return what an episode is worth that contrail ends before the environment does: at
        `max_turns`, for a full context, or after too many invalid answers.

        Define it in an environment that scores an episode only when it ends. The reward is added
        to that of the last turn, and `success` replaces it. The observation is not shown. None, the
        default, changes nothing.
        """
        return None

    def expert(self, task: Task) -> Sequence[str] | None:
        """Return the actions of a good play of the task, or None without an expert."""
        return None

    def close(self) -> None:  # noqa: B027 (most environments have nothing to give back)
        """Give back processes, files and memory."""


def _set(values: object, field: str, convert: Callable[[Any, str], Any]) -> None:
    """Convert a field of a frozen dataclass."""
    value = getattr(values, field)
    converted = convert(value, f"{type(values).__name__}.{field}")
    if converted is not value:
        object.__setattr__(values, field, converted)


# Members that stream.yaml may set for an environment: the allowed values, in words and as a test.
OVERRIDES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "max_turns": ("a whole number above 0", lambda value: type(value) is int and value > 0),
    "workers": ("a whole number, 0 or more", lambda value: type(value) is int and value >= 0),
    "step_timeout": (
        "a number of seconds above 0, at most a day",
        lambda value: type(value) in (int, float) and 0 < value <= 86_400,
    ),
}
