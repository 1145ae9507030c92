"""Where the numbers of a run come from: versions, source, dates and hardware, for result.json."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "transformers", "peft", "trl", "avalanche-lib")


def now() -> str:
    """Return the time in UTC, as ISO 8601 writes it, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@functools.cache
def software() -> dict[str, Any]:
    """Return the versions of contrail and its libraries, and the commit of contrail's source."""
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("contrail", *LIBRARIES)},
        },
        **source(Path(__file__).parents[1]),
    }


def source(package: Path) -> dict[str, Any]:
    """Return the git commit of a package's source, and whether its files differ from it.

    Both are None if the package is not a checkout: installed, or without git.
    """
    # A virtual environment inside somebody's repository is not a checkout of that repository.
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return {"commit": None, "modified": None}
    changes = _git(package, "status", "--porcelain", "--untracked-files=no")
    return {
        "commit": _git(package, "rev-parse", "HEAD"),
        "modified": None if changes is None else changes != "",
    }


def hardware(device: str, dtype: str, threads: int) -> dict[str, Any]:
    """Return the machine, and how a run uses it.

    Args:
        device: "auto", "cpu" or "cuda", as configured.
        dtype: "auto", "float32" or "bfloat16", as configured.
        threads: the number of processor threads.
    """
    import psutil
    import torch

    from contrail.model.policy import resolved

    device, dtype = resolved(device, dtype)
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "device": device,
        "dtype": dtype,
        "threads": threads,
    }


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        named = re.search(r"^model name\s*: (.+)$", listing.read_text(), re.MULTILINE)
        if named is not None:
            return named[1].strip()
    return platform.processor() or platform.machine()


def _git(directory: Path, *arguments: str) -> str | None:
    """Return what git prints; None if it fails or does not exist."""
    command = ["git", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
