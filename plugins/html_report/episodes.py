"""The episodes of a run, as a page shows them: an index, and compressed chunks of episodes.

The logs are read once. All evaluations come first: their episodes are what cells of R are made of;
then training episodes, evenly thinned to what fits into the page.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contrail.names import visible, visible_lines
from contrail.plugins.html_report.page import pack
from contrail.plugins.html_report.tokens import TokenTexts

ROOM = 2_600_000
"""Bytes of compressed episodes in a page; in base64 they are a third more."""
CHUNK = 200_000  # letters of JSON
MOST_TRAINING = 12_000
"""Training episodes that are considered for the page."""
LONGEST = 20_000
"""Letters of one text in the page; the log has all of it."""

Index = dict[str, Any]


@dataclass
class Packed:
    """Episodes in the form of the page."""

    chunks: list[bytes] = field(default_factory=list)
    """The index, then the chunks that it names."""
    training: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    """Environment -> update, counted over the stream -> [sum of successes, episodes]."""
    updates: dict[int, int] = field(default_factory=dict)
    """Stage -> the number of updates made by its end."""
    counts: dict[str, list[int]] = field(default_factory=dict)
    """"evaluate" and "train" -> [episodes in the page, in the logs]."""


def packed(directory: Path, changed: Sequence[tuple[str, str]]) -> Packed:
    """Return the episodes of a run.

    Args:
        directory: of the run.
        changed: environment and task of the tasks whose score is not the same in all rows; they are
            kept if not all episodes fit.
    """
    result = Packed(counts={"evaluate": [0, 0], "train": [0, 0]})
    texts = TokenTexts.of_run(directory)
    kept: dict[str, list[tuple[Index, str]]] = {"evaluate": [], "train": []}
    logs = sorted((directory / "episodes").glob("[0-9]*-*.jsonl.gz"))
    training = sum(_lines(log) for log in logs if _of(log)[1] == "train")
    step = max(1, math.ceil(training / MOST_TRAINING))
    for log in logs:
        stage, kind = _of(log)
        before = max(result.updates.values(), default=0)  # updates of earlier stages
        last = before
        for number, record in _records(log):
            result.counts[kind][1] += 1
            if kind == "train":
                update = before + record["update"] + 1
                last = max(last, update)
                if record["fault"] is None and not record.get("demonstrated"):
                    updates = result.training.setdefault(record["environment"], {})
                    counted = updates.setdefault(update, [0.0, 0])
                    counted[0] += record["success"]
                    counted[1] += 1
                if result.counts[kind][1] % step:
                    continue
            where = f"{log.name.removesuffix('.jsonl.gz')}:{number}"
            shown = json.dumps(_shown(record, where, texts), separators=(",", ":"))
            kept[kind].append((_index(record, where, stage, kind), shown))
        if kind == "train":
            result.updates[stage] = last
    wanted = set(changed)
    kept["evaluate"].sort(
        key=lambda item: (
            (item[0]["environment"], item[0]["task"]) not in wanted,
            item[0]["environment"],
            item[0]["task"],
            item[0]["sample"],
            item[0]["stage"],
        )
    )
    room = ROOM
    rows: list[Index] = []
    for kind, episodes in kept.items():
        room = _fill(result, rows, _thinned(episodes, room, kind), room)
        result.counts[kind][0] = len(rows) - sum(
            n[0] for k, n in result.counts.items() if k != kind
        )
    columns = {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
    result.chunks.insert(0, pack(columns))
    return result


def _fill(
    result: Packed, rows: list[Index], episodes: Sequence[tuple[Index, str]], room: int
) -> int:
    """Add chunks of episodes while there is room; return the room that is left."""
    start = 0
    while start < len(episodes):
        end, size = start, 0
        while end < len(episodes) and (size < CHUNK or end == start):
            size += len(episodes[end][1])
            end += 1
        text = f"[{','.join(shown for _, shown in episodes[start:end])}]"
        chunk = gzip.compress(text.encode(), compresslevel=6, mtime=0)
        if len(chunk) > room:
            return 0
        room -= len(chunk)
        result.chunks.append(chunk)
        for place, (index, _) in enumerate(episodes[start:end]):
            rows.append({**index, "chunk": len(result.chunks) + 1, "place": place})
        start = end
    return room


def _thinned(
    episodes: Sequence[tuple[Index, str]], room: int, kind: str
) -> Sequence[tuple[Index, str]]:
    """Return training episodes, evenly thinned so that they fit by and large."""
    if kind != "train" or not episodes:
        return episodes
    tried = "".join(shown for _, shown in episodes[:: max(1, len(episodes) // 50)])
    ratio = len(gzip.compress(tried.encode(), mtime=0)) / len(tried)
    size = sum(len(shown) for _, shown in episodes)
    return episodes[:: max(1, math.ceil(1.1 * size * ratio / max(room, 1)))]


def _of(log: Path) -> tuple[int, str]:
    number, _, kind = log.name.removesuffix(".jsonl.gz").partition("-")
    return int(number), kind


def _lines(log: Path) -> int:
    with gzip.open(log, "rb") as lines:
        return sum(1 for _ in lines)


def _records(log: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the lines of a log with their numbers, counted from 1."""
    with gzip.open(log, "rt") as lines:
        for number, line in enumerate(lines, start=1):
            yield number, json.loads(line)


