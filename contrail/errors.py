"""Errors for the user: what is wrong, where, and what to do."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

Key = tuple[str | int, ...]
"""The position of a value in a stream file: ("stream", 0, "updates") is stream.0.updates."""

DEBUG = "CONTRAIL_DEBUG"
"""The environment variable of the debug mode (`contrail --debug`), which worker processes inherit.

It makes contrail print the traceback of every exception of a plugin."""


SHIPPED = ("envs", "plugins", "strategies")
"""Packages of plugins that are installed with contrail."""


class ContrailError(Exception):
    """Something the user can put right. The CLI prints the message alone and exits with 2."""


class ConfigError(ContrailError):
    """A stream file or an override asks for something impossible.

    The code that finds the fault names the key, ("stream", 0, "updates"); the code that has loaded
    the file adds the line (`contrail.config.Source.located`).

    Args:
        message: what is wrong and what to do.
        key: the key at fault; None if the message says everything.
        of_children: the error arises from the values below `key` taken together, so that an
            override of one of them is likelier to blame than the line of `key` in the file.
    """

    def __init__(self, message: str, *, key: Key | None = None, of_children: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.key = key
        self.of_children = of_children
        self.place: str | None = None

    def __str__(self) -> str:
        place = dotted(self.key or ()) if self.place is None else self.place
        return f"{place}: {self.message}" if place else self.message


class PluginError(ContrailError):
    """A plugin could not be loaded, or raised; the message names the plugin."""


class OutputError(ContrailError):
    """Standard output cannot be written, by whoever it was that printed."""


class InvalidAction(Exception):
    """An adapter could not read an action in the model's text.

    The model sees the message in place of an observation: it should say what was expected.
    """


class EnvironmentFault(Exception):
    """The failure of an environment in a worker process: its exception there, or the process's
    death."""


class Raised(Exception):
    """A plugin's code raised `error`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(describe_error(error))
        self.error = error


@contextmanager
def boundary(blame: Callable[[BaseException], Exception] = Raised) -> Iterator[None]:
    """Context manager for code of a plugin: whatever it raises is raised as the result of `blame`.

    That includes exceptions that are no Exception: an asynchronous client raises CancelledError, a
    command-line tool SystemExit. Only Ctrl-C stays Ctrl-C. What the code prints goes to standard
    error: standard output holds contrail's results alone.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except BaseException as error:
        if is_interrupt(error):
            raise
        blamed = blame(error)
        if blamed is error:
            raise
        raise blamed from error


def is_interrupt(error: BaseException) -> bool:
    """Return whether an error is Ctrl-C, alone or, as from a task group, among others."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_interrupt, error.exceptions))
    return isinstance(error, KeyboardInterrupt)


def message_of(error: BaseException) -> str:
    """Return the type and the message of an error, even if the message itself raises.

    In debug mode, also print the traceback of an error of a plugin, once.
    """
    kind = type(error).__name__
    if os.environ.get(DEBUG) and not isinstance(error, ContrailError):
        _print_traceback(error)
    try:
        return f"{kind}: {error}"
    except BaseException as another:
        if is_interrupt(another):
            raise
        return f"{kind} (its message raises {type(another).__name__})"


def _print_traceback(error: BaseException) -> None:
    printed = "_contrail_printed"
    if error.__traceback__ is not None and not getattr(error, printed, False):
        setattr(error, printed, True)
        traceback.print_exception(error)


def describe_error(error: BaseException) -> str:
    """Return the message of a plugin's error, with the plugin's file and line, if any of its own
    are to blame.

    An `EnvironmentFault` is such a message already, from a worker process.
    """
    if isinstance(error, EnvironmentFault):
        return str(error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _own(frame)]
    if isinstance(error, ContrailError) or not frames:
        return message_of(error)
    # The plugin stands first, but for what calls it; after it may come libraries that it calls.
    called = [frame for frame in frames if not _calls_plugins(frame)] or frames
    folder = Path(called[0].filename).parent
    own = [frame for frame in called if Path(frame.filename).is_relative_to(folder)]
    return f"{message_of(error)}; {own[-1].filename} line {own[-1].lineno}"


def _calls_plugins(frame: traceback.FrameSummary) -> bool:
    """Return whether a frame is of the standard library or pluggy, through which plugins are
    called."""
    path = Path(frame.filename)
    if frame.filename.startswith("<frozen"):
        return True
    if "site-packages" in path.parts:
        return "pluggy" in path.parts
    return path.is_relative_to(sysconfig.get_path("stdlib"))


def _own(frame: traceback.FrameSummary) -> bool:
    """Return whether a frame is of contrail itself, and not of a plugin that comes with it."""
    if frame.filename == "<string>":  # what a dataclass is made with
        return True
    try:
        parts = Path(frame.filename).relative_to(Path(__file__).parent).parts
    except ValueError:
        return False
    return parts[0] not in SHIPPED


def dotted(key: Key) -> str:
    """Return a key as the user writes it."""
    return ".".join(str(part) for part in key)


def nearest(name: object, choices: Iterable[object]) -> str:
    """Return the end of an error message that names the choices, the likeliest one first.

    Args:
        name: the name that the user wrote.
        choices: the possible names.
    """
    known = [str(choice) for choice in choices]
    if not known:
        return "There are none to choose from."
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}? Known: {', '.join(known)}."
    return f"Known: {', '.join(known)}."
