"""Runs that get further stages, updates and environments end as if they had had them at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from killed import killed_after

import contrail
from benchmarks.kill import differences
from contrail.config import RunConfig, load
from contrail.config import differences as changes
from contrail.errors import ConfigError, ContrailError
from contrail.registry.plugins import load_plugins
from contrail.runs.directory import RunDirectory
from contrail.runs.extend import extends
from contrail.runs.interrupt import Interrupted, Interruption
from contrail.runs.launch import run_stream

EXAMPLES = Path(__file__).parents[2] / "examples"
Extend = Callable[..., Path]


@pytest.fixture
def go(tmp_path: Path) -> Extend:
    """Runs a stream of stages, each a label and a number of updates."""
    return goer(tmp_path)


def goer(directory: Path) -> Extend:
    """Return what runs streams there."""
    shutil.copy(EXAMPLES / "guess.py", directory)
    shutil.copy(EXAMPLES / "tidy.py", directory)

    def run(
        name: str,
        *stages: tuple[str, int],
        held: tuple[str, ...] = ("held",),
        strategy: str = "sequential",
        plugins: str = "guess.py",
        **values: object,
    ) -> Path:
        def environment(label: str) -> str:
            return f"{{name: guess-number, label: {label}, max_turns: 2}}"

        lines = ["model: tiny-random", f"plugins: [{plugins}]", f"strategy: {strategy}", "stream:"]
        for label, updates in stages:
            lines += [f"  - environment: {environment(label)}", f"    updates: {updates}"]
        lines += ["evaluate:", "  tasks: 3", "  drift: true", "  baselines: false"]
        lines += ["  environments:"]
        lines += [f"    - {environment(label)}" for label in held]
        lines += ["grpo: {num_generations: 4, generation_batch_size: 8, learning_rate: 1e-2}"]
        path = directory / "stream.yaml"
        path.write_text("\n".join(lines))
        overrides = [f"{key}={value}" for key, value in values.items()]
        return run_stream(path, overrides, out=directory / name, quiet=True).path

    return run


def interrupt_after(monkeypatch: pytest.MonkeyPatch, checks: int) -> None:
    """Interrupt the next run at a check."""
    left = [checks]

    def check(self: Interruption) -> None:
        left[0] -= self.deferred
        if left[0] <= 0:
            raise Interrupted(2)

    monkeypatch.setattr(Interruption, "check", check)


@pytest.mark.parametrize("strategy", ["[{name: replay, mode: episodes}, {name: ewc, passes: 16}]"])
def test_an_extended_run_is_the_run_done_at_once(
    go: Extend, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    at_once = go("at once", ("near", 2), ("far", 2), held=("held", "late"), strategy=strategy)
    run = go("run", ("near", 1), held=("far",), strategy=strategy)
    go("run", ("near", 2), held=("far",), strategy=strategy)
    weights = (run / "checkpoints/000/adapter_model.safetensors").stat().st_mtime_ns
    for checks in (2, 9, 15):  # twice in evaluations of earlier rows, and in the new stage
        interrupt_after(monkeypatch, checks)
        with pytest.raises(Interrupted):
            go("run", ("near", 2), ("far", 2), held=("held", "late"), strategy=strategy)
        monkeypatch.undo()
        assert (run / "result.json").exists() == (checks < 15)  # until the rows are whole
    go("run", ("near", 2), ("far", 2), held=("held", "late"), strategy=strategy)
    assert not differences(run, at_once)
    assert (run / "checkpoints/000/adapter_model.safetensors").stat().st_mtime_ns == weights


def test_columns_come_in_the_new_order(go: Extend) -> None:
    at_once = go("at once", ("near", 1), held=("b", "a"))
    go("run", ("near", 1), held=("a", "b"))
    assert not differences(go("run", ("near", 1), held=("b", "a")), at_once)


def test_an_environment_of_another_plugin_may_be_added(go: Extend) -> None:
    run = go("run", ("near", 1))
    go("run", ("near", 1), plugins="guess.py, tidy.py", held=("held", "more"))
    assert json.loads((run / "result.json").read_text())["environments"] == ["near", "held", "more"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Extend, Path]:
    """What has made a run, and the run; that it is not changed is tested."""
    go = goer(tmp_path_factory.mktemp("finished"))
    return go, go("run", ("near", 1), ("far", 1), strategy="orthogonal")


@pytest.mark.parametrize(
    ("stages", "values", "message"),
    [
        (
            [("near", 1), ("far", 1), ("near", 1)],
            {},
            "cannot get further stages: what 'orthogonal'",
        ),
        ([("near", 1), ("far", 2)], {}, "cannot get further updates: what 'orthogonal'"),
        ([("near", 1), ("far", 0)], {}, r"stream\.1\.updates is 1 there and 0 now"),
        ([("near", 2), ("far", 1)], {}, r"stream\.0\.updates is 1 there and 2 now"),
        ([("near", 1), ("far", 1)], {"evaluate.tasks": 4}, r"evaluate\.tasks is 3 there and 4"),
    ],
)
def test_what_a_run_cannot_get(
    finished: tuple[Extend, Path],
    stages: list[tuple[str, int]],
    values: dict[str, object],
    message: str,
) -> None:
    go, run = finished
    before = (run / "result.json").read_bytes()
    with pytest.raises(ConfigError, match=message):
        go("run", *stages, strategy="orthogonal", **values)
    assert (run / "result.json").read_bytes() == before


def test_schedules_bind_the_number_of_updates(go: Extend) -> None:
    curriculum = "{name: curriculum, by: pass_rate, samples: 1}"
    go("paced", ("near", 1), strategy=curriculum)
    with pytest.raises(ConfigError, match="what 'curriculum' does in a stage depends on their"):
        go("paced", ("near", 2), strategy=curriculum)
    cosine = {"grpo.lr_scheduler_type": "cosine"}
    go("cosine", ("near", 1), **cosine)
    with pytest.raises(ConfigError, match="with the schedule 'cosine' its learning rate"):
        go("cosine", ("near", 2), **cosine)


def test_a_run_begins_where_another_has_ended(go: Extend, tmp_path: Path) -> None:
    source = go("source", ("near", 1))
    start = {"model": source, "grpo.beta": 0.1}
    undisturbed = go("undisturbed", ("near", 1), **start)
    first, last = (
        json.loads((run / "result.json").read_text())["evaluations"][row]
        for run, row in ((undisturbed, 0), (source, -1))
    )
    for cell in last.values():
        del cell["drift"]  # of the source's training; the base model of this run has none
    assert first == last
    weights = [
        (run / "checkpoints" / name / "adapter_model.safetensors").read_bytes()
        for run, name in ((undisturbed, "000"), (source, "001"))
    ]
    assert weights[0] == weights[1]
    policy, _ = contrail.load(undisturbed).policy()
    assert policy.peft_config["default"].base_model_name_or_path
    with pytest.MonkeyPatch.context() as patch:
        interrupt_after(patch, 6)
        with pytest.raises(Interrupted):
            go("run", ("near", 1), **start)
    assert (tmp_path / "run/checkpoints/000").is_dir()
    go("source", ("near", 1), ("far", 1))  # the source goes on meanwhile
    assert not differences(go("run", ("near", 1), **start), undisturbed)
    with pytest.raises(ConfigError, match="has a LoRA, with settings of its own"):
        go("lora", ("near", 1), **start, **{"lora.r": 3})
    exported = contrail.load(tmp_path / "run").export(tmp_path / "exported")
    settings = json.loads((exported / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "tiny-random"
    shutil.rmtree(source)  # the run has its own copy
    found = [
        contrail.evaluate(place, "near", quiet=True)["near"]
        for place in (undisturbed, tmp_path / "run", exported)
    ]
    assert found[0].scores == found[1].scores == found[2].scores


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"peft_type": "IA3"}, "contrail takes LoRAs only, not IA3Config"),
        ({"base_model_name_or_path": None}, "names no model"),
        ({"r": 3}, r"adapter_model\.safetensors does not fit adapter_config\.json"),
        ({"target_modules": ["q_proj"]}, r"does not fit adapter_config\.json: .* not nothing"),
        ({"use_dora": True}, r"does not fit adapter_config\.json: .* is nothing"),
        (None, r"adapter_config\.json cannot be read"),
    ],
)
def test_a_peft_directory_that_does_not_fit(
    go: Extend, tmp_path: Path, changed: dict[str, object] | None, message: str
) -> None:
    directory = tmp_path / "peft"
    shutil.copytree(go("source", ("near", 0)) / "checkpoints/000", directory)
    file = directory / "adapter_config.json"
    settings = json.loads(file.read_text())
    file.write_text("{" if changed is None else json.dumps(settings | changed))
    with pytest.raises(ContrailError, match=message):
        go("run", ("near", 1), model=directory)
    assert not (tmp_path / "run").exists()


GUESS = "{name: guess-number, label: near}"
OTHER = "{name: guess-number, label: held, max_turns: 2}"
VERSION = "{name: guess-number, label: version, max_turns: 2, shift: {actions: first}}"


@pytest.mark.parametrize(
    ("held", "stage", "more", "message"),
    [
        # A column that began through `choose` would go on through `act`.
        (OTHER, f"{{environment: {OTHER}, adapter: act, updates: 1}}", "", "through the adapter"),
        # A version would have other dice once its original is there.
        (VERSION, "", f", {OTHER}", "an interface shift of 'held' and would be evaluated with"),
    ],
)
def test_a_column_is_played_as_it_was_before(
    tmp_path: Path, held: str, stage: str, more: str, message: str
) -> None:
    shutil.copy(EXAMPLES / "guess.py", tmp_path)

    def config(stage: str, more: str) -> RunConfig:
        path = tmp_path / "stream.yaml"
        path.write_text(
            "model: tiny-random\nplugins: [guess.py]\n"
            f"stream:\n  - environment: {GUESS}\n    updates: 1\n"
            + (f"  - {stage}\n" if stage else "")
            + f"evaluate: {{environments: [{held}{more}]}}\n"
        )
        return load(path)[0]

    old, new = config("", ""), config(stage, more)
    changed = [key for key, _, _ in changes(old, new)]
    with pytest.raises(ConfigError, match=message):
        extends(old, new, changed, load_plugins())
    third = config("", f", {GUESS.replace('near', 'third')}")
    assert extends(old, third, [key for key, _, _ in changes(old, third)], load_plugins())


def test_an_unfinished_extension_stands_where_it_has_come_to(go: Extend) -> None:
    """The last stage's checkpoint of before is not the newest one any more."""
    run = go("run", ("near", 1), ("far", 1))
    with killed_after(3):
        go("run", ("near", 1), ("far", 6), **{"checkpoint.updates": 1})
    newest = RunDirectory(run).last_checkpoint()
    assert newest is not None
    assert newest[0].name == "002-00003"
    at_once = go("at once", ("near", 1), ("far", 6))
    assert not differences(go("run", ("near", 1), ("far", 6)), at_once)


@pytest.mark.parametrize(
    ("damaged", "held"),
    [
        ("episodes/000-evaluate.jsonl.gz", ("held", "late")),
        ("episodes/000-evaluate.jsonl.gz", ("late", "held")),
        ("checkpoints/001/adapter_model.safetensors", ("held", "late")),
    ],
)
def test_a_run_that_cannot_be_extended_keeps_its_result(
    go: Extend, damaged: str, held: tuple[str, ...]
) -> None:
    run = go("run", ("near", 1), ("far", 1))
    file = run / damaged
    file.write_bytes(file.read_bytes()[:-20])
    before = {path: path.read_bytes() for path in (run / "result.json", run / "config.yaml")}
    with pytest.raises(ContrailError, match=f"{file.name} is damaged"):
        go("run", ("near", 1), ("far", 1), held=held)
    assert {path: path.read_bytes() for path in before} == before
