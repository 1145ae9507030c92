"""The strategies that ship, in whole runs: interrupted or not, what they cost, what they learn."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contrail.errors import ConfigError, ContrailError
from contrail.plugins.reports import console
from contrail.registry.plugins import load_plugins
from contrail.runs.directory import RunDirectory
from contrail.runs.launch import run_stream

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

# Three stages, so that what a strategy makes of the first two matters after an interruption.
SHORT = """
model: tiny-random
dtype: float32
plugins: [conflict.py, rehearse.py]
stream:
  - environment: {name: conflict, label: north, rule: north}
    updates: 2
  - environment: {name: conflict, label: south, rule: south}
    updates: 2
  - environment: {name: conflict, label: north, rule: north}
    updates: 2
evaluate: {tasks: 4}
lora: {r: 6}
grpo: {num_generations: 4, generation_batch_size: 16, learning_rate: 2e-3, temperature: 0.2}
"""
STRATEGIES = [
    "sequential",
    "mixture",
    "cumulative",
    "isolated",
    "frozen",
    "{name: replay, fraction: 0.5}",
    "{name: replay, mode: episodes, fraction: 0.5, buffer: 8}",
    "{name: replay, mode: mastery, fraction: 0.5}",
    "{name: curriculum, by: pass_rate, samples: 2}",
    "distill",
    "balanced",
    "progress",
    "{name: review, interval: 1, mastered: 0.5}",
    "retain",
    "kl",
    "ewc",
    "{name: ewc, mode: separate}",
    "l2",
    "adapters",
    "orthogonal",
    "{name: merge, combination_type: dare_linear}",
    "[{name: replay, mode: episodes}, kl, {name: merge, start: merged}, ewc]",
    "rehearse",
]

STATELESS = ("mixture", "cumulative", "frozen")
"""Those that keep nothing and do nothing between stages: `sequential` is interrupted for them."""


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("stream")
    for name in ("conflict.py", "rehearse.py"):
        shutil.copy(EXAMPLES / name, directory)
    # `curriculum` by label needs labels.
    text = (directory / "conflict.py").read_text()
    labelled = text.replace("seed, split)", "seed, split, seed % 3)")
    assert labelled != text
    (directory / "conflict.py").write_text(labelled)
    (directory / "stream.yaml").write_text(SHORT)
    return directory / "stream.yaml"


@pytest.fixture(scope="module")
def run(stream: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Runs of the short stream, each made once. Not to be changed."""
    made: dict[str, Path] = {}

    def run(strategy: str) -> Path:
        if strategy not in made:
            out = tmp_path_factory.mktemp("run") / "run"
            overrides = [f"strategy={strategy}"]
            made[strategy] = run_stream(stream, overrides, out=out, quiet=True).path
        return made[strategy]

    return run


def result(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((path / "result.json").read_text())
    return content


def logs(path: Path) -> dict[str, str]:
    files = sorted((path / "episodes").iterdir())
    return {file.name: gzip.decompress(file.read_bytes()).decode() for file in files}


def kept(path: Path) -> dict[str, bytes]:
    """All that checkpoints hold, but for times."""
    found = {}
    for file in sorted(path.glob("checkpoints/*/*")):
        content = file.read_bytes()
        if file.name == "state.json":
            state = json.loads(content)
            del state["started"], state["budget"]["cpu_seconds"], state["budget"]["wall_seconds"]
            del state["sha256"]["state.json"]  # the checksum of the times as well
            content = json.dumps(state).encode()
        found[str(file.relative_to(path))] = content
    return found


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [item for item in STRATEGIES if item not in STATELESS])
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    strategy: str, run: Callable[..., Path], stream: Path, tmp_path: Path
) -> None:
    whole = run(strategy)
    again = shutil.copytree(whole, tmp_path / "again")
    (again / "result.json").unlink()
    checkpoints = sorted((again / "checkpoints").iterdir())
    for later in checkpoints[max(1, len(checkpoints) - 2) :]:  # go on before the last two stages
        shutil.rmtree(later)
    run_stream(stream, [f"strategy={strategy}"], out=again, quiet=True)
    assert kept(again) == kept(whole)
    assert logs(again) == logs(whole)
    assert result(again)["R"] == result(whole)["R"]


