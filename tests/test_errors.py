"""The boundary around plugins' code: what leaves it, and in what words."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import ANYTHING, INTERRUPTS, Mute, raises

from contrail.environment import Observation, Step
from contrail.errors import (
    ConfigError,
    EnvironmentFault,
    PluginError,
    Raised,
    boundary,
    describe_error,
    is_interrupt,
)
from contrail.registry.avalanche import strategy_class
from contrail.rollout.checked import checked_step


@pytest.mark.parametrize("name", ANYTHING)
def test_whatever_plugins_raise(name: str) -> None:
    error = ANYTHING[name]
    with pytest.raises(Raised) as raised, boundary():
        raises(error)()
    assert raised.value.error is error
    assert raised.value.__cause__ is error
    assert str(raised.value).startswith(type(error).__name__)
    with pytest.raises(PluginError, match="mine"), boundary(lambda _: PluginError("mine")):
        raises(error)()


@pytest.mark.parametrize("name", INTERRUPTS)
def test_an_interrupt_stays_one(name: str) -> None:
    with pytest.raises(BaseException) as raised, boundary():  # noqa: PT011
        raises(INTERRUPTS[name])()
    assert raised.value is INTERRUPTS[name]
    assert is_interrupt(raised.value)


def test_an_error_for_people_is_not_its_own_cause() -> None:
    error = ConfigError("set it")
    with pytest.raises(ConfigError) as raised, boundary(lambda error: error):  # type: ignore[arg-type,return-value]
        raises(error)()
    assert raised.value is error
    assert raised.value.__cause__ is None


def test_an_error_without_words_is_described() -> None:
    assert describe_error(Mute()) == "Mute (its message raises RuntimeError)"
    assert describe_error(EnvironmentFault("as told")) == "as told"


@pytest.mark.parametrize(
    "raising",
    [
        "import json; json.loads('{')",  # the standard library
        "import torch; torch.no_grad()(lambda: torch.zeros(1).reshape(7))()",  # another package
        "{}['key']",
    ],
)
def test_the_line_is_that_of_the_plugin(tmp_path: Path, raising: str) -> None:
    """Not of the library that it calls, in whose code the user has nothing to mend."""
    file = tmp_path / "mine.py"
    file.write_text(f"def first():\n    second()\n\ndef second():\n    {raising}\n")
    spec = importlib.util.spec_from_file_location("mine_that_raises", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(Raised) as raised, boundary():
        functools.partial(module.first)()
    error = raised.value.error
    while (
        error.__traceback__ is not None
        and error.__traceback__.tb_frame.f_code.co_filename != str(file)
    ):
        error.__traceback__ = error.__traceback__.tb_next  # this test is no plugin
    assert describe_error(error).endswith(f"; {file} line 5")


def test_the_line_of_a_module_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_module.py").write_text("\n1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    message = r"'broken_module' cannot be imported: .*broken_module\.py line 2"
    with pytest.raises(PluginError, match=message):
        strategy_class("broken_module:Any", tmp_path)


def test_what_plugins_print_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    print("before")
    with boundary():
        print("a plugin's")
    print("after")
    assert capsys.readouterr() == ("before\nafter\n", "a plugin's\n")


def test_the_line_of_an_error_is_not_contrails() -> None:
    def told(call: Callable[[], object]) -> str:
        with pytest.raises(Raised) as raised, boundary():
            call()
        return describe_error(raised.value.error)

    ours, own = told(lambda: Observation("", [1])), told(lambda: 1 / 0)  # type: ignore[list-item]
    assert ours.endswith(f"; {__file__} line {line_of('told(lambda')}")
    assert own.endswith(f"; {__file__} line {line_of('told(lambda')}")
    with pytest.raises(Raised) as raised, boundary():
        checked_step("mine", "step('go')", Step(Observation(""), float("nan")))
    described = "ValueError: the reward is nan"
    assert describe_error(raised.value.error).startswith(described)


def line_of(text: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if text in line)
