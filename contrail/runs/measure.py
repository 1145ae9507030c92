"""Measures a few steps of a run before it begins, and leaves no trace of them."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy
import torch

from contrail.adapter import Adapter
from contrail.baselines import RANDOM, SAMPLES, Subject, is_cached, play_one
from contrail.baselines.baseline import SECONDS
from contrail.baselines.stream import IN_A_RUN
from contrail.config import RunConfig, identity, plain, to_dict
from contrail.episode import Episode
from contrail.errors import ContrailError
from contrail.registry.plugins import Plugins
from contrail.runs import memory
from contrail.runs.composition import Composition
from contrail.runs.estimate import WEARING, Clocks, Estimate, Known, Measured, Part
from contrail.runs.evaluate import evaluate
from contrail.runs.position import Course
from contrail.runs.prepared import Prepared
from contrail.runs.rollouts import Rollouts, StagePlay
from contrail.seeding import generator
from contrail.stage import Stage
from contrail.stream.listing import maker
from contrail.training.advantages import equal
from contrail.training.asked import ask
from contrail.training.grpo import GRPO

LONG = 1000
"""Episodes from which on a run measures a few steps before it begins."""
START = 4.0
"""Seconds that this takes at most, about; a run in which it would take longer does without."""
DRY_RUN = 120.0
"""Seconds that `--dry-run` takes, about; longer where a single episode of each part does."""
FIRST, GROWTH = 2, 4
"""Of the sizes in which a part is measured: the first one, and the factor to the next."""
WAITING = 0.25
"""On a busy machine a second counts as so much at least, whatever this process gets of it."""


def counted(config: RunConfig, made: Prepared, name: str) -> Estimate:
    """Return how many episodes a run has; nothing is measured."""
    found = course(config, made.strategy, made.stages)
    updates = sum(found.updates)
    tests = sum(len(test.tasks[test.name]) for test in made.scenario.test)
    evaluation = found.evaluations() * tests * config.evaluate.samples
    training = updates * made.learner.batch_size
    return Estimate(name, updates, training, evaluation, course=found)


def course(config: RunConfig, strategy: Composition, stages: Sequence[Stage]) -> Course:
    """Return what tells how often a run evaluates.

    Args:
        config: of the run.
        strategy: its strategies. What they do at the ends of a stage cannot be known; that they do
            something there can.
        stages: that are trained.
    """
    return Course(
        tuple(stage.updates for stage in stages),
        config.evaluate.every,
        warmup=any(stage.warmup for stage in stages),
        restarts=strategy.restarts,
        enters=strategy.changes_from("enter"),
        leaves=strategy.changes_from("leave"),
    )


class TooLong(Exception):
    """The time for the measurement is over."""


class Measurement:
    """Measures the parts of one run.

    Args:
        config: of the run.
        made: for it. The policy, the learner and the objectives are left as they were.
        rollouts: play the tasks; of their own, since they remember what they have evaluated.
        plugins: the loaded ones.
        seconds: that it may take, about. Every part is measured once at least.
        check: called before each step of the sampler; raises where it is to end.
        known: parts of other runs, by what they depend on. They are not measured again; those of
            this run are added.
    """

    def __init__(
        self,
        config: RunConfig,
        made: Prepared,
        rollouts: Rollouts,
        plugins: Plugins,
        seconds: float,
        check: Callable[[], None],
        known: dict[str, Known] | None = None,
    ) -> None:
        self._check = check
        self._known = {} if known is None else known
        self._config = config
        self._made = made
        self._rollouts = rollouts
        self._plugins = plugins
        trained = [stage for stage in made.stages if stage.updates]
        self._seconds = seconds / (len(made.scenario.test) + len(trained))
        self._children = 0
        self._longest = 0

    def estimate(self, name: str, begun: tuple[float, float]) -> Estimate:
        """Return the estimate.

        Args:
            name: of the run.
            begun: the wall clock and the processor seconds at which the run began.
        """
        found = counted(self._config, self._made, name)
        found.resident = memory.peak()
        found.setup = time.monotonic() - begun[0], time.process_time() - begun[1]
        if self._config.evaluate.baselines:
            each = [self._baselines(test) for test in self._made.scenario.test]
            found.baselines = sum(wall for wall, _ in each), sum(cpu for _, cpu in each)
        with untouched(self._made):
            for test in self._made.scenario.test:
                times = found.course.evaluations()
                measure = functools.partial(self._evaluation, test, times)
                found.parts += self._once(self._key("evaluation", test), times, measure)
            for number, stage in enumerate(self._made.stages, start=1):
                if not stage.updates:
                    continue
                measure = functools.partial(self._update, stage, number)
                try:
                    found.parts += self._once(self._key("update", stage), stage.updates, measure)
                except ContrailError as error:  # of few tasks; the run draws others
                    found.left_out.append(f"stage {stage.name}: {error}")
        found.children = self._children
        found.longest = self._longest
        names = [item.name for item in self._config.strategies]
        if names not in (["sequential"], ["mixture"], ["cumulative"], ["isolated"], ["frozen"]):
            adds = "adds to an update, and the episodes that it plays by itself"
            found.left_out.append(f"what the strategy {'+'.join(names)} {adds}")
        if self._config.evaluate.drift:
            found.left_out.append("evaluate.drift")
        return found

    def _once(self, key: str, times: int, measure: Callable[[], list[Part]]) -> list[Part]:
        """Return the parts of a key, repeated so many times; measured if they are not known."""
        if key not in self._known:
            before = self._children, self._longest
            self._children = self._longest = 0
            self._known[key] = Known(measure(), self._children, self._longest)
            self._children, self._longest = before
        known = self._known[key]
        self._children = max(self._children, known.children)
        self._longest = max(self._longest, known.longest)
        return [replace(part, times=times) for part in known.parts]

    def _key(self, kind: str, stage: Stage) -> str:
        """Return what a part depends on: the stage, and the settings that are not of others."""
        settings = identity(to_dict(self._config))
        for name in ("strategy", "seed", "stream", "adapter", "warmup", "plugins"):
            del settings[name]
        del settings["evaluate"]["environments"]
        used: list[Any] = [
            item for item in self._config.environments if item.label in stage.environments
        ]
        used += [type(item).__qualname__ for item in stage.adapters.values()]
        used += [item.config for item in stage.adapters.values()]
        used += [[task.id for task in tasks] for tasks in stage.tasks.values()]
        if kind == "update" and stage.objective is not None:
            used += [type(stage.objective).__qualname__, stage.objective.config]
        return json.dumps([kind, stage.name, settings, plain(used)], sort_keys=True, default=str)

    def _evaluation(self, test: Stage, times: int) -> list[Part]:
        config, made = self._config, self._made
        tasks, samples = test.tasks[test.name], config.evaluate.samples
        adapter = test.adapters[test.name]
        part = Part("evaluation", test.name, len(tasks) * samples, times)

        def play(count: int) -> list[list[Episode]]:
            _, episodes = evaluate(
                made.policy,
                made.scenario.pool,
                test.name,
                tasks[:count],
                adapter,
                seed=config.seed,
                samples=samples,
                temperature=made.learner.config.temperature,
                greedy=config.evaluate.decoding == "greedy",
                end_after_invalid=config.answers.end_after_invalid,
                metrics=self._plugins.episode_metrics,
                check=self._check,
                dice=config.dice_of(test.name),
            )
            return [episodes]

        for count in self._sizes(len(tasks), part):
            (episodes,) = self._timed(part, functools.partial(play, count))
            part.bound = max(part.bound, self._bound(episodes, adapter))
        return [part]

    def _update(self, stage: Stage, number: int) -> list[Part]:
        learner, policy = self._made.learner, self._made.policy
        objective = stage.objective or GRPO()
        if objective.has_advantages:  # a strategy's own may need what the run has not got yet
            objective = GRPO()
        samples = ask(objective, "samples", learner)
        groups = learner.batch_size // samples
        playing = Part("playing", stage.name, learner.batch_size, stage.updates)
        learning = Part("learning", stage.name, learner.batch_size, stage.updates)
        learning.most = learner.batch_size
        differing = drawn = 0
        for count in self._sizes(groups, playing, learning):
            learner.begin(stage.updates, objective)
            rng = generator(self._config.seed, "estimate", number, count)
            tasks = stage.sample(count, rng)
            play = StagePlay(self._rollouts, stage, number, 0)
            with policy.keeping():
                found = self._timed(playing, functools.partial(learner.episodes, tasks, play))
                episodes = [episode for group in found for episode in group]
                for adapter in stage.adapters.values():
                    playing.bound = max(playing.bound, self._bound(episodes, adapter))
                differing += sum(
                    not equal([item.training_reward for item in group]) for group in found
                )
                drawn += len(found)
                if objective.has_advantages:
                    _make_different(found)
                self._timed(learning, functools.partial(self._learn, found, rng))
        if objective.has_advantages and drawn:
            # One of each is added, as few groups say little.
            learning.episodes *= WEARING * (differing + 1) / (drawn + 2)
        return [playing, learning]

    def _learn(
        self, groups: Sequence[Sequence[Episode]], rng: numpy.random.Generator
    ) -> Sequence[Sequence[Episode]]:
        self._made.learner.update(groups, rng)
        return groups

    def _sizes(self, full: int, *parts: Part) -> Iterator[int]:
        """Yield sizes up to the full one, as long as the next one is expected to be in time; two
        at least, since a batch of several takes less than several of one.

        The first time, workers are started and caches filled: it is not counted.
        """
        begun = time.monotonic(), time.process_time()
        yield 1
        for part in parts:
            part.points.clear()
        size = min(FIRST, full)
        yield size
        while size < full:
            last, spent = size, _spent(begun)
            size = min(full, size * GROWTH)
            took = sum(max(p.points[-1].cpu, WAITING * p.points[-1].wall) for p in parts)
            if spent + took * size / last > self._seconds and len(parts[0].points) > 1:
                return
            yield size

    def _timed(
        self, part: Part, work: Callable[[], Sequence[Sequence[Episode]]]
    ) -> Sequence[Sequence[Episode]]:
        """Do a piece of work, which returns groups of episodes, and add its measurement to its
        part."""
        memory.reset_peak()
        wall, cpu = time.monotonic(), time.process_time()
        groups = work()
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        episodes = [episode for group in groups for episode in group]
        self._children = max(self._children, memory.of_children())
        lengths = [len(episode.token_ids) for episode in episodes]
        self._longest = max([self._longest, *lengths])
        part.points.append(
            Measured(
                max(1, len(episodes)),
                wall,
                cpu,
                memory.peak(),
                memory.gpu_peak(),
                sum(episode.generated_tokens for episode in episodes),
                sum(lengths),
            )
        )
        return groups

    def _bound(self, episodes: Sequence[Episode], adapter: Adapter) -> int:
        """Return the most tokens that the model may write in an episode: those of its turns, free
        text up to the adapter's limit, choices as long as the longest seen."""
        turns = [turn for episode in episodes for turn in episode.turns]
        choices = [len(choice) for turn in turns for choice in turn.choices or ()]
        each = max(choices) if choices else adapter.max_new_tokens
        label = episodes[0].environment
        environment = self._made.scenario.pool.take(label)
        most = environment.max_turns
        self._made.scenario.pool.give(label, environment)
        return min(most * each, self._made.policy.max_context)

    def _baselines(self, test: Stage) -> tuple[float, float]:
        """Return the wall-clock and processor seconds of the players without a model, but for
        those known already."""
        label = test.name
        config = next(item for item in self._config.environments if item.label == label)
        end = self._config.answers.end_after_invalid
        subject = Subject(
            label,
            maker(config, self._plugins),
            test.adapters[label],
            test.tasks[label],
            end_after_invalid=end,
        )
        sums = [0.0, 0.0]
        for player in IN_A_RUN:
            if is_cached(subject, player):
                continue
            few = replace(subject, tasks=subject.tasks[:2])
            begun = time.monotonic(), time.process_time()
            play_one(few, self._made.scenario.pool, player, samples=1, seconds=SECONDS)
            more = len(subject.tasks) / len(few.tasks)
            wall = (time.monotonic() - begun[0]) * more
            cpu = (time.process_time() - begun[1]) * more
            # Further samples are played for SECONDS at most.
            often = min(SAMPLES, 1 + SECONDS / wall) if player == RANDOM else 1.0
            sums[0] += wall * often
            sums[1] += cpu * often
        return sums[0], sums[1]


def _spent(begun: Clocks) -> float:
    """Return the processor seconds since then, or a share of the wall clock if that is more."""
    wall, cpu = begun
    return max(time.process_time() - cpu, WAITING * (time.monotonic() - wall))


def _make_different(groups: Sequence[Sequence[Episode]]) -> None:
    """Let the rewards of every group differ, so that every episode is learnt from."""
    for group in groups:
        for place, episode in enumerate(group):
            if episode.turns:
                episode.turns[-1].reward += place % 2 * 10.0


@contextmanager
def untouched(made: Prepared) -> Iterator[None]:
    """Context manager: then restore the policy, the learner, the objectives and torch's dice."""
    policy, learner = made.policy, made.learner
    lora, extra = policy.snapshot(), learner.extra_tokens
    objectives = [stage.objective for stage in made.stages if stage.objective is not None]
    states = [ask(objective, "state_dict") for objective in objectives]
    try:
        with torch.random.fork_rng():
            yield
    finally:
        policy.load(lora)
        for parameter in policy.parameters.values():
            parameter.grad = None
        for objective, state in zip(objectives, states, strict=True):
            if state:
                ask(objective, "load_state_dict", state)
        learner.extra_tokens = extra
        learner.begin(1)
