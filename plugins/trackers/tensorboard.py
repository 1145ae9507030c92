"""The course of a run in TensorBoard: `tensorboard --logdir RUN/tensorboard`."""

from __future__ import annotations

import struct
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import contrail
from contrail.names import visible_lines
from contrail.plugins.reports.figures import png
from contrail.plugins.reports.table import markdown
from contrail.plugins.trackers.points import points

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from torch.utils.tensorboard import SummaryWriter

    from contrail import Episode, Run, Scores

REPORT = ".report"
EVERY = 10  # updates: an episode of each environment is kept as text
LONGEST = 4000  # letters of a message

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
def contrail_episodes(run: Run, episodes: Sequence[Episode]) -> None:
    """`episode/<environment>`, every tenth update: an episode as text."""
    if run.update % EVERY:
        return
    writer = _writers[run.directory]
    first = {episode.environment: episode for episode in reversed(episodes)}
    for environment, episode in first.items():
        writer.add_text(f"episode/{environment}", transcript(episode), run.update + 1)
    writer.flush()


@contrail.hookimpl
def contrail_evaluated(run: Run, stage: int, evaluations: dict[str, Scores]) -> None:
    """`evaluate/<environment>/<metric>`, at the update after which it was measured."""
    writer = _writers[run.directory]
    for name, value in points(evaluations).items():
        writer.add_scalar(name, value, run.update)
    writer.flush()


@contrail.hookimpl
def contrail_run_end(run: Run) -> None:
    """Close the writer."""
    _close(run.directory)


@contrail.hookimpl
def contrail_report(result: dict[str, Any], directory: str) -> None:
    """R, as a table and as a heat map, in an event file of its own: a new report replaces it."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.text.metadata import create_summary_metadata
    from tensorboard.util.tensor_util import make_tensor_proto

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
    _replace(Path(directory, "tensorboard"), [table, figure], result["budget"]["updates"])


@contrail.hookimpl
def contrail_comparison(comparison: dict[str, Any], directory: str) -> None:
    """The runs side by side: strategy, order and seed, with their metrics, on the tab HPARAMS."""
    from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

    orders = [" > ".join(order) for order in comparison["orders"]]
    for row in comparison["rows"]:
        settings = {"strategy": row["strategy"], "order": orders[row["order"]], "seed": row["seed"]}
        metrics = {f"metrics/{name}": value for name, value in row["metrics"].items()}
        metrics |= {f"success/{name}": value for name, value in row["success"].items()}
        known = {name: value for name, value in metrics.items() if value is not None}
        experiment = api_pb2.Experiment(
            hparam_infos=[api_pb2.HParamInfo(name=name) for name in settings],
            metric_infos=[
                api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in metrics
            ],
        )
        start = plugin_data_pb2.SessionStartInfo(group_name=Path(row["run"]).name)
        for name, value in settings.items():
            if isinstance(value, str):
                start.hparams[name].string_value = value
            else:
                start.hparams[name].number_value = value
        end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS)
        content = {"experiment": experiment, "session_start_info": start, "session_end_info": end}
        values = [
            _hparams(name, plugin_data_pb2.HParamsPluginData(version=0, **{name: item}))
            for name, item in content.items()
        ]
        values += [_scalar(name, value) for name, value in known.items()]
        _replace(Path(directory, "tensorboard", Path(row["run"]).name), values)


def transcript(episode: Episode) -> str:
    """Return an episode as Markdown that shows it as it is."""
    how = "solved" if episode.success else "not solved"
    lines = [f"{episode.task.id}: {how}, reward {episode.reward:g}, ended by {episode.ended}"]
    messages = [("system", episode.system)] if episode.system else []
    for turn in episode.turns:
        messages += [("user", turn.observation), (f"model, reward {turn.reward:g}", turn.text)]
    for who, text in messages:
        shown = text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
        lines += ["", f"[{who}]", *visible_lines(shown).split("\n")]
    return textwrap.indent("\n".join(lines), "    ", lambda line: True)


def _hparams(name: str, data: Any) -> Summary.Value:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata

    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data.SerializeToString())
    return Summary.Value(tag=f"_hparams_/{name}", metadata=SummaryMetadata(plugin_data=plugin))


def _scalar(name: str, value: float) -> Summary.Value:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary.Value(tag=name, simple_value=value)


def _replace(folder: Path, values: Sequence[Summary.Value], step: int = 0) -> None:
    """Write an event file of a report; it replaces the earlier one."""
    # TensorBoard's own writer: torch's, which imports torch, would make a report slow.
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for old in folder.glob(f"events.*{REPORT}"):
        old.unlink()
    writer = EventFileWriter(str(folder), filename_suffix=REPORT)
    writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
    writer.close()


def _writer(directory: Path, **options: Any) -> SummaryWriter:
    # Imported here, so that loading the plugin costs the command line nothing.
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(directory / "tensorboard"), **options)


def _close(directory: Path) -> None:
    if directory in _writers:
        _writers.pop(directory).close()
