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
import re
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
from contrail.registry.plugins import load_plugins
from contrail.workers.factory import EnvironmentFactory

BRIDGES = ("reasoning-gym", "gem", "textworld", "textworld-express", "textarena", "gymnasium")
SECONDS = 120  # of the processor, for a single check
TASKS = 2  # of each split
SHOWN = 160  # characters of a reason
COMPARED = 40  # characters; reasons that begin alike share a line
STATES = ("pass", "fail", "cannot", "not checked")


INTRODUCTION = """\
# Environments of other libraries

The result of `contrail check` on each of them, unchanged, as `contrail environments --search` lists
it: with `--tasks 2`, on Python 3.11, with the versions in constraints.txt. An environment passes if
no check has failed. Warnings, such as of tests that resemble training, are not counted. What needs
data from a network cannot be made on a machine without one. `python -m benchmarks.foreign` checks
what has not been checked, and with `--table docs/foreign.md` it writes this page.

"""


class TooLong(BaseException):
    """A check took longer than `SECONDS`. No Exception: generators try again after one."""


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

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS, SECONDS)
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
        signal.setitimer(signal.ITIMER_PROF, 0)
    return {**record, "seconds": round(time.monotonic() - begun, 1)}


def table(records: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a Markdown page. What has not been checked has neither findings nor a
    reason."""
    yield from INTRODUCTION.splitlines()
    yield "| bridge | listed | pass | fail | cannot be made here | not checked |"
    yield "| --- | --- | --- | --- | --- | --- |"
    states = [(record["environment"], _state(record)) for record in records]
    for name in (*dict.fromkeys(name for name, _ in states), "together"):
        its = [state for of, state in states if name in (of, "together")]
        counts = [its.count(state) for state in STATES]
        yield f"| {name} | {len(its)} | {' | '.join(map(str, counts))} |"
    yield ""
    yield "| bridge | environments | check | why |"
    yield "| --- | --- | --- | --- |"
    alike: dict[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
    for record in records:
        what = " ".join(map(_plain, record["settings"].values()))
        reasons = [("–", record["cannot"])] if "cannot" in record else _failures(record)
        for check_name, why in reasons:
            line = " ".join(why.split()).replace("|", "\\|").replace("`", "'")
            kind = re.sub(r"'[^']*'", "", line.replace(what.split()[0], ""))[:COMPARED]
            alike[record["environment"], check_name, kind].append((what, line))
    for (bridge, check_name, _), group in alike.items():
        line = group[0][1]
        line = line if len(line) <= SHOWN else f"{line[:SHOWN]}…"
        yield f"| {bridge} | {', '.join(what for what, _ in group)} | {check_name} | {line} |"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _state(record: dict[str, Any]) -> str:
    if "cannot" in record:
        return "cannot"
    if "findings" not in record:
        return "not checked"
    return "fail" if _failures(record) else "pass"


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
    listed, missing = games(options.only)
    if options.table:
        known = {(r["environment"], json.dumps(r["settings"])): r for r in records}
        rows = [
            known.get(
                (hit.environment, json.dumps(hit.settings)),
                {"environment": hit.environment, "settings": hit.settings},
            )
            for hit in listed
        ]
        options.table.write_text("\n".join(table(rows)) + "\n")
        return
    done = [(record["environment"], record["settings"]) for record in records]
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
