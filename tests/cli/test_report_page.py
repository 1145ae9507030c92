"""`contrail report` and the page that it writes: the real run behind it, the browser, failures."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import webbrowser
from pathlib import Path

import pytest
from commands import Command
from compared import EXAMPLES

from contrail.plugins.html_report import page

SHORT = ("evaluate.tasks=4", "stream.0.updates=1", "stream.1.updates=1", "--quiet")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the conflict example, of one update a stage."""
    import contrail

    directory = tmp_path_factory.mktemp("page")
    for name in ("conflict.yaml", "conflict.py"):
        shutil.copy(EXAMPLES / name, directory)
    overrides = [item for item in SHORT if "=" in item]
    stream = directory / "conflict.yaml"
    return contrail.run(stream, *overrides, out=directory / "run", quiet=True).directory


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_the_log_has_the_probabilities_of_all_candidates(finished: Path) -> None:
    logs = list((finished / "episodes").glob("*.gz"))
    assert len(logs) == 5
    for log in logs:
        for line in gzip.decompress(log.read_bytes()).splitlines():
            episode = json.loads(line)
            for turn, logprob in zip(episode["turns"], episode["logprobs"], strict=True):
                logprobs = turn["choice_logprobs"]
                assert len(logprobs) == len(turn["choices"])
                assert sum(map(math.exp, logprobs)) == pytest.approx(1, abs=1e-3)
                assert logprobs[turn["choice"]] == pytest.approx(logprob, abs=1e-4)


def test_the_page_is_written_and_opened(
    run: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def show(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", show)
    other = Path(shutil.copytree(run, tmp_path / "other"))
    done = command("report", run, other, "--open")
    assert done.code == 0, done.err
    pages = [folder / "report.html" for folder in (run, other)]
    assert opened == [file.resolve().as_uri() for file in pages]
    assert all(file.stat().st_size < 1_000_000 for file in pages)
    assert "report.html" in done.out


def test_without_a_browser_the_page_is_named(
    run: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    done = command("report", run, "--open")
    assert done.code == 1
    assert f"open {(run / 'report.html').resolve()} in one" in done.err


def test_a_page_that_fails_harms_no_other_report(
    run: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (run / "result.json").read_bytes()
    (run / "result.csv").unlink(missing_ok=True)
    page.charts.cache_clear()
    monkeypatch.setattr(page, "CHARTS", ("no-such-file.js",))
    done = command("report", run, "--open")
    page.charts.cache_clear()
    assert done.code == 1
    assert "plugin 'html' failed in contrail_report" in done.err
    assert "no-such-file.js" in done.err
    assert (run / "result.csv").is_file()
    assert (run / "result.json").read_bytes() == before
    assert "Worst environment" in done.out
