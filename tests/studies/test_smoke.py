"""All experiments, from the command line to the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import contrail
from contrail.cli import app as cli
from contrail.runs.directory import RunDirectory
from contrail.runs.following import Following, find, planned
from contrail.studies.claims import CLAIMS
from contrail.studies.design import EXPERIMENTS


@pytest.mark.slow
def test_all_experiments_run_and_without_learning_no_claim_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "study"
    command = ["contrail", "study", "all", "grpo.learning_rate=0", "--out", str(out), "-q"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    study = json.loads((out / "all.json").read_text())
    assert study["experiments"] == list(EXPERIMENTS)
    assert study["runs"]["ended"] == study["runs"]["planned"]
    verdicts = {claim["number"]: claim["verdict"] for claim in study["claims"]}
    assert verdicts.keys() == {claim.number for claim in CLAIMS}
    assert "holds" not in verdicts.values()
    for table in study["tables"]:
        if table["signed"]:  # nothing has changed anywhere
            cells = [cell for row in table["rows"] for cell in row["cells"]]
            assert {cell["mean"] for cell in cells if cell} == {0.0}
    shown = capsys.readouterr().out
    page = (out / "all.md").read_text()
    (again,) = contrail.Study.find(out)
    again.report()
    assert capsys.readouterr().out in shown
    for table in study["tables"]:
        assert table["title"] in shown
        assert f"## {table['title']}" in page
    assert (out / "all.png").stat().st_size > 10_000
    assert find(out) == "comparison"  # so `contrail watch` shows it
    assert len(planned(out)) == study["runs"]["planned"]
    assert all(Following(out / name).look() == "finished" for name in planned(out))


def test_the_cost_of_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["contrail", "study", "sequence", "--dry-run", "--jobs", "2"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    said = capsys.readouterr().out
    # Two orders of two stages by two seeds; the base is evaluated once for each seed.
    assert said.startswith("4 runs, 2 at a time: 8 updates and 10 evaluations of all environments;")
    assert list(tmp_path.iterdir()) == []


WARM: dict[str, Any] = {
    "model": "tiny-random",
    "adapter": {"name": "act", "max_new_tokens": 8},
    "environments": [
        {"name": "babyai", "label": "balls", "levels": ["GoToRedBallNoDists"], "max_turns": 2},
        {"name": "textcraft", "label": "craft", "depths": [1], "max_turns": 2},
    ],
    "warmup": {"updates": 1, "learn": {"name": "imitate", "learning_rate": 1e-2}},
    "updates": 1,
    "evaluate": {"tasks": 4},
    "grpo": {"num_generations": 2, "generation_batch_size": 4},
    "lora": {"r": 4},
}


@pytest.mark.slow
def test_all_runs_begin_with_one_warm_up(tmp_path: Path):
    found = contrail.study("transfer", WARM, out=tmp_path / "study", quiet=True)
    runs = tmp_path / "study" / "runs"
    warm = contrail.load(runs / "sequential_warmup_seed0")
    for label in ("balls", "craft"):
        run = contrail.load(runs / f"sequential_{label}_seed0")
        assert run.record["model"] == str(warm.directory)
        begun = run.record["evaluations"][0]
        assert (
            begun[label]["generated_tokens"]
            == warm.record["evaluations"][-1][label]["generated_tokens"]
        )
    assert found.record["model"] == "tiny-random"
    table = found.record["tables"][0]
    assert [row["label"] for row in table["rows"]] == ["untrained model", "after the warm-up"]
    assert table["title"] == "Warm-up: success"


@pytest.mark.slow
def test_a_warm_up_that_fails_stops_the_runs_of_its_seed_alone(tmp_path: Path):
    out = tmp_path / "study"
    values = {**WARM, "seeds": [0, 1], "environments": WARM["environments"][:1]}
    with RunDirectory(out / "runs" / "sequential_warmup_seed0").locked():  # somebody works there
        found = contrail.study("transfer", values, out=out, quiet=True)
    assert list(found.record["failed"]) == ["sequential, warmup, seed 0"]
    ended = sorted(path.parent.name for path in out.glob("runs/*/result.json"))
    assert ended == ["sequential_balls_seed1", "sequential_warmup_seed1"]
    found = contrail.study("transfer", values, out=out, quiet=True)
    assert not found.record["failed"]
    assert len(list(out.glob("runs/*/result.json"))) == 4
