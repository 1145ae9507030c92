"""Trackers and reports that raise, hang or print: every other result of a run is there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import contrail
from contrail import hookspecs, observers
from contrail.cli import app as cli
from contrail.comparison import launch, worker
from contrail.comparison.launch import compare_stream
from contrail.comparison.plan import ComparisonOptions
from contrail.errors import ContrailError
from contrail.observers import FILE, LIMIT, Observers, read_failures
from contrail.registry import Plugins, load_plugins

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
}
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
    hooks = [hook for hook in ARGUMENTS if hook != "contrail_comparison"]
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
    for hook in ARGUMENTS:
        told = f"plugin 'bad_{hook.removeprefix('contrail_')}' failed in {hook}: "
        assert told in shown.err
        assert hook == "contrail_comparison" or any(told in line for line in said)
    assert len(failed) == 1
    assert "bad_comparison" in failed[0]


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


# Without a run.


def observing(directory: Path, *calls: Callable[..., object], said: list[str]) -> Observers:
    """Observers with a plugin for each function: its hook contrail_update."""
    plugins = Plugins()
    for number, call in enumerate(calls):
        module = ModuleType(f"plugin{number}")

        def contrail_update(run: Any, scalars: Any, call: Any = call) -> None:
            call()

        module.contrail_update = contrail.hookimpl(contrail_update)  # type: ignore[attr-defined]
        plugins.add(module, module.__name__)
    return Observers(plugins, directory, said.append)


class At:
    """A run at an update."""

    update = 7


def fail(error: BaseException) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


def update(made: Observers) -> None:
    made.call("contrail_update", run=At(), scalars={})


def test_a_plugin_that_raises_takes_no_other_with_it(tmp_path: Path) -> None:
    called, said = [], list[str]()
    errors = (
        SystemExit(1),
        ContrailError("no key"),
        MemoryError(),
        BaseExceptionGroup("two", [SystemExit(), GeneratorExit()]),
        StopIteration(),
        ValueError("\x1b[31m" + "x" * 5_000_000),
    )
    calls = [fail(error) for error in errors]
    made = observing(tmp_path, *calls, lambda: called.append(1), said=said)
    for _ in range(3):
        update(made)
    assert len(called) == 3
    assert len(said) == len(errors)  # once each
    assert max(map(len, said)) < 2000
    assert "\x1b" not in "".join(said)
    kept = {failure.plugin: failure for failure in read_failures(tmp_path)}
    assert len(kept) == len(errors)
    assert {failure.times for failure in kept.values()} == {3}
    assert {failure.update for failure in kept.values()} == {7}
    # Another process, which goes on with the run, says it again and counts on.
    again = observing(tmp_path, *calls, said=said)
    update(again)
    assert len(said) == 2 * len(errors)
    assert {failure.times for failure in read_failures(tmp_path)} == {4}


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), BaseExceptionGroup("group", [KeyboardInterrupt()])]
)
def test_an_interruption_is_none_of_its_failures(tmp_path: Path, error: BaseException) -> None:
    made = observing(tmp_path, fail(error), said=[])
    with pytest.raises(type(error)):
        update(made)
    assert read_failures(tmp_path) == []


def test_a_plugin_that_hangs_is_interrupted_and_not_called_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT, "1000")
    monkeypatch.setattr(observers, "WARN_AFTER", 0.05)
    called, said = [], list[str]()

    def tries_again() -> None:
        called.append("hangs")
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        while True:
            try:
                time.sleep(1000)
            except Exception:  # noqa: BLE001, S112
                continue

    made = observing(tmp_path, tries_again, lambda: called.append("other"), said=said)
    update(made)
    update(made)
    assert sorted(called) == ["hangs", "other", "other"]
    # Before its end, too: which plugin, where, and what will happen.
    assert any("'plugin0' has been in contrail_update since" in line for line in said)
    (told,) = [line for line in said if "failed in contrail_update" in line]
    assert "it took longer than 1000 s" in told
    assert f"{__file__} line" in told


def test_a_plugin_that_survives_its_interruption_is_interrupted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT, "1")
    monkeypatch.setattr(observers, "REPEAT", 1.0)
    caught = []

    def survives() -> None:
        for _ in range(3):
            try:
                time.sleep(1000)
            except BaseException as error:  # noqa: BLE001
                caught.append(type(error).__name__)
        time.sleep(1000)

    update(observing(tmp_path, survives, said=[]))
    assert caught == ["HookTimeout"] * 3


def test_somebody_elses_alarm_comes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT, "60")
    rung = []
    handler = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        update(observing(tmp_path, lambda: time.sleep(0.4), said=[]))
        deadline = time.monotonic() + 30
        while not rung and time.monotonic() < deadline:
            time.sleep(0.01)
        assert rung == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def test_in_another_thread_a_hang_is_told_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT, "0.1")
    monkeypatch.setattr(observers, "WARN_AFTER", 0.05)
    said: list[str] = []
    made = observing(tmp_path, lambda: time.sleep(0.5), said=said)
    with ThreadPoolExecutor(1) as threads:
        threads.submit(update, made).result()
    assert "the run waits for it" in said[0]
    assert read_failures(tmp_path) == []


def test_the_limit_is_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv(LIMIT, text)
        with pytest.raises(ContrailError, match=LIMIT):
            update(observing(tmp_path, said=[]))


def test_what_failed_is_told_even_if_it_cannot_be_kept(tmp_path: Path) -> None:
    said: list[str] = []
    made = observing(tmp_path / "gone", fail(OSError("disk full")), said=said)
    update(made)
    assert "disk full" in said[0]
    assert FILE in said[1]
    (tmp_path / FILE).write_text("{")
    assert read_failures(tmp_path) == []


def test_a_plugin_of_the_run_that_is_gone_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = "[/nowhere/mine.py, contrail_no_module]"
    (tmp_path / "config.yaml").write_text(f"plugins: {names}\ntrackers: []\n")
    record = {"rows": [{"run": str(tmp_path)}]}
    plugins = Plugins()
    made = contrail.Comparison(tmp_path, record, plugins)
    assert len(made.report()) == 2
    said = capsys.readouterr().err
    assert "plugin '/nowhere/mine.py'" in said
    assert "contrail_no_module" in said


def test_a_closed_output_ends_the_command_after_the_other_reports(tmp_path: Path) -> None:
    """As in `contrail report RUN | head`."""
    script = (
        "import contrail\n"
        "from pathlib import Path\n"
        "from types import ModuleType\n"
        "from rich.console import Console\n"
        "from contrail.observers import Observers\n"
        "from contrail.registry import Plugins\n"
        "made = Plugins()\n"
        "def contrail_report(result, directory): Path(directory, 'other').touch()\n"
        "other = ModuleType('other')\n"
        "other.contrail_report = contrail.hookimpl(contrail_report)\n"
        "made.add(other, 'other')\n"
        "def contrail_report(result, directory):\n"
        "    for _ in range(100_000): Console().print('x' * 60)\n"
        "shows = ModuleType('shows')\n"
        "shows.contrail_report = contrail.hookimpl(contrail_report)\n"
        "made.add(shows, 'shows')\n"
        f"observers = Observers(made, Path({str(tmp_path)!r}))\n"
        f"observers.report('contrail_report', result={{}}, directory={str(tmp_path)!r})\n"
    )
    command = f'{sys.executable} -c "$SCRIPT" | head -1'
    done = subprocess.run(
        ["bash", "-c", command],
        env=os.environ | {"SCRIPT": script},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "x" * 60
    assert "plugin" not in done.stderr
    assert (tmp_path / "other").exists()
