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
    note = "trained on 'north' with other settings than 'south' has here, and on none of its test"
    assert note in said
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


ROOMS = """
from dataclasses import dataclass
import contrail

@dataclass
class Settings:
    first: int = 0

class Rooms(contrail.Environment):
    Config = Settings

    def tasks(self, split):
        start = self.config.first + (8 if split == "test" else 0)
        kinds = ("odd", "even")
        return [contrail.Task("rooms", f"room-{n}", n, split, kinds[n % 2 == 0])
                for n in range(start, start + 8)]

    def reset(self, task):
        return contrail.Observation(f"Room {task.seed}.", ["in", "out"])

    def step(self, action):
        solved = action == "in"
        return contrail.Step(contrail.Observation("On.", ["in"]), float(solved), True)

@contrail.hookimpl
def contrail_environments(register):
    register("rooms", Rooms)
"""


def rooms(
    folder: Path,
    model: Any,
    *tested: dict[str, Any],
    settings: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
) -> dict[str, Any]:
    (folder / "rooms.py").write_text(ROOMS)
    keys = stream([], model)
    return {
        **keys,
        "plugins": [str(folder / "rooms.py")],
        "stream": [
            {
                "environment": {"name": "rooms", **(settings or {})},
                "updates": 1,
                "train": train or {},
            }
        ],
        "evaluate": {
            **keys["evaluate"],
            "tasks": 8,
            "environments": [{"name": "rooms", **item} for item in tested],
        },
    }


def test_test_tasks_that_other_settings_have_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One training task is a test task of the other label: then its success is no test."""
    first = contrail.run(rooms(tmp_path, "tiny-random"), out=tmp_path / "first", quiet=True)
    near = {"label": "near", "first": -1}
    far = {"label": "far", "first": 20}
    config = rooms(tmp_path, first.directory, near, far, settings={"label": "new", "first": 40})
    found = contrail.run(config, out=tmp_path / "second")
    said = capsys.readouterr().err
    assert f"{first.directory} has been trained on 'rooms' with other settings" in said
    assert "than 'near' has here, and on its test task 'room-7': not held out here" in said
    assert "than 'far' has here, and on none of its test tasks" in said
    assert found.record["begun_from"]["trained"] == ["near"]
    column = found.environments.index("far")
    change = found.record["change"]["value"][-1][column]
    assert found.metrics["delta_held_out"] == pytest.approx(change)

    # A run that goes on compares what it is given since, and that only.
    shutil.rmtree(first.directory)
    more = json.dumps([{"name": "rooms", **item} for item in (near, far, {**near, "label": "b"})])
    again = contrail.run(
        tmp_path / "second/config.yaml",
        f"evaluate.environments={more}",
        out=tmp_path / "second",
        quiet=True,
    )
    begun = again.record["begun_from"]
    assert begun["trained"] == ["near", "b"]
    assert len(begun["notes"]) == len(found.record["begun_from"]["notes"]) + 1

    contrail.evaluate(again.directory, ["rooms"], tasks=2)
    assert "with other settings than 'rooms' has here" in capsys.readouterr().err


def test_only_what_stages_have_used_has_been_trained_on(tmp_path: Path) -> None:
    near = {"label": "near", "first": -1}  # it tests on room-7 alone
    for name, stage, trained in (
        ("even", {"difficulty": ["even"]}, []),
        ("few", {"tasks": 7}, []),
        ("odd", {"difficulty": ["odd"], "tasks": 4}, ["near"]),
    ):
        first = contrail.run(
            rooms(tmp_path, "tiny-random", train=stage), out=tmp_path / name, quiet=True
        )
        config = rooms(tmp_path, first.directory, near, settings={"label": "new", "first": 40})
        found = contrail.run(config, out=tmp_path / f"{name}2", quiet=True)
        assert found.record["begun_from"]["trained"] == trained, name


def test_earlier_settings_that_cannot_be_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = contrail.run(rooms(tmp_path, "tiny-random"), out=tmp_path / "first", quiet=True)
    source = (tmp_path / "rooms.py").read_text()
    config = rooms(tmp_path, first.directory, settings={"label": "new", "first": 40})
    start = "        start = "
    assert start in source
    locked = "        if not self.config.first:\n            raise contrail.ConfigError('locked')\n"
    (tmp_path / "rooms.py").write_text(source.replace(start, f"{locked}{start}"))
    contrail.run(config, out=tmp_path / "second")
    said = " ".join(capsys.readouterr().err.split())
    assert "whether on test tasks is not known (locked" in said


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


def test_a_lora_whose_record_is_gone_is_evaluated(north: contrail.Result, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(north.directory, copy)
    checkpoint = copy / "checkpoints/001"
    (checkpoint / "state.json").unlink()
    assert contrail.evaluate(checkpoint, ["north"], tasks=1, quiet=True)
    found = contrail.run(stream(["south"], checkpoint), out=tmp_path / "run", quiet=True)
    assert "trained on is not known" in found.record["begun_from"]["notes"][0]


def test_stages_of_one_environment_are_one_note(tmp_path: Path) -> None:
    config = rooms(tmp_path, "tiny-random", train={"difficulty": ["odd"], "tasks": 4})
    config["stream"].append({**config["stream"][0], "train": {"difficulty": ["even"]}})
    first = contrail.run(config, out=tmp_path / "first", quiet=True)
    again = contrail.run(
        rooms(tmp_path, first.directory, settings={"label": "b", "first": 9}),
        out=tmp_path / "again",
        quiet=True,
    )
    last = contrail.run(
        rooms(tmp_path, again.directory, settings={"label": "c", "first": -1}),
        out=tmp_path / "last",
        quiet=True,
    )
    notes = last.record["begun_from"]["notes"]
    assert len([note for note in notes if "'rooms' with other settings" in note]) == 1


def test_an_isolated_stage_has_the_warm_up_of_all(tmp_path: Path) -> None:
    """Every stage begins with the policy after the warm-up, which was trained on all."""
    config = stream(["north", "south"], strategy="isolated", warmup={"updates": 1})
    first = contrail.run(config, out=tmp_path / "first", quiet=True)
    found = contrail.run(
        stream(["north2"], first.directory, tested=["north", "south"]),
        out=tmp_path / "second",
        quiet=True,
    )
    assert found.record["begun_from"]["trained"] == ["north2", "testednorth", "testedsouth"]
