"""`contrail compare STUDY STUDY`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import Command

import contrail
from contrail.errors import ContrailError


def claim(verdict: str) -> dict[str, Any]:
    criterion = {"text": "gain", "mean": 0.25, "interval": [0.15, 0.35]}
    return {"number": "4", "claim": "Claim 4", "verdict": verdict, "criteria": [criterion]}


@pytest.fixture
def studies(tmp_path: Path) -> list[str]:
    for name, verdict in (("choose", "holds"), ("free [text]", "does not hold")):
        (tmp_path / name / "runs").mkdir(parents=True)
        record = {"failed": {}, "claims": [claim(verdict)]}
        (tmp_path / name / "transfer.json").write_text(json.dumps(record))
    (tmp_path / "other").mkdir()
    return [str(tmp_path / "choose"), str(tmp_path / "free [text]")]


def test_the_command(studies: list[str], command: Command) -> None:
    done = command("compare", *studies)
    assert done.code == 0
    for text in ("choose", "free [text]", "4. Claim 4", "disagree", "+0.25 [+0.15, +0.35]"):
        assert text in done.out


def test_directories_of_one_name_are_told_apart(
    studies: list[str], command: Command, tmp_path: Path
) -> None:
    other = tmp_path / "again" / "choose"
    shutil.copytree(studies[0], other)
    done = command("compare", studies[0], other)
    assert studies[0] in done.out
    assert str(other) in done.out


def test_what_cannot_be_compared(studies: list[str], command: Command) -> None:
    other = str(Path(studies[0]).with_name("other"))
    with pytest.raises(ContrailError, match="other has no results of a study"):
        contrail.Study.beside(studies[0], other)
    with pytest.raises(ContrailError, match="two directories or more"):
        contrail.Study.beside(studies[0])
    done = command("compare", *studies, "--seeds", "0")
    assert done.code != 0
    assert "studies are compared without options" in done.err
