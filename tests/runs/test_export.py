"""What a finished run gives away: the model card of its checkpoints, and `contrail export`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

import contrail
from contrail.errors import ConfigError, ContrailError
from contrail.runs.directory import read_checkpoint

STREAM = """
model: {model}
name: hostile
plugins: [{plugin}]
strategy: replay
stream:
  - environment: {{name: guess-number, label: "a | <b> *c*", max_turns: 2}}
    updates: 1
  - environment: {{name: guess-number, label: far, max_turns: 3}}
    updates: 1
evaluate: {{tasks: 3}}
trackers: []
grpo: {{num_generations: 2, generation_batch_size: 4}}
lora: {{r: 4}}
"""

LOAD = """
import sys
from peft import PeftModel
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained(sys.argv[1])
model = PeftModel.from_pretrained(base, sys.argv[2])
print(sorted(name for name, _ in model.named_parameters() if "lora_B" in name)[0])
assert "contrail" not in sys.modules
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> contrail.Result:
    place = tmp_path_factory.mktemp("export")
    shutil.copy(Path(__file__).parents[2] / "examples/guess.py", place)
    text = STREAM.replace("name: hostile\n", "").format(model="tiny-random", plugin="guess.py")
    (place / "stream.yaml").write_text(text)
    result = contrail.run(place / "stream.yaml", out=place / "run", quiet=True)
    (place / "run" / "report.html").write_text("<p>a report</p>")
    (place / "run" / "failed_hooks.json").write_text('{"failed": []}')
    return result


def read(path: Path) -> ModelCard:
    """The card, as the hub's library reads it."""
    card = ModelCard.load(path / "README.md")
    assert card.data.library_name == "peft"
    assert {"contrail", "lora"} <= set(card.data.tags)
    return card


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_the_card_of_a_checkpoint(result: contrail.Result, stage: int) -> None:
    path = result.directory / f"checkpoints/{stage:03d}"
    card = read(path)
    scores = {item.dataset_name: item.metric_value for item in card.data.eval_results}
    assert scores == dict(zip(result.environments, result.record["R"][stage], strict=True))
    text = card.text
    assert f"after stage {stage}" in text
    assert "| strategy | replay |" in text
    assert "| seed | 0 |" in text
    assert f"peft {result.record['provenance']['versions']['peft']}" in text
    assert "| command | `contrail run config.yaml` |" in text
    assert "| licence | not stated" in text
    low, high = result.intervals[stage][1]
    assert f"{result.R[stage][1]:.2f} [{low:.2f}, {high:.2f}] |" in text
    named = ("| before training", "| 1.", "| 2.")
    rows = [line for line in text.splitlines() if line.startswith(named)]
    assert len(rows) == stage + 1
    assert all(row.replace("\\|", "").count("|") == 4 for row in rows)
    assert ("| backward transfer |" in text) == (stage == 2)
    # Nothing of a name is Markdown or HTML.
    assert "<b>" not in text.split("## Training")[0]
    config = text.split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(config) == yaml.safe_load((result.directory / "config.yaml").read_text())


def test_the_header_goes_back_into_results(result: contrail.Result) -> None:
    header = (result.directory / "checkpoints/002/README.md").read_text().split("---\n")[1]
    name, scores = model_index_to_eval_results(yaml.safe_load(header)["model-index"])
    assert name == "after a | <b> *c* > far"
    assert [item.metric_type for item in scores] == ["success", "success"]


def test_an_export_has_the_lora_the_card_the_tables_and_the_reports(
    result: contrail.Result, tmp_path: Path
) -> None:
    result.report()
    out = result.export(tmp_path / "out", license="mit")
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "config.yaml",
        "guess.py",
        "R.png",
        "report.html",
        "result.csv",
        "result.json",
        "training.png",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    card = read(out)
    assert card.data.license == "mit"
    assert "| licence | mit |" in card.text
    assert "| base model | `tiny-random` |" in card.text
    weights = "adapter_model.safetensors"
    checkpoint = result.directory / "checkpoints/002"
    assert (out / weights).read_bytes() == (checkpoint / weights).read_bytes()
    assert str(Path.home()) not in (out / "adapter_config.json").read_text()
    # With its own configuration and plugin file it can be run again, from wherever it lies.
    assert yaml.safe_load((out / "config.yaml").read_text())["plugins"] == ["guess.py"]
    again = contrail.run(out / "config.yaml", out=tmp_path / "again", quiet=True)
    assert (again.R == result.R).all()
    scores = contrail.evaluate(out, ["textcraft"], tasks=1, quiet=True)
    assert scores["textcraft"].success is not None


