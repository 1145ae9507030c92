"""The command line: `python -m benchmarks.gpu`."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import warnings
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

# Before torch is imported: see benchmarks/gpu.sh.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import typer

from benchmarks.gpu.parts import PARTS, End, chosen, run_part, start_method
from benchmarks.gpu.record import markdown, read
from benchmarks.gpu.settings import Options

app = typer.Typer()


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="gpu.json and gpu.md go here.")] = Path("gpu"),
    seconds: Annotated[float, typer.Option(min=1, help="For everything.")] = 480,
    parts: Annotated[
        str | None, typer.Option(help=f"Some of: {', '.join(PARTS)}; or right, speed, memory.")
    ] = None,
    models: Annotated[
        str, typer.Option(help="Shapes of Qwen2.5: 0.5b, 1.5b, 3b, 7b.")
    ] = "0.5b,1.5b,7b",
    smollm2: Annotated[Path | None, typer.Option(help="SmolLM2-135M's directory.")] = None,
    tiny: Annotated[bool, typer.Option(help="On the CPU, a tiny model, little work.")] = False,
    fail: Annotated[
        str | None, typer.Option(hidden=True, help="A part that is made to fail, for tests.")
    ] = None,
    start: Annotated[str | None, typer.Option(hidden=True, help="fork or spawn.")] = None,
) -> None:
    """Measure contrail on a GPU. Ends with 1 if a part failed; the others' figures are kept."""
    begun = time.monotonic()
    try:
        wanted = chosen(parts)
    except ValueError as error:
        raise typer.BadParameter(f"--parts: {error}") from error
    names = ("tiny",) if tiny else tuple(models.split(","))
    out = out.resolve()
    options = Options("cpu" if tiny else "cuda", tiny, names, smollm2, out)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "figures.jsonl"
    file.unlink(missing_ok=True)
    _import_all()
    method = start or start_method(options)
    about = {
        "command": " ".join(["python -m benchmarks.gpu", *sys.argv[1:]]),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "parts are started by": method,
    }
    ends: dict[str, End] = {}
    for name in wanted:
        left = seconds - (time.monotonic() - begun)
        print(f"{name} ({seconds - left:.0f} s of {seconds:.0f})", flush=True)
        if left < 1:
            ends[name] = End("not run: no time was left", 0.0)
        else:
            limit = min(left, PARTS[name].limit(tiny))
            ends[name] = run_part(name, options, file, limit, method, name == fail)
        print(f"{name}: {ends[name].ended} ({ends[name].seconds:.1f} s)", flush=True)
        _write(out, about, ends)
    print((out / "gpu.md").read_text(), flush=True)
    if any(end.ended != "ok" for end in ends.values()):
        raise SystemExit(1)


def _import_all() -> None:
    """Here, once for all the parts' processes. CUDA stays untouched."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries, about each other
    for name in dict.fromkeys(part.what.partition(":")[0] for part in PARTS.values()):
        try:
            import_module(f"benchmarks.gpu.{name}")
        except ImportError as error:  # its parts will fail, and say so
            print(f"benchmarks.gpu.{name}: {error}", file=sys.stderr, flush=True)


def _write(out: Path, about: dict[str, Any], ends: dict[str, End]) -> None:
    figures = read(out / "figures.jsonl")
    told = {name: asdict(end) for name, end in ends.items()}
    values = {"about": about, "parts": told, "figures": [asdict(figure) for figure in figures]}
    (out / "gpu.json").write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    (out / "gpu.md").write_text(markdown(about, figures, told))


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.gpu")
