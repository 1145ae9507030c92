"""When a run is saved, what is saved, and how a run goes on from there."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from contrail.config.schema import CheckpointConfig
from contrail.environment import Task
from contrail.errors import ContrailError, PluginError
from contrail.metrics.scores import Scores
from contrail.model.policy import Policy
from contrail.progress.reporter import Reporter
from contrail.runs.card import license_of, model_card
from contrail.runs.composition import Composition
from contrail.runs.directory import DamagedError, EpisodeLog, read_checkpoint, write_state
from contrail.runs.interrupt import Interrupted
from contrail.runs.position import Position
from contrail.runs.result import result_of
from contrail.runs.run import Run
from contrail.runs.state import join, load_tensors, save_tensors, separate_tensors
from contrail.training.learner import Learner

SECONDS = 120.0
"""Between two checkpoints within a stage, if the configuration names no number of updates."""


class Checkpoints:
    """The checkpoints of one run.

    After a stage a checkpoint holds the LoRA and the state of the strategy and of the run; within a
    stage the state of the learner as well. The positions at which a run happens to be saved change
    nothing of its results.
    """

    log_size: int = 0
    """Bytes of the log of the stage under way at the checkpoint that was restored."""

    def __init__(
        self,
        run: Run,
        policy: Policy,
        learner: Learner,
        strategy: Composition,
        reporter: Reporter,
    ) -> None:
        self._run = run
        self._policy = policy
        self._learner = learner
        self._strategy = strategy
        self._reporter = reporter
        self._settings: CheckpointConfig = run.config.checkpoint
        self._saved = time.monotonic()
        self._newest: Position | None = None
        self._learner_state: dict[str, Any] = {}

    def restore(self, updates: Sequence[int]) -> Position | None:
        """Restore the newest checkpoint that is whole; return its position, or None.

        Args:
            updates: of each stage. A checkpoint after a stage that has got more of them since is
                passed over.

        Raises:
            ContrailError: the run was begun by an earlier version of contrail.
        """

        def fits(state: dict[str, Any]) -> bool:
            if "made" not in state:
                raise ContrailError(
                    f"an earlier version of contrail began the run in {self._run.directory}, and "
                    "this one cannot go on with it. Choose another --out."
                )
            log = self._run.files.log(state["stage"] + 1, "train")
            if state["update"] and (log.stat().st_size if log.is_file() else 0) < state["log_size"]:
                name = Position(state["stage"], state["update"]).name
                raise DamagedError(f"checkpoint {name}: {log} is shorter than it was.")
            if state["stage"] and self._run.config.warmup is not None:
                self._check_warmup(state)
            made = state["made"][: state["stage"]]
            return all(count >= wanted for count, wanted in zip(made, updates, strict=False))

        found = self._run.files.last_checkpoint(self._reporter.say, fits)
        if found is None:
            return None
        path, state = found
        self._restore_policy(path, state)
        self._run.restore(state)
        for row in range(state["stage"] + 1):
            self._run.evaluations[row] |= self._row(row)
        position = Position(state["stage"], state["update"])
        if position.update:
            self._learner_state = join(state["learner"], load_tensors(path))
            self._strategy.pending = [Task(**task) for task in state["drawn"]] or None
            self.log_size = state["log_size"]
        self._newest = position
        self._reporter.say(f"going on from {path}")
        return position

    def _check_warmup(self, state: dict[str, Any]) -> None:
        """Refuse a checkpoint without the policy after the warm-up, with which strategies begin.

        Raises:
            DamagedError: the checkpoint that has it is not whole.
        """
        try:
            read_checkpoint(self._run.files.checkpoint(Position(1)))
        except DamagedError as error:
            name = Position(state["stage"], state["update"]).name
            raise DamagedError(f"checkpoint {name} is of no use: {error}") from error

    def missing(self, environments: Sequence[str]) -> dict[int, list[str]]:
        """Return the environments that rows of R lack, because they were added to a run, by row."""
        rows = enumerate(self._run.evaluations)
        lacking = {row: [name for name in environments if name not in have] for row, have in rows}
        return {row: names for row, names in lacking.items() if names}

    def restore_row(self, row: int) -> None:
        """Restore the policy and the strategy to where they were when a row was evaluated."""
        path = self._run.files.checkpoint(Position(row))
        self._restore_policy(path, read_checkpoint(path))

    @contextmanager
    def at_row(self, row: int) -> Iterator[None]:
        """Context manager: the policy and the strategy are where they were at a row."""
        state = copy.deepcopy(self._strategy.state_dict())
        lora = self._policy.snapshot()
        try:
            self.restore_row(row)
            yield
        finally:
            self._strategy.load_state_dict(state)
            self._policy.load(lora)

    def complete_row(self, row: int) -> None:
        """Write the scores of a row into its checkpoint."""
        path = self._run.files.checkpoint(Position(row))
        state = read_checkpoint(path)
        state["evaluations"][row] = self._run.row_state(row)
        write_state(path, state)

    def _row(self, row: int) -> dict[str, Scores]:
        try:
            scores = read_checkpoint(self._run.files.checkpoint(Position(row)))["evaluations"][row]
        except ContrailError:
            return {}  # the newest state has them, but for environments that were added since
        return {name: Scores.read(record) for name, record in scores.items()}

    def restore_learner(self) -> None:
        """Restore the learner to where it was within the stage. `Learner.begin` has been called."""
        self._learner.load_state_dict(self._learner_state)
        self._learner_state = {}

    def given_row(self) -> dict[str, Scores] | None:
        """Return the base model's scores, if a comparison has copied them from another run."""
        given = self._run.files.base_evaluation()
        if given is None or not set(self._run.environments) <= given["evaluations"][0].keys():
            return None
        self._run.restore(given)
        return self._run.evaluations[0]

    def save(self, position: Position, log_size: int = 0) -> Position:
        """Save the run at a position, unless it has been saved there.

        Args:
            position: where the run stands.
            log_size: bytes of the episode log of the stage under way.
        """
        if position == self._newest:
            return position
        self._run.budget.extra_tokens += self._learner.extra_tokens
        self._learner.extra_tokens = 0
        state: dict[str, Any] = {"strategy": self._strategy.state_dict()}
        if position.update:
            state["learner"] = self._learner.state_dict()
            state["drawn"] = [asdict(task) for task in self._strategy.pending or ()]
        try:
            kept, tensors = separate_tensors(state)
        except TypeError as error:  # the strategies' states have been looked at
            who = f"objective {type(self._learner.objective).__name__}"
            raise PluginError(f"{who}: state_dict: {error}") from error

        def write(directory: Path) -> None:
            try:
                self._policy.save(directory)
                if not position.update:
                    self._write_card(directory, position.stage)
                save_tensors(tensors, directory)
            except SafetensorError as error:  # a full disk, say; it has no error number
                raise ContrailError(
                    f"{directory.parent} cannot be written: {error}. Make room, then give the same "
                    "command: it goes on from the last checkpoint."
                ) from error

        content = {**self._run.state(), **kept, "log_size": log_size}
        self._run.files.save_checkpoint(position, content, write)
        self._run.files.prune(self._settings.keep, position)
        self._newest = position
        self._saved = time.monotonic()
        return position

    def _write_card(self, directory: Path, stage: int) -> None:
        run, base = self._run, self._policy.base_name
        known = license_of(run.config.model, base, run.plugins)
        card = model_card(result_of(run), run.config_text, base, stage, license=known)
        (directory / "README.md").write_text(card)

    def save_if_due(self, position: Position, updates: int, log_size: int) -> None:
        """Save the run within a stage of `updates` updates, if it is time, and at their end."""
        every = self._settings.updates
        if every is None:
            due = time.monotonic() - self._saved >= SECONDS
        else:
            due = position.update % every == 0
        if due or position.update == updates:
            self.save(position, log_size)

    @contextmanager
    def saving(self, position: Position, log: EpisodeLog) -> Iterator[None]:
        """Context manager: if the run is interrupted, save it at the position where it still is."""
        try:
            yield
        except Interrupted:
            if position.update:
                self.save(position, log.size)
            raise

    def _restore_policy(self, path: Path, state: dict[str, Any]) -> None:
        self._strategy.load_state_dict(join(state["strategy"], load_tensors(path)))
        self._policy.restore(path)
