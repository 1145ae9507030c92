"""Baselines on disk: each is played once and reused until something that it depends on changes.

The file is `baselines/KEY.json` in contrail's cache. It may be deleted at any time; only the newest
KEPT files are kept. The key is a digest of everything that a baseline depends on. A file that
cannot be read is made again; if no file can be written, the baseline is played again the next time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from contrail.adapter import Adapter
from contrail.baselines.baseline import Baseline
from contrail.cache import cache
from contrail.config import plain
from contrail.environment import Task
from contrail.errors import Raised, boundary
from contrail.files import write_atomically
from contrail.workers.factory import EnvironmentFactory

KEPT = 1000  # of some kilobytes each
FORMAT = 2  # changed how baselines are played or kept? count it up


def key(
    label: str,
    make: EnvironmentFactory,
    adapter: Adapter,
    tasks: Sequence[Sequence[Task]],
    player: str,
    samples: int,
    end_after_invalid: int | None,
) -> str | None:
    """Return a digest of everything that a baseline depends on; None if that cannot be told: a
    plugin's code is unreadable, or the environment plays on a server.

    Args:
        label: the environment's column in R, on which the dice depend.
        make: makes the environment.
        adapter: the adapter through which the player acts.
        tasks: the tasks played, and the tasks from which the player has learnt, if any.
        player: its name.
        samples: the number of samples per task.
        end_after_invalid: the number of invalid turns in a row after which an episode ends.
    """
    environment = make.registered.value
    code = [_code(cls) for cls in (environment, type(adapter))]
    settings = plain(make.settings)
    if None in code or _elsewhere(settings):
        return None
    about = {
        "format": FORMAT,
        "contrail": importlib.metadata.version("contrail"),
        "code": code,
        "packages": _packages(make.name),
        "label": label,
        "environment": make.name,
        "settings": _stamped(settings),
        "modules": [_code_of(module) for module in _modules(settings)],
        "max_turns": make.max_turns,
        "step_timeout": make.step_timeout,
        "adapter": _stamped(plain(adapter.config)),
        "tasks": [
            [dataclasses.astuple(dataclasses.replace(task, environment="")) for task in part]
            for part in tasks
        ],
        "player": player,
        "samples": samples,
        "end_after_invalid": end_after_invalid,
    }
    if make.shift is not None:
        about["shift"] = plain(make.shift)
    text = json.dumps(about, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def read(digest: str | None) -> tuple[bool, Baseline | None]:
    """Return whether there is an entry, and its baseline: None if the player cannot play."""
    if digest is None:
        return False, None
    try:
        content = json.loads(_file(digest).read_text())
        if content["key"] != digest:
            return False, None
        record = content["baseline"]
        return True, None if record is None else _checked(record)
    except (OSError, ValueError, TypeError, KeyError):
        return False, None


def write(digest: str | None, baseline: Baseline | None) -> None:
    """Keep a baseline; one with faults is not kept, as they may not come again."""
    if digest is None or (baseline is not None and baseline.fault_rate):
        return
    content = {"key": digest, "baseline": None if baseline is None else baseline.record()}
    file = _file(digest)
    with contextlib.suppress(OSError):  # it costs playing again
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, (json.dumps(content) + "\n").encode())
        written = sorted(file.parent.glob("*.json"), key=lambda path: -path.stat().st_mtime)
        for old in written[KEPT:]:
            old.unlink(missing_ok=True)


def _file(digest: str) -> Path:
    return cache() / "baselines" / f"{digest}.json"


def _checked(record: dict[str, Any]) -> Baseline:
    """Return the baseline of a record.

    Raises:
        TypeError: a field is missing, or one that is shown is no number.
        ValueError: it is not consistent.
    """
    baseline = Baseline(**record)
    scores = [score for score in baseline.scores.values() if score is not None]
    if (
        baseline.success is None
        or not scores
        or abs(sum(scores) / len(scores) - baseline.success) > 1e-9
    ):
        raise ValueError("the mean of the scores is not the success")
    return baseline


def _code(cls: type) -> list[str] | None:
    """Return the name of a class, and digests of the files in which it and its bases are
    defined.

    Of a package, all its files: an environment may be spread over several.
    """
    digests = [f"{cls.__module__}.{cls.__qualname__}"]
    for base in cls.__mro__:
        if base.__module__ in sys.stdlib_module_names:
            continue
        module = sys.modules.get(base.__module__)
        name = getattr(module, "__file__", None)
        if name is None:
            return None  # as of a class made on the fly
        file = Path(name)
        files = sorted(file.parent.glob("*.py")) if getattr(module, "__package__", "") else [file]
        try:
            content = [path.read_bytes() for path in files]
        except OSError:
            return None
        digests.append(hashlib.sha256(b"\0".join(content)).hexdigest())
    return digests


def _elsewhere(settings: Any) -> bool:
    """Return whether settings name a server: what it plays may change without a trace here."""
    return any(re.match(r"(https?|wss?)://", text, re.IGNORECASE) for text in _texts(settings))


def _modules(settings: Any) -> Iterator[Path]:
    """Yield the files of the modules that settings name, as "package.module", "module:Name-v0", or
    by the name of their package."""
    for text in _texts(settings):
        name = text.partition(":")[0].replace("-", "_")
        if not re.fullmatch(r"[A-Za-z]\w*(\.\w+)*", name) or (
            name.partition(".")[0] in sys.stdlib_module_names
        ):
            continue
        # Of a dotted name it imports the package, whatever that may raise.
        with contextlib.suppress(Raised), boundary():
            found = importlib.util.find_spec(name)
            if found is not None and found.has_location and found.origin is not None:
                yield Path(found.origin)


def _code_of(file: Path) -> str | None:
    """Return a digest of a module's file; of a package, of all its files."""
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    with contextlib.suppress(OSError):
        return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()
    return None


def _texts(settings: Any) -> Iterator[str]:
    if isinstance(settings, str):
        yield settings
    elif isinstance(settings, dict):
        for value in settings.values():
            yield from _texts(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from _texts(value)


def _packages(extra: str) -> dict[str, str]:
    """Return the versions of the packages that an environment of contrail's own needs."""
    found = {}
    for requirement in importlib.metadata.requires("contrail") or []:
        if re.search(rf"""extra\s*==\s*["']{re.escape(extra)}["']""", requirement):
            name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[name] = importlib.metadata.version(name)
    return found


def _stamped(value: Any) -> Any:
    """Settings, with time and size of the files that they name."""
    if isinstance(value, dict):
        return {str(name): _stamped(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_stamped(item) for item in value]
    if isinstance(value, str) and (os.sep in value or Path(value).is_file()):
        with contextlib.suppress(OSError, ValueError):
            path = Path(value).expanduser()
            files = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
            states = [(file.name, file.stat()) for file in files]
            return [value, [[name, state.st_mtime_ns, state.st_size] for name, state in states]]
    return value
