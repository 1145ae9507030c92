"""The worker process of one environment, `python -m contrail.workers.worker FD`: see pool.py.

Over the socket FD come calls, (member, argument), and an `Answer` goes back for each. When the
other end is closed, even because its process was killed, this one ends.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

from contrail.environment import Environment
from contrail.errors import (
    ConfigError,
    ContrailError,
    EnvironmentFault,
    PluginError,
    boundary,
    describe,
)
from contrail.registry import load_file
from contrail.workers.pool import GRACE, Answer

Messages = SimpleQueue[bytes | None]


def main() -> None:
    """Answer calls until there are no more."""
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)  # or the environment's own processes keep it open
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # as in contrail's own process
    atexit.register(_end_group)  # first registered, so last called
    connection = Connection(descriptor)
    messages: Messages = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, messages), daemon=True).start()
    _serve(connection, messages)


def _listen(connection: Connection, messages: Messages) -> None:
    """Queue the calls; at their end, see to it that the process ends even amid a step."""
    try:
        while True:
            messages.put(connection.recv_bytes())
    except (EOFError, ConnectionError):
        messages.put(None)
    time.sleep(GRACE)
    _end_group()


def _serve(connection: Connection, messages: Messages) -> None:
    environment: Environment | None = None
    try:
        while (message := messages.get()) is not None:
            try:
                with boundary(_portable):
                    member, argument = pickle.loads(message)
                    if member == "start":
                        environment, value = _start(*argument), None
                    else:
                        value = getattr(environment, member)(argument)
                    assert environment is not None
                    done = Answer(value, None, environment.system_prompt, environment.max_turns)
                    packed = pickle.dumps(done)
            except (ContrailError, EnvironmentFault) as error:
                packed = pickle.dumps(Answer(error=error))
            try:
                connection.send_bytes(packed)
            except ConnectionError:
                return  # nobody is left to tell
            if environment is None:
                return
    finally:
        if environment is not None:
            environment.close()


def _start(path: list[str], files: Sequence[str], packed: bytes) -> Environment:
    """The instance; `files` are the plugin files that define it."""
    sys.path[:] = path
    for file in files:
        load_file(Path(file))
    made: Environment = pickle.loads(packed).here()
    return made


def _portable(error: BaseException) -> Exception:
    """An error that can be sent whatever it refers to."""
    if isinstance(error, ContrailError):
        kind = ConfigError if isinstance(error, ConfigError) else PluginError
        return kind(str(error))
    return EnvironmentFault(describe(error))


def _end_group() -> None:
    """End this process and all that it has started: the environment may have left some behind."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
