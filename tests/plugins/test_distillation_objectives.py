"""The objectives `distill` and `self` in runs: what they learn, refuse, and keep when killed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import contrail
from benchmarks.kill import differences
from contrail import ConfigError, ContrailError
from contrail.comparison import share
from contrail.comparison.plan import ComparisonOptions, read_plan
from contrail.config import load
from contrail.plugins.objectives.distillation import SelfConfig, SelfDistill
from contrail.registry import load_plugins
from contrail.runs.launch import run_stream

EXAMPLES = Path(__file__).parents[2] / "examples"
PLUGIN = '''
import contrail

class Hall(contrail.Environment):
    """Two turns: look, then open the grey door."""

    system_prompt = "You are in a house."
    max_turns = 3

    def tasks(self, split):
        begin = {"train": 0, "test": 1000}[split]
        return [contrail.Task("hall", f"{split}/{n}", begin + n, split) for n in range(24)]

    def reset(self, task):
        return contrail.Observation(f"You stand in hall {task.seed}.", ["look", "sleep"])

    def step(self, action):
        if action == "look":
            seen = contrail.Observation("You see doors.", ["red", "grey"])
            return contrail.Step(seen)
        won = action == "grey"
        seen = contrail.Observation("Done.", ["wait"])
        return contrail.Step(seen, reward=float(won), terminated=True, success=won)

    def expert(self, task):
        if task.seed % 4 == 3:
            return None
        return ["look", "red" if task.seed % 4 == 2 else "grey"]

class Alone(Hall):
    expert = contrail.Environment.expert

@contrail.hookimpl
def contrail_environments(register):
    register("hall", Hall)
    register("alone", Alone)
'''


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
    settings = ["evaluate.baselines=false"]
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
    refused({"east": str(specialists)}, "trains on no 'east'")
    refused({"south": one}, "teachers: there is no teacher for the environment 'north'")
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


@contextmanager
def killed_after(updates: int) -> Any:
    """Context manager: the process ends after so many updates, before the last is saved."""
    original = contrail.Learner.update
    made = []

    class Killed(Exception):
        pass

    def update(self: contrail.Learner, *arguments: Any) -> Any:
        scalars = original(self, *arguments)
        made.append(scalars)
        if len(made) == updates:
            raise Killed
        return scalars

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):  # noqa: PT012
        patch.setattr(contrail.Learner, "update", update)
        yield


def test_killed_within_a_stage_it_ends_the_same(specialists: Path, tmp_path: Path) -> None:
    path = tmp_path / "stream.yaml"
    path.write_text(json.dumps(stream({"name": "distill", "teachers": str(specialists)})))
    check_killed(path, tmp_path)


def check_killed(path: Path, place: Path) -> None:
    undisturbed = run_stream(path, out=place / "undisturbed", quiet=True).path
    for _ in range(2):
        with killed_after(2):
            run_stream(path, ["checkpoint.updates=1"], out=place / "killed", quiet=True)
    run_stream(path, out=place / "killed", quiet=True)
    assert not differences(place / "killed", undisturbed)


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
        return share.row_keys(plan.runs[0], plugins)

    teachers = tmp_path / "teachers"
    shutil.copytree(specialists, teachers)
    before = keys(teachers)
    assert keys(teachers) == before
    weights = teachers / "checkpoints/002/adapter_model.safetensors"
    shutil.copy(teachers / "checkpoints/000/adapter_model.safetensors", weights)
    after = keys(teachers)
    assert before[0] == after[0]
    assert before[1:] != after[1:]


@pytest.fixture
def house(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A stream whose environment has an expert for some tasks."""
    (tmp_path / "hall.py").write_text(PLUGIN)

    def made(environment: str = "hall", adapter: Any = "choose", **learn: Any) -> dict[str, Any]:
        one = {"environment": environment, "updates": 3, "learn": {"name": "self", **learn}}
        plugins = [str(tmp_path / "hall.py")]
        return stream("grpo", plugins=plugins, stream=[one], adapter=adapter)

    return made


@pytest.mark.parametrize(
    "learn", [{}, {"ema": 0.5}, {"adapter": {"name": "react", "max_new_tokens": 16}}], ids=str
)
def test_self_killed_within_a_stage_ends_the_same(
    house: Callable[..., dict[str, Any]], tmp_path: Path, learn: dict[str, Any]
) -> None:
    path = tmp_path / "stream.yaml"
    path.write_text(json.dumps(house(**learn)))
    check_killed(path, tmp_path)


