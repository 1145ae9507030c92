"""`contrail split`: whose pass rates they are, what goes on, and how files are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import contrail
from contrail.config import Source, load
from contrail.errors import ConfigError
from contrail.registry.plugins import load_plugins
from contrail.runs import evaluate as evaluate_module
from contrail.runs.split import SplitOptions, split_stream
from contrail.stream.listing import listed

PLUGIN = """
from dataclasses import dataclass, field

import contrail


@dataclass
class Config:
    weights: dict[int, float] = field(default_factory=lambda: {1: 0.5})


class Coins(contrail.Environment):
    Config = Config
    max_turns = 1
    forms = ("say {word}",)

    def tasks(self, split):
        begin = {"train": 0, "test": 1000}[split]
        return [contrail.Task("coins", f"{split}-{n}", begin + n, split) for n in range(6)]

    def reset(self, task):
        return contrail.Observation(f"Coin {task.seed}.", ["say heads", "say tails"])

    def step(self, action):
        won = action == "say heads"
        return contrail.Step(contrail.Observation("Done."), float(won), True, success=won)


@contrail.hookimpl
def contrail_environments(register):
    register("coins", Coins)
"""
STREAM = """
model: tiny-random
plugins: [coins.py]
stream: [{environment: {name: coins, label: coins}, updates: 1}]
evaluate: {tasks: 6}
"""


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    (tmp_path / "coins.py").write_text(PLUGIN)
    (tmp_path / "stream.yaml").write_text(STREAM)
    return tmp_path / "stream.yaml"


def split(
    stream: Path, *overrides: str, out: str = "split.json", samples: int = 2, threshold: float = 0.5
) -> dict[str, Any]:
    options = SplitOptions(samples=samples, threshold=threshold)
    place = stream.with_name(out)
    return split_stream(Source(stream), overrides, options, load_plugins(), out=place, quiet=True)


def test_a_folder_is_no_file_to_write(stream: Path) -> None:
    (stream.parent / "there").mkdir()
    with pytest.raises(ConfigError, match=r"it is a folder\. Name the file to write, such as"):
        split(stream, out="there")


def difficulties(
    stream: Path, environment: str, overrides: Sequence[str] = ()
) -> dict[str, str | int | None]:
    """The difficulty of each training task, by the label and the id."""
    path = stream.with_name("reading.yaml")
    path.write_text(STREAM.replace("{name: coins, label: coins}", environment))
    source = Source(path)
    with source.located():
        config, plugins = load(source, overrides, load_plugins())
        with listed(config, plugins) as listing:
            return {
                f"{label} {task.id}": task.difficulty
                for label, tasks in listing.tasks.items()
                for task in tasks["train"]
            }


def test_the_file_gives_the_environment_its_difficulties(stream: Path) -> None:
    (entry,) = split(stream)["environments"]
    rates = entry["pass_rates"]["train"]
    assert 0 < sum(rates.values()) < 6  # of both kinds
    # Its settings have numbers as keys, which JSON has not.
    found = difficulties(stream, "{name: coins, pass_rates: split.json}")
    assert found == {
        f"coins {task}": "easy" if rate >= 0.5 else "hard" for task, rate in rates.items()
    }


def test_rates_through_another_adapter_are_noted(stream: Path) -> None:
    split(stream)
    keys = ["stream.0.environment.pass_rates=split.json", "grpo.generation_batch_size=8"]
    notes = {}
    for name in ("choose", "act"):
        out = stream.with_name(name)
        made = contrail.run(stream, *keys, f"adapter={name}", out=out, quiet=True)
        notes[name] = [note for note in made.record["notes"] if "pass rates" in note]
    (note,) = notes["act"]
    assert "coins is played through 'act'" in note
    assert "by pass rates through 'choose'" in note
    assert notes["choose"] == []


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("answers.end_after_invalid=1", "end_after_invalid"),
        ("max_context=100", "max_context"),
        ("seed=3", "seed"),
        ("evaluate.tasks=5", "test_tasks"),
        ("grpo.temperature=0.5", "temperature"),
        ("adapter=act", "adapter"),
        ("stream.0.adapter=act", "adapter"),
    ],
)
def test_the_rates_of_one_policy_are_not_passed_off_as_anothers(
    override: str, named: str, stream: Path
) -> None:
    split(stream)
    with pytest.raises(ConfigError, match=rf"another .*{named}.*Choose another, or remove it"):
        split(stream, override)


def test_other_options_are_refused(stream: Path) -> None:
    split(stream)
    with pytest.raises(ConfigError, match=r"other options \(samples\)"):
        split(stream, samples=3)
    with pytest.raises(ConfigError, match=r"other options \(threshold\)"):
        split(stream, threshold=0.4)


def test_an_edited_environment_is_refused(stream: Path) -> None:
    split(stream)
    plugin = stream.with_name("coins.py")
    plugin.write_text(PLUGIN.replace('"say heads"\n', '"say tails"\n'))
    with pytest.raises(ConfigError, match=r"coins\.py has been edited since that split began"):
        split(stream)


def test_a_run_that_got_on_is_another_policy(stream: Path) -> None:
    values = {"grpo.num_generations": 2, "grpo.generation_batch_size": 4}
    texts = [f"{name}={value}" for name, value in values.items()]
    run = contrail.run(stream, *texts, out=stream.with_name("run"), quiet=True)
    model = f"model={run.directory}"
    split(stream, model)
    split(stream, model)
    weights = next(iter(sorted(run.directory.glob("checkpoints/*/adapter_model.safetensors"))[-1:]))
    contrail.run(stream, *texts, "stream.0.updates=2", out=run.directory, quiet=True)
    assert weights.is_file()
    with pytest.raises(ConfigError, match=r"another policy, or with other options \(lora\)"):
        split(stream, model)


def test_an_interrupted_split_goes_on_to_the_same(
    stream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = split(stream, out="whole.json")
    true, asked = evaluate_module.evaluate, []

    def evaluate(*args: Any, **kwargs: Any) -> Any:
        asked.append(args[3][0].split)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return true(*args, **kwargs)

    monkeypatch.setattr(evaluate_module, "evaluate", evaluate)
    with pytest.raises(KeyboardInterrupt):
        split(stream)
    with pytest.raises(ConfigError, match=r"no test tasks of this environment.*has not ended"):
        difficulties(stream, "{name: coins, pass_rates: split.json}")
    assert split(stream) == whole
    assert asked == ["train", "test", "test"]  # what was played is not played again


def test_a_shifted_version_has_the_rates_of_its_original(stream: Path) -> None:
    split(stream)
    plain = difficulties(stream, "{name: coins, pass_rates: split.json}")
    shift = "{name: coins, shift: {alias: 1}, pass_rates: split.json}"
    assert difficulties(stream, shift) == plain
    with pytest.raises(ConfigError, match="no pass rates of this environment with these settings"):
        difficulties(stream, "{name: coins, weights: {1: 2.0}, pass_rates: split.json}")
    # If it was split itself, it has its own.
    (stream.with_name("stream.yaml")).write_text(
        STREAM.replace("label: coins", "label: coins, shift: {alias: 1}")
    )
    content = split(stream)
    assert len(content["environments"]) == 2
    own = content["environments"][1]["pass_rates"]["train"]
    own.update(dict.fromkeys(own, 1.0))
    stream.with_name("split.json").write_text(json.dumps(content))
    assert set(difficulties(stream, shift).values()) == {"easy"}
    assert difficulties(stream, "{name: coins, pass_rates: split.json}") == plain


def test_the_file_is_found_in_the_working_directory(
    stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split(stream)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "split.json").write_bytes(stream.with_name("split.json").read_bytes())
    stream.with_name("split.json").unlink()
    monkeypatch.chdir(elsewhere)
    assert difficulties(stream, "{name: coins, pass_rates: split.json}")


EDITS: list[tuple[Any, ...]] = [
    ("threshold", None),
    ("threshold", "0.5"),
    ("environments", 3),
    ("environments", 0, "x"),
    ("environments", 0, "label", None),
    ("environments", 0, "environment", None),
    ("environments", 0, "pass_rates", None),
    ("environments", 0, "pass_rates", []),
    ("environments", 0, "pass_rates", "train", [1.0]),
    ("environments", 0, "pass_rates", "train", "train-0", "x"),
    ("environments", 0, "pass_rates", "train", "train-0", float("nan")),
    ("environments", 0, "pass_rates", "train", "train-0", 40),
]


def test_a_file_that_was_edited_wrongly_is_refused_in_words(stream: Path) -> None:
    text = json.dumps(split(stream))
    for *path, last, value in EDITS:
        content = json.loads(text)
        inner = content
        for key in path:
            inner = inner[key]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
        stream.with_name("split.json").write_text(json.dumps(content))
        with pytest.raises(ConfigError, match="is not as `contrail split` has written it"):
            difficulties(stream, "{name: coins, pass_rates: split.json}")
        with pytest.raises(ConfigError, match="is not as `contrail split` has written it"):
            split(stream)
