"""The card of a LoRA that was not trained in all stages before it names those that it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import contrail

SHORT = ["evaluate.tasks=2", "evaluate.baselines=false", "grpo.generation_batch_size=4"]
CONFLICT = str(Path(__file__).parents[2] / "examples/conflict.yaml")


@pytest.mark.parametrize("strategy", ["isolated", "adapters"])
@pytest.mark.parametrize("warmup", [False, True])
def test_stages_that_begin_anew(tmp_path: Path, strategy: str, warmup: bool) -> None:
    settings = [*SHORT, "stream.0.updates=1", "stream.1.updates=1", f"strategy={strategy}"]
    settings += ["warmup={updates: 1, learn: grpo}"] if warmup else []
    result = contrail.run(CONFLICT, *settings, out=tmp_path / "run", quiet=True)
    card = ModelCard.load(result.export(tmp_path / "out") / "README.md")
    before = [name for name in result.record["stages"] if name not in ("north", "south")]
    assert len(before) == warmup
    assert card.data.model_name == f"after {' > '.join([*before, 'south'])}"
    assert f"trained in {', '.join([*before, 'south'])} alone" in card.text
    assert (". south alone |" in card.text) == (strategy == "isolated")
    folder = result.directory / f"checkpoints/00{1 + warmup}"
    first = ModelCard.load(folder / "README.md")
    assert first.data.model_name == f"after {' > '.join([*before, 'north'])}"
    assert "trained in" not in first.text


def test_a_sequence_names_all_stages(tmp_path: Path) -> None:
    settings = [*SHORT, "stream.0.updates=1", "stream.1.updates=1"]
    result = contrail.run(CONFLICT, *settings, out=tmp_path / "run", quiet=True)
    card = ModelCard.load(result.export(tmp_path / "out") / "README.md")
    assert card.data.model_name == "after north > south"
    assert " alone" not in card.text.split("## Training")[0]
