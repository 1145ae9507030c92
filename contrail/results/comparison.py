"""The result of a comparison, for Python."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrail import tables
from contrail.registry.observers import told, told_of_runs
from contrail.registry.plugins import Plugins
from contrail.results.shared import pandas_module, warn
from contrail.runs.reports import observers_of

if TYPE_CHECKING:
    import pandas


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
        return pandas_module().DataFrame(tables.quantities(self.record), columns=tables.QUANTITY)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a row per run: its metrics, how it played at the end, its budget; as
        compare.runs.csv."""
        return pandas_module().DataFrame(tables.run_rows(self.record))

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
        warn([*told_of_runs(runs), *failed])
        return [*failed, *observers.unwritten]

    def _run_directory(self, path: Path) -> Path:
        """Return where a run is, even if the whole comparison has been moved."""
        inside = self.directory / path.name
        return path if path.is_dir() or not inside.is_dir() else inside
