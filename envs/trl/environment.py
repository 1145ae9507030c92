"""trl: classes for `environment_factory` of TRL's GRPOTrainer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from contrail import (
    SPLITS,
    ConfigError,
    ContrailError,
    Environment,
    Observation,
    Step,
    Task,
    hookimpl,
    nearest,
)
from contrail.envs.shared.calls import NoCall, Tool, describe, listed, read_calls
from contrail.envs.shared.lent_random import LentRandom
from contrail.envs.shared.loop import Loop
from contrail.envs.trl.load import load_module, load_rows, member, text_of
from contrail.leaks import seed_tasks, split_rows

NO_TOOL = ("reset", "get_reward")


@dataclass
class TRLConfig:
    """The keys of trl in stream.yaml."""

    module: str = field(default="", metadata={"path": ()})
    """The module of the factory: "package.module", or a file, "wordle.py"."""
    factory: str = ""
    """The name, in the module, of the class or function for `environment_factory`."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the factory, to which TRL itself gives none."""
    rows: str = field(default="", metadata={"path": ()})
    """The rows of the training data, whose columns `reset` is given: a JSON file, or the name, in
    the module, of a list, a Dataset, or a function that returns one. By default, a task is a seed,
    and `reset` is given `seed` if it takes it."""
    test_rows: str = field(default="", metadata={"path": ()})
    """The rows to test on, likewise. By default every fifth of `rows`."""
    reward: list[str] = field(default_factory=list)
    """The names, in the module, of functions for GRPOTrainer's `reward_funcs`. Their values add up,
    also with `get_reward`. By default `get_reward`, or the attribute `reward` at the end."""
    done: str = "done"
    """The attribute that is true when the episode is over, if the class has it. TRL itself ends an
    episode when the model calls no tool."""
    rules: str = ""
    """A text before the list of tools in the system message."""
    train_tasks: int = 500
    """The number of training seeds: 0, 1, 2, 3, 5, 6, ... With `rows`, the largest number."""
    test_tasks: int = 100
    """The number of test seeds: every fifth, 4, 9, 14, ... With `rows`, the largest number."""
    split_by: str = "seed"
    """What decides whether a seed is for training or testing: the "seed", or the "start". The start
    is the first observation; use it if that is the whole start state and seeds may share it."""
    success_above: float = 0.99
    """An episode has succeeded if its reward is above this."""


