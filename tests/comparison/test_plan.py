"""What a comparison would run, and what it refuses before anything runs."""

from __future__ import annotations

import math
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from contrail.cli import app as cli
from contrail.comparison import launch, share
from contrail.comparison.plan import ComparisonOptions, Plan, read_options, read_plan
from contrail.config import load, to_yaml
from contrail.errors import ConfigError, PluginError
from contrail.registry.plugins import Plugins, load_plugins

ROOT = Path(__file__).parents[2]
STREAM = {
    "model": "tiny-random",
    "stream": [
        {"environment": {"name": "babyai", "levels": ["GoToObj"]}, "updates": 2},
        {"environment": "textcraft", "updates": 3},
        {"environment": {"name": "babyai", "label": "doors", "levels": ["OpenDoor"]}},
    ],
}

PLUGIN = """
from dataclasses import dataclass
import contrail

@dataclass
class Settings:
    strength: float = 1.0

class Same(contrail.Strategy):
    Config = Settings
    def cache_key(self, stage):
        return "sequential" if stage == 1 else f"same {self.config.strength}"

class Secret(contrail.Strategy):
    pass

class Odd(contrail.Strategy):
    def cache_key(self, stage):
        return {"stage": object()}

@contrail.hookimpl
def contrail_strategies(register):
    register("same", Same)
    register("secret", Secret)
    register("odd", Odd)
"""


@pytest.fixture
def plugins() -> Plugins:
    return load_plugins()


@pytest.fixture
def plan(tmp_path: Path, plugins: Plugins) -> Any:
    """Writes a file and reads the plan it asks for."""
    (tmp_path / "plugin.py").write_text(PLUGIN)

    def read(values: dict[str, Any], *overrides: str, **asked: Any) -> Plan:
        path = tmp_path / "stream.yaml"
        path.write_text(yaml.safe_dump({**STREAM, "plugins": ["plugin.py"], **values}))
        return read_plan(path, overrides, ComparisonOptions(**asked), plugins)

    return read


def test_every_strategy_order_and_seed_is_run_once(plan: Any) -> None:
    found = plan({}, strategies=["sequential", "secret"], orders="all", seeds=[0, 3])
    assert len(found.orders) == len(set(found.orders)) == 6
    assert found.orders[0] == ("babyai", "textcraft", "doors")
    assert len(found.runs) == len({run.directory for run in found.runs}) == 2 * 6 * 2
    assert {run.seed for run in found.runs[:12]} == {0}
    run = next(r for r in found.runs if r.strategy == "secret" and r.order[0] == "doors")
    assert [stage.name for stage in run.config.stream] == list(run.order)
    assert run.config.strategy.name == "secret"
    assert found.baseline == "sequential"
    assert found.jobs == 1


def test_a_file_and_flags_say_the_same(plan: Any) -> None:
    asked = read_options(
        "sequential,{name: same, strength: 2},[sequential,same]", "2", "1,2", "same strength=2", 3
    )
    flags = plan({}, **vars(asked))
    written = plan(
        {
            "strategies": ["sequential", {"name": "same", "strength": 2}, ["sequential", "same"]],
            "orders": 2,
            "seeds": [1, 2],
            "baseline": "same strength=2",
            "jobs": 3,
        }
    )
    assert flags == written
    assert flags.strategies == ["sequential", "same strength=2", "sequential + same"]
    assert flags.runs[0].directory == "sequential_babyai-textcraft-doors_seed1"


def test_flags_come_before_the_file(plan: Any) -> None:
    found = plan({"strategies": ["same"], "seeds": [1, 2]}, "grpo.learning_rate=1e-5", seeds=[7])
    assert found.seeds == [7]
    assert found.runs[0].config.grpo.learning_rate == 1e-5


def test_a_comparison_may_name_its_stream(tmp_path: Path, plan: Any, plugins: Plugins) -> None:
    plan({}, strategies=["same"])
    path = tmp_path / "compare.yaml"
    path.write_text("stream: stream.yaml\nstrategies: [same]\nseeds: [4]\n")
    found = read_plan(path, (), ComparisonOptions(), plugins)
    assert [run.seed for run in found.runs] == [4]
    path.write_text("stream: stream.yaml\nstrategies: [same]\nmodel: tiny-random\n")
    with pytest.raises(ConfigError, match=r"compare.yaml:3: model: unknown key.*stream\.yaml"):
        read_plan(path, (), ComparisonOptions(), plugins)


