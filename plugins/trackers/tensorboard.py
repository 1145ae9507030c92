"""The course of a run in TensorBoard: `tensorboard --logdir RUN/tensorboard`."""

from __future__ import annotations

import struct
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import contrail
from contrail.plugins.reports.figures import png
from contrail.plugins.reports.table import markdown

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from contrail import Run, Scores

REPORT = ".report"

_writers: dict[Path, SummaryWriter] = {}
"""The open writers, by run directory: the module is the plugin, and runs may live side by side."""


@contrail.hookimpl
def contrail_run_start(run: Run) -> None:
    """Open the writer; hide what a killed run wrote after the checkpoint it goes on from."""
    _close(run.directory)
    # TensorBoard purges the given step too, and the checkpoint's own update will not come again.
    purge = run.update + 1 if run.update else 0
    _writers[run.directory] = writer = _writer(run.directory, purge_step=purge)
    if run.update == 0:
        writer.add_text("config", textwrap.indent(run.config_text, "    "), 0)
    writer.flush()


@contrail.hookimpl
def contrail_update(run: Run, scalars: dict[str, float]) -> None:
    """`train/<name>`, at the update."""
    writer = _writers[run.directory]
    for name, value in scalars.items():
        writer.add_scalar(f"train/{name}", value, run.update)
    writer.flush()


@contrail.hookimpl
def contrail_evaluated(run: Run, stage: int, evaluations: dict[str, Scores]) -> None:
    """`evaluate/<environment>/<metric>`, at the update after which it was measured."""
    writer = _writers[run.directory]
    for environment, evaluation in evaluations.items():
        shown = {"success": evaluation.success, **evaluation.metrics}
        shown |= {
            f"success_by_difficulty/{difficulty}": found["success"]
            for difficulty, found in evaluation.by_difficulty.items()
        }
        for name, value in shown.items():
            if value is not None:
                writer.add_scalar(f"evaluate/{environment}/{name}", value, run.update)
    writer.flush()


@contrail.hookimpl
def contrail_run_end(run: Run) -> None:
    """Close the writer."""
    _close(run.directory)


@contrail.hookimpl
def contrail_report(result: dict[str, Any], directory: str) -> None:
    """R, as a table and as a heat map, in an event file of its own: a new report replaces it."""
    # TensorBoard's own writer: torch's, which imports torch, would make a report slow.
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.text.metadata import create_summary_metadata
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.util.tensor_util import make_tensor_proto

    folder = Path(directory, "tensorboard")
    for old in folder.glob(f"events.*{REPORT}"):
        old.unlink()
    table = Summary.Value(
        tag="R/text_summary",
        metadata=create_summary_metadata(display_name="", description=""),
        tensor=make_tensor_proto([markdown(result)]),
    )
    image = png(result)
    width, height = struct.unpack(">II", image[16:24])  # of the header of a PNG file
    figure = Summary.Value(
        tag="R",
        image=Summary.Image(encoded_image_string=image, width=width, height=height, colorspace=4),
    )
    writer = EventFileWriter(str(folder), filename_suffix=REPORT)
    step = result["budget"]["updates"]
    writer.add_event(
        Event(wall_time=time.time(), step=step, summary=Summary(value=[table, figure]))
    )
    writer.close()


def _writer(directory: Path, **options: Any) -> SummaryWriter:
    # Imported here, so that loading the plugin costs the command line nothing.
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(directory / "tensorboard"), **options)


def _close(directory: Path) -> None:
    if directory in _writers:
        _writers.pop(directory).close()
