"""The objective `distill` in runs: what it learns, refuses, and keeps when killed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from killed import check_killed, killed_after

import contrail
from contrail import ConfigError
from contrail.comparison import share
from contrail.comparison.plan import ComparisonOptions, read_plan
from contrail.config import load
from contrail.registry.plugins import load_plugins
from contrail.runs.launch import run_stream

EXAMPLES = Path(__file__).parents[2] / "examples"


def stream(learn: Any, **changes: Any) -> dict[str, Any]:
    return {
        "model": "tiny-random",
        "dtype": "float32",
        "plugins": [str(EXAMPLES / "conflict.py")],
        "stream": [
            {
                "environment": {"name": "conflict", "label": label, "rule": label},
                "updates": 3,
                "learn": learn,
            }
            for label in ("north", "south")
        ],
        "evaluate": {"tasks": 3, "baselines": False},
        "grpo": {
            "num_generations": 4,
            "generation_batch_size": 8,
            "learning_rate": 5e-3,
            "temperature": 0.2,
        },
        "lora": {"r": 4},
        **changes,
    }


@pytest.fixture(scope="module")
def specialists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the strategy `isolated`."""
    out = tmp_path_factory.mktemp("specialists") / "run"
    lora = {"r": 2, "target_modules": ["q_proj", "v_proj"]}
    contrail.run(stream("grpo", strategy="isolated", lora=lora), out=out, quiet=True)
    return out


def files(run: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file()
    }


def test_a_run_names_its_teachers(specialists: Path, tmp_path: Path) -> None:
    def teachers(value: Any) -> dict[str, str]:
        learn = {"name": "distill", "teachers": value}
        config, _ = load(stream(learn, stream=stream(learn)["stream"][:1]))
        settings = config.stream[0].learn.settings
        assert settings.sha256.keys() == settings.teachers.keys()
        return {name: str(Path(path).name) for name, path in settings.teachers.items()}

    assert teachers(str(specialists)) == {"north": "001", "south": "002"}
    assert teachers({"north": str(specialists)}) == {"north": "001"}
    checkpoint = str(specialists / "checkpoints/002")
    assert teachers(checkpoint) == {"*": "002"}
    assert teachers({"north": str(specialists), "*": checkpoint}) == {"north": "001", "*": "002"}
    other = tmp_path / "sequential"
    shutil.copytree(specialists, other)
    config = (other / "config.yaml").read_text().replace("name: isolated", "name: sequential")
    (other / "config.yaml").write_text(config)
    assert teachers(str(other)) == {"*": "002"}
    (tmp_path / "stream.yaml").write_text(json.dumps(stream("grpo")))
    learn = "{name: distill, teachers: {north: sequential/checkpoints/001}}"
    found, _ = load(tmp_path / "stream.yaml", [f"stream.0.learn={learn}"])
    named = found.stream[0].learn.settings.teachers["north"]
    assert named == str(other / "checkpoints/001")


def test_specialists_after_a_warm_up(specialists: Path, tmp_path: Path) -> None:
    """Its row stands before the others'."""
    config = yaml.safe_load((specialists / "config.yaml").read_text())
    shutil.copytree(specialists / "checkpoints", tmp_path / "checkpoints")
    shutil.copytree(tmp_path / "checkpoints/002", tmp_path / "checkpoints/003")
    for warmup, names in ((None, ["001", "002"]), ({"updates": 1}, ["002", "003"])):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({**config, "warmup": warmup}))
        found = contrail.lora_directories(tmp_path)
        assert [found[name].name for name in ("north", "south")] == names


def test_a_mixture_fuses_without_rewards(specialists: Path, tmp_path: Path) -> None:
    """What a step gives does not matter."""
    learn = {"name": "distill", "teachers": str(specialists)}
    changes = {"strategy": "mixture", "grpo.learning_rate": "3e-3"}
    overrides = [f"{name}={value}" for name, value in changes.items()]
    contrail.run(stream(learn), *overrides, out=tmp_path / "run", quiet=True)
    unpaid = stream(learn)
    plugin = (EXAMPLES / "conflict.py").read_text()
    (tmp_path / "unpaid.py").write_text(plugin.replace("reward=float(done)", "reward=0.0"))
    unpaid["plugins"] = [str(tmp_path / "unpaid.py")]
    contrail.run(unpaid, *overrides, out=tmp_path / "unpaid", quiet=True)
    name = "checkpoints/001/adapter_model.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "unpaid" / name).read_bytes()
    assert files(tmp_path / "run")[name] != files(tmp_path / "run")[name.replace("001", "000")]
    budget = json.loads((tmp_path / "run/result.json").read_text())["budget"]
    assert budget["episodes"] == 6 * 8
    assert budget["extra_tokens"] > 0
    assert {path.name for path in (tmp_path / "run/checkpoints/001").iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "state.json",
    }


@pytest.mark.slow
def test_one_policy_reaches_both_specialists(tmp_path: Path) -> None:
    """In the conflict stream: 98% of the teachers' scores, at three tenths of their updates."""
    conflict = str(EXAMPLES / "conflict.yaml")
    settings = ["evaluate.baselines=false", "grpo.generation_batch_size=32"]
    own = contrail.run(conflict, *settings, "strategy=isolated", out=tmp_path / "own", quiet=True)
    best = [own.R[1][0], own.R[2][1]]
    assert min(best) > 0.9
    learn = json.dumps({"name": "distill", "teachers": str(tmp_path / "own")})
    for stage in (0, 1):
        settings += [f"stream.{stage}.learn={learn}", f"stream.{stage}.updates=15"]
    one = contrail.run(conflict, *settings, "strategy=mixture", out=tmp_path / "one", quiet=True)
    assert sum(one.R[1]) >= 0.98 * sum(best)


