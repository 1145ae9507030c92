"""`contrail check` of the environments of other libraries, as `--search` lists them.

    python -m benchmarks.foreign --jobs 2                  # all that is installed
    python -m benchmarks.foreign --only gem textworld      # some of it
    python -m benchmarks.foreign --table docs/foreign.md   # the table, from what was checked

Results go to a file of JSON lines, one per environment; what stands there is not checked again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from contrail.check import check
from contrail.cli.search import Hit, find
from contrail.config import build
from contrail.errors import ContrailError
from contrail.registry import load_plugins
from contrail.workers.factory import EnvironmentFactory

BRIDGES = ("reasoning-gym", "gem", "textworld", "textworld-express", "textarena", "gymnasium")
SECONDS = 120  # of a single check
TASKS = 2  # of each split
SHOWN = 160  # characters of a reason


class TooLong(Exception):
    """A check took longer than `SECONDS`."""


def games(names: list[str]) -> tuple[list[Hit], dict[str, str]]:
    """Return the games of bridges, and why others cannot be listed."""
    plugins = load_plugins()
    makers = [EnvironmentFactory(name, plugins.environments[name]) for name in names]
    found = find("", makers)
    return [hit for hit in found.hits if hit.settings], found.missing


def checked(hit: Hit) -> dict[str, Any]:
    """Return the result of the check of one game."""

    def stop(*_: object) -> None:
        raise TooLong(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS, SECONDS)
    begun = time.monotonic()
    record: dict[str, Any] = {"environment": hit.environment, "settings": hit.settings}
    plugins = load_plugins()
    try:
        config: Any = build(plugins.environments[hit.environment].value.Config, hit.settings)
        report = check(hit.environment, config, tasks=TASKS, plugins=plugins)
        record["findings"] = [dataclasses.asdict(finding) for finding in report.findings]
    except (ContrailError, TooLong) as error:
        record["cannot"] = str(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return {**record, "seconds": round(time.monotonic() - begun, 1)}


def table(records: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a Markdown page."""
    by_bridge: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        by_bridge[record["environment"]].append(record)
    yield "| bridge | environments | pass | fail | cannot be made here |"
    yield "| --- | --- | --- | --- | --- |"
    whole = [0, 0, 0, 0]
    for name in sorted(by_bridge, key=BRIDGES.index):
        its = by_bridge[name]
        cannot = sum("cannot" in record for record in its)
        failed = sum(bool(_failures(record)) for record in its)
        row = [len(its), len(its) - failed - cannot, failed, cannot]
        whole = [total + number for total, number in zip(whole, row, strict=True)]
        yield f"| `{name}` | {' | '.join(map(str, row))} |"
    yield f"| together | {' | '.join(map(str, whole))} |"
    yield ""
    yield "| environment | check | why |"
    yield "| --- | --- | --- |"
    for record in records:
        what = ", ".join(
            f"{value}" if isinstance(value, str) else f"{key}={json.dumps(value)}"
            for key, value in record["settings"].items()
        )
        rows = [("–", record["cannot"])] if "cannot" in record else _failures(record)
        for name, why in rows:
            line = " ".join(why.split()).replace("|", "\\|").replace("`", "'")
            line = line if len(line) <= SHOWN else f"{line[:SHOWN]}…"
            yield f"| `{record['environment']}` {what} | {name} | {line} |"


def _failures(record: dict[str, Any]) -> list[tuple[str, str]]:
    found = [item for item in record.get("findings", ()) if item["state"] == "failed"]
    return [(item["check"], item["note"]) for item in found]


def main() -> None:
    """Check, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=BRIDGES, default=list(BRIDGES))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("runs/foreign.jsonl"))
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    results: Path = options.results
    lines = results.read_text().splitlines() if results.exists() else []
    records = [json.loads(line) for line in lines]
    if options.table:
        order = [
            (name, json.dumps(hit.settings))
            for hit in games(options.only)[0]
            for name in [hit.environment]
        ]
        known = {(r["environment"], json.dumps(r["settings"])): r for r in records}
        options.table.write_text(
            "\n".join(table([known[key] for key in order if key in known])) + "\n"
        )
        return
    done = [(record["environment"], record["settings"]) for record in records]
    listed, missing = games(options.only)
    for why in missing.values():
        print(why)
    left = [hit for hit in listed if (hit.environment, hit.settings) not in done]
    results.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context) as pool, results.open("a") as file:
        for place, future in enumerate(
            as_completed([pool.submit(checked, hit) for hit in left]), 1
        ):
            record = future.result()
            print(json.dumps(record), file=file, flush=True)
            failed = [name for name, _ in _failures(record)]
            state = record.get("cannot") or (f"failed: {', '.join(failed)}" if failed else "passed")
            print(f"{place}/{len(left)} {record['environment']} {record['settings']}: {state[:99]}")


if __name__ == "__main__":
    main()
