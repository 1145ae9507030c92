"""contrail from Python: functions, results, and classes that no file defines."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest

import contrail
from contrail import ConfigError, ContrailError, PluginError

ROOT = Path(__file__).parent.parent


@dataclass
class DepotConfig:
    length: int = 2


class Depot(contrail.Environment):
    """Walk to the end of a corridor."""

    Config = DepotConfig

    def tasks(self, split: str) -> list[contrail.Task]:
        return [contrail.Task("depot", f"{split}-{i}", i, split) for i in range(4)]

    def reset(self, task: contrail.Task) -> contrail.Observation:
        self.left = self.config.length
        return contrail.Observation("A corridor.", ["on", "wait"])

    def step(self, action: str) -> contrail.Step:
        self.left -= action == "on"
        seen = contrail.Observation("Further on.", ["on", "wait"])
        return contrail.Step(seen, float(self.left == 0), self.left == 0, success=self.left == 0)


class Yard(Depot):
    """Another one."""


class Twice(contrail.Strategy):
    """A strategy."""


STREAM: dict[str, Any] = {
    "model": "tiny-random",
    "stream": [{"environment": Depot, "updates": 1}, {"environment": {"name": Yard, "length": 1}}],
    "evaluate": {"tasks": 2, "baselines": False},
    "grpo": {"num_generations": 2, "generation_batch_size": 4},
}
SHORT = {"stream.1.updates": 1}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> contrail.Result:
    out = tmp_path_factory.mktemp("runs") / "run"
    return contrail.run(STREAM, strategy=Twice, out=out, quiet=True, seed=1, **SHORT)


def test_a_run_of_classes(result: contrail.Result) -> None:
    assert (result.environments, result.stages) == (["Depot", "Yard"], ["Depot", "Yard"])
    assert result.record["strategy"] == "Twice"
    assert result.record["seed"] == 1
    assert result.R.shape == (3, 2)
    assert result.intervals.shape == (3, 2, 2)
    assert numpy.array_equal(result.R, numpy.array(result.record["R"], float))
    assert result.values("turns").shape == (3, 2)
    assert result.metrics["average_score"] == pytest.approx(result.R[-1].mean())
    with pytest.raises(ConfigError, match="Did you mean 'turns'"):
        result.values("turn")


def test_the_same_call_reads_a_run_that_has_ended(result: contrail.Result) -> None:
    before = (result.directory / "result.json").stat().st_mtime_ns
    again = contrail.run(STREAM, strategy=Twice, out=result.directory, quiet=True, seed=1, **SHORT)
    assert again == result
    assert (result.directory / "result.json").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="another configuration: seed is 1 there and 2 now"):
        contrail.run(STREAM, strategy=Twice, out=result.directory, quiet=True, seed=2, **SHORT)


def test_pandas(result: contrail.Result) -> None:
    pytest.importorskip("pandas")
    frame = result.frame()
    assert list(frame.columns) == ["Depot", "Yard"]
    assert list(frame.index) == ["base", "after 1: Depot", "after 2: Yard"]
    assert numpy.array_equal(frame.to_numpy(), result.R)
    long = result.to_pandas()
    assert len(long) == 6
    assert set(long["environment"]) == {"Depot", "Yard"}
    metrics = result.metrics_frame()
    assert list(metrics.index) == list(result.metrics)
    assert metrics.loc["average_score", "formula"] == "mean_j R[T][j]"
    # Undefined values are nan in a column of numbers, so that pandas can calculate with it.
    numbers = metrics[["value", "low", "high"]]
    assert {str(kind) for kind in numbers.dtypes} == {"float64"}
    undefined = [name for name, value in result.metrics.items() if value is None]
    assert undefined
    assert list(metrics.index[metrics["value"].isna()]) == undefined
    assert metrics["value"].mean() == pytest.approx(
        numpy.mean([value for value in result.metrics.values() if value is not None])
    )


def test_without_pandas(result: contrail.Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ContrailError, match="pip install pandas"):
        result.to_pandas()


def test_episodes(result: contrail.Result) -> None:
    every = list(result.episodes())
    counts = {
        (stage, kind): len(list(result.episodes(stage=stage, kind=kind)))
        for stage in range(3)
        for kind in ("train", "evaluate")
    }
    assert counts == {
        **{(stage, "evaluate"): 4 for stage in range(3)},
        **{(0, "train"): 0, (1, "train"): 4, (2, "train"): 4},
    }
    assert len(every) == sum(counts.values())
    assert [item["stage"] for item in every] == sorted(item["stage"] for item in every)
    assert {item["environment"] for item in result.episodes(kind="train", stage=1)} == {"Depot"}
    with pytest.raises(ConfigError, match="stage is 3"):
        result.episodes(stage=3)
    with pytest.raises(ConfigError, match="kind is 'test'"):
        result.episodes(kind="test")  # type: ignore[arg-type]


def test_the_policy_is_a_peft_model(result: contrail.Result) -> None:
    import torch
    from safetensors.torch import load_file

    for stage in (None, 1):
        model, tokenizer = result.policy(stage)
        assert type(model).__name__.startswith("PeftModel")
        saved = load_file(
            result.directory / "checkpoints" / f"{stage or 2:03d}" / "adapter_model.safetensors"
        )
        own = {name.replace(".default", ""): value for name, value in model.state_dict().items()}
        assert saved
        assert all(torch.equal(own[name], value) for name, value in saved.items())
        ids = tokenizer("on", return_tensors="pt").input_ids
        assert torch.isfinite(model(ids).logits).all()
    with pytest.raises(ContrailError, match="no checkpoint"):
        result.policy(7)


def test_load_and_evaluate(result: contrail.Result) -> None:
    loaded = contrail.load(result.directory, plugins=[Depot, Yard, Twice])
    assert loaded == result
    found = contrail.evaluate(loaded, [Depot, "Yard"], tasks=2, quiet=True)
    assert list(found) == ["Depot", "Yard"]
    assert [scores.success for scores in found.values()] == list(result.R[-1])
    other = contrail.evaluate(result.directory, Depot, plugins=[Yard, Twice], tasks=1, quiet=True)
    assert len(other["Depot"].scores) == 1
    alone = contrail.evaluate("tiny-random", Depot, tasks=3, quiet=True, greedy=True)
    assert set(alone["Depot"].metrics) >= {"turns", "reward"}


def test_what_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    with pytest.raises(ContrailError, match="no run directory"):
        contrail.load(tmp_path / "none")
    with pytest.raises(PluginError, match="is no plugin"):
        contrail.run(STREAM, plugins=[dict], out=tmp_path / "run", quiet=True)
    with pytest.raises(PluginError, match="is no plugin"):
        contrail.run({**STREAM, "adapter": DepotConfig}, out=tmp_path / "run", quiet=True)
    with pytest.raises(ConfigError, match=r"stream\.0\.updates"):
        contrail.run({"stream": [{"environment": Depot, "updates": -1}]}, quiet=True)
    with pytest.raises(ConfigError, match="cannot stand in a stream"):
        contrail.run(STREAM, seed={1, 2}, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


PLUGIN = """
import contrail

