"""Updates the policy from episodes, by the losses of TRL's GRPO trainer.

TRL computes the loss from log-probabilities of decisions; where these come from is ours: token
trees, in which what a group's episodes share is computed once, and only decisions that can carry a
gradient are computed at all. A decision is a model-written token, or, where the model chooses from
candidates, one choice under the distribution normalised over them.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy
import torch

from contrail.errors import ContrailError
from contrail.groups import describe, group_advantages
from contrail.model import Policy  # first: it repairs torchvision
from contrail.packs import Decisions, Pack, split
from contrail.rollout.episode import Episode
from contrail.rollout.scoring import Scores
from contrail.rollout.states import States
from contrail.stem import Stem
from contrail.tree import TokenTree

from datasets import Dataset  # isort: skip
from transformers import PreTrainedModel  # isort: skip
from trl import GRPOConfig, GRPOTrainer  # isort: skip


class _Loss(GRPOTrainer):
    """TRL's trainer, for its loss alone: the log-probabilities are handed in, not computed."""

    decisions: Decisions

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        return self.decisions.logprobs, self.decisions.entropies, None

    def loss(
        self,
        decisions: Decisions,
        advantages: torch.Tensor,
        old_logprobs: torch.Tensor | None,
        reference_logprobs: torch.Tensor | None,
        decisions_in_batch: torch.Tensor,
        final: bool,
    ) -> torch.Tensor:
        """The loss of TRL's configured type; all tensors are (episodes, …).

        Unless `final`, TRL neither logs it nor adapts its entropy coefficient to it.
        """
        self.decisions = decisions
        self.accelerator.sync_gradients = final
        logged = {name: len(values) for name, values in self._metrics["train"].items()}
        nothing = torch.zeros_like(decisions.mask[:, :1])
        loss: torch.Tensor = self._compute_loss(  # type: ignore[no-untyped-call]
            self.model,
            {
                "prompt_ids": nothing,
                "prompt_mask": nothing,
                "completion_ids": torch.zeros_like(decisions.mask),
                "completion_mask": decisions.mask,
                "advantages": advantages,
                "old_per_token_logps": old_logprobs,
                "ref_per_token_logps": reference_logprobs,
                "num_items_in_batch": decisions_in_batch,
            },
        )
        if not final:
            for name, values in self._metrics["train"].items():
                del values[logged.get(name, 0) :]
        return loss

    def take_metrics(self) -> dict[str, float]:
        """Means of what TRL logged since the last call."""
        metrics = self._metrics["train"]
        taken = {name: sum(values) / len(values) for name, values in metrics.items() if values}
        metrics.clear()
        return taken


