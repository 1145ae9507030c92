"""The core loop: evaluate, then for each stage of the stream train, evaluate, save."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from contrail.compat.avalanche import BaseTemplate
from contrail.runs.composition import Composition
from contrail.environment import Task
from contrail.errors import PluginError
from contrail.runs.evaluate import evaluate
from contrail.scores import Scores
from contrail.model.policy import Policy
from contrail.progress import Reporter
from contrail.episode import Episode
from contrail.rollout.play import Job, play
from contrail.runs.run import Run
from contrail.runs.directory import EpisodeLog
from contrail.seeding import generator
from contrail.runs.state import join, load_tensors, save_tensors, split
from contrail.stage import Stage
from contrail.stream import Scenario
from contrail.training.learner import Learner


class Loop(BaseTemplate):  # type: ignore[misc]
    """An Avalanche template whose experiences are environments, and whose plugin is the strategy.

    All that it does between two checkpoints depends on the last checkpoint and the run's seed, so a
    run that was killed ends as if it had not been.
    """

    log: EpisodeLog
    """Of the evaluation under way."""

    def __init__(
        self,
        *,
        run: Run,
        scenario: Scenario,
        stages: Sequence[Stage],
        policy: Policy,
        trainer: Learner,
        strategy: Composition,
        reporter: Reporter,
    ) -> None:
        super().__init__(model=policy.model, device=policy.model.device, plugins=[strategy])
        self.run = run
        self.scenario = scenario
        self.stages = stages
        self.policy = policy
        self.trainer = trainer
        self.strategy = strategy
        self.reporter = reporter
        self.adapters = scenario.adapters
        self.stage = 0
        trainer.penalty = functools.partial(strategy.penalty, trainer)
        self._told: set[tuple[str, str]] = set()
        self.evaluations: dict[str, Scores] = {}

    def go(self) -> None:
        """Run to the end, from the beginning or from the last checkpoint."""
        hook = self.run.plugins.hook
        self.stage = self._restore()
        hook.contrail_run_start(run=self.run)
        if self.stage < 0:
            self._evaluate_and_save(0)
        for stage, experience in enumerate(self.stages, start=1):
            if stage > self.stage:
                hook.contrail_stage_start(run=self.run, stage=experience)
                self.stage = stage
                self.train(experience, eval_streams=[])
                self._evaluate_and_save(stage)
                hook.contrail_stage_end(run=self.run, stage=experience)
        self.run.clock()
        self.run.files.write_result(self.run.result())
        hook.contrail_run_end(run=self.run)

    def _train_exp(
        self, experience: Stage, eval_streams: Sequence[Any], **kwargs: Any
    ) -> None:
        run = self.run
        hook = run.plugins.hook
        self.trainer.begin(experience.updates)
        size = self.trainer.group_size
        log = run.files.episodes(self.stage, "train")
        run.played.append({})
        run.curves.append({})
        for update in range(experience.updates):
            self._add_to_curves(experience, update)
            name = f"{experience.name} {update + 1}/{experience.updates}"
            self.reporter.start("update", name, self.trainer.batch_size)
            tasks = self._draw(experience, update)
            with self.policy.keeping():
                groups = self.rollout(tasks, size, update)
                episodes = [episode for group in groups for episode in group]
                log.add(episodes, update=update)
                self._refuse_faults(experience.name, episodes)
                hook.contrail_episodes(run=run, episodes=episodes)
                self.strategy.observe(experience, episodes, self._generator("observe", update))
                scalars = self.trainer.update(groups, self._generator("update", update))
            self._count(episodes)
            run.budget.updates += 1
            run.budget.episodes += len(episodes)
            run.budget.faults += sum(item.fault is not None for item in episodes)
            run.budget.generated_tokens += sum(item.generated_tokens for item in episodes)
            hook.contrail_update(run=run, scalars=scalars)
            self.reporter.done(_line(scalars))
        self._add_to_curves(experience, experience.updates)

    def _count(self, episodes: Sequence[Episode]) -> None:
        """Keep of which environments the episodes are that an update learns from."""
        played = self.run.played[-1]
        for episode in episodes:
            if episode.fault is None:
                played[episode.environment] = played.get(episode.environment, 0) + 1

    def _add_to_curves(self, experience: Stage, update: int) -> None:
        """Evaluate the stage's environments after so many of its updates, where that is asked for.

        The tasks and dice are those of R. What is evaluated is the policy in training, which may
        not be what a strategy leaves at the end of the stage.
        """
        every = self.run.config.evaluate.every
        if every is None or not experience.updates:
            return
        if update % every and update != experience.updates:
            return
        for test in self.scenario.test:
            if test.name in experience.environments:
                at = f"in {experience.name} after {update} updates"
                evaluation, _ = self._evaluate(test, at)
                curve = self.run.curves[-1].setdefault(test.name, [])
                curve.append([update, evaluation.success])

    def _draw(self, experience: Stage, update: int) -> Sequence[Task]:
        """The strategy's choice of tasks."""
        count = self.trainer.batch_size // self.trainer.group_size
        rng = self._generator("draw", update)
        return self.strategy.draw(experience, update, count, rng, list(self.adapters))

    def rollout(
        self,
        tasks: Sequence[Task],
        samples: int,
        *draw: str | int,
    ) -> list[list[Episode]]:
        """Play each task so often in the present stage; a group of episodes for each.

        Args:
            tasks: of any environment of the run.
            samples: episodes of each.
            draw: the name of the randomness: other names, other episodes.
        """
        adapters = {**self.adapters, **self.experience.adapters}
        jobs = [
            Job(
                task.environment,
                task,
                adapters[task.environment],
                self._generator("rollout", *draw, place, sample),
                sample,
            )
            for place, task in enumerate(tasks)
            for sample in range(samples)
        ]
        episodes = play(
            self.policy,
            self.scenario.pool,
            jobs,
            temperature=self.trainer.config.temperature,
            progress=self.reporter.advance,
        )
        self._tell(episodes)
        return [episodes[begin : begin + samples] for begin in range(0, len(episodes), samples)]

    def _generator(self, what: str, *draw: str | int) -> numpy.random.Generator:
        """Of a draw in the present stage."""
        return generator(self.run.config.seed, what, self.stage, *draw)

    def _evaluate_and_save(self, stage: int) -> None:
        given = self.run.files.base_evaluation() if stage == 0 else None
        if given is not None:  # by a comparison: another run has had the same
            self.run.restore(given)
            self.evaluations = self.run.evaluations[0]
        else:
            self.evaluations = {}
            self.log = self.run.files.episodes(stage, "evaluate")
            self.eval(self.scenario.test)
            self.run.evaluations.append(self.evaluations)
        self.run.plugins.hook.contrail_evaluated(
            run=self.run, stage=stage, evaluations=self.evaluations
        )
        self.run.budget.extra_tokens += self.trainer.extra_tokens
        self.trainer.extra_tokens = 0
        kept, tensors = split(self.strategy.state_dict())

        def save(directory: Path) -> None:
            self.policy.save(directory)
            save_tensors(tensors, directory)

        self.run.files.save_checkpoint(stage, {**self.run.state(), "strategy": kept}, save)

    def _eval_exp(self, **kwargs: Any) -> None:
        experience: Stage = self.experience
        after = f"after {self.run.stages[self.stage - 1]}" if self.stage > 0 else "before training"
        evaluation, episodes = self._evaluate(experience, after)
        self.log.add(episodes)
        if all(_unfit(episode) for episode in episodes):
            self.run.config.source.fail(
                ("max_context",),
                f"{self.policy.max_context} tokens have no room for the system message and the "
                f"first observation of any test task of {experience.name!r}.",
            )
        self.evaluations[experience.name] = evaluation

    def _evaluate(self, test: Stage, when: str) -> tuple[Scores, list[Episode]]:
        """Play the test tasks of one environment with the policy as it is."""
        settings = self.run.config.evaluate
        tasks = test.tasks[test.name]
        title = f"evaluate {test.name} {when}"
        self.reporter.start("evaluation", title, len(tasks) * settings.samples)
        evaluation, episodes = evaluate(
            self.policy,
            self.scenario.pool,
            test.name,
            tasks,
            test.adapters[test.name],
            seed=self.run.config.seed,
            samples=settings.samples,
            temperature=self.trainer.config.temperature,
            greedy=settings.decoding == "greedy",
            progress=self.reporter.advance,
        )
        self._tell(episodes)
        self._refuse_faults(test.name, episodes)
        shown = "–" if evaluation.success is None else f"{evaluation.success:.2f}"
        faults = f", faults {evaluation.fault_rate:.0%}" if evaluation.fault_rate else ""
        self.reporter.done(f"success {shown}{faults}")
        return evaluation, episodes

    def _refuse_faults(self, name: str, episodes: Sequence[Episode]) -> None:
        """Stop where every episode of a piece of work was lost: the next would be, too."""
        if all(episode.fault is not None for episode in episodes):
            raise PluginError(
                f"{name!r}: every episode was a fault of its environment. The first, of "
                f"{episodes[0].environment!r}: {episodes[0].fault}. Mend that and start the run "
                "again: it goes on from its last checkpoint."
            )

    def _tell(self, episodes: Sequence[Episode]) -> None:
        """Say each environment's first fault, and its first task that the context has no room for.

        The others are counted and logged.
        """
        for episode in episodes:
            key = (episode.environment, episode.ended)
            if key in self._told or not (episode.fault is not None or _unfit(episode)):
                continue
            self._told.add(key)
            what = "fault of" if episode.fault is not None else "max_context is too small for"
            said = "" if episode.fault is None else f": {episode.fault}"
            self.reporter.say(
                f"{what} the environment {episode.environment!r} in task {episode.task.id!r}{said} "
                "(further ones are only counted)"
            )

    def _restore(self) -> int:
        """The stage the last checkpoint was made after, or -1."""
        found = self.run.files.last_checkpoint()
        if found is None:
            return -1
        path, state = found
        self.run.restore(state)
        self.strategy.load_state_dict(join(state["strategy"], load_tensors(path)))
        self.policy.restore(path)
        self.reporter.say(f"going on from {path}")
        return int(state["stage"])


def _unfit(episode: Episode) -> bool:
    """Whether not even the first turn had room in the context."""
    return episode.ended == "max_context" and not episode.turns


def _line(scalars: dict[str, float]) -> str:
    shown = {
        "success": "success {:.2f}",
        "turns": "turns {:.1f}",
        "policy_entropy": "entropy {:.2f}",
        "zero_variance_groups": "equal groups {:.0%}",
    }
    said = [text.format(scalars[name]) for name, text in shown.items() if name in scalars]
    if "loss" not in scalars:
        said.insert(0, "nothing to learn from")
    if scalars["fault_rate"]:
        said.append(f"faults {scalars['fault_rate']:.0%}")
    return ", ".join(said)
