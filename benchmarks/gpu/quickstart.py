"""The quick start on the GPU; with a tiny model, or where SmolLM2 is missing, the smoke example."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gpu.models import smollm2
from benchmarks.gpu.record import Sink
from benchmarks.gpu.settings import Options

RUNS = "Whole runs"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(options: Options, sink: Sink) -> None:
    """Time and R, in fp32 and bf16."""
    model = None if options.tiny else smollm2(options.smollm2)
    name = "smoke.yaml" if model is None else "quickstart.yaml"
    if model is None and not options.tiny:
        sink.add(RUNS, "quickstart.yaml", "R", "SmolLM2-135M is not there: smoke.yaml instead")
    for dtype in options.pick(("float32", "bfloat16"), ("float32",)):
        with tempfile.TemporaryDirectory() as scratch:
            _run(options, sink, model, name, dtype, Path(scratch) / "run")


def _run(
    options: Options, sink: Sink, model: Path | None, name: str, dtype: str, out: Path
) -> None:
    row = f"{name} {dtype}"
    command = [sys.executable, "-m", "contrail", "run", str(EXAMPLES / name)]
    command += [f"device={options.device}", f"dtype={dtype}", "--out", str(out)]
    if model is not None:
        command.append(f"model={model}")
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        told = (done.stderr or done.stdout).strip()[-500:]
        raise RuntimeError(f"{' '.join(command[2:])} ended with {done.returncode}: {told}")
    sink.add(RUNS, row, "seconds", time.perf_counter() - begun)
    sink.add(RUNS, row, "R", json.dumps(json.loads((out / "result.json").read_text())["R"]))
