"""Trackers and reports that raise, hang or print: every other result of a run is there."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import contrail
from contrail import hookspecs
from contrail.cli import app as cli
from contrail.comparison import launch, worker
from contrail.comparison.launch import compare_stream
from contrail.comparison.plan import ComparisonOptions
from contrail.errors import ContrailError
from contrail.registry.observers import FILE, LIMIT, read_failures
from contrail.registry.plugins import load_plugins

EXAMPLES = Path(__file__).parents[2] / "examples"
ARGUMENTS = {
    "contrail_run_start": "run",
    "contrail_stage_start": "run, stage",
    "contrail_episodes": "run, episodes",
    "contrail_update": "run, scalars",
    "contrail_evaluated": "run, stage, evaluations",
    "contrail_stage_end": "run, stage",
    "contrail_run_end": "run",
    "contrail_report": "result, directory",
    "contrail_comparison": "comparison, directory",
    "contrail_study": "study, directory",
}
OTHERS = ("contrail_comparison", "contrail_study")
"""Hooks that a run does not call."""
DOES = {
    "raise": "raise ConnectionError('no server')",
    # The time limit is brought forward for this hook alone: others may be slow.
    "hang": "signal.setitimer(signal.ITIMER_REAL, 0.1); time.sleep(1000)",
    "print": "print('said by', __name__)",
}
STREAM = """
model: tiny-random
plugins: {plugins}
stream:
  - environment: {{name: guess-number, label: short, max_turns: 2}}
    updates: 2
evaluate: {{tasks: 3, baselines: false}}
grpo: {{num_generations: 2, generation_batch_size: 4, learning_rate: 1e-2}}
"""
REPORTED = {"R.png", "result.csv", "result.json"}


def test_each_hook_is_one_or_the_other() -> None:
    """A hook registers something, or it observes and is tested here."""
    hooks = {name for name in vars(hookspecs) if name.startswith("contrail_")}
    assert set(ARGUMENTS) == hookspecs.OBSERVERS
    registering = hooks - hookspecs.OBSERVERS
    assert all(
        "egister" in (getattr(hookspecs, name).__doc__ or "")
        for name in registering - {"contrail_commands"}
    )


# One plugin: a hook, and what it does. Each of a run's plugins fails in one hook.


def write_stream(directory: Path, does: str) -> Path:
    """Write a stream with a plugin for each hook, named as the hook."""
    shutil.copy(EXAMPLES / "guess.py", directory)
    names = []
    for hook, arguments in ARGUMENTS.items():
        names.append(f"bad_{hook.removeprefix('contrail_')}.py")
        (directory / names[-1]).write_text(
            f"import signal\nimport time\n\nimport contrail\n\n\n@contrail.hookimpl\n"
            f"def {hook}({arguments}):\n    {DOES[does]}\n"
        )
    path = directory / "stream.yaml"
    path.write_text(STREAM.format(plugins=["guess.py", *names]))
    return path


def result(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "result.json").read_text())
    for key in ("provenance", "name"):
        content.pop(key)
    for key in ("cpu_seconds", "wall_seconds"):
        content["budget"].pop(key)
    return content


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of the stream without bad plugins."""
    directory = tmp_path_factory.mktemp("clean")
    shutil.copy(EXAMPLES / "guess.py", directory)
    (directory / "stream.yaml").write_text(STREAM.format(plugins=["guess.py"]))
    return result(contrail.run(directory / "stream.yaml", out=directory / "out").directory)