class Shed(contrail.Environment):
    def tasks(self, split):
        return [contrail.Task("shed", f"{split}-{i}", i, split) for i in range(4)]
    def reset(self, task):
        return contrail.Observation("A shed.", ["open", "leave"])
    def step(self, action):
        return contrail.Step(contrail.Observation("So.", ["open"]), 1.0, True, success=True)

@contrail.hookimpl
def contrail_environments(register):
    register("shed", Shed)
"""


def test_a_plugin_file_and_the_default_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shed.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    stream = {**STREAM, "stream": [{"environment": "shed", "updates": 1}]}
    (tmp_path / "stream.yaml").write_text(json.dumps(stream))
    one = contrail.run("stream.yaml", "seed=3", plugins=["shed.py"], quiet=True, threads=1)
    assert one.directory == tmp_path / "runs" / "stream_seed=3_threads=1"
    assert f"plugins:\n- {tmp_path / 'shed.py'}" in (one.directory / "config.yaml").read_text()
    two = contrail.run(stream, plugins=[tmp_path / "shed.py"], quiet=True)
    assert two.directory.parent == tmp_path / "runs"
    assert two == contrail.run(stream, plugins=[tmp_path / "shed.py"], quiet=True)
    compared = contrail.compare([one, two.directory], out="both")
    assert compared.record["seeds"] == [0, 3]
    assert not compared.failed
    for wrong in (["seed=1"], ["not a key"]):
        with pytest.raises(ConfigError, match=f"{wrong[0].partition('=')[0]}: these are finished"):
            contrail.compare([one, two.directory], *wrong, out="both")
    with pytest.raises(ConfigError, match="nonsense: these are finished runs"):
        contrail.compare([one, two.directory], out="both", nonsense=3)
    pytest.importorskip("pandas")
    assert len(compared.to_pandas()) == 2
    assert "average_score" in set(compared.frame()["quantity"])


def test_comparisons_run_what_a_plugin_file_registers(tmp_path: Path) -> None:
    """In the processes of a fork server that is started anew, as by any user."""
    (tmp_path / "shed.py").write_text(PLUGIN)
    stream = {**STREAM, "stream": [{"environment": "shed", "updates": 1}]}
    with pytest.raises(ConfigError, match="cannot load 'Depot'"):
        contrail.compare(STREAM, strategies=["sequential", "frozen"], out=tmp_path / "no")
    made = contrail.compare(
        stream,
        strategies=["sequential", "frozen"],
        plugins=[tmp_path / "shed.py"],
        out=tmp_path / "compare",
        quiet=True,
    )
    assert made.strategies == ["sequential", "frozen"]
    assert contrail.Comparison.read(made.directory, made._plugins) == made


def test_a_notebook_goes_on_after_an_interruption(tmp_path: Path) -> None:
    script = f"""
import signal, os
from dataclasses import dataclass
import contrail

@dataclass
class Settings:
    length: int = 1

