"""contrail's cache on disk: models, scores of baselines, and what environments have computed."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrail.compat.torchvision import repair
from contrail.errors import ContrailError
from contrail.files import write_atomically

_CANNOT_WRITE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EEXIST: "a part of the path is a file",
    errno.ENOENT: "it cannot be made there",
}


def cache() -> Path:
    """Return `$CONTRAIL_CACHE`, else `$XDG_CACHE_HOME/contrail`, else `~/.cache/contrail`."""
    if chosen := os.environ.get("CONTRAIL_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contrail"


def cached(name: str, make: Callable[[Path], None], size: int = 0) -> Path:
    """Return a directory of the cache, and make it if it does not exist.

    A directory in the cache is always whole: it is made under another name and renamed. Of several
    processes, one makes it and the others wait.

    Args:
        name: the directory's path, relative to the cache.
        make: fills the empty directory it is given.
        size: the number of bytes that `make` needs on the disk; checked beforehand.

    Raises:
        ContrailError: the cache cannot be written, or the disk is too full.
    """
    directory = cache() / name
    if directory.is_dir():
        return directory
    from filelock import FileLock

    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(directory.with_name(directory.name + ".lock")):
            if directory.is_dir():
                return directory
            if shutil.disk_usage(directory.parent).free < size:
                raise OSError(errno.ENOSPC, f"{size / 1e6:.0f} MB are needed")
            partial = directory.with_name(f".{directory.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
            try:
                partial.mkdir()
                repair()  # models are made with transformers
                make(partial)
                for file in partial.iterdir():
                    file.chmod(0o644)  # safetensors writes 0600; a cache may be shared
                partial.rename(directory)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        raise ContrailError(
            f"{directory} could not be written: {_CANNOT_WRITE[error.errno]} ({error}). "
            "Make room, or set CONTRAIL_CACHE to another directory."
        ) from error
    return directory


@dataclass(frozen=True)
class FileCache:
    """Values on disk that take long to compute: the `kept` that were used last.

    It never fails. Of several processes that want one value, one computes it and the others wait.
    A damaged file is computed again; where nothing can be written, so is every value.
    """

    folder: str
    """The name of its folder in contrail's cache."""
    kept: int
    """The largest number of files."""
    patience: float = 60.0
    """The number of seconds after which a process no longer waits for another."""

    def get(self, key: str, compute: Callable[[], Any]) -> Any:
        """Return the value of a key.

        Args:
            key: a text with everything that the value depends on, versions of code included.
            compute: makes the value, of what JSON knows: no tuples, keys that are texts.
        """
        from filelock import FileLock, Timeout

        digest = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()
        folder = cache() / self.folder
        file = folder / f"{digest}.json.gz"
        known, value = _read(file, digest)
        if known:
            return value
        with contextlib.ExitStack() as stack:
            # Few locks for all values: two that share one wait for each other in vain, but rarely.
            with contextlib.suppress(OSError, NotImplementedError, Timeout):
                folder.mkdir(parents=True, exist_ok=True)
                lock = FileLock(folder / f"{digest[0]}.lock", self.patience, poll_interval=0.01)
                stack.enter_context(lock)
                known, value = _read(file, digest)
            if not known:
                value = compute()
                self._write(file, digest, value)
        return value

    def _write(self, file: Path, digest: str, value: Any) -> None:
        content = json.dumps({"key": digest, "value": value}).encode()
        with contextlib.suppress(OSError):
            write_atomically(file, gzip.compress(content, mtime=0))
            files = [path for path in file.parent.iterdir() if path.name.endswith(".json.gz")]
            if len(files) > self.kept:
                files.sort(key=lambda path: path.stat().st_mtime)
                for old in files[: len(files) - self.kept]:
                    old.unlink(missing_ok=True)


def _read(file: Path, digest: str) -> tuple[bool, Any]:
    """Return whether a file holds the value of a key, and the value."""
    try:
        content = json.loads(gzip.decompress(file.read_bytes()))
        if content["key"] != digest:
            return False, None
        value = content["value"]
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
        return False, None
    with contextlib.suppress(OSError):
        os.utime(file)  # used now; a cache may belong to somebody else
    return True, value
