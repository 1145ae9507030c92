"""Plugin packages: installed as a user installs them, and tried in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]

TRY = """
import os
import sys
import warnings
import pytest
from contrail.cli import app

warnings.simplefilter("ignore")
tested, *pairs = sys.argv[1:]
installed = {entry.name for entry in __import__("importlib.metadata").metadata.entry_points(
    group="contrail")}
for name, package in zip(pairs[::2], pairs[1::2]):
    assert name in installed, name
    os.chdir(package)
    if tested:
        code = pytest.main(["-q", "-p", "no:cacheprovider", "-W", "ignore", "tests"])
        assert code == 0, (name, code)
    for arguments in (["run", "stream.yaml", "--quiet"], ["report", "runs/stream"]):
        sys.argv = ["contrail", *arguments]
        try:
            app.main()
        except SystemExit as ended:
            assert not ended.code, (name, arguments)
"""


def install(target: Path, *packages: Path) -> None:
    """Install packages without a network, into a folder of their own."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir"]
    subprocess.run(
        [*pip, "install", "--quiet", *offline, "--target", str(target), *map(str, packages)],
        check=True,
        capture_output=True,
        text=True,
    )


def try_out(target: Path, packages: Mapping[str, Path], tests: bool = True) -> str:
    """Run the packages' own tests, if asked for, and their stream files, in one process.

    Args:
        target: where they are installed.
        packages: their folders by the names of their entry points.
        tests: whether to run their tests.

    Returns:
        What was printed.
    """
    pairs = [str(part) for pair in packages.items() for part in pair]
    done = subprocess.run(
        [sys.executable, "-c", TRY, "tests" if tests else "", *pairs],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(target), str(ROOT)])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