def test_what_does_not_fit_is_refused_before_anything_is_written(
    specialists: Path, tmp_path: Path
) -> None:
    def refused(teachers: Any, expected: str, **changes: Any) -> None:
        learn = {"name": "distill", "teachers": teachers}
        with pytest.raises(ConfigError, match=expected) as error:
            contrail.run(stream(learn, **changes), out=tmp_path / "run", quiet=True)
        assert error.value.key is None or error.value.key[:3] == ("stream", 0, "learn")
        assert not (tmp_path / "run").exists()

    one = str(specialists / "checkpoints/001")
    refused("nowhere", r"teachers: there is no directory 'nowhere'")
    refused(str(tmp_path), "is neither a run nor a LoRA")
    refused(3, "must be a path")
    refused({}, "must be a path")
    refused("", "must be a path")
    refused({"east": str(specialists)}, "trains on no 'east'")
    refused(
        {"south": one},
        "teachers: there is no teacher for the environment 'north', only for 'south'",
    )
    other = tmp_path / "other"
    shutil.copytree(one, other)
    file = other / "adapter_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "base_model_name_or_path": "hub/other"}))
    refused(str(other), "is a LoRA of the model 'hub/other'")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(specialists, unfinished)
    shutil.rmtree(unfinished / "checkpoints/002")
    refused(str(unfinished), "has no checkpoint 002 yet, which holds the LoRA of 'south'")


def test_killed_within_a_stage_it_ends_the_same(specialists: Path, tmp_path: Path) -> None:
    path = tmp_path / "stream.yaml"
    path.write_text(json.dumps(stream({"name": "distill", "teachers": str(specialists)})))
    check_killed(path, tmp_path)


def test_a_run_goes_on_with_its_own_teachers_alone(specialists: Path, tmp_path: Path) -> None:
    teachers = tmp_path / "teachers"
    shutil.copytree(specialists, teachers)
    path = tmp_path / "stream.yaml"
    path.write_text(json.dumps(stream({"name": "distill", "teachers": str(teachers)})))
    with killed_after(2):
        run_stream(path, ["checkpoint.updates=1"], out=tmp_path / "run", quiet=True)
    before = files(tmp_path / "run")
    shutil.copy(
        teachers / "checkpoints/000/adapter_model.safetensors", teachers / "checkpoints/001"
    )
    with pytest.raises(ConfigError, match=r"another configuration: stream.0.learn.sha256.north"):
        run_stream(path, out=tmp_path / "run", quiet=True)
    resolved = tmp_path / "run/config.yaml"
    with pytest.raises(ConfigError, match=r"001 has changed since the run began"):
        run_stream(resolved, out=tmp_path / "run", quiet=True)
    shutil.rmtree(teachers)
    with pytest.raises(ConfigError, match=r"001: the LoRA cannot be read"):
        run_stream(resolved, out=tmp_path / "run", quiet=True)
    assert files(tmp_path / "run") == before
    load(resolved)  # what has been learnt can still be used


def test_comparisons_share_what_has_the_same_teachers(specialists: Path, tmp_path: Path) -> None:
    plugins = load_plugins()

    def keys(teachers: Path) -> list[str | None]:
        path = tmp_path / "stream.yaml"
        path.write_text(json.dumps(stream({"name": "distill", "teachers": str(teachers)})))
        plan = read_plan(path, [], ComparisonOptions(strategies=["sequential"]), plugins)
        return share.row_keys(plan.runs[0].config, plugins)

    teachers = tmp_path / "teachers"
    shutil.copytree(specialists, teachers)
    before = keys(teachers)
    assert keys(teachers) == before
    weights = teachers / "checkpoints/002/adapter_model.safetensors"
    shutil.copy(teachers / "checkpoints/000/adapter_model.safetensors", weights)
    after = keys(teachers)
    assert before[0] == after[0]
    assert before[1:] != after[1:]


def test_replayed_tasks_need_a_teacher_too(specialists: Path, tmp_path: Path) -> None:
    one = str(specialists / "checkpoints/001")
    found = stream({"name": "distill", "teachers": {"south": one}}, strategy="replay")
    found["stream"][0] = {**found["stream"][0], "updates": 1, "learn": "grpo"}
    with pytest.raises(ConfigError, match="there is no teacher for the environment 'north'") as e:
        contrail.run(found, out=tmp_path / "run", quiet=True)
    assert e.value.key == ("stream", 1, "learn", "teachers")
    assert not (tmp_path / "run").exists()
    found["stream"][1].update(
        updates=1, learn={"name": "distill", "teachers": {"south": one, "north": str(specialists)}}
    )
    result = contrail.run(found, out=tmp_path / "run", quiet=True)
    assert result.record["played"][-1].keys() == {"north", "south"}


def test_a_teacher_of_another_environment_is_refused(specialists: Path, tmp_path: Path) -> None:
    teachers = {"nroth": str(specialists / "checkpoints/001"), "*": str(specialists)}
    with pytest.raises(ConfigError, match=r"no environment 'nroth'\. Did you mean 'north'"):
        contrail.run(stream({"name": "distill", "teachers": teachers}), out=tmp_path / "run")


def test_settings_of_rewards_that_no_stage_reads_are_named(
    specialists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learn = {"name": "distill", "teachers": str(specialists)}
    made = stream(learn, answers={"invalid_penalty": 0.1})
    made["stream"] = made["stream"][:1]
    made["grpo"]["beta"] = 0.1
    result = contrail.run(made, out=tmp_path / "run")
    note = "grpo.beta, answers.invalid_penalty: without effect"
    assert note in " ".join(capsys.readouterr().err.split())
    assert any(note in said for said in result.record["notes"])
