"""The README.md of a checkpoint says what it is, and its code runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from contrail.model.card import write_card
from contrail.model.policy import Policy


def test_a_saved_policy_is_loaded_as_its_readme_says(
    make_tiny: Callable[..., Policy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    policy = make_tiny()
    policy.model.peft_config["default"].base_model_name_or_path = str(base)
    policy.save(tmp_path / "path" / "to" / "this" / "directory")
    saved = policy.snapshot()
    policy.model.unload().save_pretrained(base)
    text = (tmp_path / "path/to/this/directory/README.md").read_text()
    assert "Model Card" not in text
    assert f"| base model | `{base}` |" in text
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code[1], names)
    loaded = names["model"]
    for name, value in loaded.named_parameters():  # type: ignore[attr-defined]
        if "lora" in name:
            assert value.equal(saved[name])


def test_a_hub_id_is_linked(tmp_path: Path) -> None:
    write_card(tmp_path, "owner/name")
    assert "\nbase_model: owner/name\n---\n" in (tmp_path / "README.md").read_text()
    write_card(tmp_path, str(tmp_path))
    assert "base_model:" not in (tmp_path / "README.md").read_text()