def test_a_run_is_an_ordinary_configuration(tmp_path: Path, plan: Any, plugins: Plugins) -> None:
    run = plan({}, strategies=[{"name": "same", "strength": 3, "label": "strong"}]).runs[0]
    assert run.strategy == "strong"
    (tmp_path / "config.yaml").write_text(to_yaml(run.config))
    again, _ = load(tmp_path / "config.yaml", (), plugins)
    assert to_yaml(again) == to_yaml(run.config)
    assert again.strategy.settings.strength == 3


def test_orders(plan: Any) -> None:
    def orders(value: Any, **values: Any) -> list[tuple[str, ...]]:
        found: list[tuple[str, ...]] = plan(values, strategies=["same"], orders=value).orders
        return found

    given = ("babyai", "textcraft", "doors")
    assert orders("given") == [given]
    assert orders([["doors", "textcraft", "babyai"], list(given)]) == [given[::-1], given]
    three, four = orders(3), orders(4)
    assert three[0] == given
    assert four[:3] == three  # more orders add to a comparison
    assert len(set(four)) == 4
    assert set(orders(100)) == set(orders("all"))
    assert len(orders(100)) == math.factorial(3)
    again = ["babyai", "textcraft", "babyai"]  # the same stage twice: three streams, not six
    assert len(orders("all", stream=again)) == len(orders(99, stream=again)) == 3
    longer = [{"environment": "babyai", "updates": n} for n in (1, 2)]
    assert orders("all", stream=longer) == [("babyai#1", "babyai#2"), ("babyai#2", "babyai#1")]


@pytest.mark.parametrize(
    ("values", "asked", "message"),
    [
        ({}, {}, r"stream\.yaml: no strategies to compare.*--strategies.*Known: .*sequential"),
        ({"strategies": "same"}, {}, r"strategies: 'same' is not a list"),
        ({"strategies": ["sequentail"]}, {}, r"yaml:\d+: strategies.0: no strategy.*'sequential'"),
        ({"strategies": [{"name": "same", "strenght": 1}]}, {},
         r"yaml:\d+: strategies.0: strategy.strenght: unknown key. Did you mean 'strength'"),
        ({"strategies": [{"name": "same", "strength": "much"}]}, {},
         r"strategies.0: strategy.strength: 'much' is not a number"),
        ({}, {"strategies": ["same", {"name": "same", "strength": "x"}]},
         r"--strategies: strategy.strength: 'x' is not a number"),
        ({}, {"strategies": ["same", "same"]}, r"'same' is given twice"),
        ({}, {"strategies": ["same", {"name": "same", "strength": 1}]},
         r"--strategies: 'same strength=1' is the same as 'same'"),
        ({"strategies": [{"name": "same", "label": None}]}, {},
         r"yaml:\d+: strategies.0: null is no label"),
        ({"orders": [["babyai", "doors", "textcraft"]] * 2}, {"strategies": ["same"]},
         r"orders.1: this order is given twice"),
        ({"orders": [["babyai", "textcarft", "doors"]]}, {"strategies": ["same"]},
         r"orders.0: the stream has no stage 'textcarft'. Did you mean 'textcraft'"),
        ({"orders": [["babyai", "doors"]]}, {"strategies": ["same"]}, r"'textcraft' is missing"),
        ({"orders": [["babyai", "babyai", "doors"]]}, {"strategies": ["same"]},
         r"'babyai' stands there more often"),
        ({}, {"strategies": ["same"], "orders": "some"}, r"--orders: 'some' is not a choice"),
        ({}, {"strategies": ["same"], "orders": 0}, r"--orders: 0 is not a whole number from 1"),
        ({"seeds": [0, -1]}, {"strategies": ["same"]}, r"seeds.1: -1 is not a whole number from 0"),
        ({}, {"strategies": ["same"], "seeds": ["x"]}, r"--seeds: 'x' is not a whole number"),
        ({}, {"strategies": ["same"], "seeds": [1, 1]}, r"--seeds: 1 is given twice"),
        ({}, {"strategies": ["same"], "baseline": "sam"}, r"'sam' is not compared. Did you.*same"),
        ({"jobs": 0}, {"strategies": ["same"]}, r"jobs: 0 is not a whole number from 1"),
        ({"strategys": ["same"]}, {"strategies": ["same"]}, r"strategys: unknown key"),
        ({"stream": ["babyai", "webshp"]}, {"strategies": ["same"]}, r"stream.1.*'webshp'"),
    ],
)  # fmt: skip
def test_what_is_refused(
    plan: Any, values: dict[str, Any], asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(values, **asked)


@pytest.mark.parametrize("override", ["seed=1", "strategy=same", "strategy.strength=2", "jobs=2"])
def test_what_is_compared_is_not_overridden(plan: Any, override: str) -> None:
    with pytest.raises(ConfigError, match=r"Use --(seeds|strategies|jobs)"):
        plan({}, override, strategies=["same"])


@pytest.mark.parametrize("text", ["a,,b", "", "[a", "{"])
def test_lists_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="--strategies"):
        read_options(text, None, None, None, None)


