"""Longer episodes: what a turn costs at 24 turns and at 6."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import trl_rollouts
from benchmarks.measure import alternate, ratio
from benchmarks.models import make_policy
from benchmarks.report import Report
from benchmarks.workload import Settings, record
from contrail.episode import Episode

# With 64 episodes and 24 turns TRL needs some 17 GB in float32.
DEFAULTS: dict[str, Any] = {"tasks": 4}
LONGER = 4  # times as many turns


def run(settings: Settings) -> Report:
    """contrail's whole rollouts; TRL's short one, and the last turn of its long one.

    TRL's rollout of 24 turns would take an hour. Its last turn, the dearest, is also where its
    memory peaks.
    """
    report = Report("scaling", settings)
    policy = make_policy(settings)
    longer = replace(settings, turns=LONGER * settings.turns)
    short, long = f"contrail_{settings.turns}_turns", f"contrail_{longer.turns}_turns"
    played: list[Episode] = []

    def contrail_long() -> None:
        played[:] = record(policy, longer)

    with tempfile.TemporaryDirectory() as scratch:
        trl = trl_rollouts.with_rollout_func(policy, settings, Path(scratch))
        inputs = trl_rollouts.rows(settings, conversational=False)

        def trl_last_turn() -> None:
            histories = [
                item.token_ids[: len(item.token_ids) - len(item.turns[-1].written)]
                for item in played
            ]
            trl._generate_single_turn(  # type: ignore[no-untyped-call]
                histories, None, {}, 1
            )

        last = f"trl_turn_{longer.turns}_alone"
        report.timings, _ = alternate(
            {
                short: lambda: record(policy, settings),
                long: contrail_long,  # before the last turn, whose histories it writes
                f"trl_{settings.turns}_turns": lambda: trl_rollouts.play(trl, inputs),
                last: trl_last_turn,
            },
            settings.rounds,
            settings.device,
        )
    seconds = {name: item.seconds(settings.device) for name, item in report.timings.items()}
    name = f"turns_{longer.turns}_over_{settings.turns}"
    meaning = "cost of a turn in long episodes over that in short ones"
    report.aim(name, ratio(seconds[long], seconds[short]) / LONGER, "<=", 1.3, meaning)
    per_turn = [value / longer.turns for value in seconds[long]]
    meaning = "how many times the last turn costs TRL what a turn costs contrail"
    report.aim("trl_last_turn", ratio(seconds[last], per_turn), ">=", 1, meaning)
    lengths = [len(item.token_ids) for item in played]
    report.counts["tokens_of_a_long_episode"] = round(sum(lengths) / len(lengths))
    return report
