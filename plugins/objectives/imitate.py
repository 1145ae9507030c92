"""The objective `imitate`: raise the likelihood of demonstrations."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import contrail
from contrail import ConfigError, ContrailError

if TYPE_CHECKING:
    import torch

Moves = list[tuple[str, str | None]]
ENDS = {
    "gave_up": "the actions ran out before the task was solved",
    "max_turns": "they took more turns than the environment allows",
    "no_expert": "the expert had no play",
    "not_allowed": "the adapter offers or reads an action otherwise than they have it",
    "too_long": "an answer was too long",
}
"""How demonstrations may end, beside the ends of the environment itself."""
UNREADABLE = (*(ValueError, LookupError, TypeError, OSError, EOFError, RecursionError, zlib.error),)


@dataclass
class ImitateConfig:
    """The keys of imitate in stream.yaml."""

    episodes: str | None = field(default=None, metadata={"path": ()})
    """A run directory, or a file of episodes as runs write them (.jsonl or .jsonl.gz), whose
    successful episodes are demonstrated. None for the experts of the environments."""
    learning_rate: float | None = field(default=None, metadata={"min": 0})
    """None for grpo.learning_rate."""


class Imitate(contrail.Objective):
    """Behaviour cloning: the mean log-likelihood of the decisions of successful demonstrations.

    A demonstration is played anew in the environment and rendered through the stage's adapter, so
    the model learns exactly what it would have been shown and what it could have written. One that
    does not succeed teaches nothing.
    """

    Config = ImitateConfig

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.learning_rate = self.config.learning_rate
        self.needs_expert = self.config.episodes is None
        self._recorded: dict[tuple[str, str], list[Moves]] = {}

    def begin(self, learner: contrail.Learner, stage: contrail.StageTasks) -> None:
        """Read the recorded episodes; the stage keeps the tasks that they are of."""
        for environment, found in self._read(stage).items():
            stage.tasks[environment] = found

    def replay(self, learner: contrail.Learner, stage: contrail.StageTasks) -> None:
        """Read those of the earlier stage; its tasks without any will fail."""
        self._read(stage)

    def _read(self, stage: contrail.StageTasks) -> dict[str, list[contrail.Task]]:
        """Read the recorded episodes, if any are to be; return the tasks that they are of, by
        environment.

        Raises:
            ConfigError: there is none of an environment.
        """
        if self.config.episodes is None:
            return {}
        kept = {}
        found: dict[tuple[str, str], list[Moves]] = {}
        for environment, tasks in stage.tasks.items():
            known = {task.id for task in tasks}
            others: set[str] = set()
            unknown: set[str] = set()
            for record in _records(Path(self.config.episodes)):
                # Ids are unique within a split only.
                if not record["success"]:
                    continue
                if record.get("environment", environment) != environment:
                    others.add(repr(record["environment"]))
                elif record.get("split", "train") != "train" or record["task"] not in known:
                    unknown.add(repr(record["task"]))
                else:
                    key = (environment, record["task"])
                    found.setdefault(key, []).append(_moves(record))
            kept[environment] = [task for task in tasks if (environment, task.id) in found]
            if not kept[environment]:
                only = f" It has successful ones of {', '.join(sorted(others))}." * bool(others)
                if unknown:
                    some = ", ".join(sorted(unknown)[:3])
                    only += f" Its tasks {some} are no training tasks of the stage."
                raise ConfigError(
                    f"{self.config.episodes} holds no successful episode of a training task of "
                    f"{environment!r}.{only} Name another file or run, or remove the key.",
                    key=("episodes",),
                )
        self._recorded |= found  # an environment may be that of several stages
        return kept

    def samples(self, learner: contrail.Learner) -> int:
        return 1

    def episodes(
        self, learner: contrail.Learner, tasks: Sequence[contrail.Task], play: contrail.Play
    ) -> list[list[contrail.Episode]]:
        scripts = None
        if self.config.episodes is not None:
            # A strategy may draw tasks of earlier stages; without moves they fail.
            nothing: list[Moves] = [[]]
            scripts = {
                task: self._recorded.get((task.environment, task.id), nothing) for task in tasks
            }
        shown = play.demonstrations(tasks, scripts)
        for environment in {task.environment for task in tasks}:
            if all(item.ended == "no_expert" for item in shown if item.environment == environment):
                raise ContrailError(
                    f"{environment!r} has no expert for any of the tasks that were drawn. The "
                    "objective imitate needs one, or recorded `episodes`."
                )
        if not any(episode.success for episode in shown):
            how = sorted({episode.fault or episode.ended for episode in shown})
            names = ", ".join(sorted({task.environment for task in tasks}))
            count = len({(task.environment, task.id) for task in tasks})
            raise ContrailError(
                f"none of the update's {len(shown)} demonstrations of {count} "
                f"task{'s' * (count > 1)} of {names} succeeded: "
                f"{'; '.join(ENDS.get(item, f'they ended with {item}') for item in how)}. "
                + (
                    "Their answers are longer than the adapter allows: raise its max_new_tokens."
                    if "too_long" in how
                    else "The objective imitate needs an expert, or `episodes`."
                    if self.config.episodes is None
                    else f"Are the episodes in {self.config.episodes} of this environment, with "
                    "these settings?"
                )
            )
        return [[episode] for episode in shown]

    def weights(
        self,
        learner: contrail.Learner,
        groups: Sequence[Sequence[contrail.Episode]],
        minibatches: Sequence[Sequence[int]],
    ) -> list[torch.Tensor]:
        import torch

        episodes = [episode for group in groups for episode in group]
        found = []
        for part in minibatches:
            good = [place for place, index in enumerate(part) if episodes[index].success]
            weights = torch.zeros(len(part))
            weights[good] = learner.environment_weights([episodes[part[place]] for place in good])
            found.append(weights)
        return found

    def sequence_level(self, learner: contrail.Learner) -> bool:
        return False

    def loss(
        self,
        learner: contrail.Learner,
        decisions: contrail.Decisions,
        recorded: contrail.Decisions,
        batch: contrail.Batch,
        final: bool,
    ) -> torch.Tensor:
        weights = batch.weights.to(decisions.logprobs.device).unsqueeze(1)
        counted = decisions.mask * (weights > 0)
        return -(decisions.logprobs * counted * weights).sum() / counted.sum()


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the episodes of a file, or of all files of a run.

    Raises:
        ConfigError: there is no such file, or it holds something else.
    """
    files = [path]
    if path.is_dir():
        files = sorted((path / "episodes").glob("*-train.jsonl.gz"))
    if not files or not files[0].is_file():
        what = "no run with training episodes" if path.exists() else "no such file or directory"
        raise ConfigError(f"{path}: {what}. Check the path.", key=("episodes",))
    for file in files:
        number = 0
        try:
            data = file.read_bytes()
            text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
            # Text in JSON may hold separators that `splitlines` would divide it at.
            for line in text.decode().split("\n"):
                number += 1
                if line.strip():
                    yield _checked(json.loads(line))
        except UNREADABLE as error:
            where = f", line {number}" if number else ""
            raise ConfigError(
                f"{file}{where}: {_reason(error)}. A line is an episode as runs write them: an "
                "object with `task`, `success`, and `turns` with an `action` each.",
                key=("episodes",),
            ) from error


