"""Errors that plugins' code may raise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Mute(Exception):
    """An error that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Cancelled(BaseException):
    """As trio's, which is no Exception."""


ANYTHING = {
    "value": ValueError("it broke"),
    "cancelled": asyncio.CancelledError("by peer"),
    "exit": SystemExit(3),
    "generator": GeneratorExit(),
    "stop": StopIteration(1),
    "trio": Cancelled(),
    "group": ExceptionGroup("tasks", [ValueError("a"), OSError("b")]),
    "base group": BaseExceptionGroup("tasks", [asyncio.CancelledError()]),
    "mute": Mute(),
}
INTERRUPTS = {
    "Ctrl-C": KeyboardInterrupt(),
    "in a group": BaseExceptionGroup("tasks", [ValueError("a"), KeyboardInterrupt()]),
    "deep": BaseExceptionGroup("a", [BaseExceptionGroup("b", [KeyboardInterrupt()])]),
}


def raises(error: BaseException) -> Callable[..., Any]:
    def call(*_: object) -> Any:
        raise error

    return call
