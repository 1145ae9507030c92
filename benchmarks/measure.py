"""Time and memory of contenders that take turns."""

from __future__ import annotations

import ctypes
import gc
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from contrail.model.policy import fast_dtype

import torch  # isort: skip

CLEAR_HIGH_WATER = "5"  # proc(5): resets the peak resident set size of the process


@dataclass
class Timings:
    """Of one contender, by round: CPU and wall seconds, peak memory in GB (of 1e9 bytes).

    Peak memory is that of the whole process, Python, libraries and model included, while the
    contender ran; on a GPU, what torch had allocated there. None where it cannot be read.
    """

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    peak_gb: list[float | None] = field(default_factory=list)

    def seconds(self, device: str) -> list[float]:
        """By round: CPU seconds, and on a GPU, which works while the CPU waits, wall seconds."""
        return self.wall if device == "cuda" else self.cpu

    def highest(self) -> float | None:
        """Peak memory in GB over all rounds."""
        known = [value for value in self.peak_gb if value is not None]
        return max(known) if known else None


def alternate(
    contenders: Mapping[str, Callable[[], Any]], rounds: int, device: str
) -> tuple[dict[str, Timings], dict[str, Any]]:
    """Run every contender once a round, in an order that turns round every time.

    Returns:
        Timings by name, and what each contender returned in the last round.
    """
    timings = {name: Timings() for name in contenders}
    results: dict[str, Any] = {}
    if device == "cuda":  # the first call of a kernel loads or tunes it
        for contender in contenders.values():
            contender()
    for number in range(rounds):
        for name in list(contenders) if number % 2 == 0 else reversed([*contenders]):
            results[name] = timed(contenders[name], timings[name], device)
    return timings, results


def timed(contender: Callable[[], Any], timings: Timings, device: str) -> Any:
    """Run a contender, add its time and memory to `timings`, return its result."""
    known = _reset_peak(device)
    cpu, wall = _cpu_seconds(), time.perf_counter()
    result = contender()
    if device == "cuda":
        torch.cuda.synchronize()
    timings.wall.append(time.perf_counter() - wall)
    timings.cpu.append(_cpu_seconds() - cpu)
    timings.peak_gb.append(_peak_gb(device) if known else None)
    return result


def ratio(slower: list[float], faster: list[float]) -> float:
    """Return the median over rounds of how many times less the second took."""
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))


def machine(device: str) -> dict[str, Any]:
    """What the figures depend on besides the code."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (cpuinfo.read_text().splitlines() if cpuinfo.is_file() else ())
        if line.startswith("model name")
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cpu_bf16_instructions": fast_dtype("cpu") == "bfloat16",
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "trl", "peft")},
    }


def _cpu_seconds() -> float:
    """CPU seconds of this process and of those of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _reset_peak(device: str) -> bool:
    """Forget earlier peaks of memory; whether that could be done."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return True
    if platform.system() != "Linux":
        return False
    # What others have freed goes back to the system, or it would count for this contender.
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text(CLEAR_HIGH_WATER)
    except OSError:  # some containers forbid it
        return False
    return True


def _peak_gb(device: str) -> float | None:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    return None
