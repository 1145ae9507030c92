"""Kill a run at random instants, and see whether it ends as if nothing had happened.

    python -m benchmarks.kill [--kills 100] [--updates 1] [--seed 0] [--objectives]

Three stages over one environment under two labels, with `replay` (mode episodes) and `ewc`; or,
with `--objectives`, a warm-up and a stage by `imitate`, one by `distill` from teachers, and one by
`gigpo` under the strategy `distill`.

The processes are forked from one that has imported everything, so that the instants fall on what a
run does and not on imports. Exit code 1: a run ended otherwise than the undisturbed one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy

EXAMPLE = Path(__file__).parents[1] / "examples" / "guess.py"

STREAM = """
model: tiny-random
plugins: [guess.py, notes.py]
strategy:
  - {name: replay, mode: episodes}
  - {name: ewc, passes: 64}
stream:
  - environment: {name: guess-number, label: near, max_turns: 2}
    updates: 4
  - environment: {name: guess-number, label: far, max_turns: 3}
    updates: 4
  - environment: {name: guess-number, label: near, max_turns: 2}
    updates: 3
evaluate: {tasks: 4, every: 2}
grpo: {num_generations: 4, generation_batch_size: 8, learning_rate: 1e-2}
"""

OBJECTIVES = """
model: tiny-random
plugins: [notes.py]
strategy: {strategy}
warmup: {{updates: 3, learn: imitate}}
stream:
  - environment: {{name: babyai, label: near, levels: [GoToRedBallNoDists], max_turns: 2}}
    updates: 3
    learn: {first}
  - environment: {{name: babyai, label: far, levels: [GoToLocal], max_turns: 3}}
    updates: 3
    learn: {second}
  - environment: {{name: babyai, label: near, levels: [GoToRedBallNoDists], max_turns: 2}}
    name: again
    updates: 3
    learn: gigpo
evaluate: {{tasks: 4}}
grpo: {{num_generations: 4, generation_batch_size: 8, learning_rate: 1e-2}}
"""

NOTES = '''
"""Notes, beside the run directory, where each process began and how far it came."""
import contrail

def note(run, kind):
    with open(f"{run.directory}.progress", "a") as file:
        file.write(f"{kind} {run.update}\\n")

@contrail.hookimpl
def contrail_run_start(run):
    note(run, "from")

@contrail.hookimpl
def contrail_update(run, scalars):
    note(run, "made")
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--updates", type=int, default=1, help="between checkpoints; 0: default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--objectives", action="store_true", help="imitate, distill and gigpo")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        found = kill_at_random(
            Path(place),
            arguments.kills,
            arguments.updates or None,
            arguments.seed,
            objectives=arguments.objectives,
        )
    print(json.dumps(found))
    sys.exit(1 if found["different"] else 0)


def kill_at_random(
    place: Path, kills: int, updates: int | None, seed: int, *, objectives: bool = False
) -> dict[str, Any]:
    """Kill runs until there have been so many kills; compare each with the undisturbed run.

    Args:
        place: where the runs are made.
        kills: how many, over all runs; up to three a run.
        updates: between two checkpoints within a stage; by default about every two minutes.
        seed: of the instants.
        objectives: whether stages learn by several objectives, not by `grpo` alone.
    """
    from contrail.compat.loading import load_libraries

    load_libraries(quiet=True)
    import contrail.runs.assemble  # noqa: F401  (what the processes need, once)

    stream = write_stream(place, updates, objectives)
    reference = place / "undisturbed"
    begun = time.monotonic()
    end(start(stream, reference), expect=0)
    seconds = time.monotonic() - begun
    rng = numpy.random.default_rng(seed)
    found: dict[str, Any] = {"kills": 0, "runs": 0, "different": [], "lost": 0, "seconds": seconds}
    while found["kills"] < kills:
        run = place / f"run{found['runs']}"
        for _ in range(int(rng.integers(1, 4))):
            process = start(stream, run)
            time.sleep(float(rng.uniform(0, seconds)))
            os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            found["kills"] += os.WIFSIGNALED(status)
        end(start(stream, run), expect=0)
        found["runs"] += 1
        different = differences(run, reference)
        if different:
            found["different"].append({run.name: different})
            shutil.copytree(run, Path(tempfile.mkdtemp(prefix="different-")) / run.name)
        found["lost"] = max(found["lost"], lost(run))
        shutil.rmtree(run)
    return found


def write_stream(place: Path, updates: int | None, objectives: bool = False) -> Path:
    """The stream file, beside its plugins and, with objectives, the run of the teachers."""
    shutil.copy(EXAMPLE, place)
    (place / "notes.py").write_text(NOTES)
    often = "" if updates is None else f"checkpoint: {{updates: {updates}}}\n"
    path = place / "stream.yaml"
    if not objectives:
        path.write_text(STREAM + often)
        return path
    path.write_text(OBJECTIVES.format(strategy="isolated", first="grpo", second="grpo"))
    end(start(path, place / "teachers"), expect=0)
    second = "{name: distill, teachers: teachers}"
    path.write_text(OBJECTIVES.format(strategy="distill", first="imitate", second=second) + often)
    return path


def start(stream: Path, out: Path) -> int:
    """A process that runs the stream; its id."""
    from contrail.runs.launch import run_stream

    process = os.fork()
    if process:
        return process
    code = 1
    try:
        run_stream(stream, out=out, quiet=True)
        code = 0
    finally:
        if code:
            traceback.print_exc()  # the process ends before Python would print it
        os._exit(code)


def end(process: int, expect: int) -> None:
    """Wait for a process."""
    _, status = os.waitpid(process, 0)
    if os.waitstatus_to_exitcode(status) != expect:
        raise RuntimeError(f"the run ended with {os.waitstatus_to_exitcode(status)}")


def differences(run: Path, other: Path) -> list[str]:
    """What differs: everything but seconds, and what TensorBoard has."""
    found = []
    results = [json.loads((path / "result.json").read_text()) for path in (run, other)]
    for result in results:
        del (
            result["name"],
            result["provenance"],
            result["budget"]["cpu_seconds"],
            result["budget"]["wall_seconds"],
        )
    found += [key for key in results[1] if results[0].get(key) != results[1][key]]
    for kind in ("checkpoints/*/*.safetensors", "episodes/*"):
        mine, its = ({p.relative_to(q): p for p in q.glob(kind)} for q in (run, other))
        found += [str(name) for name in mine.keys() ^ its.keys() if "-" not in name.parts[1][:4]]
        found += [str(n) for n in mine.keys() & its.keys() if content(mine[n]) != content(its[n])]
    leftovers = [path for path in run.rglob(".*") if path.name != ".lock"]
    return found + [str(path.relative_to(run)) for path in leftovers]


def content(path: Path) -> bytes:
    """Of a file; of a log, what was logged."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def lost(run: Path) -> int:
    """How many updates were made again after a kill, at most."""
    notes = Path(f"{run}.progress").read_text().splitlines()
    most = made = 0
    for kind, update in (line.split() for line in notes):
        if kind == "from":
            most, made = max(most, made - int(update)), int(update)
        else:
            made = int(update)
    return most


if __name__ == "__main__":
    main()
