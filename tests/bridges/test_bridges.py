"""The bridges, with the real libraries; each is skipped where its extra is missing."""

from __future__ import annotations

import importlib.util
import inspect
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import psutil
import pytest
from gymnasium.utils.env_checker import check_env

import contrail
import contrail.check
from contrail import Observation, Step, Task
from contrail.bridges import as_gymnasium, as_trl, trl_rows
from contrail.check import episodes
from contrail.check.subject import Skipped
from contrail.envs.gymnasium.environment import Gymnasium, GymnasiumConfig
from contrail.envs.openenv.environment import OpenEnv, OpenEnvConfig
from contrail.envs.textarena.environment import TextArena, TextArenaConfig
from contrail.envs.textcraft.environment import TextCraft, TextCraftConfig
from contrail.envs.textworld_express.environment import TextWorldExpress, TextWorldExpressConfig
from contrail.errors import ConfigError, ContrailError

WAYS = ["left", "down", "right", "up"]
TAXI = ["south", "north", "east", "west", "pickup", "dropoff"]


def passes(cls: type[contrail.Environment], settings: Any, skipped: set[str]) -> None:
    findings = contrail.check.check(cls, settings, tasks=1).findings
    assert [finding for finding in findings if finding.state == "failed"] == []
    assert {finding.check for finding in findings if finding.state == "skipped"} == skipped


# gymnasium, inwards


def test_what_is_rendered_as_text() -> None:
    lake = Gymnasium(GymnasiumConfig("FrozenLake-v1", {"is_slippery": False}, WAYS))
    observation = lake.reset(lake.tasks("train")[0])
    assert observation == Observation("[red S]FFF\nFHFH\nFFFH\nHFFG", WAYS)
    assert lake.max_turns == 100
    for way in ["down", "down", "right", "right", "down"]:
        step = lake.step(way)
        assert not step.terminated
    step = lake.step(" right ")
    assert (step.reward, step.terminated, step.success) == (1.0, True, True)
    after = lake.step("right")
    assert (after.terminated, after.valid) == (True, False)
    lake.reset(lake.tasks("test")[0])
    lake.step("right")
    step = lake.step("down")  # into the hole: an end without success
    assert (step.reward, step.terminated, step.success) == (0.0, True, False)


def test_a_dict_with_a_text_and_an_enumeration_of_actions() -> None:
    world = Gymnasium(GymnasiumConfig("minigrid:BabyAI-GoToRedBall-v0"))
    observation = world.reset(world.tasks("train")[0])
    assert observation.text.splitlines()[-1] == "mission: go to the red ball"
    assert observation.actions is not None
    assert {"left", "right", "forward"} <= set(observation.actions)
    assert world.step("forward").valid
    assert not world.step("fly").valid


class Echo(gymnasium.Env[str, str]):
    """Says back what it is told; "done" ends it."""

    observation_space = gymnasium.spaces.Text(50)
    action_space = gymnasium.spaces.Text(10)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        return f"word{int(self.np_random.integers(1000))}", {"admissible_commands": ["go", "done"]}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return action, -1.0, action == "done", False, {"success": action == "done"}


@pytest.fixture
def _echo() -> Iterator[None]:
    gymnasium.register("contrail/Echo-v0", entry_point=lambda **_: Echo())
    yield
    del gymnasium.registry["contrail/Echo-v0"]


@pytest.mark.usefixtures("_echo")
def test_texts_in_and_out() -> None:
    echo = Gymnasium(GymnasiumConfig("contrail/Echo-v0"))
    one, other, *_ = echo.tasks("train")
    assert echo.reset(one).actions == ["go", "done"]
    assert echo.reset(one).text == echo.reset(one).text != echo.reset(other).text
    step = echo.step("hello")
    assert (step.observation, step.valid) == (Observation("hello", None), True)
    refused = echo.step("more than ten letters")  # not of the space: never played
    assert (refused.valid, refused.reward) == (False, 0.0)
    done = echo.step("done")
    assert (done.success, done.terminated, done.reward) == (True, True, -1.0)  # as info says


