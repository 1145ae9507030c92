"""The result of a study's experiment, for Python."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrail.errors import ConfigError, ContrailError, nearest
from contrail.registry.observers import told, told_of_runs
from contrail.registry.plugins import Plugins, load_plugins
from contrail.results.shared import pandas_module, warn
from contrail.runs.reports import observers_of

if TYPE_CHECKING:
    import pandas


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
        return [
            cls(path, record, record["failed"], known) for record in read_studies(path).values()
        ]

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
        warn([*told_of_runs(runs), *missing, *told(observers.failures, self.directory)])
        return [*missing, *told(reports, self.directory), *observers.unwritten]

    @staticmethod
    def beside(*directories: str | os.PathLike[str]) -> list[dict[str, Any]]:
        """Return the claims of several studies, with the verdicts and figures of each.

        Args:
            directories: of the studies. All experiments count that they have the results of; where
                several judge a claim, the newest.

        Returns:
            By claim: `number`, `claim`, `agreement` ("agree", "disagree" or "cannot be told"), and
            with an item for each study `verdicts` and `criteria`; None where there is none.

        Raises:
            ContrailError: there are fewer than two, one has no results, or cannot be read.
        """
        from contrail.studies.beside import side_by_side
        from contrail.studies.launch import read_studies

        studies = {str(directory): read_studies(Path(directory)) for directory in directories}
        for directory, found in studies.items():
            if not found:
                raise ContrailError(f"{directory} has no results of a study.")
        if len(studies) < 2:
            raise ContrailError("a study is compared with others. Name two directories or more.")
        by_age = [
            sorted(found.items(), key=lambda item: item[0].stat().st_mtime_ns)
            for found in studies.values()
        ]
        return side_by_side([[record for _, record in found] for found in by_age])

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
        return pandas_module().DataFrame(rows, index=index, columns=table["columns"])
