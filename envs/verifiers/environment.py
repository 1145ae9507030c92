"""verifiers: environments that are installed as packages for the library verifiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from contrail.envs.shared.calls import NoCall, describe, read_calls
from contrail.envs.verifiers.loaded import Loaded
from contrail.envs.verifiers.play import Play

LONGEST = 20_000  # characters of a message; the rest of a flood is not given on


@dataclass
class VerifiersConfig:
    """The keys of verifiers in stream.yaml."""

    id: str = ""
    """The name of an environment whose package is installed, as for `vf.load_environment`."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the package's load_environment."""
    train_tasks: int = 500
    """The largest number of training tasks: the first rows of the dataset."""
    test_tasks: int = 100
    """The largest number of test tasks: the first rows of the evaluation dataset; without one,
    every fifth row of the dataset."""
    success_metric: str = ""
    """The name of the reward function or metric that is 1 or more for a solved task. By default,
    the reward decides."""
    success_above: float = 0.99
    """An episode has succeeded if its reward, which the rubric weighs, is above this."""


class Verifiers(Environment):
    """A rollout of verifiers; a task is a row of its dataset.

    The library itself runs the rollout, ends it and scores it. An action is the model's message,
    and an observation is what the library adds to the conversation. Tools are called as
    `name(parameter=value)` or in JSON; any other message is words. The reward is the rubric's, at
    the end.
    """

    Config = VerifiersConfig

    def __init__(self, config: VerifiersConfig | None = None) -> None:
        super().__init__(config)
        if not self.config.id:
            raise ConfigError(
                "verifiers: id is missing. Name an environment whose package is installed, for "
                "example {name: verifiers, id: reasoning-gym-env}."
            )
        if min(self.config.train_tasks, self.config.test_tasks) < 1:
            raise ConfigError("verifiers: train_tasks and test_tasks must be 1 or more.")
        self._loaded: Loaded | None = Loaded.taken(self.config.id, self.config.kwargs)
        self._play = Play(self._loaded)
        self._seen = 0
        self.max_turns = max(self._loaded.limits) if max(self._loaded.limits) > 0 else 20
        self.about_data = f"the dataset of {self.config.id}"

    def tasks(self, split: str) -> list[Task]:
        if split not in SPLITS:
            raise ConfigError(f"verifiers has no split {split!r}. {nearest(split, SPLITS)}")
        loaded = self._environment()
        self.notes = loaded.notes
        most = self.config.train_tasks if split == "train" else self.config.test_tasks
        name = "eval-row" if split == "test" and loaded.has_both else "row"
        return [Task("verifiers", f"{name}-{n}", n, split) for n in list(loaded.rows[split])[:most]]

    def reset(self, task: Task) -> Observation:
        loaded = self._environment()
        row = loaded.rows[task.split][task.seed]
        loaded.limit_turns(self.max_turns)
        self._play.begin(row, task.seed)
        self._seen = 0
        if self._play.over:
            raise ContrailError(f"verifiers: {self.config.id} ends {task.id} before it begins.")
        text = self._news()
        tools = describe(self._play.tools) if self._play.tools else ""
        return Observation("\n\n".join(filter(None, (text, tools))))

    def step(self, action: str) -> Step:
        if self._play.over:
            return Step(Observation("The episode is over."), terminated=True, valid=False)
        action = action[:LONGEST]
        try:
            calls = read_calls(action, self._play.tools) if self._play.tools else []
        except NoCall as problem:
            if not problem.words:
                return Step(Observation(str(problem)), valid=False)
            calls = []
        self._environment().limit_turns(self.max_turns)
        self._seen = len(self._play.prompt) + 1
        self._play.answer(action, calls)
        return self._scored() if self._play.over else Step(Observation(self._news()))

    def finish(self) -> Step | None:
        """Return the reward of a rollout that the library has not ended. It is told that an empty
        message is the last; None if it goes on all the same."""
        if self._play.over:
            return None
        loaded = self._environment()
        loaded.limit_turns(1)
        try:
            self._play.answer("", [])
        finally:
            loaded.limit_turns(self.max_turns)
        return self._scored() if self._play.over else None

    def _scored(self) -> Step:
        """Return the end of a rollout that is over."""
        state = self._play.state
        reward = float(state["reward"] or 0.0)
        ended_by = str(state.get("stop_condition"))
        cut = ended_by == "max_turns_reached" and len(state.get("trajectory") or ()) > 1
        return Step(
            Observation(self._last_words(state) or "The episode is over."),
            reward,
            terminated=not cut,
            truncated=cut,
            success=self._succeeded(state, reward),
            info={name: float(value) for name, value in (state.get("metrics") or {}).items()},
        )

    def close(self) -> None:
        if self._loaded is not None:
            self._play.end()
            self._loaded.give_back()
            self._loaded = None

    def _environment(self) -> Loaded:
        if self._loaded is None:
            raise ContrailError(f"verifiers: {self.config.id} is closed.")
        return self._loaded

    def _succeeded(self, state: Mapping[str, Any], reward: float) -> bool:
        """Whether the task is solved.

        Raises:
            ConfigError: there is no metric of the name that the settings give.
        """
        name = self.config.success_metric
        if not name:
            return bool(reward > self.config.success_above)
        metrics = state.get("metrics") or {}
        if name not in metrics:
            known = nearest(name, metrics)
            raise ConfigError(f"verifiers: {self.config.id} has no metric {name!r}. {known}")
        return float(metrics[name]) >= 1

    def _news(self) -> str:
        """Return what the library has added to the conversation since the last action."""
        prompt = self._play.prompt
        if isinstance(prompt, str):
            return prompt
        return _texts(prompt[self._seen :] if len(prompt) > self._seen else prompt)

    def _last_words(self, state: Mapping[str, Any]) -> str:
        """Return what the library says after the last action."""
        last = state.get("final_env_response")
        if isinstance(last, str):
            return last
        if not isinstance(last, Sequence):
            return ""
        plain = [part if isinstance(part, Mapping) else part.model_dump() for part in last]
        return _texts(plain)


def _texts(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the words of messages.

    Raises:
        ContrailError: one has something else, such as an image.
    """
    found = []
    for message in messages:
        content = message.get("content")
        parts = [content] if isinstance(content, str) else list(content or ())
        for part in parts:
            text = part.get("text") if isinstance(part, Mapping) else part
            if not isinstance(text, str):
                raise ContrailError(f"verifiers: the bridge shows texts, and not {str(part)[:80]}.")
            found.append(text)
    return "\n\n".join(text for text in found if text.strip())


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    register("verifiers", Verifiers)
