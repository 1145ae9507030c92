"""Everything a run keeps on disk: plain files, written whole or not at all.

config.yaml              the resolved configuration; `contrail run config.yaml` repeats the run
result.json, result.csv, R.png
episodes/NNN-train.jsonl.gz, episodes/NNN-evaluate.jsonl.gz
checkpoints/NNN/         after stage NNN: the LoRA as PEFT saves it, and state.json
checkpoints/NNN-UUUUU/   within stage NNN, after UUUUU updates: the optimizer's state as well
tensorboard/
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from contrail.errors import ConfigError, ContrailError
from contrail.files import write_atomically
from contrail.runs.position import Position

if TYPE_CHECKING:
    from contrail.episode import Episode

CARD = "README.md"
STATE = "state.json"
CHECKPOINTS = "checkpoints"


def default_directory(path: Path, overrides: Sequence[str]) -> Path:
    """runs/NAME, or runs/NAME_OVERRIDES: the same command has the same directory."""
    suffix = re.sub(r"[^\w.=+-]+", "_", "_".join(overrides))
    if len(suffix) > 80:
        suffix = hashlib.sha256(suffix.encode()).hexdigest()[:12]
    return Path("runs") / (f"{path.stem}_{suffix}" if suffix else path.stem)


class RunDirectory:
    """One run's files."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def result(self) -> Path:
        """The result; there once the run has ended."""
        return self.path / "result.json"

    @property
    def checkpoint_folder(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def base(self) -> Path:
        """What `contrail compare` has given the run of the base model's evaluation, if anything."""
        return self.checkpoint_folder / "base.json"

    def read_result(self) -> dict[str, Any]:
        """Return the content of result.json.

        Raises:
            ContrailError: there is none, or it cannot be read.
        """
        if not self.path.is_dir():
            raise ContrailError(f"there is no run directory {self.path}. Runs are under runs/.")
        if not self.result.is_file():
            hint = (
                "The run has not ended: the command that started it goes on with it."
                if self.config.is_file()
                else "It is not a run directory."
            )
            raise ContrailError(f"{self.path} holds no result.json. {hint}")
        try:
            result: dict[str, Any] = json.loads(self.result.read_text())
        except (OSError, ValueError) as error:
            raise ContrailError(
                f"{self.result} cannot be read: {error}. Restore it, or remove it: then the "
                "command that started the run makes it again from the last checkpoint."
            ) from error
        return result

    def check_writable(self) -> None:
        """Refuse a place where nothing can be written, before any work is done for it.

        Raises:
            ContrailError: it, or the nearest directory above it, is not a writable directory.
        """
        place = self.path
        try:
            while not place.exists() and place != place.parent:
                place = place.parent
        except OSError as error:  # such as a name that is too long
            reason = error.strerror or error
            raise ContrailError(
                f"--out {self.path}: {reason}. Choose another directory."
            ) from error
        if not place.is_dir():
            raise ContrailError(f"--out {self.path}: {place} is a file. Choose another directory.")
        try:  # asking for permission is not enough: root has it on a read-only disk, and in /proc
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            raise ContrailError(
                f"--out {self.path}: {place} cannot be written to ({error.strerror}). "
                "Choose another."
            ) from error
        if not self.config.is_file() and self.path.is_dir() and _holds_other_files(self.path):
            raise ConfigError(
                f"--out {self.path}: the directory is not empty, and not a run's. Choose another."
            )

    @contextlib.contextmanager
    def locked(self, patience: float = 0.0) -> Iterator[None]:
        """Make the directory and keep other processes out of it.

        Args:
            patience: seconds to wait for another process.

        Raises:
            ContrailError: a run is under way in it, or it cannot be written.
        """
        lock = FileLock(self.path / ".lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=patience)
        except Timeout:
            raise ContrailError(
                f"another process is running in {self.path}. Wait for it, or choose another --out."
            ) from None
        except OSError as error:
            raise ContrailError(
                f"{self.path} cannot be written to ({error.strerror}). Choose another --out."
            ) from error
        try:
            self._sweep()
            yield
        finally:
            lock.release()

    def _sweep(self) -> None:
        """Remove what a killed process was in the middle of writing."""
        places = (".*.??????*", "checkpoints/.*", "checkpoints/*/.state.json.*", "episodes/.*")
        for leftover in [path for place in places for path in self.path.glob(place)]:
            if leftover.is_dir():
                shutil.rmtree(leftover)
            elif not leftover.name.endswith(".lock"):
                leftover.unlink(missing_ok=True)

    def write_config(self, text: str) -> None:
        """Keep the resolved configuration."""
        write_atomically(self.config, text.encode())

    def newest_state(self) -> dict[str, Any]:
        """Return the state of the newest checkpoint that is whole; nothing, if there is none."""
        found = self.last_checkpoint(warn=lambda text: None)
        return {} if found is None else found[1]

    def reopen(self, config: str) -> None:
        """Take the configuration of a run that goes on, and remove the result that it had; its
        checkpoints hold all that it says."""
        self.result.unlink(missing_ok=True)
        self.write_config(config)

    def write_result(self, result: dict[str, Any]) -> None:
        """Keep the result."""
        write_atomically(self.result, (json.dumps(result, indent=1) + "\n").encode())

    def episodes(self, stage: int, kind: str, *, size: int | None = 0) -> EpisodeLog:
        """Return the log of a stage's episodes.

        Args:
            stage: the stage's number.
            kind: "train" or "evaluate".
            size: bytes of it to keep, None for all; what stands after them will be logged again.
        """
        return EpisodeLog(self.log(stage, kind), size)

    def log(self, stage: int, kind: str) -> Path:
        """Where a stage's episodes are logged, or would be."""
        return self.path / "episodes" / f"{stage:03d}-{kind}.jsonl.gz"

    def save_checkpoint(
        self, position: Position, state: dict[str, Any], save_tensors: Callable[[Path], None]
    ) -> Path:
        """Write a checkpoint: the tensors' files, and the state with their checksums."""
        final = self.checkpoint(position)
        partial = final.with_name(f".{position.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_tensors(partial)
        files = [file for file in sorted(partial.iterdir()) if file.is_file()]
        # A run goes on without the card, which says more than runs with equal weights share.
        sums = {file.name: _sha256(file) for file in files if file.name != CARD}
        content = {"stage": position.stage, "update": position.update, "sha256": sums, **state}
        write_state(partial, content)
        for file in partial.iterdir():
            _sync(file)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        _sync(final.parent)
        return final

    def checkpoint(self, position: Position) -> Path:
        """Where the checkpoint of a position is, or would be."""
        return self.checkpoint_folder / position.name

    def checkpoints(self) -> list[tuple[Position, Path]]:
        """Return the checkpoints, the newest last."""
        paths = [path for path in self.checkpoint_folder.glob("[0-9]*") if path.is_dir()]
        named = [(Position.of(path.name), path) for path in paths]
        return sorted((position, path) for position, path in named if position is not None)

    def prune(self, keep: int, now: Position) -> None:
        """Remove the checkpoints after `now`, and of those within stages all but the newest `keep`.

        Later ones are damaged, or of a stage that is trained again: the run has passed them over,
        and the newest one has to be the run's.
        """
        found = self.checkpoints()
        within = [path for position, path in found if position.update and position <= now]
        kept = within[max(0, len(within) - keep) :]
        for position, path in found:
            if position > now or (position.update and path not in kept):
                shutil.rmtree(path)

    def start(self) -> Path | None:
        """Return the checkpoint before any training, if there is one."""
        path = self.checkpoint(Position(0))
        return path if path.is_dir() else None

    def base_evaluation(self) -> dict[str, Any] | None:
        """Return the base model's evaluations, and what they cost, where another run has computed
        them."""
        if not self.base.is_file():
            return None
        given: dict[str, Any] = json.loads(self.base.read_text())
        return given

    def last_checkpoint(
        self,
        warn: Callable[[str], object] | None = None,
        fits: Callable[[dict[str, Any]], bool] = lambda state: True,
    ) -> tuple[Path, dict[str, Any]] | None:
        """Return the newest checkpoint that is whole, with its state, or None.

        Args:
            warn: called with a sentence for each damaged checkpoint that is newer.
            fits: whether a state may be used; may raise DamagedError.

        Raises:
            DamagedError: the newest one is damaged, and there is no `warn`.
        """
        damaged = False
        for _, path in reversed(self.checkpoints()):
            try:
                state = read_checkpoint(path)
                if fits(state):
                    return path, state
            except DamagedError as error:
                if warn is None:
                    raise
                warn(f"warning: {error} It is passed over.")
                damaged = True
        if damaged and warn is not None:
            warn("warning: no checkpoint is whole. The run starts from the beginning.")
        return None


class DamagedError(ContrailError):
    """A checkpoint, or the log that belongs to it, is not as it was written."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state of a checkpoint whose files are all as they were written.

    Raises:
        DamagedError: a file is missing or has changed.
    """
    try:
        state: dict[str, Any] = json.loads((path / STATE).read_text())
        for name, expected in state["sha256"].items():
            if (_own_sum(state) if name == STATE else _sha256(path / name)) != expected:
                raise DamagedError(f"checkpoint {path}: {name} is damaged.")
    except FileNotFoundError as error:
        raise DamagedError(f"checkpoint {path}: {Path(error.filename).name} is missing.") from error
    except OSError as error:  # it may be whole: passed over, it would be made again
        raise ContrailError(f"checkpoint {path} cannot be read: {error}.") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedError(f"checkpoint {path}: {STATE} is damaged.") from error
    return state


def write_state(checkpoint: Path, state: dict[str, Any]) -> None:
    """Write the state of a checkpoint with its own checksum, as `read_checkpoint` reads it."""
    state["sha256"][STATE] = _own_sum(state)
    write_atomically(checkpoint / STATE, (json.dumps(state, indent=1) + "\n").encode())


class EpisodeLog:
    """Episodes as gzipped JSON lines; every `add` is a whole gzip member, so none is ever torn
    but the last.

    Args:
        path: of the file.
        size: bytes of it to keep, None for all; the rest is cut off.
    """

    def __init__(self, path: Path, size: int | None = 0) -> None:
        self._path = path
        path.parent.mkdir(exist_ok=True)
        kept = path.read_bytes()[:size] if size or (size is None and path.is_file()) else b""
        write_atomically(path, kept)

    def arrange(self, environments: Sequence[str]) -> None:
        """Put the episodes of an evaluation in the order of these environments; drop all others.

        Raises:
            DamagedError: the file is not as it was written.
        """
        try:
            lines = gzip.decompress(self._path.read_bytes()).splitlines(keepends=True)
            names = [json.loads(line)["environment"] for line in lines]
        except (EOFError, gzip.BadGzipFile, zlib.error, ValueError, LookupError) as error:
            raise DamagedError(
                f"{self._path} is damaged: {error}. Restore it, or choose another --out."
            ) from error
        ordered = [
            line
            for environment in environments
            for line, name in zip(lines, names, strict=True)
            if name == environment
        ]
        if ordered != lines:
            write_atomically(self._path, gzip.compress(b"".join(ordered), mtime=0))

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._path.stat().st_size

    def add(self, episodes: Sequence[Episode], **context: Any) -> None:
        """Append episodes, each with the same context."""
        lines = [json.dumps({**context, **episode.record()}) + "\n" for episode in episodes]
        with self._path.open("ab") as file:
            file.write(gzip.compress("".join(lines).encode(), mtime=0))
            file.flush()
            os.fsync(file.fileno())  # a checkpoint names its length


def _holds_other_files(directory: Path) -> bool:
    """Return whether there is more than a process leaves that is killed right after it began."""
    names = (item.name for item in directory.iterdir())
    begun = (".config.yaml.", ".plan.json.")
    return any(name != ".lock" and not name.startswith(begun) for name in names)


def _own_sum(state: dict[str, Any]) -> str:
    """The checksum of a state without the one that it holds of itself."""
    files = {name: value for name, value in state["sha256"].items() if name != STATE}
    return hashlib.sha256(json.dumps({**state, "sha256": files}).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
