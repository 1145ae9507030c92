"""The hooks of trackers and reports, without a run: what raises, hangs, or cannot be kept."""

from __future__ import annotations

import os
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
from contrail.errors import ContrailError
from contrail.registry import observers
from contrail.registry.observers import FILE, LIMIT, Observers, read_failures
from contrail.registry.plugins import Plugins


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


def fail_with(error: BaseException) -> Callable[[Path], None]:
    def call(directory: Path) -> None:
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


def reporting(directory: Path, said: list[str], **calls: Callable[[Path], object]) -> Observers:
    """Observers with a report for each function."""
    plugins = Plugins()
    for name, call in calls.items():

        def contrail_report(result: Any, directory: str, call: Any = call) -> None:
            call(Path(directory))

        module = ModuleType(name)
        module.contrail_report = contrail.hookimpl(contrail_report)  # type: ignore[attr-defined]
        plugins.add(module, name)
    return Observers(plugins, directory, said.append)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc")
def test_a_folder_that_cannot_be_written_is_no_failure_of_the_reports() -> None:
    """In /proc nobody can write, not even root."""
    said: list[str] = []
    shown: list[Path] = []
    made = reporting(
        Path("/proc/self"),
        said,
        table=lambda directory: (directory / "table").write_text(""),
        figures=lambda directory: os.mkdir(directory / "figures"),
        terminal=shown.append,
        broken=fail_with(ValueError("broken")),
    )
    failures = made.report("contrail_report", result={}, directory="/proc/self")
    assert [failure.plugin for failure in failures] == ["broken"]
    assert shown == [Path("/proc/self")]
    (line,) = made.unwritten
    assert line.startswith("/proc/self cannot be written (")
    assert line.endswith("so these reports have no files there: figures, table.")
    assert [text for text in said if "failed in" not in text and FILE not in text] == [
        f"warning: {line}"
    ]


def test_an_error_of_a_file_elsewhere_is_the_reports_own(tmp_path: Path) -> None:
    made = reporting(tmp_path, [], table=lambda directory: (directory / "no/table").write_text(""))
    failures = made.report("contrail_report", result={}, directory=str(tmp_path))
    assert [failure.plugin for failure in failures] == ["table"]
    assert not made.unwritten


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
        "from contrail.registry.observers import Observers\n"
        "from contrail.registry.plugins import Plugins\n"
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
