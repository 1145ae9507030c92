"""ALFWorld's own games: their directory, and the selection to play."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from contrail import ConfigError, nearest
from contrail.envs.shared.data_files import read_json

SPLITS = ("train", "valid_train", "valid_seen", "valid_unseen")
GAME, TRAJECTORY = "game.tw-pddl", "traj_data.json"
PARTS = {"pddl_domain": str, "grammar": str, "pddl_problem": str}
"""The keys of a game's file that the engine reads, with the types of their values."""
TASK = {"task_type": str, "pddl_params": dict}
"""Likewise of the file beside it."""
GOAL = ("object_target", "parent_target", "toggle_target")
"""The parts of `pddl_params` that alfworld's expert needs."""
WORDS = {
    str: "text",
    dict: "an object",
    list: "a list",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}
COMMENT = re.compile(r";[^\n]*")


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
        ConfigError: none of the splits exists, no game is left, or files are damaged: names the
            first of them, with the key, and their number.
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
    damaged: list[str] = []
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
            try:
                task_type = read_task(root, name)["task_type"]
                types.add(task_type)
                if task_type not in task_types:
                    left["of types that are not in task_types"] += 1
                elif not _whole_game(root, name).get("solvable"):
                    left["not marked as solvable"] += 1
                else:
                    listed[name] = task_type
            except ConfigError as error:
                damaged.append(str(error))
    if damaged:
        more = f" So are {len(damaged) - 1} more games." if len(damaged) > 1 else ""
        raise ConfigError(damaged[0] + more)
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
    return _read(root / name / GAME, PARTS, {"solvable": bool})


def read_task(root: Path, name: str) -> dict[str, Any]:
    """Return a game's `task_type` and `pddl_params` from its traj_data.json.

    Raises:
        ConfigError: the file cannot be read, or lacks them.
    """
    path = root / name / TRAJECTORY
    content = _read(path, TASK)
    for key in GOAL:
        if key not in content["pddl_params"]:
            raise _damaged(path, f"'pddl_params' has no {key!r}")
    for key, value in content["pddl_params"].items():
        if not isinstance(value, (str, bool)):
            raise _damaged(path, f"{key!r} in 'pddl_params' is {WORDS[type(value)]}, not text")
    return content


def _whole_game(root: Path, name: str) -> dict[str, Any]:
    """Return the content of a game's game.tw-pddl, whose parts are not cut short.

    Raises:
        ConfigError: as `read_game`, or a part is cut.
    """
    content = read_game(root, name)
    for key in PARTS:
        if not _is_whole(content[key]):
            raise _damaged(
                root / name / GAME,
                f"{key!r} is cut short or damaged: its brackets or quotation marks do not match",
            )
    return content


@lru_cache(maxsize=64)  # all games have one domain, and many one grammar
def _is_whole(text: str) -> bool:
    """Return whether PDDL has as many closing brackets as opening ones, and a grammar pairs of
    quotation marks."""
    if not text.strip():
        return False
    if '"""' in text:
        return text.count('"""') % 2 == 0
    code = COMMENT.sub("", text)
    return code.count("(") == code.count(")") > 0


def _read(
    path: Path, needed: Mapping[str, type], possible: Mapping[str, type] | None = None
) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise _damaged(path, "it is not an object")
    for key, kind in {**needed, **(possible or {})}.items():
        if key not in content and key in needed:
            raise _damaged(path, f"it has no {key!r}")
        if key in content and not isinstance(content[key], kind):
            raise _damaged(path, f"{key!r} is {WORDS[type(content[key])]}, not {WORDS[kind]}")
    return content


def _damaged(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"alfworld: {path} is not a game of ALFWorld, or it is damaged: {why}. Fetch it again or "
        "remove its directory."
    )
