"""The memory of this process and of its environments' processes."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

import psutil
import torch

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")


def reset_peak() -> bool:
    """Begin to measure the peak anew.

    Returns:
        Whether the system can; if not, the peak remains that since the process began.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        RESET.write_text("5")  # see proc(5)
    except OSError:
        return False
    return True


def peak() -> int:
    """Return the largest resident memory of this process since the last reset, in bytes."""
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
        if found is not None:
            return int(found[1]) * 1024
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def gpu_peak() -> int:
    """Return the largest memory that tensors had on the GPU since the last reset, in bytes."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


def of_children() -> int:
    """Return the resident memory of the processes that this one has started, in bytes."""
    total = 0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += child.memory_info().rss
    return total
