"""Game files: those that TextWorld's challenges make, by seed, and a user's own."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any, NoReturn

from contrail import ConfigError, ContrailError, nearest
from contrail.cache import cached
from contrail.envs.shared.lent_random import LentRandom
from contrail.leaks import TEST_EVERY

CHALLENGES: dict[str, dict[str, Any]] = {
    "simple": {"rewards": "dense", "goal": "detailed"},
    "coin_collector": {"level": 5},
    "treasure_hunter": {"level": 5},
    "cooking": {"recipe": 1, "take": 1, "open": True, "cook": True},
}
"""TextWorld's challenges, and the settings that they have here by default."""
SUFFIXES = (".z3", ".z4", ".z5", ".z8")
FOLDERS = {"train": ("train",), "test": ("test", "valid")}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def challenge_settings(challenge: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return all settings of a challenge, as `tw-make` would read them.

    Raises:
        ConfigError: it takes no such settings.
    """
    if challenge not in CHALLENGES:
        known = nearest(challenge, CHALLENGES)
        raise ConfigError(f"textworld: there is no challenge {challenge!r}. {known}")
    _, _, add_arguments = _challenges()[f"tw-{challenge}"]
    parser = _Parser(add_help=False, allow_abbrev=False)
    add_arguments(parser)
    words = []
    for key, value in {**CHALLENGES[challenge], **params}.items():
        option = f"--{key.replace('_', '-')}"
        words += [] if value is False else [option] if value is True else [option, str(value)]
    try:
        return vars(parser.parse_args(words))
    except ConfigError as error:
        options = [text for action in parser._actions for text in action.option_strings]
        raise ConfigError(
            f"textworld: {challenge} refuses params {params}: {error.message}. Its options are "
            f"{', '.join(options)}; write them without dashes."
        ) from error


def make_game(challenge: str, settings: dict[str, Any], seed: int) -> Path:
    """Return the game of a seed; it is made once and kept in contrail's cache.

    Raises:
        ContrailError: the challenge cannot make it, or the cache cannot be written.
    """
    import textworld
    from textworld.generator import compile_game

    content = json.dumps(settings, sort_keys=True)
    version = textworld.__version__
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]

    def make(directory: Path) -> None:
        options = textworld.GameOptions()
        options.seeds = seed
        options.path = str(directory / "game.z8")
        _, make, _ = _challenges()[f"tw-{challenge}"]
        with LentRandom()():
            compile_game(make(settings, options), options)

    try:
        made = cached(f"textworld/{version}-{challenge}-{digest}/{seed}", make)
    except (AssertionError, LookupError, ValueError) as error:
        text = " ".join(str(error).split())
        raise ContrailError(f"textworld: {challenge}, seed {seed}: {text}") from error
    return made / "game.z8"


def game_files(directory: str) -> dict[str, list[Path]]:
    """Return the game files of a directory, by split.

    With folders `train` and `test` (or `valid`), a folder is a split; otherwise one game in five is
    for testing, by a hash of its content.

    Raises:
        ConfigError: there are none for a split.
    """
    root = Path(directory)
    found: dict[str, list[Path]] = {"train": [], "test": []}
    folders = {name: split for split, names in FOLDERS.items() for name in names}
    if any((root / name).is_dir() for name in folders):
        for name, split in folders.items():
            found[split] += _files(root / name)
    else:
        for path in _files(root):
            digest = int(hashlib.sha256(path.read_bytes()).hexdigest(), 16)
            found["train" if digest % TEST_EVERY else "test"].append(path)
    for split, files in found.items():
        if not files:
            raise ConfigError(
                f"textworld: data: {root} has no game for the split {split!r}. It takes files "
                f"{', '.join(SUFFIXES)}, in folders train and test or together; tw-make writes "
                "them. Glulx files (.ulx) are none: make the game again with TextWorld 1.7."
            )
    return found


def _files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.rglob("*") if path.suffix in SUFFIXES)


def _challenges() -> dict[str, Any]:
    with LentRandom()():  # importing textworld draws from numpy's generator
        from textworld.challenges import CHALLENGES as made
    challenges: dict[str, Any] = made
    return challenges
