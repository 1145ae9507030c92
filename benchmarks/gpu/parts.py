"""The parts, and how each is run: in a process of its own, under a time limit."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.gpu.record import Sink
from benchmarks.gpu.settings import Options


@dataclass(frozen=True)
class Part:
    """`what`: module and function. `seconds`: the estimate for a machine that launches slowly."""

    what: str
    seconds: float

    def limit(self, tiny: bool) -> float:
        """Seconds after which it is ended: about twice the estimate."""
        return 600 if tiny else max(8, 2 * self.seconds)


# The most important first, and something of every topic in the first half.
#
# The estimates are what the parts took on an H200 whose CPU launches slowly (docs/gpu.md). Where a
# part was cut there, or changed afterwards, they are guesses: speed.update, speed.step,
# speed.decode_rest, speed.larger, speed.largest and quickstart.
PARTS: Mapping[str, Part] = {
    "right.device": Part("speed:ceilings", 2),
    "right.float32": Part("right:float32", 20),
    "right.bfloat16": Part("right:bfloat16", 45),
    "speed.decode": Part("speed:decode", 20),
    "speed.update": Part("beside_trl:update", 40),
    "speed.step": Part("beside_trl:step", 45),
    "speed.choose": Part("speed:choices", 9),
    "speed.decode_spent": Part("spent:decode", 26),
    "memory.peaks": Part("memory:peaks", 15),
    "quickstart": Part("quickstart:run", 60),
    "right.drift": Part("right:drift", 10),
    "speed.update_spent": Part("spent:update", 17),
    "memory.fits": Part("memory:fits", 25),
    "speed.decode_rest": Part("speed:decode_rest", 40),
    "speed.larger": Part("larger:second", 40),
    "speed.largest": Part("larger:last", 20),
}


@dataclass
class End:
    """How a part ended: "ok", or why not, in a sentence; `trace`: where."""

    ended: str
    seconds: float
    trace: str = ""


def chosen(names: str | None) -> list[str]:
    """Return the parts that the comma-separated names or beginnings of names stand for.

    Raises:
        ValueError: a name that stands for none.
    """
    wanted = [name.strip() for name in names.split(",")] if names else [""]
    found = []
    for name in wanted:
        mine = [part for part in PARTS if not name or part == name or part.startswith(f"{name}.")]
        if not mine:
            raise ValueError(f"there is no part {name!r}; there are: {', '.join(PARTS)}")
        found += mine
    return [part for part in PARTS if part in found]


def start_method(options: Options) -> str:
    """ "fork", which spares each part its imports, unless CUDA cannot be used after it."""
    if not options.on.gpu:
        return "fork"
    child = multiprocessing.get_context("fork").Process(target=_probe)
    child.start()
    child.join(60)
    if child.exitcode == 0:
        return "fork"
    if child.is_alive():
        child.kill()
    print("CUDA does not work in a forked process: parts are spawned", flush=True)
    return "spawn"


def _probe() -> None:
    import torch

    torch.ones(1, device="cuda").add_(1).item()


def run_part(
    name: str, options: Options, file: Path, seconds: float, method: str, fail: bool = False
) -> End:
    """Run a part; its figures are in `file`, however it ends.

    Args:
        name: of the part.
        options: for it.
        file: to which it appends its figures.
        seconds: after which it is ended.
        method: "fork" or "spawn".
        fail: see `Sink`.
    """
    told = file.with_suffix(f".{name}.error")
    told.unlink(missing_ok=True)
    context: Any = multiprocessing.get_context(method)
    child = context.Process(target=_child, args=(name, options, file, told, fail))
    begun = time.monotonic()
    child.start()
    child.join(seconds)
    late = child.is_alive()
    if late:
        _end(child.pid)
        child.join()
    took = time.monotonic() - begun
    if late:
        return End(f"ended by its time limit of {seconds:.0f} s", took)
    if child.exitcode == 0:
        return End("ok", took)
    if told.is_file():
        first, _, trace = told.read_text().partition("\n")
        told.unlink()
        return End(f"failed: {first}", took, trace)
    if child.exitcode < 0:
        return End(f"failed: killed by {signal.Signals(-child.exitcode).name}", took)
    return End(f"failed: exit status {child.exitcode}", took)


def _end(pid: int) -> None:
    """End a child and what it started."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has no group of its own yet
        os.kill(pid, signal.SIGKILL)


def _child(name: str, options: Options, file: Path, told: Path, fail: bool) -> None:
    os.setsid()
    module, _, function = PARTS[name].what.partition(":")
    status = 1
    try:
        part: Callable[[Options, Sink], None] = getattr(
            import_module(f"benchmarks.gpu.{module}"), function
        )
        part(options, Sink(name, file, fail))
        status = 0
    except BaseException as error:  # noqa: BLE001 (whatever it is, it is told)
        message = " ".join(f"{type(error).__name__}: {error}".split())[:600]
        trace = traceback.format_exc()
        told.write_text(f"{message}\n{trace}")
        print(trace, file=sys.stderr, flush=True)
    sys.stdout.flush()
    # After an error of CUDA, an orderly end may hang.
    os._exit(status)
