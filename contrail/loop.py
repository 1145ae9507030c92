"""The core loop: evaluate, then for each stage of the stream train, evaluate, save."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contrail.avalanche import BaseTemplate
from contrail.environment import Task
from contrail.errors import PluginError
from contrail.evaluation import Evaluation, evaluate
from contrail.making import blamed
from contrail.model import Policy
from contrail.progress import Reporter
from contrail.rollout.episode import Episode
from contrail.rollout.play import Job, play
from contrail.run import Run
from contrail.rundir import EpisodeLog
from contrail.seeding import generator
from contrail.strategy import Strategy
from contrail.stream import Experience, Scenario
from contrail.trainer import Trainer


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
        stages: Sequence[Experience],
        policy: Policy,
        trainer: Trainer,
        strategy: Strategy,
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
        self._faulty: set[str] = set()
        self.evaluations: dict[str, Evaluation] = {}

    def go(self) -> None:
        """Run to the end, from the beginning or from the last checkpoint."""
        hook = self.run.plugins.hook
        self.stage = self._restore()
        hook.contrail_run_start(run=self.run)
        if self.stage < 0:
            self._evaluate_and_save(0)
        for stage, experience in enumerate(self.stages, start=1):
            if stage > self.stage:
                hook.contrail_experience_start(run=self.run, experience=experience)
                self.stage = stage
                self.train(experience, eval_streams=[])
                self._evaluate_and_save(stage)
                hook.contrail_experience_end(run=self.run, experience=experience)
        self.run.clock()
        self.run.files.write_result(self.run.result())
        hook.contrail_run_end(run=self.run)

    def _train_exp(
        self, experience: Experience, eval_streams: Sequence[Any], **kwargs: Any
    ) -> None:
        run = self.run
        hook = run.plugins.hook
        self.trainer.begin(experience.updates)
        log = run.files.episodes(self.stage, "train")
        for update in range(experience.updates):
            name = f"{experience.name} {update + 1}/{experience.updates}"
            self.reporter.start("update", name, self.trainer.batch_size)
            tasks = self._draw(experience, update)
            groups = self._play(tasks, experience, update)
            episodes = [episode for group in groups for episode in group]
            log.add(episodes, update=update)
            hook.contrail_episodes(run=run, episodes=episodes)
            rng = generator(run.config.seed, "update", self.stage, update)
            scalars = self.trainer.update(groups, rng)
            run.budget.updates += 1
            run.budget.episodes += len(episodes)
            run.budget.generated_tokens += sum(item.generated_tokens for item in episodes)
            hook.contrail_update(run=run, scalars=scalars)
            self.reporter.done(_line(scalars))

    def _draw(self, experience: Experience, update: int) -> Sequence[Task]:
        """The strategy's choice of tasks."""
        config = self.run.config
        count = self.trainer.batch_size // self.trainer.group_size
        registered = self.run.plugins.strategies[config.strategy.name]
        rng = generator(config.seed, "draw", self.stage, update)
        try:
            tasks = self.strategy.draw(experience, update, count, rng)
            unknown = [task for task in tasks if task.environment not in self.adapters]
            if unknown or not tasks:
                raise ValueError(
                    f"it returned the task {unknown[0]}, of no environment of this run"
                    if unknown
                    else "it returned no tasks"
                )
        except (Exception, SystemExit) as error:
            raise blamed("strategy", config.strategy.name, registered, "draw", error) from error
        return tasks

    def _play(
        self, tasks: Sequence[Task], experience: Experience, update: int
    ) -> list[list[Episode]]:
        """Each task as often as a group needs it."""
        seed, size = self.run.config.seed, self.trainer.group_size
        jobs = [
            Job(
                task.environment,
                task,
                experience.adapters.get(task.environment, self.adapters[task.environment]),
                generator(seed, "rollout", self.stage, update, place, sample),
                sample,
            )
            for place, task in enumerate(tasks)
            for sample in range(size)
        ]
        episodes = play(
            self.policy,
            self.scenario.pool,
            jobs,
            temperature=self.trainer.config.temperature,
            progress=self.reporter.advance,
        )
        self._tell_faults(episodes)
        return [episodes[begin : begin + size] for begin in range(0, len(episodes), size)]

    def _evaluate_and_save(self, stage: int) -> None:
        self.evaluations = {}
        self.log = self.run.files.episodes(stage, "evaluate")
        self.eval(self.scenario.test)
        self.run.evaluations.append(self.evaluations)
        self.run.plugins.hook.contrail_evaluated(
            run=self.run, stage=stage, evaluations=self.evaluations
        )
        state = {**self.run.state(), "strategy": self.strategy.state_dict()}
        self.run.files.save_checkpoint(stage, state, self.policy.save)

    def _eval_exp(self, **kwargs: Any) -> None:
        experience: Experience = self.experience
        settings = self.run.config.evaluate
        after = f"after {self.run.stages[self.stage - 1]}" if self.stage > 0 else "before training"
        tasks = experience.tasks[experience.name]
        name = f"evaluate {experience.name} {after}"
        self.reporter.start("evaluation", name, len(tasks) * settings.samples)
        evaluation, episodes = evaluate(
            self.policy,
            self.scenario.pool,
            experience.name,
            tasks,
            experience.adapters[experience.name],
            samples=settings.samples,
            temperature=self.trainer.config.temperature,
            greedy=settings.decoding == "greedy",
            progress=self.reporter.advance,
        )
        self.log.add(episodes)
        self._tell_faults(episodes)
        if all(episode.fault is not None for episode in episodes):
            raise PluginError(
                f"environment {experience.name!r}: every episode was a fault of the environment. "
                f"The first: {episodes[0].fault}"
            )
        self.evaluations[experience.name] = evaluation
        shown = "–" if evaluation.success is None else f"{evaluation.success:.2f}"
        faults = f", faults {evaluation.fault_rate:.0%}" if evaluation.fault_rate else ""
        self.reporter.done(f"success {shown}{faults}")

    def _tell_faults(self, episodes: Sequence[Episode]) -> None:
        """Say each environment's first fault; the others are counted and logged."""
        for episode in episodes:
            if episode.fault is not None and episode.environment not in self._faulty:
                self._faulty.add(episode.environment)
                self.reporter.say(
                    f"fault of the environment {episode.environment!r} in task "
                    f"{episode.task.id!r}: {episode.fault} (further ones are only counted)"
                )

    def _restore(self) -> int:
        """The stage the last checkpoint was made after, or -1."""
        found = self.run.files.last_checkpoint()
        if found is None:
            return -1
        path, state = found
        self.run.restore(state)
        self.strategy.load_state_dict(state["strategy"])
        self.policy.restore(path)
        self.reporter.say(f"going on from {path}")
        return int(state["stage"])


def _line(scalars: dict[str, float]) -> str:
    shown = {
        "success": "success {:.2f}",
        "turns": "turns {:.1f}",
        "policy_entropy": "entropy {:.2f}",
        "zero_variance_groups": "equal groups {:.0%}",
    }
    return ", ".join(text.format(scalars[name]) for name, text in shown.items() if name in scalars)