class Trainer:
    """Owns the optimizer. `begin` makes a fresh one, so no stage learns from another's momentum.

    `penalty`: what is added to the loss of an optimizer step on the given episodes, as
    `contrail.Strategy.penalty` says. `extra_tokens`: computed for penalties and references.
    """

    penalty: Callable[[Sequence[Episode], numpy.random.Generator], Iterable[torch.Tensor]] | None
    extra_tokens: int

    def __init__(self, policy: Policy, config: GRPOConfig) -> None:
        self._policy = policy
        self._anchor: Mapping[str, torch.Tensor] | None = None
        self.penalty = None
        self.extra_tokens = 0
        self.config = config
        assert config.num_generations is not None
        assert config.generation_batch_size is not None
        assert config.steps_per_generation is not None
        self.group_size = config.num_generations
        self.batch_size = config.generation_batch_size
        self._minibatches = config.steps_per_generation
        beta = config.beta
        with _global_random_state_kept():
            # TRL would keep a second adapter as the reference; ours is the base model itself.
            config.beta = 0.0
            self._trl = _Loss(
                model=policy.model,
                reward_funcs=[_no_reward],
                args=config,
                train_dataset=Dataset.from_dict({"prompt": ["-"]}),
                processing_class=policy.chat.tokenizer,
            )
            config.beta = beta
        self._trl.beta = self._beta = beta
        self._trl.current_gradient_accumulation_steps = 1
        self.begin(1)

    @property
    def policy(self) -> Policy:
        """The policy that is updated."""
        return self._policy

    def anchor(self, adapter: Mapping[str, torch.Tensor], beta: float) -> None:
        """Weigh TRL's KL term by `beta` and take it against the policy with this adapter."""
        self._anchor = adapter
        self._trl.beta = self._beta = beta

    def begin(self, updates: int) -> None:
        """Start a stage of so many updates with a fresh optimizer and schedule."""
        steps = updates * self._minibatches * self.config.num_iterations
        self._trl.optimizer = None
        self._trl.lr_scheduler = None
        self._trl.create_optimizer()
        self._trl.create_scheduler(num_training_steps=max(1, steps))
        # The state of TRL's adaptive entropy coefficient, as its trainer begins with it.
        self._trl.entropy_coef = self.config.entropy_coef
        self._trl._last_world_entropy = float("inf")

    def update(
        self,
        groups: Sequence[Sequence[Episode]],
        rng: numpy.random.Generator,
        states: States | None = None,
    ) -> dict[str, float]:
        """Learn from one batch of episodes, in groups that played the same task.

        Episodes that ended in a fault of the environment are left out.

        Args:
            groups: the episodes.
            rng: of the order in which they are used.
            states: what the policy's frozen layers computed when the episodes were played.

        Returns:
            What to log: loss, KL, entropy, gradient norm, share of zero-variance groups, ….
        """
        kept = [[item for item in group if item.fault is None and item.turns] for group in groups]
        kept = [group for group in kept if len(group) > 1]
        episodes = [episode for group in kept for episode in group]
        scalars = describe(kept)
        played = [item for group in groups for item in group]
        scalars["fault_rate"] = sum(item.fault is not None for item in played) / max(1, len(played))
        if not episodes:
            return scalars
        advantages = torch.tensor(group_advantages(kept, self.config.scale_rewards))
        off_policy = self.config.num_iterations * self._minibatches > 1
        norms = []
        losses = []
        for _ in range(self.config.num_iterations):
            order = numpy.arange(len(episodes))
            if self._minibatches > 1:
                order = rng.permutation(order)
            for part in numpy.array_split(order, self._minibatches):
                if len(part):
                    indices = sorted(part.tolist())
                    loss, norm = self._step(
                        [episodes[index] for index in indices],
                        advantages[indices],
                        off_policy,
                        sum(len(episode.logprobs) for episode in episodes),
                        rng,
                        states,
                    )
                    losses.append(loss)
                    norms.append(norm)
        scalars.update(self._trl.take_metrics())
        scalars["loss"] = float(numpy.mean(losses))
        scalars["gradient_norm"] = float(numpy.mean(norms))
        return scalars

    def gradients(
        self,
        episodes: Sequence[Episode],
        advantages: torch.Tensor,
        off_policy: bool = False,
        decisions_in_batch: int | None = None,
        states: States | None = None,
    ) -> float:
        """Add the loss's gradients to the adapter's parameters; return the loss.

        Each pack of decisions is scored with gradients while the others stand in as constants, and
        TRL's loss is taken of the whole batch: its normalisations are those of the batch, whatever
        the packs. (Its losses are sums over episodes, whose weights depend on lengths alone.) At
        the last pack the others are as scored, so that loss is the batch's.
        """
        device = self._policy.model.device
        recorded = Decisions.of(episodes, device)
        total = decisions_in_batch or int(recorded.mask.sum())
        with_entropy = self._trl._entropy_bonus_enabled
        everywhere = self._beta != 0.0 or with_entropy
        needed = [
            index
            for index in range(len(episodes))
            if everywhere or float(advantages[index].abs()) > 0
        ]
        reference = None
        if self._beta != 0.0:
            reference = self._reference(episodes, recorded)
        loss = 0.0
        current = recorded
        packs = list(split(episodes, needed))
        with self._policy.learning() as model:
            # An episode's own decisions may be too many for one pack, and weigh on one another
            # where importance is that of whole sequences: they must be as they are now.
            if off_policy and any(pack.splits for pack in packs):
                with torch.no_grad():
                    for pack, scores in self._scores(model, packs, with_entropy, states):
                        current = current.replaced(pack, scores, with_entropy)
            scored = self._scores(model, packs, with_entropy, states)
            for number, (pack, scores) in enumerate(scored, start=1):
                current = current.detached().replaced(pack, scores, with_entropy)
                value = self._trl.loss(
                    current,
                    advantages.to(device),
                    recorded.logprobs if off_policy else None,
                    reference,
                    torch.tensor(float(total), device=device),
                    final=number == len(packs),
                )
                value.backward()
                loss = float(value.detach())
        return loss

    def _step(
        self,
        episodes: Sequence[Episode],
        advantages: torch.Tensor,
        off_policy: bool,
        decisions_in_batch: int,
        rng: numpy.random.Generator,
        states: States | None,
    ) -> tuple[float, float]:
        optimizer, scheduler = self._trl.optimizer, self._trl.lr_scheduler
        assert optimizer is not None
        assert scheduler is not None
        optimizer.zero_grad()
        loss = self.gradients(episodes, advantages, off_policy, decisions_in_batch, states)
        for term in self.penalty(episodes, rng) if self.penalty else ():
            term.backward()
            loss += float(term.detach())
        parameters = [item for item in self._policy.model.parameters() if item.requires_grad]
        limit = self.config.max_grad_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        if not bool(norm.isfinite()):
            raise ContrailError(
                f"the gradient is not finite (loss {loss:g}), so the policy cannot be updated. "
                "Lower grpo.learning_rate, or what the strategy adds to the loss."
            )
        optimizer.step()  # it leaves parameters without a gradient alone
        scheduler.step()
        return loss, float(norm)

    def score(self, episodes: Sequence[Episode]) -> Iterator[list[Scores]]:
        """Log-probabilities of what the episodes' models decided, under the present policy.

        With gradients, where they are enabled; in parts whose activations fit into memory. Be done
        with the gradients of one before the next is asked for: they are complete when all were.
        An episode may be divided among several parts. What is computed counts as `extra_tokens`.
        """
        with self._policy.learning() as model:
            for _, scores in self._scores(model, split(episodes, range(len(episodes))), extra=True):
                yield scores

    def _scores(
        self,
        model: PreTrainedModel,
        packs: Iterable[Pack],
        entropies: bool = False,
        states: States | None = None,
        extra: bool = False,
    ) -> Iterator[tuple[Pack, list[Scores]]]:
        """The packs' decisions; a stem's gradients are complete after the last of its packs."""
        tree = TokenTree() if states is None else states.tree
        head = self._policy.head
        computed = 0
        for tokens, alike in itertools.groupby(packs, key=lambda pack: pack.stem):
            stem, partial = None, False
            if tokens:
                stem = Stem(tree, tokens)
                computed += stem.plan.size
                with self._known(stem.nodes, states) as partial:
                    stem.compute(model, head)
            for pack in alike:
                forest = pack.forest(tree, stem)
                with self._known(forest.plan.nodes(), states) as known:
                    if partial and not known:  # it needs keys of the frozen layers, too
                        forest = pack.forest(tree)
                    scores = forest.score(model, self.config.temperature, entropies, head)
                computed += forest.plan.size
                yield pack, scores
            if stem is not None:
                stem.backward()
        if extra:
            self.extra_tokens += computed

    @contextmanager
    def _known(self, nodes: Sequence[int], states: States | None) -> Iterator[bool]:
        """Within, forwards begin with the first trained layer, if what it is given is known."""
        frozen = self._policy.frozen
        known = None if states is None or frozen is None else states.get(nodes)
        if frozen is None or known is None:
            yield False
        else:
            with frozen.replaced(known):
                yield True

    @torch.no_grad()
    def _reference(self, episodes: Sequence[Episode], recorded: Decisions) -> torch.Tensor:
        reference = recorded
        with self._policy.reference(self._anchor) as model:
            packs = split(episodes, range(len(episodes)))
            for pack, scores in self._scores(model, packs, extra=True):
                reference = reference.replaced(pack, scores, False)
        return reference.logprobs


def _no_reward(*args: Any, **kwargs: Any) -> list[float | None]:
    raise AssertionError("rewards come from the environments")


@contextmanager
def _global_random_state_kept() -> Iterator[None]:
    """TRL seeds every global generator when it is made; a library must not."""
    state, numpy_state = random.getstate(), numpy.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(state)
            numpy.random.set_state(numpy_state)  # noqa: NPY002
