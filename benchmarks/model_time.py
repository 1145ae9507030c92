"""How much of a step is the model's own work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)


@dataclass
class ModelTime:
    """`seconds` spent inside forwards, backwards and optimizer steps, each counted once."""

    device: str
    seconds: float = 0.0
    _depth: int = 0
    _begun: float = 0.0

    def enter(self, *_: Any) -> None:
        """A model call begins, perhaps within another."""
        if self._depth == 0:
            self._begun = self._now()
        self._depth += 1

    def leave(self, *_: Any) -> None:
        """It ends."""
        self._depth -= 1
        if self._depth == 0:
            self.seconds += self._now() - self._begun

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()


@contextmanager
def model_time(model: torch.nn.Module, device: str) -> Iterator[ModelTime]:
    """Watch a transformers model: its own calls, and those of its decoder and vocabulary head."""
    watched = ModelTime(device)
    parts = {model, *model.children()}
    hooks: list[Any] = [part.register_forward_pre_hook(watched.enter) for part in parts]
    hooks += [part.register_forward_hook(watched.leave, always_call=True) for part in parts]
    hooks.append(register_optimizer_step_pre_hook(watched.enter))
    hooks.append(register_optimizer_step_post_hook(watched.leave))
    backward = torch.autograd.backward

    def timed_backward(*args: Any, **kwargs: Any) -> None:
        watched.enter()
        try:
            backward(*args, **kwargs)
        finally:
            watched.leave()

    torch.autograd.backward = timed_backward
    try:
        yield watched
    finally:
        torch.autograd.backward = backward
        for hook in hooks:
            hook.remove()
