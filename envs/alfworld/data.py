"""ALFWorld's own games: their directory, and the selection to play."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contrail import ConfigError, nearest
from contrail.envs.shared.data_files import read_json

SPLITS = ("train", "valid_train", "valid_seen", "valid_unseen")
GAME, TRAJECTORY = "game.tw-pddl", "traj_data.json"
PARTS = ("pddl_domain", "grammar", "pddl_problem")
"""The keys of a game's file that the engine reads."""


def games_root(data: str) -> Path:
    """Return the directory that holds the splits: `data` itself, or json_2.1.1 in it.

    Raises:
        ConfigError: there is none; says where the games come from.
    """
    directory = Path(data).expanduser()
    for root in (directory / "json_2.1.1", directory):
        if any((root / split).is_dir() for split in SPLITS):
            return root
    raise ConfigError(
        f"alfworld: there are no games in {directory}. Expected "
        f"json_2.1.1/<split>/<task>/<trial>/{GAME}, as `alfworld-download` fetches them. For "
        "generated games, write `data: generated`."
    )


def list_games(
    root: Path, splits: Sequence[str], task_types: Sequence[str]
) -> tuple[dict[str, str], Counter[str]]:
    """Return the games of some splits that alfworld itself would load, by name.

    Args:
        root: the directory that holds the splits.
        splits: ALFWorld's splits; missing ones are left out as long as one exists.
        task_types: the kinds of tasks to list.

    Returns:
        Task types by name, where a name is the game's directory below `root`; and how many games
        are left out, by reason.

    Raises:
        ConfigError: none of the splits exists, no game is left, or a file is damaged.
    """
    for split in splits:
        if split not in SPLITS:
            raise ConfigError(f"alfworld has no split {split!r}. {nearest(split, SPLITS)}")
    if not any((root / split).is_dir() for split in splits):
        found = [split for split in SPLITS if (root / split).is_dir()]
        raise ConfigError(
            f"alfworld: {root} has no games of {' or '.join(splits) or 'no split'}. "
            f"It has: {', '.join(found)}. Name them under train_splits and test_splits."
        )
    listed: dict[str, str] = {}
    left: Counter[str] = Counter()
    games, types = 0, set()
    for split in splits:
        for path in sorted((root / split).rglob(GAME)):
            name = path.parent.relative_to(root).as_posix()
            games += 1
            # These cannot be solved in text.
            if "movable" in name or "Sliced" in name:
                left["with sliced or movable things, which ALFWorld's own loader leaves out"] += 1
                continue
            if not (path.parent / TRAJECTORY).exists():
                left[f"without {TRAJECTORY}"] += 1
                continue
            task_type = read_task(root, name)["task_type"]
            types.add(task_type)
            if task_type not in task_types:
                left["of types that are not in task_types"] += 1
            elif not read_game(root, name).get("solvable"):
                left["not marked as solvable"] += 1
            else:
                listed[name] = task_type
    if not listed:
        raise ConfigError(
            f"alfworld: {root} has no game to play of {' or '.join(splits)}. A game must be of a "
            f"type in task_types ({', '.join(task_types)}), with a {TRAJECTORY} beside its {GAME}, "
            f"and be marked there as solvable. It has {games} games, of "
            f"{', '.join(sorted(types)) or 'no known type'}. Name other types or splits, or fetch "
            "the games again with `alfworld-download`."
        )
    return listed, left


def read_game(root: Path, name: str) -> dict[str, Any]:
    """Return the content of a game's game.tw-pddl.

    Raises:
        ConfigError: it cannot be read, or lacks what a game needs.
    """
    return _read(root / name / GAME, PARTS)


def read_task(root: Path, name: str) -> dict[str, Any]:
    """Return a game's `task_type` and `pddl_params` from its traj_data.json.

    Raises:
        ConfigError: the file cannot be read, or lacks them.
    """
    return _read(root / name / TRAJECTORY, ("task_type", "pddl_params"))


def _read(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    content = read_json(path)
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise ConfigError(
            f"alfworld: {path} has no {missing[0]!r}; it is not a game of ALFWorld, or it is "
            "damaged. Fetch it again or remove its directory."
        )
    found: dict[str, Any] = content
    return found
