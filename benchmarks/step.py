"""Whole steps: a rollout and the update that learns from it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import trl_rollouts
from benchmarks.measure import Timings, alternate, ratio, timed
from benchmarks.model_time import model_time
from benchmarks.models import make_policy
from benchmarks.report import Report
from benchmarks.update import contrail_config
from benchmarks.workload import SEED, Settings, grouped, record
from contrail.seeding import generator
from contrail.training.learner import Learner

DEFAULTS: dict[str, Any] = {}
OVERHEAD = 0.05


def run(settings: Settings) -> Report:
    """contrail's rollout and update, and a step of TRL's own training loop with `rollout_func`."""
    report = Report("step", settings)
    policy = make_policy(settings)
    noise = generator(SEED, "rewards")
    with tempfile.TemporaryDirectory() as scratch:
        trl = trl_rollouts.with_rollout_func(policy, settings, Path(scratch))
        trainer = Learner(policy, contrail_config(settings, Path(scratch)))

        def contrail() -> int:
            episodes = record(policy, settings)
            for episode, reward in zip(episodes, noise.normal(size=len(episodes)), strict=True):
                for turn in episode.turns:
                    turn.reward = 0.0
                episode.turns[-1].reward = float(reward)
            trainer.update(grouped(episodes, settings.group), generator(SEED, "update"))
            return sum(episode.generated_tokens for episode in episodes)

        report.timings, results = alternate(
            {"contrail": contrail, "trl": trl.train}, settings.rounds, settings.device
        )
        # Once more, watched: on a GPU that costs time.
        watched = Timings()
        with model_time(policy.base, settings.device) as inside:
            timed(contrail, watched, settings.device)
    seconds = {name: item.seconds(settings.device) for name, item in report.timings.items()}
    meaning = "how many times faster than TRL's rollout_func and update, checkpointing off"
    report.aim("trl", ratio(seconds["trl"], seconds["contrail"]), ">=", 4, meaning)
    whole = watched.seconds(settings.device)[0]
    share = 1 - inside.seconds / whole
    meaning = "share of contrail's step outside forward, backward and optimizer"
    report.aim("overhead", share, "<=", OVERHEAD, meaning)
    report.counts["written"] = results["contrail"]
    return report
