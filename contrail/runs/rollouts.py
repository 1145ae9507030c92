"""Plays the tasks of a run, for updates and for evaluations, and reports faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from contrail.adapter import Adapter
from contrail.config import AnswersConfig, EvaluateConfig
from contrail.environment import Task
from contrail.episode import Episode
from contrail.errors import ConfigError, PluginError
from contrail.metrics.episode import EpisodeMetric
from contrail.metrics.failures import Diagnosis
from contrail.metrics.scores import Scores
from contrail.model.policy import Policy
from contrail.progress.reporter import Reporter
from contrail.rollout.answers import mark
from contrail.rollout.play import Job, play
from contrail.rollout.script import EXPERT, Move, Script, no_sampler
from contrail.rollout.watchdog import OnWait
from contrail.runs.evaluate import evaluate
from contrail.seeding import generator
from contrail.stage import Stage
from contrail.training.objective import Moves
from contrail.workers.pool import EnvironmentPool

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class _Evaluated:
    """An evaluation of one environment, and the LoRA that played."""

    lora: Mapping[str, torch.Tensor]
    scores: Scores
    episodes: list[Episode]


class Rollouts:
    """Plays with the policy as it is.

    Args:
        policy: that plays.
        pool: the environments.
        adapters: of each environment of the run.
        seed: the run's.
        temperature: of the distribution that is sampled.
        settings: of evaluations.
        answers: what happens to malformed answers.
        reporter: follows the episodes.
        check: called before each step of the sampler; raises if the run is interrupted.
        metrics: of an episode, for evaluations.
        diagnose: finds the failure modes of episodes.
        remember: whether evaluations are kept, so that a policy is evaluated once only.
        dice: of evaluations, by environment: see `contrail.runs.evaluate`.
        on_wait: called while an environment takes long, see `contrail.rollout.watchdog`.
    """

    def __init__(
        self,
        policy: Policy,
        pool: EnvironmentPool,
        adapters: dict[str, Adapter],
        *,
        seed: int,
        temperature: float,
        settings: EvaluateConfig,
        answers: AnswersConfig,
        reporter: Reporter,
        check: Callable[[], None],
        metrics: Sequence[EpisodeMetric],
        diagnose: Diagnosis,
        remember: bool = False,
        dice: Mapping[str, str] | None = None,
        on_wait: OnWait | None = None,
    ) -> None:
        self._on_wait = on_wait
        self._policy = policy
        self._pool = pool
        self._adapters = adapters
        self._seed = seed
        self._temperature = temperature
        self._settings = settings
        self._answers = answers
        self._reporter = reporter
        self._check = check
        self._metrics = metrics
        self._diagnose = diagnose
        self._remember = remember
        self._dice = {} if dice is None else dice
        self._reported: set[tuple[str, str]] = set()
        self._evaluated: dict[str, _Evaluated] = {}

    def generator(self, *name: str | int) -> numpy.random.Generator:
        """Return the generator of this name of the run's."""
        return generator(self._seed, *name)

    def train(
        self,
        stage: Stage,
        number: int,
        tasks: Sequence[Task],
        samples: int,
        name: str | int,
    ) -> list[list[Episode]]:
        """Play each task `samples` times in a stage; return a group of episodes per task.

        Args:
            stage: the stage, through whose adapters its environments are played.
            number: its number.
            tasks: of any environment of the run.
            samples: episodes of each.
            name: of the randomness: another name gives other episodes.
        """
        adapters = {**self._adapters, **stage.adapters}
        jobs = [
            Job(
                task.environment,
                task,
                adapters[task.environment],
                generator(self._seed, "rollout", number, name, place, sample),
                sample,
            )
            for place, task in enumerate(tasks)
            for sample in range(samples)
        ]
        self._reporter.expect(len(jobs))
        episodes = play(
            self._policy,
            self._pool,
            jobs,
            temperature=self._temperature,
            end_after_invalid=self._answers.end_after_invalid,
            progress=self._reporter.advance,
            check=self._check,
            on_wait=self._on_wait,
        )
        mark(episodes, self._answers)
        self._diagnose(episodes)
        self._report_first_problem(episodes)
        return [episodes[begin : begin + samples] for begin in range(0, len(episodes), samples)]

    def demonstrate(
        self, stage: Stage, tasks: Sequence[Task], scripts: Sequence[Script]
    ) -> list[Episode]:
        """Play each task by its script, without the model, through the stage's adapters."""
        adapters = {**self._adapters, **stage.adapters}
        jobs = [
            Job(
                task.environment,
                task,
                adapters[task.environment],
                generator(self._seed, "demonstration", task.id),
                script=script,
            )
            for task, script in zip(tasks, scripts, strict=True)
        ]
        self._reporter.expect(len(jobs))
        episodes = play(
            self._policy,
            self._pool,
            jobs,
            open_sampler=no_sampler,
            progress=self._reporter.advance,
            check=self._check,
            on_wait=self._on_wait,
        )
        self._report_first_problem(episodes)
        return episodes

    def evaluate(self, test: Stage, when: str) -> tuple[Scores, list[Episode]]:
        """Play the test tasks of one environment.

        The evaluations of one policy are equal, as their dice are: with `remember`, all but the
        first are those that were made before.

        Raises:
            PluginError: every episode was a fault of the environment.
            ConfigError: `max_context` has no room for any task.
        """
        settings = self._settings
        tasks = test.tasks[test.name]
        title = f"evaluate {test.name} {when}"
        self._reporter.start("evaluation", title, len(tasks) * settings.samples)
        last = self._evaluated.get(test.name)
        if last is not None and self._policy.has(last.lora):
            about = {"environment": test.name, "when": when, "success": last.scores.success}
            self._reporter.done(f"{_shown(last.scores)}, as evaluated before", about)
            return last.scores, last.episodes
        scores, episodes = evaluate(
            self._policy,
            self._pool,
            test.name,
            tasks,
            test.adapters[test.name],
            seed=self._seed,
            samples=settings.samples,
            temperature=self._temperature,
            greedy=settings.decoding == "greedy",
            end_after_invalid=self._answers.end_after_invalid,
            progress=self._reporter.advance,
            metrics=self._metrics,
            check=self._check,
            diagnose=self._diagnose,
            dice=self._dice.get(test.name),
            on_wait=self._on_wait,
        )
        self._report_first_problem(episodes)
        refuse_faults(test.name, episodes)
        if all(_unfit(episode) for episode in episodes):
            raise ConfigError(
                f"{self._policy.max_context} tokens have no room for the system message and the "
                f"first observation of any test task of {test.name!r}.",
                key=("max_context",),
            )
        if self._remember:
            self._evaluated[test.name] = _Evaluated(self._lora(), scores, episodes)
        about = {"environment": test.name, "when": when, "success": scores.success}
        self._reporter.done(_shown(scores), about)
        return scores, episodes

    def _lora(self) -> Mapping[str, torch.Tensor]:
        """Return a copy of the LoRA: the one that is there for another environment, if it is."""
        same = (item.lora for item in self._evaluated.values() if self._policy.has(item.lora))
        return next(same, None) or self._policy.snapshot()

    def _report_first_problem(self, episodes: Sequence[Episode]) -> None:
        """Report each environment's first fault, and its first task that the context cannot hold.

        The others are counted and logged.
        """
        for episode in episodes:
            key = (episode.environment, episode.ended)
            if key in self._reported or not (episode.fault is not None or _unfit(episode)):
                continue
            self._reported.add(key)
            what = "fault of" if episode.fault is not None else "max_context is too small for"
            said = "" if episode.fault is None else f": {episode.fault}"
            self._reporter.say(
                f"{what} the environment {episode.environment!r} in task {episode.task.id!r}{said} "
                "(further ones are only counted)"
            )


