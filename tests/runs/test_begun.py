"""A run that begins with the policy of another one knows what that has been trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import contrail
from contrail.check.world import NAME
from contrail.errors import ConfigError, ContrailError
from contrail.plugins.reports import why


def stream(rules: list[str], model: Any = "tiny-random", **keys: Any) -> dict[str, Any]:
    tested = keys.pop("tested", [])
    return {
        "model": str(model),
        "plugins": ["contrail.check.world"],
        "stream": [{"environment": column(rule), "updates": 1} for rule in rules],
        "evaluate": {
            "tasks": 4,
            "baselines": False,
            "environments": [column(rule, "tested") for rule in tested],
        },
        "trackers": [],
        "grpo": {"num_generations": 4, "generation_batch_size": 8},
        **keys,
    }


def column(rule: str, label: str = "") -> dict[str, Any]:
    return {"name": NAME, "label": f"{label}{rule}", "rule": rule.rstrip("2")}


@pytest.fixture(scope="module")
def north(tmp_path_factory: pytest.TempPathFactory) -> contrail.Result:
    return contrail.run(
        stream(["north"]), out=tmp_path_factory.mktemp("begun") / "north", quiet=True
    )


def test_what_the_other_run_trained_on_is_not_held_out(
    north: contrail.Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = stream(["south"], north.directory, tested=["north", "south"])
    found = contrail.run(config, out=tmp_path / "south")
    assert found.record["begun_from"]["trained"] == ["testednorth"]
    assert why.beginning(found.record) == (0, f"the policy of {north.directory}")
    said = capsys.readouterr().err
    assert "trained on 'testednorth': not held out here" in said
    assert "trained on 'north', which is 'south' with other settings" in said
    held_out = found.environments.index("testedsouth")
    change = found.record["change"]["value"][-1]
    assert found.metrics["delta_held_out"] == pytest.approx(change[held_out])

    third = contrail.run(
        stream(["north"], found.directory, tested=["north", "south"]),
        out=tmp_path / "third",
        quiet=True,
    )
    assert third.record["begun_from"]["trained"] == ["north", "testednorth", "testedsouth"]
    assert third.metrics["delta_held_out"] is None


def test_no_forward_transfer_to_what_the_other_run_trained_on(
    north: contrail.Result, tmp_path: Path
) -> None:
    found = {
        model: contrail.run(stream(["south", "north"], model), out=tmp_path / name, quiet=True)
        for name, model in (("run", north.directory), ("base", "tiny-random"))
    }
    assert found[north.directory].metrics["forward_transfer"] is None
    assert found["tiny-random"].metrics["forward_transfer"] is not None


def test_it_is_remembered_when_the_other_run_is_gone(
    north: contrail.Result, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    shutil.copytree(north.directory, gone)
    config = stream(["south"], gone, tested=["north"])
    contrail.run(config, out=tmp_path / "run", quiet=True)
    shutil.rmtree(gone)
    more = json.dumps([column(rule, "tested") for rule in ("north", "north2")])
    found = contrail.run(
        tmp_path / "run/config.yaml",
        f"evaluate.environments={more}",
        out=tmp_path / "run",
        quiet=True,
    )
    assert found.record["begun_from"]["trained"] == ["testednorth", "testednorth2"]


def test_a_model_without_a_lora_is_no_run(north: contrail.Result) -> None:
    assert north.record["begun_from"] is None


def test_a_lora_for_each_environment_is_no_policy(tmp_path: Path) -> None:
    config = stream(["north", "south"], strategy="adapters")
    run = contrail.run(config, out=tmp_path / "run", quiet=True)
    with pytest.raises(ConfigError, match="a LoRA for each environment, by 'adapters'"):
        contrail.run(stream(["north"], run.directory), out=tmp_path / "from", quiet=True)
    with pytest.raises(ConfigError, match="a LoRA for each environment, by 'adapters'"):
        contrail.split(stream(["north"], run.directory), out=tmp_path / "split.yaml", quiet=True)
    one = run.directory / "checkpoints/001"
    assert contrail.run(stream(["south"], one), out=tmp_path / "one", quiet=True)


def test_a_run_that_has_not_ended(
    north: contrail.Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = tmp_path / "half"
    shutil.copytree(north.directory, half)
    (half / "result.json").unlink()
    note = f"{half} has not ended: its policy is that of checkpoint 001"
    contrail.run(stream(["south"], half), out=tmp_path / "run")
    assert note in capsys.readouterr().err
    contrail.evaluate(half, ["north"])
    assert note in capsys.readouterr().err
    contrail.evaluate(north.directory, ["north"])
    assert "has not ended" not in capsys.readouterr().err


def test_the_folder_of_a_lora_elsewhere_is_no_checkpoint(
    north: contrail.Result, tmp_path: Path
) -> None:
    """Two levels above it lies the configuration of another run."""
    shutil.copytree(north.directory, tmp_path / "other")
    copied = tmp_path / "other/kept/lora"
    shutil.copytree(north.directory / "checkpoints/001", copied)
    found = contrail.run(stream(["south"], copied), out=tmp_path / "run", quiet=True)
    assert found.record["begun_from"]["history"] == []


def test_a_revision_of_the_model_is_not_passed_over(north: contrail.Result, tmp_path: Path) -> None:
    lora = tmp_path / "lora"
    shutil.copytree(north.directory / "checkpoints/001", lora)
    file = lora / "adapter_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "revision": "v2"}))  # of a directory: without effect
    assert contrail.evaluate(lora, ["babyai"], tasks=1, quiet=True)
    settings["base_model_name_or_path"] = "owner/model"
    file.write_text(json.dumps({**settings, "revision": "v2"}))
    with pytest.raises(ContrailError, match="names the revision 'v2' of its model"):
        contrail.evaluate(lora, ["babyai"], quiet=True)
