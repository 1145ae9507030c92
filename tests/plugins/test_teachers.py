"""What `distill` asks of its teachers: that they are those that were meant."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import contrail
from contrail import ConfigError
from contrail.plugins.objectives.distillation import DistillConfig

CONFLICT = (Path(__file__).parents[2] / "examples/conflict.py").read_text()
AGAIN = CONFLICT.replace('register("conflict", Conflict)', 'register("again", Conflict)')


def stream(folder: Path, learn: Any, name: str = "conflict", **rules: str) -> dict[str, Any]:
    """A run on north and south; `rules` are theirs, by default their own."""
    (folder / "conflict.py").write_text(CONFLICT)
    (folder / "again.py").write_text(AGAIN)
    return {
        "model": "tiny-random",
        "plugins": [str(folder / "conflict.py"), str(folder / "again.py")],
        "stream": [
            {
                "environment": {"name": name, "label": label, "rule": rules.get(label, label)},
                "updates": 1,
                "learn": learn,
            }
            for label in ("north", "south")
        ],
        "evaluate": {"tasks": 2, "baselines": False},
        "grpo": {"num_generations": 2, "generation_batch_size": 2, "temperature": 0.2},
    }


@pytest.fixture(scope="module")
def specialists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("specialists")
    contrail.run(stream(folder, "grpo"), "strategy=isolated", out=folder / "run", quiet=True)
    return folder / "run"


def taught(folder: Path, teachers: Any, **changes: Any) -> list[str]:
    """Return the notes of a run with these teachers."""
    values = stream(folder, {"name": "distill", "teachers": teachers}, **changes)
    return contrail.run(values, out=folder / "run", quiet=True).record["notes"]


def test_its_own_teachers_are_taken_without_a_word(specialists: Path, tmp_path: Path) -> None:
    assert not taught(tmp_path, str(specialists))


def test_other_settings_are_noted(specialists: Path, tmp_path: Path) -> None:
    notes = taught(tmp_path, str(specialists), north="south", south="north")
    assert len(notes) == 2
    assert "001, has been trained on 'conflict' with other settings: rule 'north'" in notes[0]
    assert "rule 'south', here 'north'" in notes[1]


def test_numbers_of_tasks_are_no_settings_of_the_game(specialists: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(specialists, other)
    values = yaml.safe_load((other / "config.yaml").read_text())
    for stage in values["stream"]:
        stage["environment"] |= {"train_tasks": 7, "test_tasks": 3, "max_turns": 9}
    (other / "config.yaml").write_text(yaml.safe_dump(values))
    assert not taught(tmp_path, str(other))


def test_another_environment_under_the_label_is_refused(specialists: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="on 'conflict' under the label 'north', which is 'aga"):
        taught(tmp_path, str(specialists), name="again")
    assert not (tmp_path / "run").exists()


def test_what_a_checkpoint_has_not_been_trained_on_is_noted(
    specialists: Path, tmp_path: Path
) -> None:
    """The settings of its stage are other ones, whatever else its run trains on."""
    notes = taught(tmp_path, str(specialists / "checkpoints/001"))
    assert [note.partition(",")[0] for note in notes] == ["the teacher of south"]
    folder = tmp_path / "untold"
    shutil.copytree(specialists / "checkpoints/001", folder)  # of no run, so nothing is known
    assert contrail.trained_on(folder) is None


def test_an_export_knows_what_it_was_trained_on(specialists: Path, tmp_path: Path) -> None:
    out = contrail.load(specialists).export(tmp_path / "export")
    assert [item["label"] for item in contrail.trained_on(out) or ()] == ["south"]


def test_a_teacher_for_all_others_of_which_there_are_none_is_noted(
    specialists: Path, tmp_path: Path
) -> None:
    one, other = (str(specialists / f"checkpoints/00{stage}") for stage in (1, 2))
    notes = taught(tmp_path, {"north": one, "south": other, "*": one})
    assert notes == ["teachers: '*' stands for no environment: each has a teacher of its own"]


def test_digests_that_are_written_must_be_those_of_the_teachers(
    specialists: Path, tmp_path: Path
) -> None:
    right = DistillConfig(str(specialists)).sha256
    assert right.keys() == {"north", "south"}
    for named in (str(specialists), {"north": str(specialists)}):
        found = DistillConfig(named, {"north": right["north"]})
        assert found.sha256["north"] == right["north"]
        assert found.teachers["north"] == str(specialists / "checkpoints/001")
        with pytest.raises(ConfigError, match=r"001 has the digest .*, not abc") as error:
            DistillConfig(named, {"north": "abc"})
        assert error.value.key == ("sha256", "north")
    with pytest.raises(ConfigError, match=r"no teacher 'nroth'\. Did you mean 'north'"):
        DistillConfig(str(specialists), {"nroth": right["north"]})
    learn = {"name": "distill", "teachers": str(specialists), "sha256": {"north": "abc"}}
    with pytest.raises(ConfigError, match=r"stream\.0\.learn\.sha256\.north: ") as error:
        contrail.run(json.loads(json.dumps(stream(tmp_path, learn))), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
