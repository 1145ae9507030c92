"""The worker process of one environment: see remote.py.

Calls (method, *arguments) arrive over the connection to the parent; an `Answer` goes back for each.
"""

from __future__ import annotations

import pickle
import sys
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
    describe_error,
)
from contrail.plugin_files import load_file
from contrail.workers.child import listen
from contrail.workers.remote import GRACE, Answer

Messages = SimpleQueue[bytes | None]


def main() -> None:
    """Answer calls until there are no more."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # as in contrail's own process
    messages: Messages = SimpleQueue()
    _serve(listen(messages.put, GRACE), messages)


def _serve(connection: Connection, messages: Messages) -> None:
    environment: Environment | None = None
    try:
        while (message := messages.get()) is not None:
            try:
                with boundary(_portable):
                    member, *arguments = pickle.loads(message)
                    if member == "start":
                        environment, value = _start(*arguments), None
                    else:
                        value = getattr(environment, member)(*arguments)
                    assert environment is not None
                    done = Answer(
                        value,
                        None,
                        environment.system_prompt,
                        environment.max_turns,
                        tuple(environment.notes),
                    )
                    packed = pickle.dumps(done)
            except (ContrailError, EnvironmentFault) as error:
                packed = pickle.dumps(Answer(error=error))
            try:
                connection.send_bytes(packed)
            except ConnectionError:
                return  # the parent has ended
            if environment is None:
                return
    finally:
        if environment is not None:
            environment.close()


def _start(path: list[str], files: Sequence[str], packed: bytes) -> Environment:
    """Make the instance; `files` are the plugin files that define it."""
    sys.path[:] = path
    for file in files:
        load_file(Path(file))
    environment: Environment = pickle.loads(packed).here()
    return environment


def _portable(error: BaseException) -> Exception:
    """Return the error in a form that can be sent to the parent."""
    if isinstance(error, ContrailError):
        kind = ConfigError if isinstance(error, ConfigError) else PluginError
        return kind(str(error))
    return EnvironmentFault(describe_error(error))


if __name__ == "__main__":
    main()
