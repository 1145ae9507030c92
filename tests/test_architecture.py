"""The order of the packages, what is installed of them, and the size of files."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HOME = Path(__file__).parents[1]
CODE = ("contrail", "envs", "plugins", "strategies")


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    pytest.importorskip("grimp", reason="needs pip install 'contrail[dev]'")
    spec = importlib.util.spec_from_file_location(
        "draw_packages", HOME / "docs" / "draw_packages.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((HOME / "pyproject.toml").read_text())


def files(*folders: str) -> list[Path]:
    """The source files, each once: in a checkout the folders may be linked into contrail/."""
    found = {path.resolve() for folder in folders for path in (HOME / folder).rglob("*.py")}
    return sorted(found)


def test_imports_keep_the_contracts_of_pyproject(drawing: ModuleType) -> None:
    with drawing.installed_layout() as folder:
        linted = subprocess.run(
            [
                Path(sys.executable).with_name("lint-imports"),
                "--no-cache",
                "--config",
                str(HOME / "pyproject.toml"),
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
        )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_every_core_module_is_public_or_forbidden_to_plugins(
    drawing: ModuleType, pyproject: dict[str, Any]
) -> None:
    forbidden = pyproject["tool"]["importlinter"]["contracts"][1]["forbidden_modules"]
    public = {"baselines", "cache", "check", "errors", "fitted_tables", "leaks", "names"}
    public |= {"plugin_files", "reporting", "seeding", "tables"}
    core = {name for layer in drawing.layers() for name in layer} - set(drawing.PLUGINS)
    assert {name.removeprefix("contrail.") for name in forbidden} == core - public - {"__main__"}


def test_the_drawing_shows_what_is_imported(drawing: ModuleType) -> None:
    # In a process of its own: here contrail has been imported from another place.
    command = [sys.executable, str(HOME / "docs/draw_packages.py"), "--print"]
    drawn = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert drawing.DRAWING.read_text() == drawn, "python docs/draw_packages.py draws it again"


def test_every_package_is_installed(pyproject: dict[str, Any]) -> None:
    listed = set(pyproject["tool"]["setuptools"]["packages"])
    folders = {path.parent.relative_to(HOME) for path in files(*CODE)}
    packages = {
        ".".join(folder.parts if folder.parts[0] == "contrail" else ("contrail", *folder.parts))
        for folder in folders
    }
    assert packages == listed
    assert all((HOME / folder / "__init__.py").is_file() for folder in folders)


def test_no_file_is_hidden_from_git() -> None:
    """A pattern such as `runs/` in .gitignore hides a package of that name as well."""
    names = [str(path.relative_to(HOME)) for path in files(*CODE)]
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *names], cwd=HOME, capture_output=True, text=True
    )
    if ignored.returncode == 128:
        pytest.skip("this is no checkout")
    assert not ignored.stdout


@pytest.mark.parametrize("folder", [*CODE, "tests", "benchmarks", "docs"])
def test_files_are_short(folder: str) -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in files(folder)}
    assert not {path: count for path, count in lengths.items() if count > 400}


def test_the_loop_is_a_page() -> None:
    assert len((HOME / "contrail" / "runs" / "loop.py").read_text().splitlines()) < 150


def test_what_the_page_names_is_there() -> None:
    """Each `file`: `name` of docs/architecture.md is defined in that file."""
    page = (HOME / "docs" / "architecture.md").read_text()
    named = re.findall(r"`([\w/]+\.py)`: `(\w+)`", page)
    assert len(named) > 20
    for path, name in named:
        assert re.search(rf"^ *(def|class) {name}\b", (HOME / path).read_text(), re.MULTILINE), name
    for path in re.findall(r"`([\w/]+\.py)`", page):
        assert (HOME / path).is_file(), path