class TRL(Environment):
    """An object of the factory, as TRL's GRPOTrainer uses it; a task is a row, or a seed.

    An action is a call of a public method, `guess(word="crane")`. Where the class does not say
    itself when it is over, words that are no call end the episode, as in TRL. The reward comes at
    the end, from `get_reward` and the functions in `reward`.
    """

    Config = TRLConfig

    def __init__(self, config: TRLConfig | None = None) -> None:
        super().__init__(config)
        if min(self.config.train_tasks, self.config.test_tasks) < 1:
            raise ConfigError("trl: train_tasks and test_tasks must be 1 or more.")
        self._random = LentRandom()
        self._loop: Loop | None = None
        module = load_module(self.config.module)
        factory = member(module, "factory", self.config.factory)
        with self._random():
            self._object = factory(**self.config.kwargs)
        self._reset_takes = _check(self._object, self.config.factory)
        self._tools = _tools_of(self._object, self.config.factory)
        self._functions = [member(module, "reward", name) for name in self.config.reward]
        self._check_reward()
        self._rows = self._load_rows(module)
        self._listed = listed(self._tools)
        self._ends_itself = self.config.done in dir(self._object)  # without a property's code
        self._over = True
        self.system_prompt = "\n\n".join(filter(None, (self.config.rules, describe(self._tools))))
        self.about_data = f"rows of {self.config.rows}" if self._rows else "seeds"
        if not self._rows and "seed" not in self._reset_takes:
            self.notes = [
                *self.notes,
                f"reset of {self.config.factory} names no seed: a task is a state of the global "
                "generators of random and numpy. What it draws elsewhere is another each time.",
            ]

    def tasks(self, split: str) -> list[Task]:
        if not self._rows:
            return seed_tasks(self, "trl", split)
        if split not in SPLITS:
            raise ConfigError(f"trl has no split {split!r}. {nearest(split, SPLITS)}")
        most = self.config.train_tasks if split == "train" else self.config.test_tasks
        numbers = list(self._rows[split])[:most]
        name = "test-row" if split == "test" and self.config.test_rows else "row"
        return [Task("trl", f"{name}-{number}", number, split) for number in numbers]

    def reset(self, task: Task) -> Observation:
        self._over = True
        self._random.seed(task.seed)
        self._row = dict(self._rows[task.split][task.seed]) if self._rows else {}
        given = self._row if self._rows else {"seed": task.seed} if self._takes("seed") else {}
        with self._random():
            seen = self._wait(self._object.reset(**given))
        prompt = self._row.get("prompt")
        text = text_of(prompt, seen) or self.system_prompt
        self._said: list[dict[str, Any]] = []
        self._over = False
        return Observation(text, self._listed)

    def step(self, action: str) -> Step:
        if self._over:
            return Step(Observation("The episode is over."), terminated=True, valid=False)
        valid = True
        self._said.append({"role": "assistant", "content": action})
        try:
            calls = read_calls(action, self._tools, loose=self._ends_itself)
        except NoCall as problem:
            if problem.words and not self._ends_itself:  # the final answer: TRL ends there, too
                return self._finish("", valid=True)
            calls, texts, valid = [], [str(problem)], False
        else:
            texts = []
        for call in calls:
            text, took = self._call(call.name, call.arguments)
            valid = valid and took
            texts.append(text)
            self._said.append({"role": "tool", "name": call.name, "content": text})
        text = "\n".join(texts)
        if bool(getattr(self._object, self.config.done, False)):
            return self._finish(text, valid)
        return Step(Observation(text, self._listed), valid=valid)

    def finish(self) -> Step:
        """Return the reward: TRL scores a completion wherever it ends."""
        return self._finish("", valid=True)

    def close(self) -> None:
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def _call(self, name: str, arguments: Mapping[str, Any]) -> tuple[str, bool]:
        """Return a tool's answer, and whether it took the call; like TRL, what it raises."""
        try:
            with self._random():
                return str(self._wait(getattr(self._object, name)(**arguments))), True
        except Exception as error:  # noqa: BLE001 (whatever a tool raises is its answer)
            return f"error: {error}"[:1000], False

    def _finish(self, text: str, valid: bool) -> Step:
        self._over = True
        reward = self._reward()
        return Step(
            Observation(text or "The episode is over."),
            reward,
            terminated=True,
            success=reward > self.config.success_above,
            valid=valid,
        )

    def _reward(self) -> float:
        """Return the sum of the rewards, as TRL computes it for one completion.

        Raises:
            ContrailError: a function gives no number.
        """
        values: list[Any] = []
        with self._random():
            if hasattr(self._object, "get_reward"):
                values.append(self._wait(self._object.get_reward()))
            elif not self._functions:
                values.append(self._object.reward)
            columns = {name: [value] for name, value in self._row.items() if name != "prompt"}
            for function in self._functions:
                given = {
                    "prompts": [self._row.get("prompt", "")],
                    "completions": [self._said],
                    "completion_ids": [[]],
                    "environments": [self._object],
                    **columns,
                }
                values.extend(self._wait(function(**given)))
        try:
            return sum(float(value) for value in values if value is not None)
        except (TypeError, ValueError) as error:
            raise ContrailError(
                f"trl: a reward of {self.config.factory} is none: {error}"
            ) from error

    def _wait(self, value: Any) -> Any:
        """Return the value, awaited if it is to be."""
        if not inspect.isawaitable(value):
            return value
        self._loop = self._loop or Loop()

        async def awaited() -> Any:
            return await value

        return self._loop.run(awaited())

    def _takes(self, name: str) -> bool:
        parameters = self._reset_takes.values()
        return name in self._reset_takes or any(
            parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters
        )

    def _check_reward(self) -> None:
        owned = {"get_reward", "reward"} & {*dir(self._object)}
        if not (self._functions or owned):
            raise ConfigError(
                f"trl: {self.config.factory} has no get_reward and no attribute `reward`. Name the "
                "functions that you give to GRPOTrainer as `reward_funcs` in the key `reward`."
            )

    def _load_rows(self, module: Any) -> dict[str, dict[int, Mapping[str, Any]]]:
        """Return the rows of each split by number; {} where tasks are seeds.

        Raises:
            ConfigError: `reset` needs columns, and there are none.
        """
        config = self.config
        if not config.rows:
            if config.test_rows:
                raise ConfigError("trl: test_rows without rows: give the training rows as well.")
            lacking = [
                name
                for name, parameter in self._reset_takes.items()
                if parameter.default is inspect.Parameter.empty
                and parameter.kind
                not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
                and name != "seed"
            ]
            if lacking:
                raise ConfigError(
                    f"trl: reset of {config.factory} needs {', '.join(lacking)}: give rows with "
                    "such columns in the key `rows`."
                )
            return {}
        train = load_rows(module, "rows", config.rows)
        test = load_rows(module, "test_rows", config.test_rows) if config.test_rows else ()
        if config.test_rows and not test:  # every fifth of the training rows would take their place
            raise ConfigError(f"trl: test_rows: {config.test_rows} has no rows.")
        rows, repeats = split_rows(train, test, self._reset_takes)
        for split, known in rows.items():
            if not known:
                raise ConfigError(
                    f"trl: there are no rows for the split {split!r}: 5 different ones are the "
                    "fewest."
                )
        if repeats:
            self.notes = [f"{repeats} rows repeat another, and are left out."]
        return rows


def _check(made: Any, name: str) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of `reset`.

    Raises:
        ConfigError: there is no reset.
    """
    if not callable(getattr(made, "reset", None)):
        raise ConfigError(
            f"trl: {name} makes a {type(made).__name__}, which has no method reset. Name what "
            "GRPOTrainer takes as `environment_factory`."
        )
    return inspect.signature(made.reset).parameters


def _tools_of(made: Any, name: str) -> list[Tool]:
    """Return the public methods as tools, with the schemas that TRL's models see.

    Raises:
        ConfigError: there are none, or one lacks the types or docstring of a tool.
    """
    from transformers.utils.chat_template_utils import get_json_schema

    tools = []
    for method, _ in inspect.getmembers(type(made), predicate=inspect.isfunction):
        if method.startswith("_") or method in NO_TOOL:
            continue
        try:
            tools.append(Tool.of(get_json_schema(getattr(made, method))))
        except Exception as error:  # its own classes of errors, and those of odd annotations
            text = " ".join(str(error).split())
            raise ConfigError(
                f"trl: the method {method} of {name} is no tool: {text} TRL needs a docstring with "
                "`Args:` and a type for each argument."
            ) from error
    if not tools:
        raise ConfigError(f"trl: {name} has no public method beside reset: there is no tool.")
    return tools


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    register("trl", TRL)
