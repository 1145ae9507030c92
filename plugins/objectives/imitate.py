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
            for record in _records(Path(self.config.episodes)):
                # Ids are unique within a split only.
                if not record["success"] or record.get("split", "train") != "train":
                    continue
                if record.get("environment", environment) != environment:
                    others.add(repr(record["environment"]))
                elif record["task"] in known:
                    key = (environment, record["task"])
                    found.setdefault(key, []).append(_moves(record))
            kept[environment] = [task for task in tasks if (environment, task.id) in found]
            if not kept[environment]:
                only = f" It has successful ones of {', '.join(sorted(others))}." * bool(others)
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
            raise ContrailError(
                f"no demonstration of {len(shown)} tasks of "
                f"{', '.join(sorted({task.environment for task in tasks}))} succeeded: they ended "
                f"with {', '.join(how)}. "
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
        raise ConfigError(
            f"{path} is neither a file of episodes nor a run with training episodes.",
            key=("episodes",),
        )
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
            where, what = (f", line {number}", "episode") if number else ("", "file of episodes")
            raise ConfigError(
                f"{file}{where}: it is no {what} as runs write them ({error!r}).", key=("episodes",)
            ) from error


def _checked(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record that has what is needed of it.

    Raises:
        LookupError, TypeError: it has not.
    """
    if not isinstance(record["task"], str) or not isinstance(record["success"], bool):
        raise TypeError("`task` must be text, and `success` true or false")
    for action, text in _moves(record):
        if not isinstance(action, str) or not isinstance(text, str | None):
            raise TypeError("`action` and `text` of a turn must be text")
    return record


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