def keys(plan: Any, plugins: Plugins, *strategies: Any, **asked: Any) -> dict[Any, Any]:
    found = plan({}, strategies=list(strategies), **asked)
    return {(r.strategy, r.order, r.seed): share.row_keys(r.config, plugins) for r in found.runs}


def common(first: list[Any], second: list[Any]) -> list[bool]:
    return [a is not None and a == b for a, b in zip(first, second, strict=True)]


def test_what_runs_begin_with_alike(plan: Any, plugins: Plugins) -> None:
    found = keys(
        plan, plugins, "sequential", "same", {"name": "same", "strength": 2, "label": "2"},
        "secret", ["sequential", "secret"], ["sequential", "same"], orders="all", seeds=[0, 1],
    )  # fmt: skip
    given = ("babyai", "textcraft", "doors")
    late = ("babyai", "doors", "textcraft")
    own = found["sequential", given, 0]
    # The base evaluation is everybody's of one seed: other seeds have other dice.
    assert len({key[0] for key in found.values()}) == 2
    assert common(own, found["sequential", given, 1]) == [False] * 4
    assert common(own, found["sequential", late, 0]) == [True, True, False, False]
    assert common(own, found["same", given, 0]) == [True, True, False, False]
    assert common(own, found["same", late, 0]) == [True, True, False, False]
    assert common(found["same", given, 0], found["2", given, 0]) == [True, True, False, False]
    # A strategy that says nothing shares nothing but the base evaluation, not even with itself.
    assert found["secret", given, 0][1:] == [None] * 3
    assert found["sequential + secret", given, 0][1:] == [None] * 3
    assert common(own, found["sequential + same", given, 0]) == [True, True, False, False]


def test_a_cache_key_that_is_no_text_is_its_strategys_fault(plan: Any, plugins: Plugins) -> None:
    found = plan({}, strategies=["sequential", "odd"])
    message = r"strategy 'odd' \(plugin 'plugin'\): cache_key\(1\) returned {'stage"
    with pytest.raises(PluginError, match=message):
        share.row_keys(found.runs[1].config, plugins)


def test_members_act_in_the_order_in_which_they_are_written(plan: Any, plugins: Plugins) -> None:
    found = keys(plan, plugins, ["ewc", "l2"], ["l2", "ewc"], "ewc")
    first, second, alone = found.values()
    # After the first stage only ewc has done something.
    assert common(first, second) == [True, True, False, False]
    assert common(first, alone) == [True, True, False, False]


def test_names_that_are_too_long_for_a_file(plan: Any) -> None:
    long = {"name": "same", "label": "x" * 300}
    other = {"name": "same", "label": "x" * 301, "strength": 2}
    runs = plan({}, strategies=[long, other], seeds=[0, 1]).runs
    names = {run.directory for run in runs}
    assert len(names) == 4
    assert all(len(name.encode()) < 200 for name in names)


@pytest.mark.parametrize(
    "override",
    ["evaluate.tasks=3", "grpo.temperature=2", "model=smollm2-135m", "stream.1.adapter=react",
     "evaluate.environments=[textcraft, {name: babyai, label: more}]", "dtype=bfloat16",
     "evaluate.every=2"],
)  # fmt: skip
def test_other_evaluations_are_not_shared(plan: Any, plugins: Plugins, override: str) -> None:
    one = plan({}, strategies=["sequential"]).runs[0]
    other = plan({}, override, strategies=["sequential"]).runs[0]
    assert share.row_keys(one.config, plugins)[0] != share.row_keys(other.config, plugins)[0]


def test_adapters_that_do_not_begin_with_zeros_are_not_shared_over_seeds(
    plan: Any, plugins: Plugins
) -> None:
    found = plan({}, "lora.init_lora_weights=orthogonal", strategies=["sequential"], seeds=[0, 1])
    bases = [share.row_keys(run.config, plugins)[0] for run in found.runs]
    assert bases[0] != bases[1]


