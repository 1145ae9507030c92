"""The result of a run, for Python: numbers, episodes, the policy."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from contrail import tables
from contrail.errors import ConfigError, ContrailError, nearest
from contrail.registry.observers import told
from contrail.registry.plugins import Plugins
from contrail.results.shared import pandas_module, warn
from contrail.runs.directory import RunDirectory
from contrail.runs.reports import observers_of

if TYPE_CHECKING:
    import numpy
    import pandas
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

Kind = Literal["train", "evaluate"]


@dataclass(frozen=True)
class Result:
    """A finished run: `contrail.run` and `contrail.load` return one.

    Attributes:
        directory: of the run.
        record: the content of result.json.
    """

    directory: Path
    record: dict[str, Any] = field(repr=False)
    _plugins: Plugins = field(repr=False, compare=False)

    @classmethod
    def read(cls, directory: str | os.PathLike[str], plugins: Plugins) -> Result:
        """Return the result in a run's directory.

        Raises:
            ContrailError: there is none, or the run has not ended.
        """
        files = RunDirectory(Path(directory))
        return cls(files.path, files.read_result(), plugins)

    @property
    def environments(self) -> list[str]:
        """The columns of R."""
        return list(self.record["environments"])

    @property
    def stages(self) -> list[str]:
        """The names of the stages, which are the rows of R from 1 on."""
        return list(self.record["stages"])

    @property
    def R(self) -> numpy.ndarray[Any, Any]:
        """(T + 1, environments): success on each environment after each stage.

        Row 0 is the model before any training; undefined values are nan.
        """
        return self.values("success")

    @property
    def intervals(self) -> numpy.ndarray[Any, Any]:
        """(T + 1, environments, 2): 95% intervals of R, over test tasks and dice."""
        import numpy

        ends = [[item or (None, None) for item in row] for row in self.record["interval"]]
        return numpy.array(ends, dtype=float)

    @property
    def metrics(self) -> dict[str, float | None]:
        """Transfer and forgetting by name, see docs/metrics.md; None where undefined."""
        return dict(self.record["metrics"])

    @property
    def episode_metrics(self) -> list[str]:
        """What `values` takes."""
        return ["success", *tables.episode_metrics(self.record)]

    def values(self, metric: str = "success") -> numpy.ndarray[Any, Any]:
        """Return a metric of an episode, (T + 1, environments); undefined values are nan.

        Raises:
            ConfigError: the run has no such metric.
        """
        import numpy

        if metric == "success":
            return numpy.array(self.record["R"], dtype=float)
        if metric not in self.episode_metrics:
            raise ConfigError(
                f"no episode metric is called {metric!r}. {nearest(metric, self.episode_metrics)}"
            )
        names = self.environments
        rows = [[row[name].get(metric) for name in names] for row in self.record["evaluations"]]
        return numpy.array(rows, dtype=float)

    def frame(self, metric: str = "success") -> pandas.DataFrame:
        """`values` as a DataFrame: a row per stage, a column per environment."""
        rows = tables.row_names(self.record)
        return pandas_module().DataFrame(self.values(metric), index=rows, columns=self.environments)

    def to_pandas(self) -> pandas.DataFrame:
        """Everything in long format: a row per stage and environment, as in result.csv."""
        return pandas_module().DataFrame(
            tables.rows(self.record), columns=tables.columns(self.record)
        )

    def metrics_frame(self) -> pandas.DataFrame:
        """Transfer and forgetting: a row per metric, with value, interval and formula."""
        intervals, formulas = self.record["metric_intervals"], self.record["formulas"]
        rows = [
            (value, *(intervals[name] or (None, None)), formulas[name])
            for name, value in self.metrics.items()
        ]
        made = pandas_module().DataFrame(
            rows, index=list(self.metrics), columns=["value", "low", "high", "formula"]
        )
        return made.astype({"value": float, "low": float, "high": float})

    def episodes(
        self, stage: int | None = None, kind: Kind | None = None
    ) -> Iterator[dict[str, Any]]:
        """Return the run's episodes in their order, as docs/run-directory.md describes their
        lines.

        Each has two more keys, `stage` and `kind`.

        Args:
            stage: of this stage alone; 0 is the evaluation before any training.
            kind: "train" or "evaluate" alone.

        Raises:
            ConfigError: there is no such stage or kind.
        """
        if kind not in (None, "train", "evaluate"):
            raise ConfigError(f"kind is {kind!r}: it is 'train' or 'evaluate'.")
        if stage is not None and stage not in range(len(self.stages) + 1):
            raise ConfigError(
                f"stage is {stage!r}: the run has the stages 0 to {len(self.stages)}."
            )
        return self._episodes(stage, kind)

    def _episodes(self, stage: int | None, kind: Kind | None) -> Iterator[dict[str, Any]]:
        logs = (self.directory / "episodes").glob("[0-9]*-*.jsonl.gz")
        found = []
        for log in logs:
            number, _, name = log.name.removesuffix(".jsonl.gz").partition("-")
            if stage in (None, int(number)) and kind in (None, name):
                found.append((int(number), name == "evaluate", log))
        for begun, evaluated, log in sorted(found):
            context = {"stage": begun, "kind": "evaluate" if evaluated else "train"}
            with gzip.open(log, "rt") as lines:
                for line in lines:
                    yield {**context, **json.loads(line)}

    def policy(self, stage: int | None = None) -> tuple[PeftModel, PreTrainedTokenizerBase]:
        """Return the policy as a PEFT model, on the run's device and in its precision; its
        tokenizer.

        Args:
            stage: after which stage; by default after the last.

        Raises:
            ContrailError: there is no such checkpoint, or the model cannot be loaded.
        """
        import yaml
        from peft import PeftConfig, PeftModel

        from contrail.model.policy import load_base

        files = RunDirectory(self.directory)
        number = len(self.stages) if stage is None else stage
        checkpoint = files.checkpoint_folder / f"{number:03d}"
        if not (checkpoint / "adapter_config.json").is_file():
            raise ContrailError(f"there is no checkpoint {checkpoint}.")
        config = yaml.safe_load(files.config.read_text())
        if config["model"] in self._plugins.models:
            name = str(self._plugins.models[config["model"]].value())
        else:  # what the run began with may have been a LoRA itself, so ask the checkpoint
            name = str(PeftConfig.from_pretrained(str(checkpoint)).base_model_name_or_path)
        base, tokenizer = load_base(
            name,
            dtype=config["dtype"],
            device=config["device"],
            trust_remote_code=config["trust_remote_code"],
        )
        return PeftModel.from_pretrained(base, str(checkpoint)), tokenizer

    def export(
        self,
        out: str | os.PathLike[str] | None = None,
        *,
        stage: int | None = None,
        license: str | None = None,
    ) -> Path:
        """Collect the LoRA, its model card, tables, figures and reports, to give them away.

        Args:
            out: a folder, or an archive whose name ends in .zip; by default exports/NAME.
            stage: whose LoRA; by default the last one's.
            license: of the weights, as the hub names it.

        Returns:
            The folder, or the archive.

        Raises:
            ContrailError: there is no such stage, or `out` exists or cannot be written.
        """
        from contrail.runs.export import export_run

        where = None if out is None else Path(out)
        return export_run(self.directory, self._plugins, where, stage=stage, license=license)

    def report(self) -> list[str]:
        """Show the report that `contrail report` shows, and write its files.

        Plugins that failed, also trackers during the run, are named in warnings at the end.

        Returns:
            The reports that failed: a line each.
        """
        observers, missing = observers_of(self.directory, [self.directory], self._plugins)
        arguments = {"result": self.record, "directory": str(self.directory)}
        reports = observers.report("contrail_report", **arguments)
        warn([*missing, *told(observers.failures, self.directory)])
        return [*missing, *told(reports, self.directory), *observers.unwritten]
