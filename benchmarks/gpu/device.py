"""What a GPU can do that a CPU cannot, with the nearest that a CPU has."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import torch

OutOfMemory = torch.OutOfMemoryError


class Device:
    """`name`: "cuda" or "cpu". `gpu`: whether it is the first."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.gpu = name == "cuda"

    def wait(self) -> None:
        """Return when all work is done."""
        if self.gpu:
            torch.cuda.synchronize()

    def clean(self) -> None:
        """Free what nothing refers to, and forget earlier peaks of memory."""
        gc.collect()
        if self.gpu:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> int:
        """Bytes that tensors took at most since `clean`; 0 on a CPU, where nobody counts."""
        return torch.cuda.max_memory_allocated() if self.gpu else 0

    def held(self) -> int:
        """Bytes that tensors take now."""
        return torch.cuda.memory_allocated() if self.gpu else 0

    def seconds(self, work: Callable[[], Any]) -> float:
        """Wall seconds until the work is done."""
        self.wait()
        begun = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - begun

    def captured(self, work: Callable[[], Any]) -> Callable[[], Any]:
        """Return the work as a CUDA graph; on a CPU the work itself.

        It is done a few times first, as CUDA wants it.
        """
        if not self.gpu:
            work()
            return work
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                work()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph.replay

    def describe(self) -> dict[str, str]:
        """Return the device's name and its memory."""
        if not self.gpu:
            return {"device": "cpu"}
        properties = torch.cuda.get_device_properties(0)
        return {
            "device": properties.name,
            "memory": f"{properties.total_memory / 1e9:.1f} GB",
            "compute capability": f"{properties.major}.{properties.minor}",
            "CUDA": str(torch.version.cuda),
        }
