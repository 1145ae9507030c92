"""Checks of what the environment does to its surroundings, and how much time it takes."""

from __future__ import annotations

import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from contrail.check.subject import Failed, Subject

PATIENCE = 5.0  # seconds for processes and threads to end in


def randomness(subject: Subject) -> None:
    """The random state of random, numpy and torch, which belongs to others, stays as it is."""
    with untouched("making an instance"), subject.instance() as environment:
        with untouched("tasks"):
            environment.tasks("test")
        for task in subject.tasks:
            walk = subject.walk(environment, task)
            with untouched("reset"):
                next(walk)
            with untouched("step"):
                list(walk)
            with untouched("expert"):
                environment.expert(task)


def closing(subject: Subject) -> None:
    """close() leaves no process and no thread behind, and may be called twice."""
    processes, threads = _running()
    with subject.instance() as one, subject.instance() as other:
        for environment in (one, other):
            list(subject.walk(environment, subject.tasks[0]))
        one.close()
    end = time.monotonic() + PATIENCE
    while True:
        now = _running()
        left = [*(now[0] - processes), *(now[1] - threads)]
        if not left:
            return
        if time.monotonic() > end:
            raise Failed(f"{', '.join(left)} still there. End them in close(), and wait for them.")
        time.sleep(0.05)


def speed(subject: Subject) -> str:
    """How long reset and step take (medians)."""
    reset, step = (1000 * statistics.median(times) for times in (subject.resets, subject.steps))
    return f"reset {reset:.2g} ms, step {step:.2g} ms"


@contextmanager
def untouched(what: str) -> Iterator[None]:
    """Refuse changes of the global random state."""
    before = random_states()
    yield
    for name, state in random_states().items():
        if before.get(name, state) != state:
            raise Failed(
                f"{what} changes the global state of {name}, on which other plugins and training "
                "depend. Use a generator of your own, such as random.Random(task.seed)."
            )


def random_states() -> dict[str, object]:
    states: dict[str, object] = {"random": random.getstate()}
    if "numpy" in sys.modules:
        states["numpy.random"] = repr(sys.modules["numpy"].random.get_state(legacy=False))
    if "torch" in sys.modules:
        states["torch"] = sys.modules["torch"].random.get_rng_state().numpy().tobytes()
    return states


def _running() -> tuple[set[str], set[str]]:
    """The child processes and threads there are, as texts."""
    children = psutil.Process().children(recursive=True)
    processes = set()
    for child in children:
        try:
            if child.status() != psutil.STATUS_ZOMBIE:
                processes.add(f"process {child.pid} ({child.name()})")
        except psutil.NoSuchProcess:
            continue
    threads = {f"thread {thread.ident} ({thread.name})" for thread in threading.enumerate()}
    return processes, threads
