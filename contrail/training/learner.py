"""Updates the policy from episodes, by the losses of TRL's GRPO trainer.

TRL computes the loss from log-probabilities of decisions, and a scorer computes these, for the
decisions that can carry a gradient. A decision is a model-written token, or, where the model
chooses from candidates, one choice under the distribution normalised over them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy
import torch
from datasets import Dataset
from transformers import PreTrainedModel
from trl import GRPOConfig

from contrail.environment import Task
from contrail.episode import Episode
from contrail.errors import ContrailError
from contrail.model.policy import Policy
from contrail.training.advantages import environment_weights, group_scalars
from contrail.training.asked import (
    ask,
    episodes_of,
    loss_of,
    rate_of,
    refuse_unasked,
    samples_of,
    weights_of,
)
from contrail.training.decisions import Decisions, without_left_out
from contrail.training.grpo import GRPO
from contrail.training.objective import Batch, Groups, Objective, Play
from contrail.training.scorer import DecisionScores, PlainScorer, Scorer, Slice
from contrail.training.shared.scorer import TreeScorer
from contrail.training.trl_loss import Loss, global_random_state_kept, no_reward

T = TypeVar("T")


class _Step(NamedTuple):
    """An optimizer step. `norm`: of the gradient. `taught`: whether the objective had a part."""

    loss: float
    norm: float
    taught: bool


class Learner:
    """Owns the optimizer. `begin` makes a fresh one, so no stage learns from another's momentum.

    `penalty`: what is added to the loss of an optimizer step on the given episodes, as
    `contrail.Strategy.penalty` says. `strategy_bonus`: what is added to the advantages of episodes,
    as `contrail.Strategy.bonus` says; None if nothing is. `extra_tokens`: computed for penalties
    and references.
    `by_environment`: whether the environments of a batch count in its loss by their shares of the
    episodes, as they do by default, or of the decisions.
    """

    penalty: Callable[[Sequence[Episode], numpy.random.Generator], Iterable[torch.Tensor]] | None
    strategy_bonus: Callable[[Groups], Sequence[float]] | None
    extra_tokens: int
    by_environment: bool
    objective: Objective

    def __init__(self, policy: Policy, config: GRPOConfig, scorer: Scorer | None = None) -> None:
        """`scorer`: by default the fast one, or the plain one if the policy is not fast."""
        self._policy = policy
        self._scorer = scorer or (TreeScorer(policy) if policy.fast else PlainScorer())
        self._anchor: Mapping[str, torch.Tensor] | None = None
        self.penalty = None
        self.strategy_bonus = None
        self.extra_tokens = 0
        self._asked: set[str] = set()  # what the objective has taken in the present stage
        self.by_environment = True
        self.config = config
        assert config.num_generations is not None
        assert config.generation_batch_size is not None
        assert config.steps_per_generation is not None
        self.group_size = config.num_generations
        self.batch_size = config.generation_batch_size
        self._minibatches = config.steps_per_generation
        self._learning_rate = config.learning_rate
        beta = config.beta
        with global_random_state_kept():
            # TRL would keep a second adapter as the reference; ours is the base model itself.
            config.beta = 0.0
            self.trl = Loss(
                model=policy.model,
                reward_funcs=[no_reward],
                args=config,
                train_dataset=Dataset.from_dict({"prompt": ["-"]}),
                processing_class=policy.chat.tokenizer,
            )
            config.beta = beta
        self.trl.beta = self.beta = beta
        self.trl.current_gradient_accumulation_steps = 1
        self.begin(1)

    @property
    def policy(self) -> Policy:
        """The policy that is updated."""
        return self._policy

    @property
    def scorer(self) -> Scorer:
        """What scores episodes."""
        return self._scorer

    def anchor(self, adapter: Mapping[str, torch.Tensor], beta: float) -> None:
        """Weigh TRL's KL term by `beta` and take it against the policy with this adapter."""
        self._anchor = adapter
        self.trl.beta = self.beta = beta

    def bonus(self, groups: Groups) -> list[float]:
        """Return what strategies add to the advantage of each episode, group after group.

        An objective with advantages adds it to them.
        """
        self._asked.add("bonus")
        if self.strategy_bonus is None:
            return [0.0] * sum(map(len, groups))
        return list(self.strategy_bonus(groups))

    @property
    def with_entropy(self) -> bool:
        """Whether the loss has an entropy term."""
        return bool(self.trl._entropy_bonus_enabled)

    @property
    def rate(self) -> float:
        """The learning rate of the next optimizer step."""
        assert self.trl.optimizer is not None
        return float(self.trl.optimizer.param_groups[0]["lr"])

    def begin(self, updates: int, objective: Objective | None = None) -> None:
        """Start a stage with a fresh optimizer and schedule.

        Args:
            updates: of the stage.
            objective: what it learns by; GRPO by default.
        """
        self.objective = objective or GRPO()
        steps = updates * self._minibatches * self.config.num_iterations
        self._asked.clear()
        self.trl.optimizer = None
        self.trl.lr_scheduler = None
        rate = rate_of(self.objective)
        self.config.learning_rate = self._learning_rate if rate is None else rate
        self.trl.create_optimizer()
        self.trl.create_scheduler(num_training_steps=max(1, steps))
        # The state of TRL's adaptive entropy coefficient, as its trainer begins with it.
        self.trl.entropy_coef = self.config.entropy_coef
        self.trl._last_world_entropy = float("inf")
        ask(self.objective, "start", self)

    @property
    def tasks_per_update(self) -> int:
        """The number of tasks that an update of the stage plays."""
        return self.batch_size // samples_of(self.objective, self)

    def episodes(self, tasks: Sequence[Task], play: Play) -> list[list[Episode]]:
        """Return the episodes of an update of the stage, a group per task."""
        return episodes_of(self.objective, self, tasks, play)

    def environment_weights(self, episodes: Sequence[Episode]) -> torch.Tensor:
        """Return factors with which environments count by their episodes, (episodes,).

        For losses that are sums over decisions. All are 1 unless `by_environment`.
        """
        if not self.by_environment:
            return torch.ones(len(episodes))
        return torch.tensor(environment_weights(episodes))

    def state_dict(self) -> dict[str, Any]:
        """Return the state within a stage, between two updates: JSON values and tensors."""
        optimizer, scheduler = self.trl.optimizer, self.trl.lr_scheduler
        assert optimizer is not None
        assert scheduler is not None
        moments = optimizer.state_dict()["state"]
        entropy = self.trl._last_world_entropy
        return {
            "optimizer": {str(index): dict(values) for index, values in moments.items()},
            "learning_rates": [group["lr"] for group in optimizer.param_groups],
            "scheduler": scheduler.state_dict(),
            "entropy_coef": self.trl.entropy_coef,
            "entropy": None if math.isinf(entropy) else float(entropy),
            "objective": ask(self.objective, "state_dict"),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, after `begin` with the same number of updates."""
        optimizer, scheduler = self.trl.optimizer, self.trl.lr_scheduler
        assert optimizer is not None
        assert scheduler is not None
        whole = optimizer.state_dict()
        whole["state"] = {int(index): values for index, values in state["optimizer"].items()}
        for group, rate in zip(whole["param_groups"], state["learning_rates"], strict=True):
            group["lr"] = rate
        optimizer.load_state_dict(whole)
        scheduler.load_state_dict(state["scheduler"])
        self.trl.entropy_coef = state["entropy_coef"]
        entropy = state["entropy"]
        self.trl._last_world_entropy = float("inf") if entropy is None else entropy
        if state.get("objective"):
            ask(self.objective, "load_state_dict", state["objective"])

    def update(
        self,
        groups: Sequence[Sequence[Episode]],
        rng: numpy.random.Generator,
    ) -> dict[str, float]:
        """Learn from one batch of episodes, in groups that played the same task.

        Episodes that ended in a fault of the environment are left out. An optimizer step is made
        only where rewards differ within a group (in general: the loss has a gradient), or a penalty
        has one; in the latter case alone, the step follows the penalty and nothing else.
        The learning rate's schedule goes by updates, whether or not they made a step.

        Args:
            groups: the episodes.
            rng: of the order in which they are used.

        Returns:
            What to log: loss, KL, entropy, gradient norm, share of zero-variance groups, ….
            `no_signal` is 1 if nothing was learnt from the episodes: none had a weight, or the
            objective's loss had no gradient.
            `skipped_steps` is the share of the optimizer steps that were not made; without any,
            there is no `loss`.
        """
        kept = [[item for item in group if item.fault is None and item.turns] for group in groups]
        least = min(2, samples_of(self.objective, self))  # a lone episode compares with none
        kept = [group for group in kept if len(group) >= least]
        episodes = [episode for group in kept for episode in group]
        scalars = group_scalars(kept)
        minibatches: list[list[int]] = []
        for _ in range(self.config.num_iterations):
            order = numpy.arange(len(episodes))
            if self._minibatches > 1:
                order = rng.permutation(order)
            parts = numpy.array_split(order, self._minibatches)
            minibatches += [sorted(part.tolist()) for part in parts]
        decisions = sum(sum(episode.learnt) for episode in episodes)
        norms = []
        losses = []
        signal = False
        weighed = weights_of(self.objective, self, kept, minibatches)
        for indices, own in zip(minibatches, weighed, strict=True):
            chosen = [episodes[index] for index in indices]
            own = without_left_out(own, chosen)
            batch = Batch(chosen, own, len(minibatches) > 1, decisions)
            made = self._step(batch, rng)
            if made is not None:
                signal = signal or made.taught
                losses.append(made.loss)
                norms.append(made.norm)
        if signal:
            refuse_unasked(self.objective, self, self._asked)
        scalars.update(self.trl.take_metrics())
        scalars.update(self.objective.take_logged())
        scalars["no_signal"] = float(not signal)
        scalars["skipped_steps"] = 1.0 - len(losses) / len(minibatches)
        if losses:
            scalars["loss"] = float(numpy.mean(losses))
            scalars["gradient_norm"] = float(numpy.mean(norms))
        return scalars

    def gradients(self, batch: Batch, objective: Objective | None = None) -> float:
        """Add the gradients of a batch's loss to the LoRA's parameters; return the loss.

        Args:
            batch: to learn from.
            objective: whose loss it is; by default the stage's.

        Each slice of decisions is scored with gradients while the others stand in as constants, and
        the loss is that of the whole batch: its normalisations are those of the batch, whatever the
        slices. (TRL's losses are sums over episodes, whose weights depend on lengths alone.) At the
        last slice the others are as scored, so that loss is the batch's.
        """
        objective = objective or self.objective
        recorded = Decisions.of(batch.episodes, self._policy.model.device)
        batch.reference = ask(objective, "reference", self, batch)
        loss = 0.0
        current = recorded
        entropies = self.with_entropy
        slices = self._scorer.split(batch.episodes, ask(objective, "needed", self, batch))
        with self._policy.learning() as model:
            # An episode's own decisions may be too many for one slice.
            divided = batch.off_policy and any(piece.splits for piece in slices)
            if divided and ask(objective, "sequence_level", self):
                with torch.no_grad():
                    for piece, scores in self._scores(model, slices, entropies, kept=True):
                        current = current.replaced(piece, scores, entropies)
            scored = self._scores(model, slices, entropies, kept=True)
            for number, (piece, scores) in enumerate(scored, start=1):
                current = current.detached().replaced(piece, scores, entropies)
                final = number == len(slices)
                value = loss_of(objective, self, current, recorded, batch, final)
                value.backward()
                loss = float(value.detach())
        return loss

    def _step(self, batch: Batch, rng: numpy.random.Generator) -> _Step | None:
        """Make an optimizer step, if anything has a gradient."""
        optimizer, scheduler = self.trl.optimizer, self.trl.lr_scheduler
        assert optimizer is not None
        assert scheduler is not None
        optimizer.zero_grad()
        loss = 0.0
        # Adam takes a full step with any gradient, however small: without advantages, that of the
        # entropy, say, would undo what has been learnt.
        taught = bool(batch.weights.any())
        parameters = [item for item in self._policy.model.parameters() if item.requires_grad]
        if taught:
            loss = ask(self.objective, "backward", self, batch)
            # Where a teacher decides as the policy does, it is 0, and momentum would move on.
            taught = any(item.grad is not None and bool(item.grad.any()) for item in parameters)
        episodes = batch.episodes
        for term in self.penalty(episodes, rng) if self.penalty and episodes else ():
            term.backward()
            loss += float(term.detach())
        limit = self.config.max_grad_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        if not bool(norm.isfinite()):
            raise ContrailError(
                f"the gradient is not finite (loss {loss:g}), so the policy cannot be updated. "
                "Lower grpo.learning_rate, or what the strategy adds to the loss."
            )
        made = taught or float(norm) > 0
        if not made:
            optimizer.zero_grad()
        optimizer.step()  # it leaves parameters without a gradient alone
        scheduler.step()
        return _Step(loss, float(norm), taught) if made else None

    def score(self, episodes: Sequence[Episode]) -> Iterator[list[DecisionScores]]:
        """Log-probabilities of what the episodes' models decided, under the present policy.

        With gradients, where they are enabled; in parts whose activations fit into memory. Be done
        with the gradients of one before the next is asked for: they are complete when all were.
        An episode may be divided among several parts. What is computed counts as `extra_tokens`.
        """
        with self._policy.learning() as model:
            slices = self._scorer.split(episodes, range(len(episodes)))
            for _, scores in self.extra(self._scores(model, slices)):
                yield scores

    def distributions(self, episodes: Sequence[Episode]) -> Iterator[list[torch.Tensor]]:
        """Log-probabilities of all that could have been decided, under the present policy.

        For each part of an episode, a tensor for each of its decisions: over the candidates, or
        over the vocabulary. A part's graph is of that part alone, so it may be differentiated as
        often as you like (`retain_graph`). What is computed counts as `extra_tokens`.
        """
        with self._policy.learning() as model:
            yield from self.extra(
                self._scorer.distributions(model, episodes, self.config.temperature)
            )

    def _scores(
        self,
        model: PreTrainedModel,
        slices: Sequence[Slice],
        entropies: bool = False,
        kept: bool = False,
    ) -> Iterator[tuple[Slice, list[DecisionScores]]]:
        return self._scorer.score(
            model, slices, self.config.temperature, entropies=entropies, kept=kept
        )

    def extra(self, scored: Iterator[T]) -> Iterator[T]:
        """Yield the same; the tokens computed meanwhile count as `extra_tokens`."""
        computed = self._scorer.computed_tokens
        for one in scored:
            self.extra_tokens += self._scorer.computed_tokens - computed
            yield one
            computed = self._scorer.computed_tokens

    @torch.no_grad()
    def reference(
        self, episodes: Sequence[Episode], adapter: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Log-probabilities of the episodes' decisions under a reference, (episodes, longest).

        The reference is the policy with this adapter; by default, that of the KL term.
        """
        self._asked.add("reference")
        decisions = Decisions.of(episodes, self._policy.model.device)
        with self._policy.reference(self._anchor if adapter is None else adapter) as model:
            slices = self._scorer.split(episodes, range(len(episodes)))
            for piece, scores in self.extra(self._scores(model, slices)):
                decisions = decisions.replaced(piece, scores, False)
        return decisions.logprobs
