"""Rollouts: contrail's, TRL's two, and the bare token work."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import bare, trl_rollouts
from benchmarks.measure import alternate, ratio
from benchmarks.models import make_policy
from benchmarks.report import Report
from benchmarks.workload import Settings, record, token_work
from contrail.episode import Episode
from contrail.model.policy import Policy

import torch  # isort: skip

SAME_WORK = 0.05  # with a larger difference in tokens, times are not to be compared
EXACT = 1e-4
DEFAULTS: dict[str, Any] = {}
CHECKED = 4  # episodes whose log-probabilities are computed again


def run(settings: Settings) -> Report:
    """Let every contender play the whole workload each round."""
    report = Report("rollout", settings)
    policy = make_policy(settings)
    episodes: list[Episode] = []

    def contrail() -> None:
        episodes[:] = record(policy, settings)

    def bare_loop() -> int:
        return bare.run(policy, bare.lengths(episodes), settings.tasks, settings.group)

    with tempfile.TemporaryDirectory() as scratch:
        by_function = trl_rollouts.with_rollout_func(policy, settings, Path(scratch))
        by_factory = trl_rollouts.with_environment_factory(policy, settings, Path(scratch))
        plain = trl_rollouts.rows(settings, conversational=False)
        spoken = trl_rollouts.rows(settings, conversational=True)
        report.timings, results = alternate(
            {
                "contrail": contrail,  # first, since the bare loop takes its lengths from it
                "bare_loop": bare_loop,
                "trl_rollout_func": lambda: trl_rollouts.play(by_function, plain),
                "trl_environment_factory": lambda: trl_rollouts.play(by_factory, spoken),
            },
            settings.rounds,
            settings.device,
        )
    seconds = {name: item.seconds(settings.device) for name, item in report.timings.items()}
    for name, factor in (("trl_rollout_func", 5), ("trl_environment_factory", 8)):
        meaning = f"how many times faster than TRL's {name.removeprefix('trl_')}"
        report.aim(name, ratio(seconds[name], seconds["contrail"]), ">=", factor, meaning)
    work = token_work(episodes)
    share = ratio(seconds["bare_loop"], seconds["contrail"]) * work / results["bare_loop"]
    report.aim("bare_loop", share, ">=", 0.8, "share of the bare loop's tokens per second")
    _same_work(report, episodes, results)
    report.counts["token_work"] = {"contrail": work, "bare_loop": results["bare_loop"]}
    report.counts["tokens_per_second"] = {
        "contrail": round(work / statistics.median(seconds["contrail"])),
        "bare_loop": round(results["bare_loop"] / statistics.median(seconds["bare_loop"])),
    }
    report.check("logprobs", _logprob_error(policy, settings), EXACT)
    return report


def _same_work(
    report: Report, episodes: Sequence[Episode], results: dict[str, dict[str, int]]
) -> None:
    counts = {
        "contrail": {
            "tokens": sum(len(episode.token_ids) for episode in episodes),
            "written": sum(episode.generated_tokens for episode in episodes),
        },
        **{name: results[name] for name in results if name.startswith("trl_")},
    }
    for name in ("trl_rollout_func", "trl_environment_factory"):
        worst = max(abs(counts[name][key] / value - 1) for key, value in counts["contrail"].items())
        report.check(f"tokens_of_{name}", worst, SAME_WORK)
    report.counts.update(counts)


def _logprob_error(policy: Policy, settings: Settings) -> float:
    """Return the largest difference, in fp32, between recorded log-probabilities and those of plain
    full forwards through the unmerged adapter."""
    if settings.dtype != "float32":
        policy = make_policy(settings, "float32")
    group = min(settings.group, CHECKED)
    found = record(policy, replace(settings, tasks=1, group=group))
    worst = 0.0
    for episode in found:
        ids = torch.tensor([episode.token_ids], device=policy.model.device)
        with torch.no_grad():
            logits = policy.base(input_ids=ids).logits[0, :-1].double()
        expected = logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        written = torch.tensor(episode.mask[1:], dtype=torch.bool, device=ids.device)
        recorded = torch.tensor(episode.logprobs, dtype=torch.double, device=ids.device)
        worst = max(worst, float((expected[written] - recorded).abs().max()))
    return worst