def test_a_mask_of_actions() -> None:
    taxi = Gymnasium(GymnasiumConfig("Taxi-v4", actions=TAXI))
    for task in taxi.tasks("train")[:20]:
        actions = taxi.reset(task).actions
        assert actions is not None
        if len(actions) < 6:
            (missing, *_) = set(TAXI) - set(actions)
            assert not taxi.step(missing).valid
            return
    pytest.fail("no start state of Taxi forbids an action")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "id is missing"),
        ({"id": "FrozenLak-v1"}, "Did you mean: `FrozenLake`"),
        ({"id": "FrozenLake-v1"}, "4 actions without names"),
        ({"id": "FrozenLake-v1", "actions": ["left"]}, "4 actions without names"),
        ({"id": "CartPole-v1", "actions": ["left", "right"]}, "nothing of it is text"),
        ({"id": "Pendulum-v1"}, "nothing of it is text"),
        ({"id": "FrozenLake-v1", "actions": WAYS, "kwargs": {"lake": 1}}, "lake"),
        ({"id": "nowhere:Lake-v0"}, "nowhere"),
        ({"id": "FrozenLake-v1", "actions": WAYS, "test_tasks": 0}, "1 or more"),
    ],
)
def test_what_gymnasium_cannot_give(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        Gymnasium(GymnasiumConfig(**settings))
    assert words in str(error.value)


def seeds(environment: contrail.Environment, split: str) -> set[int]:
    tasks = environment.tasks(split)
    assert all(task.id == f"seed-{task.seed}" for task in tasks)
    return {task.seed for task in tasks}


@pytest.mark.parametrize("counts", [(1, 1), (10, 50), (100, 10), (500, 100)])
def test_numbers_of_tasks_move_no_seed_from_one_split_to_the_other(counts: tuple[int, int]) -> None:
    """Of gymnasium and textarena; two labels of one game differ in these numbers at most."""
    few: list[contrail.Environment] = [Gymnasium(GymnasiumConfig("FrozenLake-v1", {}, WAYS, 7, 7))]
    many: list[contrail.Environment] = [
        Gymnasium(GymnasiumConfig("FrozenLake-v1", {}, WAYS, *counts))
    ]
    if importlib.util.find_spec("textarena"):
        few.append(TextArena(TextArenaConfig(train_tasks=7, test_tasks=7)))
        many.append(TextArena(TextArenaConfig("GuessTheNumber-v0", *counts)))
    for one, other in zip(few, many, strict=True):
        assert [len(seeds(other, split)) for split in ("train", "test")] == [*counts]
        assert not seeds(one, "test") & seeds(other, "train")
        assert not seeds(other, "test") & seeds(one, "train")
        assert not seeds(other, "test") & seeds(other, "train")


def test_split_by_start() -> None:
    """Taxi has some 500 starts, and the first 1,000 seeds come to most of them twice."""
    config = GymnasiumConfig("Taxi-v4", actions=TAXI, split_by="start", train_tasks=900)
    taxi = Gymnasium(config)
    starts = {}
    for split in ("train", "test"):
        tasks = taxi.tasks(split)
        starts[split] = [taxi.reset(task).text for task in tasks]
        assert len(set(starts[split])) == len(tasks)
    assert 200 < len(starts["train"]) < 500
    assert 50 < len(starts["test"]) <= 100
    assert not set(starts["train"]) & set(starts["test"])
    few = Gymnasium(GymnasiumConfig("Taxi-v4", actions=TAXI, split_by="start", train_tasks=3))
    assert few.tasks("train") == taxi.tasks("train")[:3]
    by_seed = Gymnasium(GymnasiumConfig("Taxi-v4", actions=TAXI))
    tested = [by_seed.reset(task).text for task in by_seed.tasks("test")]
    trained = {by_seed.reset(task).text for task in by_seed.tasks("train")}
    assert any(start in trained for start in tested)  # why there is split_by


def test_split_by_something_else() -> None:
    lake = Gymnasium(GymnasiumConfig("FrozenLake-v1", {}, WAYS, split_by="starts"))
    with pytest.raises(ConfigError, match=r"gymnasium: split_by is 'starts'.*mean 'start'"):
        lake.tasks("train")


def test_split_by_start_of_textarena() -> None:
    """Of 100 test seeds of Sokoban 49 start as one of 500 training seeds does."""
    pytest.importorskip("textarena")
    boards = TextArena(TextArenaConfig("Sokoban-v0", 150, 50, "start"))
    outside = random.getstate()
    seen = {s: [boards.reset(task).text for task in boards.tasks(s)] for s in ("train", "test")}
    assert {split: len(set(texts)) for split, texts in seen.items()} == {"train": 150, "test": 50}
    assert not set(seen["train"]) & set(seen["test"])
    assert random.getstate() == outside


def test_split_by_start_of_what_starts_alike() -> None:
    lake = Gymnasium(GymnasiumConfig("FrozenLake-v1", {}, WAYS, split_by="start"))
    with pytest.raises(ConfigError, match=r"start alike\. Use split_by: seed"):
        _ = lake.tasks("train"), lake.tasks("test")


# gymnasium, outwards


def test_as_gymnasium() -> None:
    world = as_gymnasium("textcraft", TextCraftConfig(depths=[1]))
    check_env(world, skip_render_check=True)
    _, info = world.reset(options={"task": "acacia_planks/0"})
    text, reward, *_ = world.step("nonsense")
    assert reward == 0
    assert text.startswith("Not an action: use get, craft or inventory.")
    for action in TextCraft().expert(world.tasks["acacia_planks/0"]):
        assert action in info["admissible_commands"]
        text, reward, terminated, truncated, info = world.step(action)
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)
    assert world.reset(seed=3) == world.reset(seed=3)
    with pytest.raises(ConfigError, match="Did you mean 'acacia_planks/0'"):
        world.reset(options={"task": "acacia_plank/0"})


