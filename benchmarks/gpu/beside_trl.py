"""Updates and whole steps beside TRL's, on the same model, adapter and episodes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import trl_rollouts, trl_trainer, trl_updates
from benchmarks.gpu.device import OutOfMemory
from benchmarks.gpu.models import random_policy
from benchmarks.gpu.record import Sink
from benchmarks.gpu.settings import Options
from benchmarks.update import contrail_config, some_advantages
from benchmarks.workload import QUICK, SEED, Settings, grouped, record
from contrail.episode import Episode
from contrail.model.policy import Policy
from contrail.seeding import generator
from contrail.training.learner import Learner
from contrail.training.objective import Batch

UPDATE = "An update beside TRL's: seconds"
STEP = "A step (rollout and update) beside TRL's: seconds"


def settings_of(options: Options) -> Settings:
    """64 episodes of 4 turns of BabyAI, 8 tokens each."""
    values = QUICK | {"device": options.device} if options.tiny else {}
    usual = {"device": options.device, "dtype": "bfloat16", "trl_batch": 8, "turns": 4, "tokens": 8}
    return Settings(**(values or usual))


def update(options: Options, sink: Sink) -> None:
    """Both learn from the same episodes; TRL without and with activation checkpointing."""
    policy = random_policy(options.models[0], options.dtype, options.device)
    update_of(options, sink, options.models[0], policy, settings_of(options))


def update_of(options: Options, sink: Sink, name: str, policy: Policy, settings: Settings) -> None:
    """The same of a model that is there."""
    row = f"{name}, {settings.episodes} episodes"
    episodes = record(policy, settings)
    tokens = sum(len(episode.token_ids) for episode in episodes)
    sink.add(UPDATE, row, "tokens", float(tokens))
    advantages = some_advantages(len(episodes))
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Learner(policy, contrail_config(settings, Path(scratch)))
        trainer.gradients(Batch.of(episodes, advantages))
        options.on.clean()
        ours = options.on.seconds(lambda: trainer.gradients(Batch.of(episodes, advantages)))
        sink.add(UPDATE, row, "contrail", ours)
        sink.add(UPDATE, row, "contrail, tokens/s", tokens / ours)
        sink.add(UPDATE, row, "contrail, peak GB", options.on.peak() / 1e9)
        trl = trl_trainer.make_trainer(policy, trl_trainer.config(settings, Path(scratch)))
        whole = trl_updates.batch(episodes, policy, advantages)
        few = {key: values[: settings.trl_batch] for key, values in whole.items()}
        policy.model.train()

        def by_trl() -> None:
            trl_updates.gradients(trl, policy, whole, settings.trl_batch)

        for column in ("TRL", "TRL, checkpointing"):
            options.on.clean()
            try:
                if column == "TRL":
                    trl_updates.gradients(trl, policy, few, settings.trl_batch)
                    options.on.clean()
                    theirs = options.on.seconds(by_trl)
                else:
                    with trl_trainer.checkpointing(policy):
                        theirs = options.on.seconds(by_trl)
            except OutOfMemory:
                sink.add(UPDATE, row, column, "out of memory")
                continue
            sink.add(UPDATE, row, column, theirs)
            sink.add(UPDATE, row, f"{column}, peak GB", options.on.peak() / 1e9)
            sink.add(UPDATE, row, f"{column} / contrail", theirs / ours)


def step(options: Options, sink: Sink) -> None:
    """Both play the same tasks and learn from what they played."""
    settings = settings_of(options)
    name = options.models[0]
    policy = random_policy(name, settings.dtype, options.device)
    row = f"{name}, {settings.episodes} episodes"
    noise = generator(SEED, "rewards")
    episodes: list[Episode] = []
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Learner(policy, contrail_config(settings, Path(scratch), learning_rate=1e-9))

        played = 0.0

        def play() -> None:
            episodes[:] = record(policy, settings)

        def ours() -> None:
            nonlocal played
            played = options.on.seconds(play)
            for episode, reward in zip(episodes, noise.normal(size=len(episodes)), strict=True):
                for turn in episode.turns:
                    turn.reward = 0.0
                episode.turns[-1].reward = float(reward)
            trainer.update(grouped(episodes, settings.group), generator(SEED, "update"))

        ours()
        seconds = options.on.seconds(ours)
        sink.add(STEP, row, "contrail", seconds)
        sink.add(STEP, row, "contrail, rollout", played)
        trl = trl_rollouts.with_rollout_func(policy, settings, Path(scratch))
        theirs = options.on.seconds(trl.train)  # the kernels are warm but for those of its own
        sink.add(STEP, row, "TRL (rollout_func)", theirs)
        sink.add(STEP, row, "TRL / contrail", theirs / seconds)
