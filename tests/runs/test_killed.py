"""Runs that are killed, interrupted or damaged end as the undisturbed one.

`python -m benchmarks.kill` kills processes at random instants; here runs end at chosen ones.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from killed import check_killed, go_on_after_kills, killed_after
from thinking import save_thinking_model

from benchmarks.kill import differences, kill_at_random
from contrail.api import load
from contrail.errors import ConfigError, ContrailError
from contrail.runs.directory import read_checkpoint
from contrail.runs.interrupt import Interrupted, Interruption
from contrail.runs.launch import run_stream

EXAMPLES = Path(__file__).parents[2] / "examples"

STREAM = """
model: tiny-random
plugins: [guess.py, cursor.py]
strategy: {strategy}
stream:
  - environment: {{name: guess-number, label: near, max_turns: 2}}
    updates: 3
    learn: {learn}
  - environment: {{name: guess-number, label: far, max_turns: 3}}
    updates: 2
evaluate: {{tasks: 3, {evaluate}baselines: false}}
grpo: {{num_generations: 4, generation_batch_size: 8, learning_rate: 1e-2{grpo}}}
lora: {{r: 4{lora}}}
"""

# A strategy whose draws and observations change its state.
CURSOR = """
import contrail
import torch

class Cursor(contrail.Strategy):
    starts_at = 1

    def __init__(self, config=None):
        super().__init__(config)
        self.cursor, self.seen, self.sum = 0, {}, torch.zeros(2, dtype=torch.float64)

    def draw(self, stage, update, count, rng):
        tasks = [task for listed in stage.tasks.values() for task in listed]
        self.cursor += count
        return [tasks[(self.cursor + index) % len(tasks)] for index in range(count)]

    def observe(self, stage, episodes, rng):
        self.sum += rng.random()
        for episode in episodes:
            self.seen[episode.task.id] = self.seen.get(episode.task.id, 0) + 1

    def penalty(self, learner, episodes, rng):
        for parameter in learner.policy.parameters.values():
            yield 1e-3 * len(self.seen) * float(self.sum.sum()) * parameter.square().sum()

    def state_dict(self):
        return {"cursor": self.cursor, "seen": self.seen, "sum": self.sum}

    def load_state_dict(self, state):
        self.cursor, self.seen, self.sum = state["cursor"], state["seen"], state["sum"]

@contrail.hookimpl
def contrail_strategies(register):
    register("cursor", Cursor)
"""


@pytest.fixture
def stream(tmp_path: Path) -> Callable[..., Path]:
    """Writes a stream file, beside its plugins."""
    return writer(tmp_path)


def writer(directory: Path) -> Callable[..., Path]:
    """Return what writes a stream file there, beside its plugins."""
    shutil.copy(EXAMPLES / "guess.py", directory)
    (directory / "cursor.py").write_text(CURSOR)

    shown = [
        {"task": f"number-{n}", "success": True, "turns": [{"action": "10"}, {"action": str(n)}]}
        for n in (1, 2, 3, 5, 6, 7)
    ]
    (directory / "shown.jsonl").write_text("".join(json.dumps(item) + "\n" for item in shown))

    def write(
        strategy: str = "sequential",
        grpo: str = "",
        lora: str = "",
        learn: str = "grpo",
        evaluate: str = "every: 1, drift: true, ",
    ) -> Path:
        text = STREAM.format(
            strategy=strategy, grpo=grpo, lora=lora, learn=learn, evaluate=evaluate
        )
        (directory / "stream.yaml").write_text(text)
        return directory / "stream.yaml"

    return write


def go_on_after_signals(path: Path, run: Path, checks: int) -> int:
    """Run to the end in processes that are interrupted at every so many checks; how many ended."""
    ended = 0
    while True:
        left = [checks]

        def check(self: Interruption, left: list[int] = left) -> None:
            left[0] -= self.deferred
            if left[0] <= 0:
                raise Interrupted(signal.SIGTERM)

        with pytest.MonkeyPatch.context() as patch:
            if ended < 6:
                patch.setattr(Interruption, "check", check)
            try:
                run_stream(path, ["checkpoint.updates=99"], out=run, quiet=True)
            except Interrupted:
                ended += 1
            else:
                return ended


SETTINGS = [
    ("cursor", "", ""),
    ("[{name: replay, mode: episodes}, {name: ewc, passes: 16}]", "", ""),
    ("sequential", ", lr_scheduler_type: cosine, warmup_steps: 1, steps_per_generation: 2", ""),
    ("kl", ", optim: adafactor", ""),
    ("distill", ", steps_per_generation: 2", ""),
    (
        "sequential",
        ", entropy_coef: 0.01, use_adaptive_entropy: true, num_iterations: 2, beta: 0.1",
        ", layers_to_transform: [1]",
    ),
]
MORE = [
    ("adapters", "", ""),
    ("orthogonal", ", lr_scheduler_type: linear", ""),
    ("{name: replay, mode: mastery}", ", optim: sgd, optim_args: 'momentum=0.9'", ""),
    ("{name: ewc, passes: 16, mode: separate}", ", optim: rmsprop", ""),
    ("{name: curriculum, by: pass_rate, samples: 1}", ", optim: adagrad", ""),
    ("{name: merge, combination_type: dare_ties, start: merged}", "", ""),
    ("balanced", "", ""),
    ("{name: progress, difficulties: true}", "", ""),
    ("[retain, {name: review, interval: 1, mastered: 0.5}]", "", ""),
]


@pytest.mark.parametrize(("strategy", "grpo", "lora"), SETTINGS)
def test_the_state_survives(
    stream: Callable[..., Path], tmp_path: Path, strategy: str, grpo: str, lora: str
) -> None:
    evaluate = "" if grpo else "every: 1, drift: true, "
    path = stream(strategy, grpo, lora, evaluate=evaluate)
    undisturbed = run_stream(path, out=tmp_path / "undisturbed", quiet=True).path
    go_on_after_kills(path, tmp_path / "killed")
    assert not differences(tmp_path / "killed", undisturbed)
    assert go_on_after_signals(path, tmp_path / "signalled", checks=7)
    assert not differences(tmp_path / "signalled", undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "grpo", "lora"), MORE)
def test_the_state_of_others_survives(
    stream: Callable[..., Path], tmp_path: Path, strategy: str, grpo: str, lora: str
) -> None:
    check_killed(stream(strategy, grpo, lora, evaluate=""), tmp_path)


ALONE = """
import contrail
from contrail.plugins.adapters.choose import Choose

