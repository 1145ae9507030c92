"""Two splits into one file: the second is refused while the first is under way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_split import STREAM, split, stream  # noqa: F401  (a fixture)

from contrail.config import Source
from contrail.errors import ConfigError, ContrailError
from contrail.registry.plugins import load_plugins
from contrail.runs import evaluate as evaluate_module
from contrail.runs.split import SplitOptions, split_stream


def test_another_split_into_the_file_is_refused(
    stream: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = stream.with_name("other.yaml")
    other.write_text(STREAM.replace("label: coins", "label: others, weights: {1: 2.0}"))
    true = evaluate_module.evaluate

    def evaluate(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(evaluate_module, "evaluate", true)
        with pytest.raises(ContrailError, match=r"another process is writing to .*/split\.json\. "):
            split(other)
        split(other, out="others.json")
        return true(*args, **kwargs)

    monkeypatch.setattr(evaluate_module, "evaluate", evaluate)
    split(stream)
    split(other)  # it goes on with what the first has written
    entries = json.loads(stream.with_name("split.json").read_text())["environments"]
    assert [(entry["label"], set(entry["pass_rates"])) for entry in entries] == [
        ("coins", {"train", "test"}),
        ("others", {"train", "test"}),
    ]


@pytest.mark.parametrize("out", ["stream.yaml/split.json", "/proc/split.json"])
def test_a_place_that_cannot_be_written_is_refused_at_once(
    stream: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    out: str,
) -> None:
    monkeypatch.setattr(evaluate_module, "evaluate", pytest.fail)
    place, options = stream.parent / out, SplitOptions()
    with pytest.raises(ConfigError, match=rf"--out .*{out}: .* Choose another"):
        split_stream(Source(stream), (), options, load_plugins(), out=place, quiet=True)
