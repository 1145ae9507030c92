"""The core loop: evaluate; then, for each stage of the stream, train, evaluate, save."""

from __future__ import annotations

import functools
import time

from contrail.compat.avalanche import BaseTemplate
from contrail.progress.reporter import Reporter, entry, line
from contrail.registry.observers import told
from contrail.runs import chance, result
from contrail.runs.checkpoints import Checkpoints
from contrail.runs.context import stage_context
from contrail.runs.curves import Curves
from contrail.runs.no_signal import advice, speed
from contrail.runs.position import Position, work
from contrail.runs.prepared import Prepared
from contrail.runs.rollouts import Rollouts, StagePlay, refuse_faults
from contrail.runs.rows import Rows
from contrail.runs.run import Run
from contrail.seeding import generator
from contrail.stage import Stage


class Loop(BaseTemplate):  # type: ignore[misc]
    """An Avalanche template whose experiences are stages; it calls Avalanche's plugins as well.

    All that it does after a checkpoint depends on the checkpoint and the run's seed, so a run that
    was killed ends as if it had not been.
    """

    def __init__(
        self,
        *,  # Avalanche warns of others
        run: Run,
        made: Prepared,
        rollouts: Rollouts,
        rows: Rows,
        curves: Curves,
        checkpoints: Checkpoints,
        reporter: Reporter,
    ) -> None:
        model = made.policy.model
        super().__init__(model=model, device=model.device)
        self.plugins = made.strategy.bind(self)
        self.run, self.observers = run, run.observers
        self.scenario, self.stages = made.scenario, made.stages
        self.policy, self.learner = made.policy, made.learner
        self.strategy = made.strategy
        self.rollouts = rollouts
        self.context = functools.partial(stage_context, run, made, rollouts)
        self.rows = rows
        self.curves = curves
        self.checkpoints = checkpoints
        self.reporter = reporter
        made.learner.penalty = functools.partial(made.strategy.penalty, made.learner)

    def go(self) -> None:
        """Run to the end, from the beginning or from the last checkpoint."""
        updates = [stage.updates for stage in self.stages]
        position = self.checkpoints.restore(updates)
        self.rows.check_tasks()
        if position is not None and self.rows.complete():
            position = self.checkpoints.restore(updates)
        self.run.files.reopen(self.run.config_text)
        if position is not None:
            made, evaluated = work(updates, self.run.config.evaluate.every, position)
            self.reporter.skip(made, evaluated * len(self.run.environments))
        self.observers.call("contrail_run_start", run=self.run)
        if position is None:
            self.rows.evaluate(0)
            position = self.checkpoints.save(Position(0))
        for number, stage in enumerate(self.stages, start=1):
            if number <= position.stage:
                continue
            self.strategy.rest(self.learner, stage.warmup)
            self._train(stage, number, position.update if number == position.stage + 1 else 0)
            if stage.warmup:
                self.policy.begin_here()
                self.strategy.begin(self.learner, self.stages[1:])
            self.rows.evaluate(number)
            for text in chance.after_stage(self.run, number):
                self.reporter.say(text)
            self.checkpoints.save(Position(number))
            self.observers.call("contrail_stage_end", run=self.run, stage=stage)
        self.run.clock()
        self.run.files.write_result(result.result_of(self.run))
        self.observers.call("contrail_run_end", run=self.run)
        for text in told(self.observers.failures, self.run.directory):
            self.observers.warn(f"warning: {text}")

    def _train(self, stage: Stage, number: int, made: int) -> None:
        """The updates of a stage, of which `made` have been made before an interruption."""
        run, learner, strategy = self.run, self.learner, self.strategy
        context = self.context(number)
        self.rows.remember(number - 1, resumed=made > 0)
        learner.begin(stage.updates, stage.objective)
        if made:
            self.checkpoints.restore_learner()
        else:
            run.begin_stage()
        self.observers.call("contrail_stage_start", run=run, stage=stage)
        strategy.enter(context, resumed=made > 0)
        bonus = functools.partial(strategy.bonus, learner)
        learner.strategy_bonus = bonus if strategy.gives_bonus(context.number) else None
        self.experience, self.is_training = stage, True
        if not made:
            strategy.trigger("before_training")
            strategy.trigger("before_training_exp")
        log = run.files.episodes(number, "train", size=self.checkpoints.log_size if made else 0)
        rng = functools.partial(generator, run.config.seed)
        count = learner.tasks_per_update
        for update in range(made, stage.updates):
            with self.checkpoints.saving(Position(number - 1, update), log):
                self.curves.add(stage, update)
            name = f"{stage.name} {update + 1}/{stage.updates}"
            self.reporter.start("update", name, learner.batch_size)
            with self.policy.keeping():
                with self.checkpoints.saving(Position(number - 1, update), log):
                    known, dice = self.scenario.trainable, rng("draw", number, update)
                    tasks = strategy.draw(stage, update, count, dice, known)
                    play = StagePlay(self.rollouts, stage, number, update)
                    begun = time.monotonic()
                    groups = learner.episodes(tasks, play)
                    seconds = time.monotonic() - begun
                episodes = [episode for group in groups for episode in group]
                log.add(episodes, update=update)
                refuse_faults(stage.name, episodes)
                self.observers.call("contrail_episodes", run=run, episodes=episodes)
                strategy.trigger("before_training_iteration")
                strategy.observe(stage, episodes, rng("observe", number, update))
                rate = learner.rate
                scalars = learner.update(groups, rng("update", number, update))
            strategy.trigger("after_training_iteration")
            scalars |= run.means(episodes) | strategy.scalars()
            scalars |= {"learning_rate": rate, **speed(episodes, seconds)}
            run.count(episodes, learner.objective, signal=not scalars["no_signal"])
            self.observers.call("contrail_update", run=run, scalars=dict(scalars))
            self.reporter.done(line(scalars), entry(stage.name, update, stage.updates, scalars))
            if scalars["no_signal"] and run.silent == 1:
                self.reporter.say(f"{stage.name}: {advice(episodes, learner.objective)}.")
            for text in chance.half_way(run, stage, number, learner.batch_size):
                self.reporter.say(text)
            self.checkpoints.save_if_due(Position(number - 1, update + 1), stage.updates, log.size)
        self.curves.add(stage, stage.updates)
        strategy.trigger("after_training_exp")
        strategy.trigger("after_training")
        strategy.leave(context)