class Hall(contrail.Environment):
    Config = Settings
    def tasks(self, split):
        return [contrail.Task("hall", f"{{split}}-{{i}}", i, split) for i in range(4)]
    def reset(self, task):
        return contrail.Observation("A hall.", ["on"])
    def step(self, action):
        return contrail.Step(contrail.Observation("So.", ["on"]), 1.0, True, success=True)

# As on a terminal: what a shell starts in the background ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
pressed = []

class Interrupted(contrail.Strategy):
    def draw(self, stage, update, count, rng):
        if update == 1 and not pressed:
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return super().draw(stage, update, count, rng)

def go():
    stream = {{"model": "tiny-random", "grpo": {{"num_generations": 2, "generation_batch_size": 4}},
              "stream": [{{"environment": {{"name": Hall, "length": 2}}, "updates": 2}}],
              "evaluate": {{"tasks": 2, "baselines": False}}, "strategy": Interrupted}}
    return contrail.run(stream, out={str(tmp_path / "run")!r}, quiet=True)

try:
    go()
except KeyboardInterrupt:
    print("interrupted")
print(go().R.tolist())
try:
    contrail.run({{"stream": [{{"environment": {{"name": Hall, "workers": 1}}}}]}}, quiet=True)
except contrail.ContrailError as error:
    print(error)
"""
    # From standard input, as in a notebook: the classes are of __main__, and no file has them.
    done = subprocess.run(
        [sys.executable, "-"], input=script, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["interrupted", "[[1.0], [1.0]]"]
    assert "workers: 0" in lines[2]


# Names


def test_a_submodule_never_stands_in_place_of_a_function() -> None:
    others = ("contrail.envs.", "contrail.plugins.", "contrail.strategies.")
    for module in pkgutil.walk_packages(contrail.__path__, "contrail."):
        if not module.name.startswith(others) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    modules = {module.name for module in pkgutil.iter_modules(contrail.__path__)}
    assert not modules & set(contrail.__all__)
    for name in ("run", "compare", "load", "evaluate"):
        assert inspect.isfunction(getattr(contrail, name)), name


def test_every_public_name_can_be_imported() -> None:
    for name in contrail.__all__:
        assert getattr(contrail, name) is not None
    assert set(contrail.__all__) == set(contrail._HOME)
    assert set(contrail.__all__) <= set(dir(contrail))
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        contrail.runn  # noqa: B018


def test_the_functions_describe_every_argument() -> None:
    functions: list[Callable[..., Any]] = [
        *(getattr(contrail, name) for name in ("run", "compare", "load", "evaluate")),
    ]
    for function in functions:
        said = inspect.getdoc(function) or ""
        for name in inspect.signature(function).parameters:
            assert f"    {name}: " in said, (function.__name__, name)


def test_importing_contrail_imports_nothing_heavy() -> None:
    code = """
import sys, contrail
contrail.Environment, contrail.Task, contrail.hookimpl, contrail.ConfigError
heavy = {"torch", "transformers", "avalanche", "numpy", "omegaconf", "pandas", "peft", "trl"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


PAGE = (ROOT / "docs/api.md").read_text()
PUBLIC_MODULES = set(re.findall(r"^\| `(contrail\.[\w.]+)` ", PAGE, re.MULTILINE))
"""Documented modules that plugins may import from beside contrail itself."""


@pytest.mark.parametrize("folder", ["envs", "plugins"])
def test_shipped_plugins_import_public_names_only(folder: str) -> None:
    own = ("contrail.envs", "contrail.plugins")
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "contrail":
                names = {alias.name for alias in node.names}
                assert names <= set(contrail.__all__), path
            elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("contrail."):
                assert str(node.module).startswith(own) or node.module in PUBLIC_MODULES, path


def test_the_public_modules_exist() -> None:
    assert len(PUBLIC_MODULES) > 5
    for name in PUBLIC_MODULES:
        importlib.import_module(name)


def test_the_page_has_every_name_and_signature() -> None:
    listed = PAGE.split("## Public names")[1].split("| module |")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", listed, re.M) for name in row.split(", ")}
    assert {name.strip("`") for name in named} == set(contrail.__all__)
    for name, signature in re.findall(r"^\| `contrail\.(\w+)(\(.*?\))` \|", PAGE, re.M):
        real = inspect.signature(getattr(contrail, name))
        plain = [
            item.replace(annotation=inspect.Parameter.empty) for item in real.parameters.values()
        ]
        assert str(inspect.Signature(plain)) == signature


def test_the_members_of_a_result_are_documented() -> None:
    section = PAGE.split("## Result")[1].split("## Public names")[0]
    for cls in (contrail.Result, contrail.Comparison):
        public = {name for name in vars(cls) if not name.startswith("_")} - {"read"}
        assert {name for name in public if not re.search(rf"`{name}\b", section)} == set()


def test_the_page_s_script_runs(tmp_path: Path) -> None:
    script = re.search(r"<!-- test: in_python.py -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert script is not None
    done = subprocess.run(
        [sys.executable, "-"], input=script[1], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("runs/stream-*/result.json"))) == 1