def test_the_average_follows_the_policy(
    house: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    def learnt(name: str, **learn: Any) -> bytes:
        contrail.run(house(**learn), out=tmp_path / name, quiet=True)
        return (tmp_path / name / "checkpoints/001/adapter_model.safetensors").read_bytes()

    now = learnt("now")
    assert learnt("one", ema=1.0) == now
    assert learnt("half", ema=0.5) != now
    assert learnt("none", ema=0.0) not in (now, learnt("half", ema=0.5))


def test_tasks_without_a_demonstration_are_left_out_and_counted(
    house: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, list[contrail.Episode]]] = []
    original = contrail.Learner.update

    def update(self: contrail.Learner, groups: Any, rng: Any) -> Any:
        scalars = original(self, groups, rng)
        seen.append((scalars["without_demonstration"], [one for group in groups for one in group]))
        return scalars

    monkeypatch.setattr(contrail.Learner, "update", update)
    contrail.run(house(), out=tmp_path / "run", quiet=True)
    assert len(seen) == 3
    for share_left_out, episodes in seen:
        assert len(episodes) == round(8 * (1 - share_left_out))
        assert all(episode.task.seed % 4 < 2 and not episode.demonstrated for episode in episodes)
    with pytest.raises(ContrailError, match="The objective self needs an expert"):
        contrail.run(house("alone"), out=tmp_path / "alone", quiet=True)


def test_the_teacher_sees_the_demonstration_and_the_same_decisions(
    house: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = []
    original = SelfDistill.shown

    def shown(self: SelfDistill, learner: contrail.Learner, episode: contrail.Episode) -> Any:
        found = original(self, learner, episode)
        pairs.append((learner.policy.chat, episode, found))
        return found

    monkeypatch.setattr(SelfDistill, "shown", shown)
    contrail.run(
        house(prompt="Look: {demonstration}. {observation}"), out=tmp_path / "run", quiet=True
    )
    assert pairs
    for chat, episode, found in pairs:
        first = episode.turns[0]
        assert first.prompt == chat.start("You are in a house.", first.observation)
        where = first.observation
        text = f"Look: {where}\n\nlook\n\nYou see doors.\n\ngrey. {where}"
        assert found.turns[0].prompt == chat.start("You are in a house.", text)
        assert [turn.prompt for turn in found.turns[1:]] == [t.prompt for t in episode.turns[1:]]
        assert [turn.choices for turn in found.turns] == [turn.choices for turn in episode.turns]
        assert found.logprobs == episode.logprobs


def test_a_conversation_that_is_told_anew_has_the_demonstration(make_tiny: Any) -> None:
    policy = make_tiny()
    chat = policy.chat
    task = contrail.Task("hall", "0", 0, "train")

    def turn(prompt: list[int], observation: str, restart: bool = False) -> contrail.Turn:
        return contrail.Turn(
            prompt, [5], [0.0], [0.0], observation=observation, text="no", restart=restart
        )

    def system(text: str) -> list[int]:
        return list(chat.start("Be brief.", text))

    turns = [
        turn(system("One"), "One"),
        turn(chat.follow("Two"), "Two"),
        turn([*system("One"), 7, 8], "Three", restart=True),
        turn(system("Four"), "Four", restart=True),
        turn(system("Five, and more"), "Five", restart=True),
    ]
    episode = contrail.Episode("hall", task, 0, turns, system="Be brief.")
    objective = SelfDistill(SelfConfig(prompt="{demonstration}! {observation}"))
    shown = contrail.Episode("hall", task, 0, [turn([], "A")], success=True)
    objective._demonstrations = {("hall", "0"): shown}
    learner: Any = SimpleNamespace(policy=policy)
    found = [item.prompt for item in objective.shown(learner, episode).turns]
    assert found == [
        system("A\n\nno! One"),
        chat.follow("Two"),
        [*system("A\n\nno! One"), 7, 8],
        system("A\n\nno! Four"),
        system("Five, and more"),  # of which the adapter shows a part as the observation
    ]


def test_an_episode_that_is_too_long_with_its_demonstration_teaches_nothing(
    house: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    long = {**house(prompt="{demonstration} {observation}" + " word" * 300), "max_context": 200}
    contrail.run(long, out=tmp_path / "run", quiet=True)
    names = [tmp_path / f"run/checkpoints/00{n}/adapter_model.safetensors" for n in (0, 1)]
    assert names[0].read_bytes() == names[1].read_bytes()


def test_the_prompt_must_show_both() -> None:
    with pytest.raises(ConfigError, match=r"must contain {demonstration}"):
        SelfConfig(prompt="{observation}")
    with pytest.raises(ConfigError, match=r"must contain {observation}"):
        SelfConfig(prompt="{demonstration}")