@pytest.mark.parametrize("does", DOES)
def test_a_run_and_its_report(
    does: str,
    clean: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(LIMIT, "1000")
    stream = write_stream(tmp_path, does)
    run = contrail.run(stream, out=tmp_path / "out")
    during = capsys.readouterr()
    failed = run.report()
    after = capsys.readouterr()
    assert result(run.directory) == clean
    assert {path.name for path in run.directory.iterdir()} >= REPORTED
    assert "after 1: short" in after.out
    if does == "print":
        assert failed == []
        assert not (run.directory / FILE).exists()
        assert during.out == ""
        assert "said by" in during.err
        assert "said by" in after.out
        return
    hooks = [hook for hook in ARGUMENTS if hook not in OTHERS]
    kept = {failure.hook: failure for failure in read_failures(run.directory)}
    assert sorted(kept) == sorted(hooks)
    for hook in hooks:
        plugin = f"bad_{hook.removeprefix('contrail_')}"
        assert kept[hook].plugin == plugin
        told = f"plugin '{plugin}' failed in {hook}: "
        assert told in (after if hook == "contrail_report" else during).err
        assert told in after.err
    # A plugin that raises is called again, one that hangs is not.
    assert kept["contrail_update"].times == (2 if does == "raise" else 1)
    assert len(failed) == 1
    assert "bad_report" in failed[0]

    assert report(run.directory, monkeypatch) == 1

    # Corrected, the report is made by `contrail report`, with the run's own plugins.
    (tmp_path / "bad_report.py").write_text(
        "import contrail\nfrom pathlib import Path\n\n\n@contrail.hookimpl\n"
        "def contrail_report(result, directory):\n    Path(directory, 'own.txt').touch()\n"
    )
    assert report(run.directory, monkeypatch) == 0
    assert (run.directory / "own.txt").exists()
    left = {failure.hook for failure in read_failures(run.directory)}
    assert left == set(hooks) - {"contrail_report"}


def report(run: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of `contrail report`."""
    monkeypatch.setattr(sys, "argv", ["contrail", "report", str(run)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


class Here:
    """In place of a process: the run and its report are made on the spot."""

    def start(self, arguments: Any, output: Any) -> Here:
        _, config, out = arguments
        worker.run(Path(config), Path(out))
        return self

    def poll(self) -> int:
        return 0


@pytest.mark.parametrize("does", DOES)
def test_a_comparison(
    does: str,
    clean: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(LIMIT, "1000")
    monkeypatch.setattr(launch, "Workers", lambda: contextlib.nullcontext(Here()))
    monkeypatch.setattr(launch, "attempt", lambda configs, workers: None)
    stream = write_stream(tmp_path, does)
    said: list[str] = []
    options = ComparisonOptions(strategies=["sequential"])
    out = tmp_path / "out"
    outcome = compare_stream(stream, (), options, load_plugins(), out=out, say=said.append)
    assert outcome.failed == {}
    (run,) = [path for path in out.iterdir() if path.is_dir()]
    assert result(run)["R"] == clean["R"]
    capsys.readouterr()
    failed = contrail.Comparison.read(out, load_plugins()).report()
    shown = capsys.readouterr()
    assert (out / "compare.csv").is_file()
    assert "1 strategy, 1 order, 1 seed" in shown.out
    if does == "print":
        assert failed == []
        assert "said by" in shown.out
        return
    for hook in (hook for hook in ARGUMENTS if hook != "contrail_study"):
        told = f"plugin 'bad_{hook.removeprefix('contrail_')}' failed in {hook}: "
        assert told in shown.err
        assert hook == "contrail_comparison" or any(told in line for line in said)
    assert len(failed) == 1
    assert "bad_comparison" in failed[0]


@pytest.mark.usefixtures("quick_comparisons")
@pytest.mark.parametrize("does", DOES)
def test_a_study(
    does: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(LIMIT, "1000")
    stream = yaml.safe_load(write_stream(tmp_path, does).read_text())
    stages = stream.pop("stream")
    stream["evaluate"] = {"tasks": 3}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**stream, "environments": stages}))
    study = contrail.study("transfer", tmp_path / "study.yaml", out=tmp_path / "out", quiet=True)
    assert study.failed == {}
    capsys.readouterr()
    failed = study.report()
    shown = capsys.readouterr()
    made = {path.name for path in study.directory.glob("transfer.*")}
    assert made == {f"transfer.{ending}" for ending in ("html", "json", "md", "png")}
    assert "Transfer: success" in shown.out
    if does == "print":
        assert failed == []
        assert "said by" in shown.out
        return
    for hook in (hook for hook in ARGUMENTS if hook != "contrail_comparison"):
        assert f"plugin 'bad_{hook.removeprefix('contrail_')}' failed in {hook}: " in shown.err
    assert len(failed) == 1
    assert "bad_study" in failed[0]


def test_the_reports_of_an_interrupted_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(Here):
        ended = 0

        def start(self, arguments: Any, output: Any) -> Here:
            if self.ended == 2:
                raise KeyboardInterrupt
            self.ended += 1
            return super().start(arguments, output)

    monkeypatch.setattr(launch, "Workers", lambda: contextlib.nullcontext(Interrupted()))
    monkeypatch.setattr(launch, "attempt", lambda configs, workers: None)
    shutil.copy(EXAMPLES / "guess.py", tmp_path)
    stream = tmp_path / "stream.yaml"
    stream.write_text(STREAM.format(plugins=["guess.py"]))
    options = ComparisonOptions(strategies=["sequential", "kl"], seeds=[0, 1])
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        compare_stream(stream, (), options, load_plugins(), out=out)
    assert not (out / "compare.json").exists()
    assert contrail.Comparison.read(out, load_plugins()).report() == []
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 strategies, 1 order, 2 seeds" in shown
    assert "Interrupted: 2 of 4 runs have ended" in shown
    assert (out / "compare.csv").is_file()

    # None has ended: that is said.
    for found in out.glob("*/result.json"):
        found.unlink()
    with pytest.raises(ContrailError, match="none of the 4 runs has ended"):
        contrail.Comparison.read(out, load_plugins())