class Alone(Choose):
    single_turn = True

@contrail.hookimpl
def contrail_adapters(register):
    register("alone", Alone)
"""


@pytest.mark.parametrize(
    ("kind", "lora"),
    [
        ("alone", ", layers_to_transform: [1]"),
        pytest.param("alone", "", marks=pytest.mark.slow),
        pytest.param("drops", "", marks=pytest.mark.slow),
        pytest.param("drops", ", layers_to_transform: [1]", marks=pytest.mark.slow),
    ],
)
def test_contexts_that_begin_anew_survive(
    stream: Callable[..., Path], tmp_path: Path, kind: str, lora: str
) -> None:
    path = stream(lora=lora, evaluate="")
    text = path.read_text()
    if kind == "alone":
        (tmp_path / "alone.py").write_text(ALONE)
        text = text.replace("cursor.py]", "cursor.py, alone.py]") + "adapter: alone\n"
    else:
        save_thinking_model(tmp_path / "model")
        text = text.replace("tiny-random", "./model") + (
            "adapter: {name: react, max_new_tokens: 8}\nanswers: {past_thoughts: drop}\n"
        )
    path.write_text(text)
    undisturbed = run_stream(path, out=tmp_path / "undisturbed", quiet=True).path
    turns = [turn for episode in load(undisturbed).episodes() for turn in episode["turns"]]
    assert sum("restart" in turn for turn in turns) > 10
    go_on_after_kills(path, tmp_path / "killed")
    assert not differences(tmp_path / "killed", undisturbed)


IMITATE = "{name: imitate, episodes: shown.jsonl, learning_rate: 3e-2}"


@pytest.mark.parametrize(
    ("strategy", "learn", "warmup"),
    [
        ("replay", IMITATE, None),
        ("l2", "grpo", f"{{updates: 3, learn: {IMITATE}}}"),
        (
            "[retain, {name: review, interval: 1, mastered: 0.5}]",
            "{name: gigpo, anchor: observation}",
            None,
        ),
    ],
)
def test_the_state_of_an_objective_survives(
    stream: Callable[..., Path], tmp_path: Path, strategy: str, learn: str, warmup: str | None
) -> None:
    path = stream(strategy, learn=learn, evaluate="")
    if warmup:
        path.write_text(path.read_text() + f"warmup: {warmup}\n")
    check_killed(path, tmp_path)


ODD = """
import contrail
from contrail.plugins.adapters.act import Act

class Odd(Act):
    stop = ("a", "e", "i")

    def parse(self, text, observation):
        if len(text) % 2:
            raise contrail.InvalidAction("Odd.")
        return text

@contrail.hookimpl
def contrail_adapters(register):
    register("odd", Odd)