def test_every_strategy_that_ships_is_interrupted_here() -> None:
    for name in STATELESS:
        members = vars(load_plugins().strategies[name].value)
        assert not {"state_dict", "load_state_dict", "enter", "leave", "observe"} & set(members)
    shipped = {path.stem for path in (ROOT / "strategies").glob("[a-z]*.py")}
    assert {name for name in shipped if any(name in text for text in STRATEGIES)} == shipped


@pytest.mark.parametrize("strategy", [item for item in STRATEGIES if item != "frozen"])
def test_the_budget_is_the_same(strategy: str, run: Callable[..., Path]) -> None:
    budget = result(run(strategy))["budget"]
    assert (budget["updates"], budget["episodes"]) == (6, 6 * 16)
    beyond = {name: budget[name] for name in ("extra_episodes", "extra_tokens")}
    # Stored episodes, teachers, a reference (twice), a Fisher matrix.
    costly = ("episodes", "distill", "kl", "retain", "ewc")
    assert (beyond["extra_tokens"] > 0) == any(name in strategy for name in costly)
    tasks = 48  # the training tasks of either environment
    assert beyond["extra_episodes"] == (3 * tasks * 2 if "pass_rate" in strategy else 0)


def test_frozen_evaluates_the_same_policy(run: Callable[..., Path]) -> None:
    content = result(run("frozen"))
    assert content["R"] == [content["R"][0]] * 4
    assert (content["budget"]["updates"], content["budget"]["episodes"]) == (0, 0)


@pytest.mark.parametrize(
    "strategy",
    ["kl", "l2", "distill", "isolated", "cumulative", "retain", "{name: replay, fraction: 0.5}"],
)
def test_the_first_stage_is_that_of_sequential(strategy: str, run: Callable[..., Path]) -> None:
    alike, other = (kept(run(name)) for name in ("sequential", strategy))
    for file in ("adapter_model.safetensors", "state.json"):
        assert alike[f"checkpoints/001/{file}"] == other[f"checkpoints/001/{file}"]
    assert (
        alike["checkpoints/002/adapter_model.safetensors"]
        != other["checkpoints/002/adapter_model.safetensors"]
    )


def environments(path: Path, stage: int) -> list[str]:
    lines = logs(path)[f"{stage:03}-train.jsonl.gz"].splitlines()
    return [json.loads(line)["environment"] for line in lines]


def test_replayed_tasks_stand_within_the_update(run: Callable[..., Path]) -> None:
    assert environments(run("distill"), 2) == (["south"] * 8 + ["north"] * 8) * 2
    assert environments(run("distill"), 3) == (["north"] * 8 + ["south"] * 8) * 2
    for mode in ("", "mode: mastery, "):
        replay = run(f"{{name: replay, {mode}fraction: 0.5}}")
        assert environments(replay, 1) == ["north"] * 32
        assert environments(replay, 2) == (["south"] * 8 + ["north"] * 8) * 2
        assert environments(replay, 3) == (["north"] * 8 + ["south"] * 8) * 2
    stored = run("{name: replay, mode: episodes, fraction: 0.5, buffer: 8}")
    assert environments(stored, 2) == ["south"] * 32


def test_isolated_stages_begin_with_the_base_model(run: Callable[..., Path]) -> None:
    """So an environment's first and third stage differ by their draws alone, not by the second."""
    from safetensors.torch import load_file

    import torch  # isort: skip

    for strategy, alone in (("isolated", True), ("adapters", False), ("sequential", False)):
        checkpoints = run(strategy) / "checkpoints"
        stages = [
            load_file(checkpoints / f"{n:03}" / "adapter_model.safetensors") for n in range(4)
        ]
        steps = [
            max(float((stage[name] - stages[0][name]).abs().max()) for name in stage)
            for stage in stages
        ]
        # Adam's steps are at most about the learning rate; a stage makes two.
        assert (max(steps) < 0.0042) == alone
        assert not any(torch.isnan(value).any() for stage in stages for value in stage.values())


