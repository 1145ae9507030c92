"""Plugin packages: installed as a user installs them, and tried in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

TRY = """
import sys
import warnings
import pytest
from contrail.cli import app

warnings.simplefilter("ignore")
name, *tested = sys.argv[1:]
assert name in {entry.name for entry in __import__("importlib.metadata").metadata.entry_points(
    group="contrail")}
if tested:
    code = pytest.main(["-q", "-p", "no:cacheprovider", "-W", "ignore", "tests"])
    assert code == 0, code
for arguments in (["run", "stream.yaml", "--quiet"], ["report", "runs/stream"]):
    sys.argv = ["contrail", *arguments]
    try:
        app.main()
    except SystemExit as ended:
        assert not ended.code, arguments
"""


def install(package: Path, target: Path) -> None:
    """Install a package without a network, into a folder of its own."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir"]
    subprocess.run(
        [*pip, "install", "--quiet", *offline, "--target", str(target), str(package)],
        check=True,
        capture_output=True,
        text=True,
    )


def try_out(name: str, package: Path, target: Path, tests: bool = True) -> str:
    """Run the package's own tests, if asked for, and its stream file; return what was printed."""
    done = subprocess.run(
        [sys.executable, "-c", TRY, name, *(["tests"] * tests)],
        cwd=package,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(target), str(ROOT)])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
