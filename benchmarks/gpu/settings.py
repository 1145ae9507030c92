"""What all parts are told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.gpu.device import Device

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """`device`: "cuda" or "cpu". `tiny`: a tiny model and little work. `models`: shapes to
    measure, the smallest first. `smollm2`: its directory, if given. `out`: where to write."""

    device: str
    tiny: bool
    models: tuple[str, ...]
    smollm2: Path | None
    out: Path

    @property
    def on(self) -> Device:
        """The device."""
        return Device(self.device)

    @property
    def dtype(self) -> str:
        """In which speed and memory are measured."""
        return self.pick("bfloat16", "float32")

    @property
    def second(self) -> str:
        """The second smallest shape, or the only one."""
        return self.models[min(1, len(self.models) - 1)]

    def pick(self, usual: T, tiny: T) -> T:
        """One of two sizes."""
        return tiny if self.tiny else usual
