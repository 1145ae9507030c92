"""Calls the hooks of trackers and reports, each plugin by itself: none of them can harm a run.

A plugin that raises is named at once and again at the end, and the run goes on; so it does after a
plugin that takes longer than the time limit, which is interrupted. `failed_hooks.json` in the
directory of the run or the comparison keeps what failed, until a report that failed succeeds.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from contrail.errors import ContrailError, OutputError, describe_error, is_interrupt
from contrail.files import write_atomically
from contrail.hookspecs import REPORTS
from contrail.names import visible
from contrail.registry.plugins import Plugins

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
"""The trackers that ship. They are called in runs whose `trackers` name them."""
DEFAULT_TRACKERS = ("tensorboard",)
FILE = "failed_hooks.json"
LIMIT = "CONTRAIL_HOOK_SECONDS"
"""The environment variable with the time limit of a hook in seconds; 0: none."""
DEFAULT_LIMIT = 600.0
WARN_AFTER = 30.0  # seconds
LONGEST = 1000  # letters of an error
PROBE = 1 << 16  # bytes that a directory must take, to be one that can be written
TOO_LONG = f"it took longer than {{:g}} s ({LIMIT}) and was interrupted"
REPEAT = 10.0  # seconds after which a plugin that survives its interruption is interrupted again

Say = Callable[[str], None]


@dataclass
class Failure:
    """A hook of a plugin that failed."""

    plugin: str
    hook: str
    error: str
    """Of the first time."""
    update: int | None = None
    """The number of updates made before the first time; None for a report."""
    times: int = 1


class HookTimeout(BaseException):
    """A hook took longer than the time limit.

    No Exception, so that a plugin which tries again after any error is interrupted too.
    """


class Observers:
    """The hooks of trackers and reports, for one run or comparison.

    Args:
        plugins: the loaded ones.
        directory: of the run or the comparison.
        say: shows a line to the user.
        trackers: those that the configuration names.
    """

    def __init__(
        self,
        plugins: Plugins,
        directory: Path,
        say: Say | None = None,
        trackers: Sequence[str] = DEFAULT_TRACKERS,
    ) -> None:
        self._plugins = plugins
        self._bypassed = set(TRACKERS) - set(trackers)
        self._file = directory / FILE
        self.warn: Say = say or _print
        self._told: set[str] = set()
        self._interrupted: set[str] = set()
        self.failures = read_failures(directory)
        self.unwritten: list[str] = []
        """A line, if reports of the last call could not write their files into the directory."""

    def call(self, hook: str, **arguments: Any) -> None:
        """Call a hook of each plugin. Nothing but Ctrl-C is raised.

        Raises:
            ContrailError: CONTRAIL_HOOK_SECONDS is no number.
        """
        limit = time_limit()
        end: BaseException | None = None
        unwritten: dict[str, str] = {}
        for plugin, call in self._plugins.each(hook):
            if plugin in self._interrupted | self._bypassed:
                continue
            # Standard output holds the reports alone.
            output = sys.stdout if hook in REPORTS else sys.stderr
            expired = threading.Event()
            error: BaseException | None = None
            try:
                with (
                    contextlib.redirect_stdout(output),
                    _watched(plugin, hook, limit, self.warn, expired),
                ):
                    call(**arguments)
            except BaseException as raised:
                if is_interrupt(raised):
                    raise
                error = raised
            if expired.is_set():
                self._interrupted.add(plugin)
                error = error or HookTimeout(f"{TOO_LONG.format(limit)}, but went on to its end")
            if error is not None and _nobody_reads(error):
                end = error  # as in `contrail report RUN | head`: the others write files
            elif hook in REPORTS and error is not None and (why := self._why_unwritten(error)):
                unwritten[plugin] = why
            elif error is not None:
                text = str(error) if isinstance(error, ContrailError) else describe_error(error)
                text = text.removeprefix(f"plugin {plugin!r} raised in {hook}: ")
                self._failed(plugin, hook, text, arguments)
        self.unwritten = [
            f"{visible(self._file.parent)} cannot be written ({why}), so these reports have no "
            f"files there: {', '.join(map(visible, sorted(unwritten)))}."
            for why in list(unwritten.values())[:1]
        ]
        for line in self.unwritten:
            self.warn(f"warning: {line}")
        if end is not None:
            raise end

    def report(self, hook: str, **arguments: Any) -> list[Failure]:
        """Call a hook of reports, and forget those of its failures that an earlier call has left.

        A directory that cannot be written is no failure of a plugin: see `unwritten`.

        Returns:
            The failures of this call.
        """
        before = self.failures
        self.failures = [failure for failure in before if failure.hook != hook]
        self.call(hook, **arguments)
        if self.failures != before and not self.unwritten:
            self._keep()
        return [failure for failure in self.failures if failure.hook == hook]

    def _failed(self, plugin: str, hook: str, error: str, arguments: dict[str, Any]) -> None:
        """Say that a hook has failed, if it is the plugin's first time, and keep it."""
        error = visible(error[:LONGEST]) + " …" * (len(error) > LONGEST)
        if hook in REPORTS or plugin not in self._told:
            self._told.add(plugin)
            rest = "the other reports are made" if hook in REPORTS else "the run goes on"
            self.warn(f"warning: {failure_text(plugin, hook, error)}; {rest}.")
        for failure in self.failures:
            if (failure.plugin, failure.hook) == (plugin, hook):
                failure.times += 1
                break
        else:
            update = None if hook in REPORTS else arguments["run"].update
            self.failures.append(Failure(plugin, hook, error, update))
        self._keep()

    def _why_unwritten(self, error: BaseException) -> str:
        """Return why a report could not write into the directory; "" if that is not its error."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__
        if cause is None:
            return ""
        try:
            with tempfile.TemporaryFile(dir=self._file.parent) as file:
                file.write(bytes(PROBE))
        except OSError as reason:
            return reason.strerror or type(reason).__name__
        return ""

    def _keep(self) -> None:
        content = {"failed": [asdict(failure) for failure in self.failures]}
        try:
            if self.failures:
                write_atomically(self._file, (json.dumps(content, indent=1) + "\n").encode())
            else:
                self._file.unlink(missing_ok=True)
        except OSError as error:
            self.warn(f"warning: {self._file} cannot be written: {error.strerror}.")


def failure_text(plugin: str, hook: str, error: str) -> str:
    """Return a clause that says which plugin failed, and how."""
    return f"plugin {visible(plugin)!r} failed in {hook}: {error}"


def read_failures(directory: Path) -> list[Failure]:
    """Return the failures that `failed_hooks.json` of a run or a comparison keeps."""
    try:
        content = json.loads((directory / FILE).read_text())
        return [Failure(**item) for item in content["failed"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        _print(f"warning: {directory / FILE} cannot be read: {error!r}. It is written anew.")
        return []


def told_of_runs(directories: Sequence[Path]) -> list[str]:
    """Return a line for each plugin and hook that failed in runs of a comparison."""
    found: dict[tuple[str, str], list[tuple[Path, Failure]]] = {}
    for directory in directories:
        for failure in read_failures(directory):
            found.setdefault((failure.plugin, failure.hook), []).append((directory, failure))
    return [
        f"{failure_text(plugin, hook, runs[0][1].error)} ({len(runs)} of {len(directories)} runs; "
        f"the first: {runs[0][0]}). Their results are not affected."
        for (plugin, hook), runs in found.items()
    ]


def told(failures: Sequence[Failure], directory: Path) -> list[str]:
    """Return a line for each plugin that failed: where, how often, and what to do."""
    lines = []
    for plugin in dict.fromkeys(failure.plugin for failure in failures):
        own = [failure for failure in failures if failure.plugin == plugin]
        run = [failure for failure in own if failure.hook not in REPORTS]
        if run:
            first = run[0]
            times = ", ".join(f"{item.hook}: {item.times}" for item in run)
            lines.append(
                f"{failure_text(plugin, first.hook, first.error)} (update {first.update}; failures "
                f"by hook: {times}). What it records of the run is incomplete; the result is not "
                "affected. Correct or remove the plugin before the next run."
            )
        lines += [
            f"{failure_text(plugin, item.hook, item.error)}. The other reports are complete. "
            f"Correct the plugin, then: contrail report {directory}"
            for item in own
            if item.hook in REPORTS
        ]
    return lines


def time_limit() -> float:
    """Return the time limit of a hook in seconds; 0 if there is none.

    Raises:
        ContrailError: CONTRAIL_HOOK_SECONDS is no number.
    """
    text = os.environ.get(LIMIT, "")
    try:
        limit = float(text) if text.strip() else DEFAULT_LIMIT
    except ValueError:
        limit = -1.0
    if not 0 <= limit < threading.TIMEOUT_MAX:
        raise ContrailError(f"{LIMIT} is {text!r}: give seconds, or 0 for no limit.")
    return limit


@contextlib.contextmanager
def _watched(
    plugin: str, hook: str, limit: float, say: Say, expired: threading.Event
) -> Iterator[None]:
    """Context manager around a hook: say that it is slow, and interrupt it at the time limit.

    Raises:
        HookTimeout: it has been interrupted. Only a process's main thread can be, where the system
            has timers; elsewhere the user is told, and has to interrupt the run.
    """
    since = time.strftime("%H:%M:%S")
    done = threading.Event()
    interrupts = limit > 0 and _can_interrupt()
    until = (
        f"it is interrupted after {limit:g} s ({LIMIT})"
        if interrupts
        else "the run waits for it; Ctrl-C interrupts the run, which can go on later"
    )

    def warn() -> None:
        wait = min(WARN_AFTER, limit / 2) if interrupts else WARN_AFTER
        while not done.wait(wait):
            say(f"warning: plugin {visible(plugin)!r} has been in {hook} since {since}; {until}.")
            wait *= 2

    watch = threading.Thread(target=warn, daemon=True)
    watch.start()
    try:
        with _interrupted_after(limit, expired) if interrupts else contextlib.nullcontext():
            yield
    finally:
        done.set()
        watch.join()


def _can_interrupt() -> bool:
    if not hasattr(signal, "setitimer"):
        return False
    main = threading.current_thread() is threading.main_thread()
    # None: a handler that is not Python's, which could not be restored.
    return main and signal.getsignal(signal.SIGALRM) is not None


@contextlib.contextmanager
def _interrupted_after(seconds: float, expired: threading.Event) -> Iterator[None]:
    """Context manager: set `expired` and raise HookTimeout inside after some seconds.

    An exception of a signal handler ends what waits: sleep, a socket, a lock. Native code that does
    not return to Python is not interrupted.
    """
    inside = True

    def expire(number: int, frame: FrameType | None) -> None:
        if inside:
            expired.set()
            raise HookTimeout(TOO_LONG.format(seconds))

    handler = signal.signal(signal.SIGALRM, expire)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, min(seconds, REPEAT))
    begun = time.monotonic()
    try:
        try:
            yield
        finally:
            inside = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:  # somebody else's alarm
            rest = max(left - (time.monotonic() - begun), 1e-6)
            signal.setitimer(signal.ITIMER_REAL, rest, interval)


def _nobody_reads(error: BaseException) -> bool:
    """Return whether standard output cannot be written, or has been closed, where rich ends."""
    closed = isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
    return closed or isinstance(error, OutputError)


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