def test_a_game_that_its_seed_leaves_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "walks_elsewhere", skip)
    cliff = GymnasiumConfig("CliffWalking-v1", actions=["up", "right", "down", "left"])
    (failed,) = contrail.check.check(Gymnasium, cliff, tasks=1).failed
    assert failed.check == "splits"
    assert "are one game" in failed.note


def test_a_turn_too_many_is_truncated() -> None:
    world = as_gymnasium("textcraft")
    world.environment.max_turns = 2
    world.reset(seed=0)
    assert world.step("inventory")[3] is False
    assert world.step("inventory")[3] is True


def test_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "walks_elsewhere", skip)  # which knows nothing of this name
    gymnasium.register("contrail/Back-v0", entry_point=lambda **_: as_gymnasium("textcraft"))
    try:
        passes(Gymnasium, GymnasiumConfig("contrail/Back-v0"), {"expert", "process"})
    finally:
        del gymnasium.registry["contrail/Back-v0"]


def skip(*_: Any) -> None:
    raise Skipped("not here")


# TRL


def test_as_trl() -> None:
    cls = as_trl("textcraft", TextCraftConfig(depths=[1]))
    rows = trl_rows("textcraft", "train", TextCraftConfig(depths=[1]))
    assert rows[0]["prompt"][0] == {"role": "system", "content": TextCraft.system_prompt}
    one, other = cls(), cls()
    assert one.reset(**rows[0]) == other.reset(**rows[0])
    (task,) = (t for t in TextCraft().tasks("train") if t.id == rows[0]["task"])
    plan = TextCraft().expert(task)
    assert plan[0] in one.act("nonsense")  # the list of actions
    assert one.get_reward() == 0
    for action in plan:
        said = one.act(action)
    assert said.endswith("The episode is over.")
    assert one.get_reward() == 1
    assert one.act(plan[0]) == "The episode is over."
    assert one.get_reward() == 1
    one.reset(**rows[1])
    assert one.get_reward() == 0


