"""The results of a run or a comparison, for Python: numbers, episodes, the policy."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from contrail import tables
from contrail.errors import ConfigError, ContrailError, nearest
from contrail.observers import told, told_of_runs
from contrail.registry import Plugins, load_plugins
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
        return _pandas().DataFrame(self.values(metric), index=rows, columns=self.environments)

    def to_pandas(self) -> pandas.DataFrame:
        """Everything in long format: a row per stage and environment, as in result.csv."""
        return _pandas().DataFrame(tables.rows(self.record), columns=tables.columns(self.record))

    def metrics_frame(self) -> pandas.DataFrame:
        """Transfer and forgetting: a row per metric, with value, interval and formula."""
        ends = {
            name: item or (None, None) for name, item in self.record["metric_intervals"].items()
        }
        return (
            _pandas()
            .DataFrame(
                {
                    name: {
                        "value": value,
                        "low": ends[name][0],
                        "high": ends[name][1],
                        "formula": self.record["formulas"][name],
                    }
                    for name, value in self.metrics.items()
                }
            )
            .T
        )

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
        checkpoint = self.directory / "checkpoints" / f"{number:03d}"
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
        _warn([*missing, *told(observers.failures, self.directory)])
        return [*missing, *told(reports, self.directory), *observers.unwritten]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side: `contrail.compare` returns one.

    Attributes:
        directory: of the comparison.
        record: the content of compare.json.
    """

    directory: Path
    record: dict[str, Any] = field(repr=False)
    _plugins: Plugins = field(repr=False, compare=False)

    @classmethod
    def read(cls, directory: str | os.PathLike[str], plugins: Plugins) -> Comparison:
        """Return the comparison in a directory.

        Raises:
            ContrailError: there is none.
        """
        from contrail.comparison.launch import read_comparison

        path = Path(directory).resolve()
        return cls(path, read_comparison(path), plugins)

    @property
    def strategies(self) -> list[str]:
        """The labels of the strategies."""
        return list(self.record["strategies"])

    @property
    def failed(self) -> dict[str, str]:
        """The runs that failed, with their errors; the same call tries them again."""
        return dict(self.record["failed"])

    def frame(self) -> pandas.DataFrame:
        """Return a row per strategy and quantity: mean, intervals, difference; as in
        compare.csv."""
        return _pandas().DataFrame(tables.quantities(self.record), columns=tables.QUANTITY)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a row per run: its metrics, how it played at the end, its budget; as
        compare.runs.csv."""
        return _pandas().DataFrame(tables.run_rows(self.record))

    def report(self) -> list[str]:
        """Show the report that `contrail report` shows, and write its files.

        Plugins that failed, also those in the runs, are named in warnings at the end.

        Returns:
            The reports that failed: a line each.
        """
        runs = [self._run_directory(Path(row["run"])) for row in self.record["rows"]]
        observers, failed = observers_of(self.directory, runs, self._plugins)
        arguments = {"comparison": self.record, "directory": str(self.directory)}
        observers.report("contrail_comparison", **arguments)
        failed += told(observers.failures, self.directory)
        _warn([*told_of_runs(runs), *failed])
        return [*failed, *observers.unwritten]

    def _run_directory(self, path: Path) -> Path:
        """Return where a run is, even if the whole comparison has been moved."""
        inside = self.directory / path.name
        return path if path.is_dir() or not inside.is_dir() else inside


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)


@dataclass(frozen=True)
class Study:
    """An experiment of the study, or all: `contrail.study` returns one.

    Attributes:
        directory: of the study.
        record: the content of EXPERIMENT.json.
        failed: the runs that failed, with their errors; the same call tries them again.
    """

    directory: Path
    record: dict[str, Any] = field(repr=False)
    failed: dict[str, str]
    _plugins: Plugins = field(repr=False, compare=False)

    @classmethod
    def find(cls, directory: str | os.PathLike[str], plugins: Plugins | None = None) -> list[Study]:
        """Return the experiments that a study's directory has the results of; none in another
        directory.

        Args:
            directory: of the study.
            plugins: the loaded ones; by default the installed ones.

        Raises:
            ContrailError: a result cannot be read.
        """
        from contrail.studies.launch import read_studies

        path = Path(directory).resolve()
        known = plugins or load_plugins()
        return [cls(path, record, record["failed"], known) for record in read_studies(path)]

    def report(self) -> list[str]:
        """Show the report that `contrail report` shows, and write its files.

        Plugins that failed, also those in the runs, are named in warnings at the end.

        Returns:
            The reports that failed: a line each.
        """
        runs = [self.directory / name for name in self.record["runs"]["directories"]]
        observers, missing = observers_of(self.directory, runs, self._plugins)
        arguments = {"study": self.record, "directory": str(self.directory)}
        reports = observers.report("contrail_study", **arguments)
        _warn([*told_of_runs(runs), *missing, *told(observers.failures, self.directory)])
        return [*missing, *told(reports, self.directory), *observers.unwritten]

    @staticmethod
    def beside(*directories: str | os.PathLike[str]) -> list[dict[str, Any]]:
        """Return the claims of several studies, with the verdicts and figures of each.

        Args:
            directories: of the studies. All experiments count that they have the results of.

        Returns:
            By claim: `number`, `claim`, `agreement` ("agree", "disagree" or "cannot be told"), and
            with an item for each study `verdicts` and `criteria`; None where there is none.

        Raises:
            ContrailError: there are fewer than two, one has no results, or cannot be read.
        """
        from contrail.studies.beside import side_by_side

        studies = {str(directory): Study.find(directory) for directory in directories}
        for directory, found in studies.items():
            if not found:
                raise ContrailError(f"{directory} has no results of a study.")
        if len(studies) < 2:
            raise ContrailError("a study is compared with others. Name two directories or more.")
        return side_by_side([[item.record for item in found] for found in studies.values()])

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict on each claim, by its number: "holds", "does not hold", "cannot be told"."""
        return {claim["number"]: claim["verdict"] for claim in self.record["claims"]}

    def frame(self, title: str) -> pandas.DataFrame:
        """Return the means of one of the tables, as a DataFrame.

        Raises:
            ConfigError: there is no table of this title.
        """
        found = {table["title"]: table for table in self.record["tables"]}
        if title not in found:
            raise ConfigError(f"no table is called {title!r}. {nearest(title, found)}")
        table = found[title]
        rows = [[cell and cell["mean"] for cell in row["cells"]] for row in table["rows"]]
        index = [row["label"] for row in table["rows"]]
        return _pandas().DataFrame(rows, index=index, columns=table["columns"])


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ContrailError("this needs pandas. Try: pip install pandas") from error
    return pandas
