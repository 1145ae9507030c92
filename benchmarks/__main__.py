"""The command line: `python -m benchmarks COMMAND`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.workload import QUICK, Settings
from contrail.model.policy import fast_dtype

import torch  # isort: skip


class Command(StrEnum):
    """What is measured."""

    rollout = "rollout"
    update = "update"
    step = "step"
    choose = "choose"
    scaling = "scaling"
    environments = "environments"
    waiting = "waiting"


class Dtype(StrEnum):
    """Of the model's weights."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class Device(StrEnum):
    """Where the model is."""

    cpu = "cpu"
    cuda = "cuda"


app = typer.Typer()


@app.command()
def main(
    command: Command,
    json: Annotated[Path | None, typer.Option(help="Write everything to this file.")] = None,
    quick: Annotated[bool, typer.Option(help="A tiny model and few episodes: a trial.")] = False,
    dtype: Annotated[Dtype, typer.Option(help="auto: the machine's fastest.")] = Dtype.auto,
    device: Annotated[Device, typer.Option()] = Device.cpu,
    model: Annotated[
        str | None, typer.Option(help="smollm2-135m, tiny-random, random-1.5b, or a directory.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    rounds: Annotated[int | None, typer.Option(min=1, help="Of measuring.")] = None,
    tasks: Annotated[int | None, typer.Option(min=1)] = None,
    group: Annotated[int | None, typer.Option(min=2, help="Episodes of each task.")] = None,
    turns: Annotated[int | None, typer.Option(min=2)] = None,
    tokens: Annotated[int | None, typer.Option(min=2, help="Written in each turn.")] = None,
    trl_batch: Annotated[int | None, typer.Option(min=1, help="TRL's micro-batch.")] = None,
    trl_continuous: Annotated[
        bool, typer.Option("--trl-continuous", help="TRL plays with continuous batching.")
    ] = False,
) -> None:
    """Measure contrail beside TRL and check in the same run that both compute the same.

    Ends with 1 where they do not. Times are CPU seconds, on a GPU seconds.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries, about each other
    module = import_module(f"benchmarks.{command}")
    torch.set_num_threads(threads)
    chosen: dict[str, Any] = {
        "model": model,
        "device": str(device),
        "dtype": None if dtype == Dtype.auto else str(dtype),
        "rounds": rounds,
        "tasks": tasks,
        "group": group,
        "turns": turns,
        "tokens": tokens,
        "trl_batch": trl_batch,
        "trl_continuous": trl_continuous,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    defaults = {"dtype": fast_dtype(str(device))} | module.DEFAULTS | (QUICK if quick else {})
    settings = Settings(**defaults | given)
    if settings.episodes % settings.trl_batch:
        raise typer.BadParameter(
            f"--trl-batch {settings.trl_batch} does not divide the {settings.episodes} episodes"
        )
    run: Callable[[Any], Any] = module.run
    report = run(settings)
    if json is not None:
        report.write(json)
    report.show(Console())
    if failed := report.failed():
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
