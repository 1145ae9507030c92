"""Files that stream.yaml is and that it names: those that cannot be read, models, plugins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from configs import PLUGIN, STREAM, Load, made_plugins

from contrail.config import differences, load, to_yaml
from contrail.errors import ConfigError, PluginError

# Files that cannot be read


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file\. There is no \.yaml file in "):
        load(tmp_path / "stream.yaml")
    (tmp_path / "stream.yaml").touch()
    with pytest.raises(ConfigError, match=r"no such file\. Did you mean 'stream.yaml'\?"):
        load(tmp_path / "steam.yaml")
    with pytest.raises(ConfigError, match=r"There is no directory .*gone either"):
        load(tmp_path / "gone" / "stream.yaml")


def test_directory(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").touch()
    with pytest.raises(ConfigError, match=r"is a directory.*In it: a\.yaml"):
        load(tmp_path)


def test_not_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        load(tmp_path / "stream.yaml")


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "stream.yaml"
    path.write_bytes(b"seed: 1\n# caf\xe9\nstream: [maze]\n")
    with pytest.raises(ConfigError, match=r"stream\.yaml:2: is not UTF-8 text \(byte 0xe9\)"):
        load(path)


def test_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "stream.yaml"
    path.write_bytes(b"\xef\xbb\xbfstream: [maze]\r\n")
    assert load(path, (), made_plugins())[0].stream[0].environment.name == "maze"


# Models


def test_model_directory(read: Load, complain: Callable[..., str], tmp_path: Path) -> None:
    model = tmp_path / "tiny"
    model.mkdir()
    text = "model: tiny\n" + STREAM
    assert "tiny has no config.json, no weights (" in complain(text)
    adapter = model / "adapter_config.json"
    adapter.touch()
    assert read(text).model == str(model)  # a LoRA adapter, which names its base model
    adapter.unlink()
    (model / "config.json").touch()
    assert "tiny has no weights (" in complain(text)
    (model / "model.safetensors").touch()
    message = complain(text)
    assert message.startswith("FILE:1: model: ")
    assert "tiny has no tokenizer (" in message
    (model / "tokenizer.json").touch()
    config = read(text)
    assert config.model == str(model)
    assert read(to_yaml(config)).model == str(model)


def test_model_is_a_file(complain: Callable[..., str]) -> None:
    message = complain("model: stream.yaml\n" + STREAM)
    assert message.startswith("FILE:1: model: 'stream.yaml' is a file")


# Plugins


def test_plugin_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "guess.py").write_text(
        PLUGIN.replace('"maze"', '"guess"').replace('"craft"', '"guess2"')
    )
    path = tmp_path / "sub" / "stream.yaml"
    path.write_text("plugins: [guess.py]\nstream: [{environment: {name: guess, size: 3}}]\n")
    monkeypatch.chdir(tmp_path)
    config, plugins = load(Path("sub/stream.yaml"), (), made_plugins())
    assert config.plugins == (str(tmp_path / "sub" / "guess.py"),)
    # Another configuration may name the same file, and elsewhere the path still holds.
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert differences(config, load(tmp_path / "config.yaml", (), plugins)[0]) == []
    again = load(tmp_path / "config.yaml", (), made_plugins())[0]
    assert to_yaml(again) == to_yaml(config)


SHELF = """
from dataclasses import dataclass, field
import contrail

@dataclass
class Shelf:
    data: str = field(default="", metadata={"path": ("made",)})

class Lend(contrail.Strategy):
    Config = Shelf

@contrail.hookimpl
def contrail_strategies(register):
    register("lend", Lend)
"""


def test_paths_in_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("sub/books", "sub/made", "here/books", "here/maps"):
        (tmp_path / place).mkdir(parents=True)
    stream = tmp_path / "sub" / "stream.yaml"
    stream.with_name("shelf.py").write_text(SHELF)
    monkeypatch.chdir(tmp_path / "here")

    def data(written: str, *overrides: str) -> str:
        stream.write_text(
            f"plugins: [shelf.py]\nstream: [maze]\nstrategy: {{name: lend, data: {written}}}\n"
        )
        return str(load(stream, overrides, made_plugins())[0].strategy.settings.data)

    assert data("books") == str(tmp_path / "sub" / "books")  # beside the file, before all
    assert data("maps") == str(tmp_path / "here" / "maps")
    assert data("../here") == str(tmp_path / "here")
    assert data("nowhere") == "nowhere"  # whoever reads it says what is missing
    assert data("made") == "made"  # a word that is no path
    assert data("x", "strategy.data=maps") == str(tmp_path / "here" / "maps")
    config = load(stream, ["strategy.data=books"], made_plugins())[0]
    again = tmp_path / "config.yaml"
    again.write_text(to_yaml(config))
    assert differences(config, load(again, (), made_plugins())[0]) == []


def test_broken_plugin_file(complain: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import no_such_module\n")
    message = complain("seed: 1\nplugins:\n- bad.py\n" + STREAM)
    assert message.startswith("FILE:3: plugins.0: plugin ")
    assert "no_such_module" in message


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("3", "not a dataclass"),
        ("dataclass(type('C', (), {'__annotations__': {'name': str}, 'name': 'a'}))", "'name'"),
        ("dataclass(type('C', (), {'__annotations__': {'f': object()}, 'f': 1}))", "cannot be"),
    ],
)
def test_broken_settings_class(read: Load, tmp_path: Path, config: str, says: str) -> None:
    (tmp_path / "odd.py").write_text(
        "from dataclasses import dataclass\nimport contrail\n"
        f"class Odd(contrail.Strategy):\n    Config = {config}\n"
        "@contrail.hookimpl\ndef contrail_strategies(register):\n    register('odd', Odd)\n"
    )
    with pytest.raises(PluginError, match="plugin 'odd': the strategy 'odd'") as caught:
        read("plugins: [odd.py]\nstrategy: odd\n" + STREAM)
    assert says in str(caught.value)


def test_required_setting(complain: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "need.py").write_text(
        "from dataclasses import dataclass\nimport contrail\n"
        "@dataclass\nclass C:\n    path: str\n"
        "class Need(contrail.Strategy):\n    Config = C\n"
        "@contrail.hookimpl\ndef contrail_strategies(register):\n    register('need', Need)\n"
    )
    message = complain("plugins: [need.py]\nstrategy: need\n" + STREAM)
    assert message.startswith("FILE:2: strategy.path: needs a value")
