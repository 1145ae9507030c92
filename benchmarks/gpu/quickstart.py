"""The quick start on the GPU; with a tiny model, or where SmolLM2 is missing, the smoke example."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gpu.models import smollm2
from benchmarks.gpu.record import Sink
from benchmarks.gpu.settings import Options

RUNS = "Whole runs"
UPDATE = re.compile(r"\w+ \d+/\d+: ")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(options: Options, sink: Sink) -> None:
    """Time and R, in fp32, which the example asks for. What is known is told as it goes."""
    model = None if options.tiny else smollm2(options.smollm2)
    name = "smoke.yaml" if model is None else "quickstart.yaml"
    if model is None and not options.tiny:
        sink.add(RUNS, "quickstart.yaml", "R", "SmolLM2-135M is not there: smoke.yaml instead")
    row = f"{name} float32"
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        command = [sys.executable, "-m", "contrail", "run", str(EXAMPLES / name)]
        command += [f"device={options.device}", "dtype=float32", "--out", str(out)]
        if model is not None:
            command.append(f"model={model}")
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line.strip())
            if UPDATE.match(said[-1]):  # the last one stays in the table
                sink.add(RUNS, row, "last update", said[-1].partition(":")[0])
                sink.add(RUNS, row, "seconds until then", time.perf_counter() - begun)
        if process.wait() != 0:
            told = " ".join(said)[-500:]
            raise RuntimeError(f"{' '.join(command[2:])} ended with {process.returncode}: {told}")
        sink.add(RUNS, row, "seconds", time.perf_counter() - begun)
        sink.add(RUNS, row, "R", json.dumps(json.loads((out / "result.json").read_text())["R"]))
