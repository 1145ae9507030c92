"""A Java machine beside this process, for environments whose simulator is written in Java."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import weakref
from typing import Any

from contrail import ContrailError

PATIENCE = 10.0  # seconds that the machine has to end by itself
# One thread is enough for the garbage of one player. Objects have the same hashes in every machine:
# otherwise the order of hash sets, which simulators show or draw from, would change.
OPTIONS = ("-XX:+UseSerialGC", "-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2")


def require(environment: str) -> str:
    """Return the `java` on the PATH.

    Raises:
        ContrailError: there is none; the message says what to install.
    """
    java = shutil.which("java")
    if java is None:
        raise ContrailError(
            f"{environment} needs Java, and no `java` is on the PATH. Install a Java runtime, for "
            "example: apt-get install default-jre-headless"
        )
    return java


class Java:
    """One Java machine, which never outlives this process.

    It ends on `close`, when this object is collected, when Python exits, and, since it reads this
    process's end of a pipe, also when this process is killed.

    Args:
        environment: the name of its environment, for messages.
        jar: the simulator.
        heap: the most memory for its objects, in MB. The process takes another 200 MB or so.
        directory: its working directory, in which it may write; by default a temporary one of its
            own.

    Raises:
        ContrailError: Java is missing, or does not start.
    """

    def __init__(self, environment: str, jar: str, heap: int, directory: str | None = None) -> None:
        from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway

        java = require(environment)
        own = tempfile.TemporaryDirectory(prefix="contrail-java-") if directory is None else None
        try:
            port, token, process = launch_gateway(
                classpath=jar,
                cwd=own.name if own else directory,
                die_on_exit=True,
                enable_auth=True,  # others on this machine could have it run anything
                java_path=java,
                javaopts=[f"-Xmx{heap}m", *OPTIONS],
                return_proc=True,
            )
        except (OSError, ValueError) as error:  # it has not told its port
            raise ContrailError(
                f"{environment}: Java ({java}) does not start. See what `java -version` says; "
                "version 8 or later is needed."
            ) from error
        parameters = GatewayParameters(auto_field=True, port=port, auth_token=token)
        gateway = JavaGateway(gateway_parameters=parameters)
        self._process: subprocess.Popen[bytes] = process
        self._end = weakref.finalize(self, _end, gateway, process, own)
        self.jvm: Any = gateway.jvm

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the machine, and wait for its end. A second call does nothing."""
        self._end()


def _end(
    gateway: Any,
    process: subprocess.Popen[bytes],
    directory: tempfile.TemporaryDirectory[str] | None,
) -> None:
    gateway.close()
    # Or every object of the machine that is collected from now on tries to tell it, and logs that.
    gateway._gateway_client.is_connected = False
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if directory is not None:
        directory.cleanup()