@pytest.mark.slow
def test_an_export_loads_with_plain_peft(result: contrail.Result, tmp_path: Path) -> None:
    from contrail.plugins.models.smollm2 import tiny_random

    for place in (result.directory / "checkpoints/002", result.export(tmp_path / "out")):
        command = [sys.executable, "-c", LOAD, str(tiny_random()), str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "lora_B" in done.stdout


def test_an_archive_of_an_earlier_stage(result: contrail.Result, tmp_path: Path) -> None:
    out = result.export(tmp_path / "run.zip", stage=1)
    with zipfile.ZipFile(out) as archive:
        names = archive.namelist()
        assert "run/adapter_model.safetensors" in names
        card = archive.read("run/README.md").decode()
        assert "after stage 1" in card
        assert "## Metrics" not in card  # those of the result are of all stages
    assert [path.name for path in tmp_path.iterdir()] == ["run.zip"]


def test_what_cannot_be_exported(result: contrail.Result, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ContrailError, match=r"there exists\. Choose another --out"):
        result.export(tmp_path / "there")
    with pytest.raises(ConfigError, match="the run has the stages 0 to 2"):
        result.export(tmp_path / "out", stage=3)
    with pytest.raises(ConfigError, match=r"--license is 'MIT License'.*apache-2\.0"):
        result.export(tmp_path / "out", license="MIT License")
    for name in ("run.tar.gz", "run.tgz", "run.ZIP"):
        with pytest.raises(ConfigError, match=r"an archive ends in \.zip, not in "):
            result.export(tmp_path / name)
    damaged = tmp_path / "damaged"
    shutil.copytree(result.directory, damaged)
    (damaged / "checkpoints/002/adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(ContrailError, match="is damaged"):
        contrail.load(damaged).export(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged", "there"]


def test_an_export_is_no_run_to_export(result: contrail.Result, tmp_path: Path) -> None:
    out = result.export(tmp_path / "out")
    with pytest.raises(ConfigError, match="out is an export already"):
        contrail.load(out).export(tmp_path / "again")


def test_the_licence_of_the_base_model_is_named(tmp_path: Path) -> None:
    from contrail.registry.plugins import load_plugins
    from contrail.runs.card import license_of

    plugins = load_plugins()
    assert license_of("smollm2-135m", "anywhere", plugins) == "apache-2.0"
    assert license_of("tiny-random", "anywhere", plugins) is None
    assert license_of(str(tmp_path), str(tmp_path), plugins) is None
    (tmp_path / "README.md").write_text("---\nlicense: llama3\n---\nA model.\n")
    assert license_of(str(tmp_path), str(tmp_path), plugins) == "llama3"
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\n")
    assert license_of(str(tmp_path), str(tmp_path), plugins) is None
    (tmp_path / "README.md").write_text("no header")
    assert license_of(str(tmp_path), str(tmp_path), plugins) is None


def test_a_checkpoint_is_whole_without_its_card(result: contrail.Result, tmp_path: Path) -> None:
    copy = shutil.copytree(result.directory / "checkpoints/002", tmp_path / "002")
    (copy / "README.md").unlink()
    assert read_checkpoint(copy)["stage"] == 2
    (copy / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ContrailError):
        read_checkpoint(copy)


def test_plugins_of_one_name_are_both_exported(result: contrail.Result, tmp_path: Path) -> None:
    other = tmp_path / "other" / "guess.py"
    other.parent.mkdir()
    other.write_text("# another plugin\n")
    copy = tmp_path / "run"
    shutil.copytree(result.directory, copy)
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["plugins"].append(str(other))
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    folder = contrail.load(copy).export(tmp_path / "out")
    named = yaml.safe_load((folder / "config.yaml").read_text())["plugins"]
    assert named == ["guess.py", "guess_2.py"]
    assert (folder / "guess_2.py").read_text() == other.read_text()
    assert "class GuessNumber" in (folder / "guess.py").read_text()


def test_a_lora_of_one_environment_has_no_scores_of_others(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[2] / "examples/guess.py", tmp_path)
    text = STREAM.replace("name: hostile\n", "").format(model="tiny-random", plugin="guess.py")
    (tmp_path / "stream.yaml").write_text(text)
    texts = ["strategy=adapters"]
    run = contrail.run(tmp_path / "stream.yaml", *texts, out=tmp_path / "run", quiet=True)
    card = read(run.directory / "checkpoints/002")
    assert {item.dataset_name: item.metric_value for item in card.data.eval_results} == {
        "far": run.R[2][1]
    }
    assert "this one is that of far: the success on the others is not its" in card.text