def _index(record: dict[str, Any], where: str, stage: int, kind: str) -> Index:
    """Return what episodes are filtered by."""
    failures = record.get("failures", {})
    return {
        "where": where,
        "stage": stage,
        "kind": kind,
        "environment": visible(record["environment"]),
        "task": visible(record["task"]),
        "sample": record["sample"],
        "update": record.get("update"),
        "difficulty": None if record["difficulty"] is None else visible(record["difficulty"]),
        "success": record["success"],
        "fault": record["fault"] is not None,
        "reward": round(record["reward"], 4),
        "turns": len(record["turns"]),
        "ended": record["ended"],
        "failures": sorted(map(visible, failures)),
    }


def _shown(record: dict[str, Any], where: str, texts: TokenTexts | None) -> dict[str, Any]:
    """Return an episode's turns, as the page shows them."""
    written = _written(record)
    shown: dict[str, Any] = {"turns": []}
    if record["fault"] is not None:
        shown["fault"] = _short(record["fault"], where)
    if record.get("failures"):
        shown["failures"] = {visible(mode): turn for mode, turn in record["failures"].items()}
    if record.get("demonstrated"):
        shown["demonstrated"] = True
    if texts is not None and 1 in record["mask"]:
        shown["prompt"] = _short(texts.text(record["token_ids"][: record["mask"].index(1)]), where)
    for place, turn in enumerate(record["turns"]):
        item: dict[str, Any] = {
            "observation": _short(turn["observation"], where),
            "text": _short(turn["text"], where),
            "reward": round(turn["reward"], 4),
        }
        if turn["action"] != turn["text"]:
            item["action"] = None if turn["action"] is None else _short(turn["action"], where)
        if not turn["valid"]:
            item["valid"] = False
        for key in ("cut_off", "left_out", "restart", "penalty", "info"):
            if turn.get(key):
                item[key] = turn[key]
        ids, logprobs = written[place] if written else ([], [])
        if turn["choices"] is not None:
            item["choice"] = turn["choice"]
            item["count"] = len(turn["choices"])
            if logprobs:
                item["chance"] = _chance(logprobs[0])
            if texts is not None:
                named = [texts.candidate(tuple(candidate)) for candidate in turn["choices"]]
                item["candidates"] = [visible(name) for name in named]
            if turn.get("choice_logprobs"):
                item["chances"] = [_chance(value) for value in turn["choice_logprobs"]]
        elif texts is not None and ids and len(ids) == len(logprobs) and len(ids) <= LONGEST:
            item["pieces"], item["chances"] = _pieces(texts, ids, logprobs)
        shown["turns"].append(item)
    return shown


def _pieces(
    texts: TokenTexts, ids: Sequence[int], logprobs: Sequence[float]
) -> tuple[list[str], list[float]]:
    """Return pieces of text, and the probability of the least likely token of each."""
    pieces, chances, start = [], [], 0
    for piece, count in texts.pieces(ids):
        pieces.append(visible_lines(piece))
        chances.append(_chance(min(logprobs[start : start + count])))
        start += count
    return pieces, chances


def _chance(logprob: float) -> float:
    return round(math.exp(min(logprob, 0.0)), 3)


def _written(record: dict[str, Any]) -> list[tuple[list[int], list[float]]] | None:
    """Return the token ids that the model wrote in each turn, with their log-probabilities; None if
    the turns cannot be told apart."""
    runs: list[list[int]] = []
    last = 0
    for token, bit in zip(record["token_ids"], record["mask"], strict=True):
        if bit and not last:
            runs.append([])
        if bit:
            runs[-1].append(token)
        last = bit
    if len(runs) != len(record["turns"]):
        return None
    found, start = [], 0
    for ids, turn in zip(runs, record["turns"], strict=True):
        count = len(ids) if turn["choices"] is None else 1
        found.append((ids, record["logprobs"][start : start + count]))
        start += count
    return found if start == len(record["logprobs"]) else None


def _short(text: str, where: str) -> str:
    """Return a text without characters that act, cut where it is very long."""
    if len(text) <= LONGEST:
        return visible_lines(text)
    log, line = where.split(":")
    rest = f"… {len(text) - LONGEST:,} more letters in episodes/{log}.jsonl.gz, line {line}"
    return f"{visible_lines(text[:LONGEST])}\n{rest}"
