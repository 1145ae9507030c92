"""What a user asks of reports: how much of them, and in which formats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from contrail.errors import ConfigError, nearest

FORMATS = ("png", "pdf", "svg")


@dataclass(frozen=True)
class ReportOptions:
    """The options of `contrail report`."""

    full: bool = False
    """Whether everything is shown, such as the mean R of each strategy of a comparison."""
    formats: tuple[str, ...] = ("png",)
    """The formats of figures: png, pdf, svg."""


def read_formats(text: str) -> tuple[str, ...]:
    """Return the formats that a text such as "png,pdf" names.

    Raises:
        ConfigError: one of them is unknown.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in FORMATS:
            raise ConfigError(f"--figures {text}: {name!r} is no format. {nearest(name, FORMATS)}")
    return names


_options: ContextVar[ReportOptions] = ContextVar("report options")


def report_options() -> ReportOptions:
    """Return the options of the report that is being made."""
    return _options.get(ReportOptions())


@contextmanager
def reporting(full: bool = False, formats: Sequence[str] = ("png",)) -> Iterator[None]:
    """Context manager: reports are made with these options."""
    token = _options.set(ReportOptions(full, tuple(formats)))
    try:
        yield
    finally:
        _options.reset(token)
