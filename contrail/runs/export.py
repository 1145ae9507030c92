"""A finished run in one folder or archive, to give away: the LoRA, its card, tables and reports."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path

import yaml

from contrail.errors import ConfigError, ContrailError
from contrail.progress.live import PROGRESS
from contrail.registry.observers import FILE
from contrail.registry.plugins import Plugins
from contrail.runs.card import license_of, model_card
from contrail.runs.directory import STATE, RunDirectory, read_checkpoint
from contrail.runs.position import Position
from contrail.runs.state import TENSORS

OF_THE_RUN = (STATE, TENSORS, "README.md")
"""The files of a checkpoint that only its run needs, and the card, which is written anew."""

WEIGHTS = "adapter_model.safetensors"
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".7z", ".rar")
"""Ends of names that promise an archive; `.zip` is the one that is made."""

OWN = (FILE, PROGRESS)
"""What a run keeps for itself: its failed hooks, and what `contrail watch` reads."""


def export_run(
    directory: Path,
    plugins: Plugins,
    out: Path | None = None,
    *,
    stage: int | None = None,
    license: str | None = None,
) -> Path:
    """Write a finished run's LoRA, model card, tables and reports into a folder of their own.

    Args:
        directory: of the run.
        plugins: the loaded ones.
        out: the folder, or an archive whose name ends in .zip; by default exports/NAME.
        stage: whose LoRA; by default the last one's.
        license: of the weights, as the hub names it.

    Returns:
        The folder, or the archive.

    Raises:
        ContrailError: there is no finished run or no such stage, or `out` exists or cannot be
            written.
    """
    files = RunDirectory(directory)
    result = files.read_result()
    if not files.checkpoint_folder.is_dir() and (files.path / WEIGHTS).is_file():
        raise ConfigError(
            f"{files.path} is an export already, which has one LoRA of its run and no checkpoints. "
            "Name the run, or copy the folder as it is."
        )
    last = len(result["R"]) - 1
    stage = last if stage is None else stage
    if not 0 <= stage <= last:
        raise ConfigError(f"--stage is {stage}: the run has the stages 0 to {last}.")
    if license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", license):
        raise ConfigError(
            f"--license is {license!r}: write it as the hub does, for example apache-2.0."
        )
    checkpoint = files.checkpoint(Position(stage))
    read_checkpoint(checkpoint)
    out = (out or Path("exports") / files.path.name).absolute()
    if out.suffix.lower() in ARCHIVES and out.suffix != ".zip":
        raise ConfigError(
            f"--out {out}: an archive ends in .zip, not in {out.suffix}. Write .zip, or another "
            "name for a folder."
        )
    if out.exists():
        raise ContrailError(f"{out} exists. Choose another --out, or remove it.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as place:
            folder = Path(place, out.name.removesuffix(".zip"))
            folder.mkdir()
            _copy_run(files, folder)
            _copy_lora(checkpoint, folder)
            model, base = result["model"], _base(folder)
            name = _registered(model, base, plugins)
            if name is not None:
                _rename_base(folder, name)
            known = license or license_of(model, base, plugins)
            card = model_card(
                result,
                (folder / "config.yaml").read_text(),
                name or base,
                stage,
                license=known,
                own_license=license is not None,
                registered=name is not None,
            )
            (folder / "README.md").write_text(card)
            if out.suffix == ".zip":
                archive = shutil.make_archive(str(folder), "zip", place, folder.name)
                Path(archive).rename(out)
            else:
                folder.rename(out)
    except OSError as error:
        raise ContrailError(
            f"{error.filename or out} cannot be written: {error.strerror}. Choose another --out."
        ) from error
    return out


def _copy_run(files: RunDirectory, folder: Path) -> None:
    """Copy what reports have written, the result, and the configuration with its plugin files."""
    for path in sorted(files.path.iterdir()):
        if path.is_file() and not path.name.startswith(".") and path.name not in OWN:
            shutil.copy(path, folder)
    config = yaml.safe_load(files.config.read_text())
    named = []
    for plugin in config.get("plugins") or ():
        path = Path(plugin)
        if plugin.endswith(".py") and path.is_file():
            plugin = _free_name(folder, path)
            shutil.copy(path, folder / plugin)
        named.append(plugin)
    if named:
        config["plugins"] = named
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        (folder / "config.yaml").write_text(text)


def _free_name(folder: Path, path: Path) -> str:
    """Return the file's name; where another file has it already, with a number."""
    name, number = path.name, 1
    while (folder / name).exists():
        number += 1
        name = f"{path.stem}_{number}{path.suffix}"
    return name


def _copy_lora(checkpoint: Path, folder: Path) -> None:
    for path in sorted(checkpoint.iterdir()):
        if path.is_file() and path.name not in OF_THE_RUN and path.name[0] != ".":
            shutil.copyfile(path, folder / path.name)  # with the usual permissions


def _base(folder: Path) -> str:
    settings = json.loads((folder / "adapter_config.json").read_text())
    return str(settings["base_model_name_or_path"])


def _registered(model: str, base: str, plugins: Plugins) -> str | None:
    """Return the name in contrail of a run's base model, also where it began with a LoRA of it."""
    if model in plugins.models:
        return model
    # Only those are asked that can be meant: some fetch their weights.
    likely = [name for name in plugins.models if Path(base).name.startswith(name)]
    return next((name for name in likely if str(plugins.models[name].value()) == base), None)


def _rename_base(folder: Path, model: str) -> None:
    """Name the base model as contrail does: its directory is another one elsewhere."""
    file = folder / "adapter_config.json"
    settings = json.loads(file.read_text())
    settings["base_model_name_or_path"] = model
    file.write_text(json.dumps(settings, indent=2) + "\n")
