"""The strategy `ewc`: parameters that earlier stages depend on are held."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import contrail
from contrail import Episode

if TYPE_CHECKING:
    import numpy
    import torch

    from contrail import Learner, Stage, StageContext


@dataclass
class EWCConfig:
    """The keys of ewc in stream.yaml."""

    strength: float = field(default=100.0, metadata={"min": 0})
    """The weight of the penalty, lambda."""
    mode: Literal["online", "separate"] = "online"
    """`online` keeps one Fisher matrix, `decay` times the old one plus the new one, around the
    latest parameters (arXiv:1805.06370). `separate` keeps one Fisher matrix per stage, around the
    parameters after that stage."""
    decay: float = field(default=1.0, metadata={"min": 0, "max": 1})
    """The factor of the old Fisher matrix in the mode `online`."""
    episodes: int = field(default=64, metadata={"min": 1})
    """The number of episodes, the last of a stage, from which the Fisher matrix is computed."""
    passes: int = field(default=1024, metadata={"min": 1})
    """The number of backward passes per Fisher matrix. If there are enough for one per possible
    decision, the matrix is exact for these episodes; otherwise it is an unbiased estimate."""
    normalize: bool = True
    """Compensate for the cross terms that a diagonal leaves out (see `normalized`), so that
    `strength` weighs nats against advantages."""


class EWC(contrail.Strategy):
    """Elastic weight consolidation (arXiv:1612.00796) on the LoRA parameters.

    It adds strength/2 * sum_k F_k (theta_k - theta'_k)^2, with theta' the parameters after an
    earlier stage and F the diagonal of its Fisher matrix. With the full matrix that is to second
    order strength times the KL divergence, in nats per episode, from the policy after that stage;
    so with advantages of about 1 and a strength of 100, learning may cost about 0.01 nats. By
    Pinsker's inequality a success rate then falls by (0.01 / 2)^(1/2) = 0.07 at most.
    """

    Config = EWCConfig

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._recent: deque[Episode] = deque(maxlen=self.config.episodes)
        self._kept: list[dict[str, dict[str, torch.Tensor]]] = []

    def cache_key(self, stages: int) -> str:
        settings = self.config
        made = f"ewc {settings.episodes} {settings.passes} {settings.normalize}"
        return made if stages == 1 else f"ewc {self.config}"

    def observe(
        self, stage: Stage, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> None:
        self._recent.extend(item for item in episodes if item.fault is None and any(item.learnt))

    def leave(self, context: StageContext) -> None:
        if not self._recent:
            return
        rng = contrail.generator(context.seed, "ewc", context.number)
        fisher = diagonal_fisher(context.learner, list(self._recent), self.config.passes, rng)
        self._recent.clear()
        if self.config.normalize:
            fisher = normalized(fisher)
        if self.config.mode == "online" and self._kept:
            old = self._kept.pop()["fisher"]
            decay = self.config.decay
            fisher = {name: decay * old[name].to(new) + new for name, new in fisher.items()}
        self._kept.append({"fisher": fisher, "anchor": context.policy.snapshot()})

    def penalty(
        self, learner: Learner, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> Iterator[torch.Tensor]:
        for name, parameter in learner.policy.parameters.items():
            for kept in self._kept:
                fisher, anchor = (kept[of][name].to(parameter) for of in ("fisher", "anchor"))
                yield self.config.strength / 2 * (fisher * (parameter - anchor).square()).sum()

    def state_dict(self) -> dict[str, Any]:
        recent = [asdict(episode) for episode in self._recent]
        return {"kept": self._kept, "recent": recent} if self._kept or recent else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._kept = state["kept"]
        self._recent.clear()
        self._recent.extend(Episode.from_dict(episode) for episode in state["recent"])


def diagonal_fisher(
    learner: Learner, episodes: Sequence[Episode], passes: int, rng: numpy.random.Generator
) -> dict[str, torch.Tensor]:
    """Return the diagonal of the policy's Fisher matrix, by the names of parameters.

    It is that of the distribution of whole episodes (Bagnell and Schneider, IJCAI 2003): the mean
    over episodes of the sum over their states s of E_{a ~ pi(.|s)} [(d log pi(a|s) / d theta_k)^2].
    The expectation is taken over all candidates or the whole vocabulary, not over the decision that
    was made: a policy that is nearly sure hardly ever makes the others, which the matrix is of.

    With random signs e_a, the square of the gradient of sum_a e_a sqrt(pi(a|s)) log pi(a|s), with
    sqrt(pi) held constant, has that expectation as its mean, for the sum over an episode's states
    as well. This is what is estimated where `passes` are not enough.

    Args:
        learner: with the policy.
        episodes: whose states are used, but for those of turns that are left out.
        passes: backward passes to make, at most; at least one is made for each part of an episode.
        rng: of the signs.
    """
    import torch

    parameters = learner.policy.parameters
    fisher = {name: parameter.new_zeros(parameter.shape) for name, parameter in parameters.items()}

    def add(value: torch.Tensor, weight: float) -> None:
        found = torch.autograd.grad(
            value, list(parameters.values()), retain_graph=True, allow_unused=True
        )
        for name, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                fisher[name] += gradient.square() * (weight / len(episodes))

    exact = _possible_decisions(learner, episodes) <= passes
    repeats = max(1, passes // len(episodes))
    learnt = iter([kept for episode in episodes for kept in episode.learnt])
    for decisions in learner.distributions(episodes):
        # Their square roots; impossible decisions contribute nothing.
        terms = []
        for logprobs in decisions:
            if not next(learnt):
                continue
            possible = logprobs[logprobs > float("-inf")]
            terms.append(possible.detach().mul(0.5).exp() * possible)
        if exact:
            for values in terms:
                for value in values if len(values) > 1 else ():
                    add(value, 1.0)
        elif terms:
            every = torch.cat(terms)
            for _ in range(repeats):
                signs = torch.from_numpy(rng.integers(2, size=len(every), dtype="int8"))
                add(((2 * signs - 1).to(every) * every).sum(), 1.0 / repeats)
    return fisher


def _possible_decisions(learner: Learner, episodes: Sequence[Episode]) -> int:
    """Candidates, or tokens of the vocabulary, at all of the episodes' decisions."""
    vocabulary = int(learner.policy.base.config.vocab_size)
    return sum(
        len(turn.written) * vocabulary if turn.choices is None else len(turn.choices)
        for episode in episodes
        for turn in episode.turns
        if not turn.left_out
    )


def normalized(fisher: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the diagonal times the number of parameters.

    The KL divergence of a step d is to second order 1/2 sum_kl F_kl d_k d_l. The diagonal alone
    says far too little of it: with the gradient g of one decision, (sum_k g_k d_k)^2 may be as
    large as N times sum_k g_k^2 d_k^2, with N parameters. The diagonal times N is an upper bound,
    whatever the step: sum_kl F_kl d_k d_l <= (sum_k F_k^(1/2) |d_k|)^2 <= N sum_k F_k d_k^2.
    """
    count = sum(item.numel() for item in fisher.values())
    return {name: item * count for name, item in fisher.items()}


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("ewc", EWC)
