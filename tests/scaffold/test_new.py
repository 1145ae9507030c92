"""`contrail new`: what it writes, and what it refuses."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packages import ROOT, install, try_out

import contrail.scaffold
from contrail.errors import ConfigError, ContrailError
from contrail.registry.plugins import load_plugins
from contrail.scaffold import KINDS, create


@pytest.mark.slow
def test_new_packages_install_pass_their_tests_and_run(tmp_path: Path) -> None:
    packages = {
        f"new-{kind}": create(kind, f"new-{kind}", load_plugins(), tmp_path / kind)
        for kind in KINDS
    }
    install(tmp_path / "target", *packages.values())
    printed = try_out(tmp_path / "target", packages)
    assert printed.count("2 passed") == len(KINDS)
    for package in packages.values():
        assert (package / "runs/stream/result.json").is_file()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_needs_no_correction(kind: str, tmp_path: Path) -> None:
    package = create(kind, "a-b2", load_plugins(), tmp_path / "package")
    written = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    assert written == {
        ".gitignore",
        "README.md",
        "contrail_a_b2.py",
        "pyproject.toml",
        "stream.yaml",
        "tests/test_contrail_a_b2.py",
    }
    for path in package.rglob("*.*"):
        if path.is_file():
            assert "$" not in path.read_text()
    ruff = Path(sys.executable).with_name("ruff")
    if ruff.is_file():
        for command in (["check"], ["format", "--check"]):
            subprocess.run(
                [ruff, *command, "--no-cache", "--config", str(ROOT / "pyproject.toml"), "."]
                + (["--ignore", "I001"] if command == ["check"] else []),
                cwd=package,
                check=True,
                capture_output=True,
            )
    assert "class AB2" in (package / "contrail_a_b2.py").read_text() or kind == "tracker"


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("environment", "Number Hunt", "lower-case letters.* For example 'number-hunt'"),
        ("environment", "NumberHunt", "For example 'number-hunt'"),
        ("environment", "", "lower-case letters"),
        ("environment", "../up", "For example 'up'"),
        ("environment", "9lives", "For example 'lives'"),
        ("environment", "é", "a letter first"),
        ("environment", "babyai", "the plugin 'babyai'.* has the name already"),
        ("strategy", "babyai", "the plugin 'babyai'.* has the name already"),
        ("objective", "self", "the objective 'self' of the plugin 'distillation'"),
        ("tracker", "wandb", "a tracker that ships, 'wandb'"),
    ],
)
def test_a_name_that_cannot_be(kind: str, name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        create(kind, name, load_plugins(), tmp_path / "package")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_stays_as_it_is(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    with pytest.raises(ContrailError, match=r"there exists\. Choose another --dir"):
        create("adapter", "mine", load_plugins(), there)
    assert list(there.iterdir()) == []


def test_nothing_half_written_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    original = Path.write_text

    def write_text(path: Path, *arguments: object) -> int:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return original(path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(ContrailError, match="cannot be written: No space left on device"):
        create("adapter", "mine", load_plugins(), tmp_path / "package")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ContrailError, match="cannot be written: No such file or directory"):
        create("adapter", "mine", load_plugins(), tmp_path / "not" / "there")


def test_every_template_is_used() -> None:
    used = {
        f"{source.format(kind=kind)}.template"
        for source in contrail.scaffold.FILES.values()
        for kind in KINDS
    }
    there = contrail.scaffold.TEMPLATES
    assert used == {str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()}


def environment_of(package: Path) -> Any:
    plugins = load_plugins()
    plugins.add_named("contrail_errands.py", package)
    return plugins.environments["errands"].value


def difficulties(environment: Any) -> dict[str, set[int]]:
    return {
        split: {task.difficulty for task in environment.tasks(split)} for split in ("train", "test")
    }


def test_the_environment_has_all_difficulties_in_both_splits(tmp_path: Path) -> None:
    cls = environment_of(create("environment", "errands", load_plugins(), tmp_path / "package"))

    class TakesTurns(cls):  # type: ignore[misc]
        """Easy and hard lists take turns, so that every fourth of all is a hard one."""

        def lists(self) -> list[Any]:
            made = super().lists()
            short = [goods for goods in made if len(goods) == 1]
            return [item for pair in zip(short, made[len(short) :], strict=False) for item in pair]

    for items in range(1, 8):
        found = difficulties(cls(cls.Config(items=items)))
        assert found["train"] == found["test"] == set(range(1, items + 1))
    found = difficulties(TakesTurns())
    assert found["train"] == found["test"] == {1, 2}


@pytest.mark.parametrize("kind", KINDS)
def test_the_test_of_a_template_says_what_to_replace(kind: str, tmp_path: Path) -> None:
    package = create(kind, "errands", load_plugins(), tmp_path / "package")
    tests = ast.parse((package / "tests/test_contrail_errands.py").read_text())
    functions = [item for item in tests.body if isinstance(item, ast.FunctionDef)]
    assert len(functions) == 2
    assert "replace" in (ast.get_docstring(functions[1]) or "")


def test_the_environment_passes_its_tests(tmp_path: Path) -> None:
    package = create("environment", "errands", load_plugins(), tmp_path / "package")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=package,
        env=os.environ | {"PYTHONPATH": f"{package}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert "2 passed" in done.stdout, done.stdout
