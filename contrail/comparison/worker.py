"""A run of a comparison, in a process of its own: `contrail`, but it never outlives its parent.

Its standard input is a pipe from the comparison. When that closes, because the comparison was
interrupted or killed, the run is interrupted as if from the keyboard.

    python -m contrail.comparison.worker run CONFIG.yaml --out DIRECTORY
    python -m contrail.comparison.worker try CONFIG.yaml ...    makes what they need, runs nothing
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import contrail.cli.app
from contrail.errors import ContrailError

GIVE_UP = 20.0  # seconds; then it is in no state to answer


def main() -> None:
    """Run `contrail` with this process's arguments, or try configurations."""
    # Started in the background of a shell, it might ignore this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if sys.argv[1] == "try":
        try:
            attempt([Path(name) for name in sys.argv[2:]])
        except ContrailError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
    else:
        contrail.cli.app.main()


def attempt(configs: Sequence[Path]) -> None:
    """Make what each run would make before it plays.

    Raises:
        ContrailError: a run would refuse its configuration.
    """
    from contrail.config import Source, load
    from contrail.registry import load_plugins
    from contrail.stream import listed

    plugins = load_plugins()
    for path in configs:
        source = Source(path)
        with source.located():
            config, _ = load(source, (), plugins)
            with listed(config, plugins) as listing:
                from contrail.runs.assemble import prepared  # it takes seconds

                with prepared(config, plugins, listing):
                    pass


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
