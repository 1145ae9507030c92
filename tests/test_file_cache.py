"""Values kept on disk: computed once, and never in the way."""

from __future__ import annotations

import functools
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contrail.cache import FileCache

VALUE = {"texts": ["ä", "\ud800"], "number": 1.5, "nothing": None}
VALUES = FileCache("values", kept=3)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where they are kept; nothing is there yet."""
    monkeypatch.setenv("CONTRAIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "values"


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json.gz"))


def refuse() -> Any:
    raise AssertionError("it was computed again")


def test_a_value_is_computed_once(folder: Path) -> None:
    assert VALUES.get("a key", lambda: VALUE) == VALUE
    assert VALUES.get("a key", refuse) == VALUE
    assert VALUES.get("another", lambda: None) is None
    assert VALUES.get("another", refuse) is None
    assert len(files(folder)) == 2


def test_what_fails_is_not_kept(folder: Path) -> None:
    with pytest.raises(AssertionError, match="again"):
        VALUES.get("a key", refuse)
    assert not files(folder)
    assert VALUES.get("a key", lambda: 1) == 1


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def of_another_key(content: bytes) -> bytes:
    values = json.loads(gzip.decompress(content))
    return gzip.compress(json.dumps({**values, "key": "another"}).encode())


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        flip,
        of_another_key,
        lambda content: b"",
        lambda content: os.urandom(100),
        lambda content: gzip.compress(b"no JSON"),
        lambda content: gzip.compress(b"[]"),
        lambda content: gzip.compress(b"\xff"),
    ],
)
def test_a_damaged_file_is_computed_again(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    VALUES.get("a key", lambda: VALUE)
    (file,) = files(folder)
    file.write_bytes(damage(file.read_bytes()))
    assert VALUES.get("a key", lambda: "new") == "new"
    assert VALUES.get("a key", refuse) == "new"


def test_those_used_last_are_kept(folder: Path) -> None:
    for number, key in enumerate("abc"):
        VALUES.get(key, functools.partial(int, number))
        os.utime(max(files(folder), key=lambda path: path.stat().st_mtime_ns), (number, number))
    VALUES.get("a", refuse)  # from now on it is the newest
    VALUES.get("d", lambda: 3)
    assert len(files(folder)) == 3
    assert VALUES.get("a", refuse) == 0
    assert VALUES.get("b", lambda: "again") == "again"


def test_a_folder_that_cannot_be_written_is_no_obstacle(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    VALUES.get("a key", lambda: VALUE)
    refused = PermissionError(13, "Permission denied")

    def fail(*arguments: Any, **options: Any) -> Any:
        raise refused

    for name in ("open", "mkdir", "utime", "replace"):  # root may write everywhere
        monkeypatch.setattr(os, name, fail)
    assert VALUES.get("a key", refuse) == VALUE
    assert VALUES.get("another", lambda: 1) == 1
    assert len(files(folder)) == 1


def test_a_cache_that_is_a_file_is_no_obstacle(folder: Path) -> None:
    folder.parent.touch()
    assert VALUES.get("a key", lambda: 1) == 1
    assert VALUES.get("a key", lambda: 2) == 2


def test_of_two_processes_one_computes(folder: Path) -> None:
    code = """if True:
        import time
        from contrail.cache import FileCache
        def compute():
            print("computed", flush=True)
            time.sleep(1)
            return 1
        assert FileCache("values", kept=3).get("a key", compute) == 1
    """
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert "".join(process.communicate()[0] for process in processes) == "computed\n"
    assert [process.returncode for process in processes] == [0, 0]


def test_nobody_waits_for_a_process_for_ever(folder: Path) -> None:
    from filelock import FileLock

    VALUES.get("a key", lambda: 1)
    (file,) = files(folder)
    file.unlink()
    with FileLock(folder / f"{file.name[0]}.lock"):
        assert FileCache("values", kept=3, patience=0.1).get("a key", lambda: 2) == 2