def test_isolated_has_no_metrics_of_a_stream(
    run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    content = RunDirectory(run("isolated")).read_result()
    assert content["restarts"]
    assert set(content["metrics"].values()) == set(content["metric_intervals"].values()) == {None}
    console.contrail_report(result=content, directory="")
    shown = capsys.readouterr().out
    assert "1: north alone" in shown
    assert "Transfer: change against the base model" in shown
    assert "forgetting" not in shown
    assert not RunDirectory(run("sequential")).read_result()["restarts"]


def test_a_policy_that_is_no_number_is_no_result(stream: Path, tmp_path: Path) -> None:
    overrides = ["strategy={name: kl, beta: 1e30}"]
    with pytest.raises(ContrailError, match="the gradient is not finite"):
        run_stream(stream, overrides, out=tmp_path / "penalty", quiet=True)
    overrides = ["grpo.learning_rate=1e38", "grpo.max_grad_norm=0"]
    with pytest.raises(ContrailError, match="probabilities are not numbers"):
        run_stream(stream, overrides, out=tmp_path / "rate", quiet=True)
    assert not list(tmp_path.rglob("result.json"))


# What the diagnostic stream shows.


@pytest.fixture(scope="module")
def conflict(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[list[float]]]:
    made: dict[str, list[list[float]]] = {}

    def R(strategy: str) -> list[list[float]]:
        if strategy not in made:
            out = tmp_path_factory.mktemp("conflict") / "run"
            overrides = [f"strategy={strategy}", "evaluate={tasks: 16}"]
            # The others are there in half the time.
            if not any(name in strategy for name in ("replay", "distill", "mixture")):
                overrides += ["stream.0.updates=25", "stream.1.updates=25"]
            run = run_stream(EXAMPLES / "conflict.yaml", overrides, out=out, quiet=True)
            made[strategy] = run.read_result()["R"]
        return made[strategy]

    return R


def test_sequential_forgets(conflict: Callable[[str], list[list[float]]]) -> None:
    R = conflict("sequential")
    assert R[1][0] >= 0.9
    assert R[2][1] >= 0.9
    assert R[2][0] <= 0.2


@pytest.mark.parametrize(
    "strategy", ["mixture", "{name: replay, fraction: 0.5}", "distill", "adapters"]
)
def test_both_can_be_had(strategy: str, conflict: Callable[[str], list[list[float]]]) -> None:
    assert min(conflict(strategy)[-1]) >= 0.8


@pytest.mark.parametrize(
    "strategy",
    ["{name: kl, beta: 3}", "ewc", "{name: l2, strength: 30}"],
)
def test_what_is_held_fast_learns_nothing_new(
    strategy: str, conflict: Callable[[str], list[list[float]]]
) -> None:
    R = conflict(strategy)
    assert R[2][0] >= R[1][0] - 0.1
    assert R[2][1] <= R[1][1] + 0.1


# What is refused.

REFUSED = {
    "unknown": ("strategy=replya", "no strategy is called 'replya'. Did you mean 'replay'?"),
    "unknown in a list": ("strategy=[kl, replya]", "strategy.1: no strategy is called 'replya'"),
    "key": (
        "strategy={name: ewc, lamda: 3}",
        "strategy.lamda: unknown key. Known: strength, mode, decay, episodes, passes, normalize.",
    ),
    "key in a list": (
        "strategy=[replay, {name: kl, bta: 3}]",
        "strategy.1.bta: unknown key. Did you mean 'beta'?",
    ),
    "choice": (
        "strategy={name: replay, mode: task}",
        "strategy.mode: 'task' is not allowed. Did you mean 'tasks'? Known: tasks, episodes, "
        "mastery.",
    ),
    "too large": ("strategy={name: replay, fraction: 2}", "2.0 is too large. The most is 1."),
    "infinite": ("strategy={name: kl, beta: .inf}", "beta: inf is not a finite number."),
    "no number": ("strategy={name: ewc, strength: .nan}", "nan is not a finite number."),
    "list": ("strategy={name: mixture, weights: [1, 2]}", "weights: [1, 2] is not a mapping or"),
    "type": ("strategy={name: l2, strength: much}", "strength: 'much' is not a number"),
    "empty": ("strategy=[]", "the list is empty. Write for example `strategy: [replay, kl]`."),
    "twice": ("strategy=[kl, kl]", "strategy.1: 'kl' is there twice. Remove one."),
    "two that draw": (
        "strategy=[replay, curriculum]",
        "'replay' and 'curriculum' do not go together: both decide the tasks of an update.",
    ),
    "alone": (
        "strategy=[kl, frozen]",
        "'frozen' does not go with others: it trains nothing. Use it alone.",
    ),
    "two that draw, both of them new": (
        "strategy=[review, progress]",
        "'review' and 'progress' do not go together: both decide the tasks of an update.",
    ),
    "balanced": ("strategy=[balanced, kl]", "'balanced' does not go with others"),
    "alone by its settings": ("strategy=[merge, kl]", "'merge' does not go with others"),
    "weights": (
        "strategy={name: mixture, weights: {nort: 1}}",
        "weights: no stage trains on 'nort'. Did you mean 'north'?",
    ),
    "negative weight": ("strategy={name: mixture, weights: {north: -1}}", "numbers from 0"),
    "labels": (
        "strategy=curriculum",
        "has the difficulty None, which is not in order",
    ),
    "beta": ("strategy=kl", "grpo.beta is 0.5, a KL term against the base model"),
    "ranks": ("strategy=orthogonal", "lora.r is 1 and there are 2 stages"),
    "decay": ("strategy=orthogonal", "grpo.weight_decay would shrink"),
}
BESIDES = {"beta": ["grpo.beta=0.5"], "ranks": ["lora.r=1"], "decay": ["grpo.weight_decay=0.1"]}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    override, message = REFUSED[name]
    overrides = [override, *BESIDES.get(name, [])]
    with pytest.raises(ConfigError) as refused:
        run_stream(EXAMPLES / "conflict.yaml", overrides, out=tmp_path / "run", quiet=True)
    assert message in str(refused.value)
    assert "override" in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_an_interface_shift_cannot_be_mixed(stream: Path, tmp_path: Path) -> None:
    overrides = ["strategy=mixture", "stream.2.adapter=react"]
    with pytest.raises(ConfigError, match="'north' through different adapters"):
        run_stream(stream, overrides, out=tmp_path / "run", quiet=True)


BROKEN = """
import contrail

class Broken(contrail.Strategy):
    def {method}:
        {body}

@contrail.hookimpl
def contrail_strategies(register):
    register("broken", Broken)
"""
LOADS = "\n    def load_state_dict(self, state): pass"


@pytest.mark.parametrize(
    ("method", "body", "message"),
    [
        ("penalty(self, trainer, episodes, rng)", "yield 1 / 0", "penalty: ZeroDivisionError"),
        ("begin(self, trainer, stages)", "stages[9]", "begin: IndexError"),
        ("leave(self, context)", "context.nothing", "leave: AttributeError"),
        ("after_training_exp(self, loop)", "pass", "never called. Use leave"),
        ("state_dict(self)", f"return {{1: 2}}{LOADS}", "the key 1 is not text"),
        (
            "state_dict(self)",
            f"return {{'a': (1,)}}{LOADS}",
            "tuple is neither a JSON value nor a tensor",
        ),
        ("draw(self, stage, update, count, rng)", "return []", "it returned 0 tasks where 4"),
    ],
)
def test_a_broken_strategy_is_named(
    stream: Path, tmp_path: Path, method: str, body: str, message: str
) -> None:
    (stream.parent / "broken.py").write_text(BROKEN.format(method=method, body=body))
    overrides = ["plugins=[conflict.py, broken.py]", "strategy=broken"]
    with pytest.raises(ContrailError, match=message) as refused:
        run_stream(stream, overrides, out=tmp_path / "run", quiet=True)
    assert "strategy 'broken' (plugin " in str(refused.value)


def test_the_example_of_a_strategy_is_short() -> None:
    assert len((EXAMPLES / "rehearse.py").read_text().splitlines()) <= 30