@dataclass(frozen=True)
class StagePlay:
    """Plays the tasks of one update; see `contrail.training.objective.Play`."""

    rollouts: Rollouts
    stage: Stage
    number: int
    update: int

    def __call__(self, tasks: Sequence[Task], samples: int) -> list[list[Episode]]:
        return self.rollouts.train(self.stage, self.number, tasks, samples, self.update)

    def demonstrations(
        self,
        tasks: Sequence[Task],
        scripts: Mapping[Task, Sequence[Moves]] | None = None,
    ) -> list[Episode]:
        if scripts is None:
            return self.rollouts.demonstrate(self.stage, tasks, [EXPERT] * len(tasks))
        rng = self.rollouts.generator("script", self.number, self.update)
        drawn = [scripts[task][int(rng.integers(len(scripts[task])))] for task in tasks]
        moves = [[Move(*move) for move in each] for each in drawn]
        return self.rollouts.demonstrate(self.stage, tasks, moves)


def refuse_faults(name: str, episodes: Sequence[Episode]) -> None:
    """Stop where every episode was lost: the next ones would be, too.

    Raises:
        PluginError: every episode was a fault.
    """
    if all(episode.fault is not None for episode in episodes):
        raise PluginError(
            f"{name!r}: every episode was a fault of its environment. The first, of "
            f"{episodes[0].environment!r}: {episodes[0].fault}. Mend that and start the run "
            "again: it goes on from its last checkpoint, if it has one."
        )


def _shown(scores: Scores) -> str:
    success = "–" if scores.success is None else f"{scores.success:.2f}"
    rate = scores.metrics.get("fault_rate")
    return f"success {success}" + (f", {rate:.0%} lost to faults" if rate else "")


def _unfit(episode: Episode) -> bool:
    """Return whether not even the first turn had room in the context."""
    return episode.ended == "max_context" and not episode.turns