def test_the_base_evaluation_is_shared_only_with_the_same_dice(plan: Any, plugins: Plugins) -> None:
    """Of two labels of one game, the first one's dice are those of its shifted version."""
    game = {"name": "babyai", "levels": ["GoToObj"]}
    version = {**game, "label": "version", "shift": {"distract": 1}}
    stages = [{"environment": {**game, "label": name}} for name in ("one", "two")]
    values = {"stream": stages, "evaluate": {"environments": [version]}}
    found = plan(values, strategies=["sequential"], orders="all")
    dice = {run.config.dice_of("version") for run in found.runs}
    assert dice == {"one", "two"}
    keys = {share.row_keys(run.config, plugins)[0] for run in found.runs}
    assert len(keys) == 2


def test_orders_that_change_the_adapter_of_an_environment_are_refused(plan: Any) -> None:
    stages = [
        {"name": adapter, "environment": "textcraft", "adapter": adapter}
        for adapter in ("act", "choose")
    ]
    plan({"stream": stages}, strategies=["sequential"])
    message = "'textcraft' is evaluated through the adapter of its first stage.* 'act' in one order"
    with pytest.raises(ConfigError, match=message):
        plan({"stream": stages}, strategies=["sequential"], orders="all")


def test_the_example_is_planned(plugins: Plugins) -> None:
    found = read_plan(ROOT / "examples/compare.yaml", (), ComparisonOptions(), plugins)
    assert len(found.runs) == 3 * 6
    assert found.baseline == "sequential"
    assert {sum(s.updates for s in run.config.stream) for run in found.runs} == {100}


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"^contrail compare .*\.yaml.*", re.MULTILINE)
COMMANDS = sorted({line for page in PAGES for line in COMMAND.findall(page.read_text())})


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_of_the_pages_are_planned(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take too long to be run."""
    planned = []

    def compare_stream(*arguments: Any, **options: Any) -> Any:
        planned.extend(read_plan(*arguments).runs)
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "compare_stream", compare_stream)
    monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert len(planned) > 1


def test_a_strategy_may_set_keys_of_the_stream(plugins: Plugins, tmp_path: Path) -> None:
    path = tmp_path / "stream.yaml"
    entries = [
        "sequential",
        {"name": "sequential", "label": "imitation", "set": {"stream.1.learn": "imitate"}},
        {"name": "kl", "set": {"grpo.learning_rate": 0.01, "stream.*.train": {"tasks": 8}}},
    ]
    path.write_text(yaml.safe_dump({**STREAM, "strategies": entries}))
    plan = read_plan(path, [], ComparisonOptions(), plugins)
    changed = "kl grpo.learning_rate=0.01 stream.*.train={tasks: 8}"
    assert plan.strategies == ["sequential", "imitation", changed]
    assert plan.differs == {"grpo", "learn", "train"}
    learns = {run.strategy: [stage.learn.name for stage in run.config.stream] for run in plan.runs}
    assert learns["sequential"] == ["grpo", "grpo", "grpo"]
    assert learns["imitation"] == ["grpo", "imitate", "grpo"]
    assert {run.strategy: run.config.grpo.learning_rate for run in plan.runs}[changed] == 0.01
    one, other = (
        share.row_keys(next(run.config for run in plan.runs if run.strategy == label), plugins)
        for label in ("sequential", "imitation")
    )
    assert one[:2] == other[:2]  # the base model, and the first stage
    assert one[2] != other[2]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "gpt2"}, "set: 'model' cannot differ"),
        ({"stream.0.environment.levels": ["GoToObj"]}, "set: 'stream.0.environment.levels' cannot"),
        ({"stream.1.updates": 9}, "cannot differ within a comparison. These can: grpo.KEY"),
        (["grpo.beta=1"], "is no mapping"),
        ({"grpo.learning_rat": 1}, "set: grpo.learning_rat: "),
        ({"stream.7.learn": "imitate"}, "set: stream.7.learn: "),
        ({"stream.1.learn": "imitat"}, "imitat"),
        ({"grpo.num_generations": 4}, "is the same as"),
    ],
    ids=["model", "environment", "updates", "list", "key", "stage", "name", "default"],
)
def test_what_a_strategy_may_not_set(
    changes: Any, said: str, plugins: Plugins, tmp_path: Path
) -> None:
    path = tmp_path / "stream.yaml"
    entry = {"name": "sequential", "label": "other", "set": changes}
    stream = {**STREAM, "grpo": {"num_generations": 4}}
    path.write_text(yaml.safe_dump({**stream, "strategies": ["sequential", entry]}))
    with pytest.raises(ConfigError, match=re.escape(said)) as error:
        read_plan(path, [], ComparisonOptions(), plugins)
    assert "strategies" in str(error.value)
