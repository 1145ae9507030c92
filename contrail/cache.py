"""contrail's cache on disk: models, and scores of baselines."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from contrail.compat.torchvision import repair
from contrail.errors import ContrailError

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