class Closing(contrail.Environment):
    closed = 0
    max_turns = 1

    def tasks(self, split: str) -> list[Task]:
        return [Task("closing", split, 0, split)]

    def reset(self, task: Task) -> Observation:
        return Observation("Go.")

    def step(self, action: str) -> Step:
        return Step(Observation("On."), reward=0.5)

    def close(self) -> None:
        Closing.closed += 1


class BothSplits(Closing):
    """Task 0 of one split is another than that of the other."""

    def tasks(self, split: str) -> list[Task]:
        return [Task("both", "0", 0, split)]

    def reset(self, task: Task) -> Observation:
        return Observation(task.split)

    def close(self) -> None:
        pass


def test_ids_that_stand_in_both_splits() -> None:
    one = as_trl(BothSplits)()
    for split in ("train", "test"):
        (row,) = trl_rows(BothSplits, split)
        assert one.reset(**row) == split
    with pytest.raises(ConfigError, match="both splits have a task '0'"):
        one.reset(task="0")
    with pytest.raises(ConfigError, match="Did you mean 'test'"):
        one.reset(task="0", split="tets")


def test_what_comes_before_the_reset() -> None:
    one = as_trl(BothSplits)()
    for call in (lambda: one.act("go"), one.get_reward):
        with pytest.raises(ContrailError, match="call reset"):
            call()
    with pytest.raises(gymnasium.error.ResetNeeded):
        as_gymnasium(BothSplits).step("go")


def test_trl_closes_nothing_so_the_class_does() -> None:
    one = as_trl(Closing)()
    one.reset(task="test")
    assert one.act("go") == "On.\nThe episode is over."  # max_turns
    assert one.get_reward() == 0.5
    del one
    assert Closing.closed == 1