"""


def test_rules_for_answers_survive(stream: Callable[..., Path], tmp_path: Path) -> None:
    path = stream("[{name: replay, mode: episodes}, {name: ewc, passes: 16}]", evaluate="")
    (tmp_path / "odd.py").write_text(ODD)
    text = path.read_text().replace("cursor.py]", "cursor.py, odd.py]")
    answers = "{invalid_penalty: 0.3, end_after_invalid: 2, cut_off: leave_out}"
    path.write_text(f"{text}adapter: {{name: odd, max_new_tokens: 5}}\nanswers: {answers}\n")
    undisturbed = run_stream(path, out=tmp_path / "undisturbed", quiet=True).path
    episodes = list(load(undisturbed).episodes(kind="train"))
    turns = [turn for episode in episodes for turn in episode["turns"]]
    assert 0 < sum("left_out" in turn for turn in turns) < len(turns)
    assert 0 < sum("penalty" in turn for turn in turns) < len(turns)
    assert "invalid" in {episode["ended"] for episode in episodes}
    go_on_after_kills(path, tmp_path / "killed")
    assert not differences(tmp_path / "killed", undisturbed)


def test_thoughts_that_the_template_keeps_cannot_be_dropped(
    stream: Callable[..., Path], tmp_path: Path
) -> None:
    path = stream()
    path.write_text(path.read_text() + "answers: {past_thoughts: drop}\n")
    with pytest.raises(ConfigError, match="does not drop the thoughts") as raised:
        run_stream(path, out=tmp_path / "run", quiet=True)
    assert raised.value.key == ("answers", "past_thoughts")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("updates", "kills", "objectives"), [(1, 3, False), (None, 2, False), (1, 2, True)]
)
def test_killed_at_random_instants(
    tmp_path: Path, updates: int | None, kills: int, objectives: bool
) -> None:
    found = kill_at_random(tmp_path, kills=kills, updates=updates, seed=0, objectives=objectives)
    assert not found["different"]
    assert found["lost"] <= (updates or 4)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A stream file, its run until it was killed within stage 2, and the undisturbed run. Not to
    be changed."""
    directory = tmp_path_factory.mktemp("killed")
    path = writer(directory)("{name: replay, mode: episodes}", evaluate="")
    undisturbed = run_stream(path, out=directory / "undisturbed", quiet=True).path
    with killed_after(5):
        run_stream(path, ["checkpoint.updates=1"], out=directory / "run", quiet=True)
    return path, directory / "run", undisturbed


@pytest.fixture
def within(killed: tuple[Path, Path, Path], tmp_path: Path) -> tuple[Path, Path, Path]:
    """The same, with a copy of the killed run."""
    path, run, undisturbed = killed
    return path, shutil.copytree(run, tmp_path / "run"), undisturbed


def test_damage(
    within: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, killed, undisturbed = within
    newest = killed / "checkpoints/002-00001"
    assert newest.is_dir()

    def after(damage: Callable[[Path], object]) -> str:
        run = tmp_path / "damaged"
        shutil.copytree(killed, run)
        damage(run)
        run_stream(path, out=run)
        assert not differences(run, undisturbed)
        shutil.rmtree(run)
        return capsys.readouterr().err

    def flip(file: Path) -> None:
        content = bytearray(file.read_bytes())
        # In state.json the middle may be the last digit of a number, which may not change it.
        at = content.index(b"played") if file.suffix == ".json" else len(content) // 2
        content[at] ^= 1
        file.write_bytes(content)

    for name in ("state.json", "state.safetensors", "adapter_model.safetensors"):
        said = after(lambda run, name=name: flip(run / "checkpoints/002-00001" / name))  # type: ignore[misc]
        assert f"002-00001: {name} is damaged. It is passed over." in said
        assert "checkpoints/001\n" in said
    said = after(lambda run: (run / "checkpoints/002-00001/state.json").unlink())
    assert "002-00001: state.json is missing" in said
    said = after(lambda run: shutil.rmtree(run / "episodes"))
    assert "002-train.jsonl.gz is shorter than it was" in said
    said = after(lambda run: [flip(file) for file in run.glob("checkpoints/*/state.json")])
    assert "no checkpoint is whole. The run starts from the beginning." in said


def test_a_run_of_an_earlier_version_is_refused(within: tuple[Path, Path, Path]) -> None:
    path, run, _ = within
    for file in run.glob("checkpoints/*/state.json"):
        state = json.loads(file.read_text())
        del state["made"], state["sha256"]["state.json"]
        file.write_text(json.dumps(state))
        assert read_checkpoint(file.parent)  # its LoRA can be used
    with pytest.raises(ContrailError, match="an earlier version of contrail began the run"):
        run_stream(path, out=run, quiet=True)


@pytest.mark.parametrize("writes", [2, 12])
def test_the_disk_is_full(
    within: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    path, run, undisturbed = within
    left = [writes]
    sync = os.fsync

    def fsync(handle: int) -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(ContrailError, match=r"No space left on device\. Make room, then"):
        run_stream(path, out=run, quiet=True)
    monkeypatch.undo()
    run_stream(path, out=run, quiet=True)
    assert not differences(run, undisturbed)


def test_a_run_directory_may_move(within: tuple[Path, Path, Path], tmp_path: Path) -> None:
    path, run, undisturbed = within
    moved = run_stream(path, out=run.rename(tmp_path / "moved"), quiet=True).path
    assert not differences(moved, undisturbed)
