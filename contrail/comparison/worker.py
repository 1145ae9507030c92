"""A process of a comparison. It never outlives its parent.

Its standard input is a pipe from the comparison. When the pipe closes, because the comparison was
interrupted or killed, the run is interrupted as if from the keyboard.

    python -m contrail.comparison.worker run CONFIG.yaml DIRECTORY
    python -m contrail.comparison.worker try CONFIG.yaml ...    prepares runs without running them
    python -m contrail.comparison.worker serve FD               forks such processes, see below

The server imports the libraries once, and forks a process for each message that comes over the
socket FD: the arguments as a line of JSON, and three file descriptors, which are the standard
input, the output, and the file for the process's id and later its exit code.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

from contrail.errors import ConfigError, ContrailError
from contrail.runs.interrupt import Interrupted

GIVE_UP = 20.0  # seconds; then it is in no state to answer
LONGEST = 1 << 20  # bytes of a message
COMMAND = (sys.executable, "-m", "contrail.comparison.worker")


def main() -> None:
    """Do what this process's arguments say."""
    command, *arguments = sys.argv[1:]
    if command == "serve":
        command, *arguments = serve(int(arguments[0]))  # returns in the forked processes
    # Started in the background of a shell, it might ignore this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # as the command line does
    try:
        if command == "try":
            attempt([Path(name) for name in arguments])
        else:
            run(Path(arguments[0]), Path(arguments[1]))
    except ContrailError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt as error:
        print(error if isinstance(error, Interrupted) else "interrupted", file=sys.stderr)
        raise SystemExit(error.exit_code if isinstance(error, Interrupted) else 130) from None


def run(config: Path, directory: Path) -> None:
    """Run a configuration to its end and report it, as `contrail run` does.

    Raises:
        ContrailError: something the user can put right.
    """
    from contrail.comparison.share import PATIENCE
    from contrail.registry.plugins import load_plugins
    from contrail.runs.directory import RunDirectory
    from contrail.runs.launch import run_stream
    from contrail.runs.reports import observers_of

    plugins = load_plugins()
    with RunDirectory(directory).locked(PATIENCE):
        pass  # a process of a comparison that was killed may not have noticed yet
    files = run_stream(config, plugins=plugins, out=directory, measured=False)
    observers, missing = observers_of(files.path, [files.path], plugins)
    for line in missing:
        print(f"warning: {line}", file=sys.stderr)
    arguments = {"result": files.read_result(), "directory": str(files.path)}
    observers.report("contrail_report", **arguments)


def attempt(configs: Sequence[Path]) -> None:
    """Prepare each run, up to its first episode.

    Raises:
        ContrailError: a run would refuse its configuration, or they would train unequally long.
    """
    from contrail.compat.loading import load_libraries

    load_libraries()
    from contrail.config import Source, load
    from contrail.registry.plugins import load_plugins
    from contrail.stream.listing import listed

    plugins = load_plugins()
    first: dict[tuple[tuple[str, int], ...], tuple[Path, int]] = {}  # by stream
    for path in configs:
        source = Source(path)
        with source.located():
            config, _ = load(source, (), plugins)
            with listed(config, plugins) as listing:
                from contrail.runs.assemble import prepared  # it takes seconds

                with prepared(config, plugins, listing) as made:
                    updates = sum(stage.updates for stage in made.stages)
        if updates:  # none at all is no training: a reference
            # In another order it is the same stream; a study has several.
            stages = sorted((item.environment.label, item.updates) for item in config.stream)
            other, wanted = first.setdefault(tuple(stages), (path, updates))
            if updates != wanted:
                raise ConfigError(
                    f"{other} and {path} are not comparable: the stages of the first have {wanted} "
                    f"updates in all, and those of the second {updates}. Strategies are compared "
                    "at the same number of updates: have `stages` of the strategy keep it."
                )


def serve(descriptor: int) -> list[str]:
    """Fork a process for each message; returns in that process, with its arguments.

    The server itself ends when the other end of the socket is closed.
    """
    may_fork = _preload()
    wakes, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)  # or it would wake nobody
    running: dict[int, int] = {}  # process id: where to write its exit code
    with socket.socket(fileno=descriptor) as requests:
        while True:
            ready, _, _ = select.select([requests.fileno(), wakes], [], [])
            if wakes in ready:
                os.read(wakes, 4096)
                _tell_ended(running)
            if requests.fileno() not in ready:
                continue
            message, handed, _, _ = socket.recv_fds(requests, LONGEST, 3)
            if not message:
                raise SystemExit
            standard_input, output, status = handed
            process = os.fork()
            if process == 0:
                break
            os.write(status, b"%d\n" % process)
            os.close(standard_input)
            os.close(output)
            running[process] = status
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, handle in enumerate((standard_input, output, output)):
        os.dup2(handle, number)
    for handle in (standard_input, output, status, wakes, wake, *running.values()):
        os.close(handle)
    arguments: list[str] = json.loads(message)
    if not may_fork:
        os.execv(COMMAND[0], [*COMMAND, *arguments])
    return arguments


def _preload() -> bool:
    """Import the libraries of a run; return whether processes may be forked after that.

    Drivers of accelerators, and macOS's libraries, do not work in a forked process; with them,
    processes start afresh.
    """
    before = os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK")
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # so that asking starts no driver
    import torch

    if before is None:
        del os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"]
    if sys.platform != "linux" or torch.accelerator.is_available():
        return False
    from contrail.compat.loading import load_libraries

    load_libraries()
    import contrail.runs.assemble
    import contrail.runs.launch

    del contrail
    return True


def _tell_ended(running: dict[int, int]) -> None:
    """Write the exit codes of the processes that have ended."""
    while running:
        process, status = os.waitpid(-1, os.WNOHANG)
        if process == 0:
            return
        handle = running.pop(process)
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
            os.write(handle, b"%d\n" % os.waitstatus_to_exitcode(status))
        os.close(handle)


def _end_with_parent() -> None:
    with contextlib.suppress(OSError, ValueError):
        while os.read(sys.stdin.fileno(), 1024):
            pass
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    signal.pthread_kill(main_thread, signal.SIGINT)
    threading.Event().wait(GIVE_UP)
    os._exit(130)


if __name__ == "__main__":
    main()