def test_trl_takes_the_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GRPOTrainer itself finds the tool, its schema and the reward."""
    from contrail.plugins.models.smollm2 import tiny_random

    import torch  # isort: skip
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(str(tiny_random()))
    templates = Path(inspect.getfile(GRPOTrainer)).parent.parent / "chat_templates"
    tokenizer.chat_template = (templates / "qwen3.jinja").read_text()
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(str(tiny_random())),
        processing_class=tokenizer,
        environment_factory=as_trl("textcraft"),
        train_dataset=Dataset.from_list(trl_rows("textcraft", "train")[:2]),
        args=GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=2,
            num_generations=2,
            max_completion_length=8,
            max_steps=1,
            use_cpu=True,
            report_to=[],
            bf16=False,
        ),
    )
    assert [tool.__name__ for tool in trainer.tools] == ["act"]
    trainer.train()
    assert "rewards/TextCraft/mean" in {key for row in trainer.state.log_history for key in row}


def test_the_example_of_the_documentation() -> None:
    page = Path(__file__).parents[2] / "docs" / "environments.md"
    (example,) = re.findall(
        r"```python\n(from contrail\.bridges.*?)```", page.read_text(), re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["text"].startswith("Got ")
    assert names["factory"]().reset(**names["rows"][0]).startswith("Crafting commands:")


# TextWorldExpress


@pytest.fixture
def _twx() -> None:
    pytest.importorskip("textworld_express")
    if shutil.which("java") is None:
        pytest.skip("needs Java")


@pytest.mark.usefixtures("_twx")
def test_a_game_that_would_disturb_another_in_one_java_machine() -> None:
    passes(TextWorldExpress, TextWorldExpressConfig(game="sorting"), set())


@pytest.mark.usefixtures("_twx")
def test_a_lost_game_is_no_success() -> None:
    world = TextWorldExpress(TextWorldExpressConfig(game="sorting"))
    try:
        task = world.tasks("train")[0]
        plan = world.expert(task)
        assert plan is not None
        observation = world.reset(task)
        assert observation.text.startswith("Your task is to sort")
        for action in plan[-2:]:  # the largest goes first: wrong
            step = world.step(action)
        assert (step.terminated, step.success) == (True, False)
    finally:
        world.close()


@pytest.mark.usefixtures("_twx")
def test_refused_settings_leave_no_java() -> None:
    before = len(psutil.Process().children())
    for settings in (
        {"game": "con"},
        {"params": "numRooms=1"},
        {"params": "garbage"},
        {"params": "numLocations=many"},
        {"train_tasks": 0},
    ):
        with pytest.raises(ConfigError):
            TextWorldExpress(TextWorldExpressConfig(**settings))
    assert len(psutil.Process().children()) == before


def test_without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ContrailError, match=r"needs Java, .* Install a Java runtime"):
        TextWorldExpress()


# TextArena


def test_a_game_of_textarena() -> None:
    pytest.importorskip("textarena")
    game = TextArena()
    outside = random.getstate()
    assert "Guess The Number" in game.reset(game.tasks("train")[0]).text
    low, high = 1, 20
    while True:
        guess = (low + high) // 2
        step = game.step(str(guess))  # a move alone: the brackets are put around it
        assert step.valid
        if step.terminated:
            break
        assert "\n" not in step.observation.text  # only what is new
        low, high = (guess + 1, high) if "higher" in step.observation.text else (low, guess - 1)
    assert (step.reward, step.success) == (1.0, True)
    assert step.observation.text.startswith("Congratulations!")
    assert random.getstate() == outside
    game.reset(game.tasks("train")[0])
    assert not game.step("[lots]").valid
    lost = game.step("[lots]")
    assert (lost.terminated, lost.success, lost.valid) == (True, False, False)
    assert not game.step("[3]").valid  # it is over


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("GuesTheNumber-v0", "Did you mean 'GuessTheNumber-v0'"),
        ("BabyAiText-v0", "it has no variant -raw"),
        ("TicTacToe-v0", "The number of players has to be 2"),
        ("MarketEntryGame-v0", "several players"),
        ("TwentyQuestions-v0", "OPENROUTER_API_KEY"),
    ],
)
def test_what_textarena_cannot_give(monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    pytest.importorskip("textarena")
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    with pytest.raises(ContrailError) as error:
        TextArena(TextArenaConfig(name))
    assert words in str(error.value)


# OpenEnv


class Server:
    """A real server process on loopback."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        script = Path(__file__).parents[1] / "support/openenv_server.py"
        self.process = subprocess.Popen([sys.executable, str(script), str(port)])
        for _ in range(600):
            assert self.process.poll() is None
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        raise TimeoutError("the server does not come up")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    pytest.importorskip("openenv")
    running = Server()
    yield running
    running.stop()


def test_openenv(server: Server) -> None:
    passes(OpenEnv, OpenEnvConfig(server.url, actions="choices"), {"expert"})


def test_numbers_of_tasks_move_no_seed_of_a_server(server: Server) -> None:
    few, many = (
        OpenEnv(OpenEnvConfig(server.url, train_tasks=train, test_tasks=test))
        for train, test in ((7, 50), (500, 7))
    )
    assert not seeds(few, "test") & seeds(many, "train")
    assert not seeds(many, "test") & seeds(few, "train")
    few.close()
    many.close()


def test_an_episode_on_a_server(server: Server) -> None:
    world = OpenEnv(OpenEnvConfig(server.url, actions="choices"))
    try:
        task = world.tasks("train")[0]
        assert world.reset(task) == Observation("Which number? (seed 0)", list("12345"))
        steps = [world.step(number) for number in "12345" if not world._over]
        assert [step.success for step in steps] == [False] * (len(steps) - 1) + [True]
        assert steps[-1].reward == 1
        assert world.step("1").observation.text == "The episode is over."
    finally:
        world.close()