def _reason(error: BaseException) -> str:
    """Return why a line could not be read, without its content."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is no UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON ({error.msg}, column {error.colno})"
    if isinstance(error, _NoEpisode):
        return str(error)
    return f"it cannot be read ({type(error).__name__}: {error!s:.80})"


class _NoEpisode(ValueError):
    """Says what a record lacks."""


def _checked(record: Any) -> dict[str, Any]:
    """Return a record that has what is needed of it.

    Raises:
        _NoEpisode: it has not.
    """
    if not isinstance(record, dict):
        raise _NoEpisode(f"it is {_kind(record)}, no object")
    for key, type_, wanted in (("task", str, "text"), ("success", bool, "true or false")):
        if not isinstance(record.get(key), type_):
            raise _NoEpisode(f"`{key}` must be {wanted}, but is {_kind(record.get(key))}")
    turns = record.get("turns")
    if not isinstance(turns, list):
        raise _NoEpisode(f"`turns` must be a list, but is {_kind(turns)}")
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict) or "action" not in turn:
            raise _NoEpisode(f"turn {number} has no `action`")
        for key in ("action", "text"):
            if not isinstance(turn.get(key), str | None):
                found = _kind(turn[key])
                raise _NoEpisode(f"`{key}` of turn {number} must be text, but is {found}")
    return record


def _kind(value: object) -> str:
    if value is None:
        return "missing or null"
    names = {bool: "true or false", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


def _moves(record: dict[str, Any]) -> Moves:
    """Return the actions of an episode with the words of the model; turns without an action that
    the environment took are left out."""
    return [
        (turn["action"], turn.get("text"))
        for turn in record["turns"]
        if turn["action"] is not None and turn.get("valid", True)
    ]


@contrail.hookimpl
def contrail_objectives(register: Callable[[str, type[contrail.Objective]], None]) -> None:
    register("imitate", Imitate)