def test_a_field_that_is_not_there(server: Server) -> None:
    world = OpenEnv(OpenEnvConfig(server.url, observation="promt"))
    try:
        with pytest.raises(ConfigError, match="Did you mean 'prompt'"):
            world.reset(world.tasks("train")[0])
    finally:
        world.close()


@pytest.mark.parametrize(
    ("settings", "member", "words"),
    [
        ({"action": "text"}, "step", "in the key `action`, and give the others in `constants`"),
        ({"timeout": 0.1}, "reset", "within 0.1 s. If it is slow, raise `timeout`"),
    ],
)
def test_what_the_server_refuses(
    server: Server, settings: dict[str, Any], member: str, words: str
) -> None:
    world = OpenEnv(OpenEnvConfig(server.url, **settings))
    slow = Task("openenv", "slow", -1, "train")
    try:
        if member == "step":
            world.reset(world.tasks("train")[0])
        with pytest.raises(ContrailError) as error:
            getattr(world, member)("1" if member == "step" else slow)
        assert server.url in str(error.value)
        assert words in str(error.value)
    finally:
        world.close()


def test_a_full_server(server: Server) -> None:
    worlds = [OpenEnv(OpenEnvConfig(server.url)) for _ in range(9)]
    task = worlds[0].tasks("train")[0]
    try:  # sessions of other tests may not have ended yet
        with pytest.raises(ContrailError, match="max_concurrent_envs"):
            _ = [world.reset(task) for world in worlds]
    finally:
        for world in worlds:
            world.close()


@pytest.mark.parametrize("url", ["", "localhost:8000"])
def test_no_url(url: str) -> None:
    with pytest.raises(ConfigError, match="Name a running server"):
        OpenEnv(OpenEnvConfig(url))


STREAM = """
model: tiny-random
stream:
  - {environment: {name: openenv, url: URL, actions: choices}, updates: 1}
evaluate: {tasks: 2}
grpo: {num_generations: 2, generation_batch_size: 4}
lora: {r: 2, lora_alpha: 4}
"""


def test_a_refused_connection_ends_before_training(tmp_path: Path) -> None:
    pytest.importorskip("openenv")
    from contrail.runs.launch import run_stream

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "s.yaml").write_text(STREAM.replace("URL", url))
    with pytest.raises(ContrailError, match=r"no server answers at .* Start it"):
        run_stream(tmp_path / "s.yaml", out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_server_that_dies_is_a_counted_fault(make_tiny: Any, tmp_path: Path) -> None:
    pytest.importorskip("openenv")
    from contrail.plugins.adapters.choose import Choose
    from contrail.rollout.play import EnvironmentPool, Job, play
    from contrail.seeding import generator

    mortal = Server()
    pool = EnvironmentPool(
        {"openenv": lambda: OpenEnv(OpenEnvConfig(mortal.url, actions="choices"))}
    )
    try:
        world = pool.take("openenv")
        task = world.tasks("train")[0]
        step, calls = world.step, []

        def dying(action: str) -> Step:
            calls.append(action)
            return step("die" if len(calls) == 2 else "0")

        world.step = dying  # type: ignore[method-assign]
        pool.give("openenv", world)
        job = Job("openenv", task, Choose(), generator(0, "test"))
        (episode,) = play(make_tiny(), pool, [job])
        assert episode.ended == "fault"
        assert f"no server answers at {mortal.url}" in str(episode.fault)
        assert len(episode.turns) == 2
        # The next episode is a fault too, not an end of the run.
        (episode,) = play(make_tiny(), pool, [job])
        assert episode.fault is not None
        assert "reset" in episode.fault
        assert f"no server answers at {mortal.url}" in episode.fault
    finally:
        pool.close()
        mortal.stop()
