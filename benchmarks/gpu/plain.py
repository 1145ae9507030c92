"""Log-probabilities of decisions by plain full forwards: PEFT's model, no trees, no cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contrail.episode import Episode
from contrail.model.policy import Policy
from contrail.training.decisions import Decisions
from contrail.training.learner import Learner

import torch  # isort: skip
from transformers import PreTrainedModel  # isort: skip


def turns(model: torch.nn.Module, episode: Episode, copies: int = 1) -> Iterator[torch.Tensor]:
    """By turn, the log-probabilities of its decisions: (decisions,), with gradients if enabled.

    Args:
        model: takes `input_ids`.
        episode: at temperature 1.
        copies: of each row in a forward; more than one make the device's kernels others.
    """
    context: list[int] = []
    for turn in episode.turns:
        context = [*context, *turn.prompt]
        if turn.choices is None:
            yield _of_tokens(model, context, turn.written, copies)
        else:
            scored = _of_choices(model, context, turn.choices, copies)
            assert turn.choice is not None
            yield scored.log_softmax(-1)[turn.choice : turn.choice + 1]
        context = [*context, *turn.written]


def decisions(model: torch.nn.Module, episodes: Sequence[Episode], copies: int = 1) -> torch.Tensor:
    """Return all decisions' log-probabilities, in order, without gradients."""
    with torch.no_grad():
        return torch.cat([turn for item in episodes for turn in turns(model, item, copies)])


def _of_tokens(
    model: torch.nn.Module, context: Sequence[int], tokens: Sequence[int], copies: int
) -> torch.Tensor:
    device = next(model.parameters()).device
    ids = torch.tensor([[*context, *tokens]] * copies, device=device)
    made = model(input_ids=ids, use_cache=False, logits_to_keep=len(tokens) + 1)
    logprobs: torch.Tensor = made.logits[0, :-1].double().log_softmax(-1)
    return logprobs.gather(1, ids[0, -len(tokens) :, None])[:, 0]


def _of_choices(
    model: torch.nn.Module, context: Sequence[int], choices: Sequence[list[int]], copies: int
) -> torch.Tensor:
    """Return the mean log-probability of each candidate's tokens, (candidates,).

    A candidate is a row of one forward, after the whole context; what is padded on the right, no
    token before it sees. A forward for each would take a minute where launches are slow.
    """
    longest = max(map(len, choices))
    rows = [[*context, *choice, *[0] * (longest - len(choice))] for choice in choices]
    ids = torch.tensor(rows * copies, device=next(model.parameters()).device)
    made = model(input_ids=ids, use_cache=False, logits_to_keep=longest + 1)
    logits = made.logits[: len(choices), :-1].double()
    logprobs = logits.log_softmax(-1).gather(2, ids[: len(choices), -longest:, None])[..., 0]
    scored = [row[: len(choice)].mean() for row, choice in zip(logprobs, choices, strict=True)]
    return torch.stack(scored)


def recorded(episodes: Sequence[Episode], device: torch.device) -> torch.Tensor:
    """Return the rollout's own, in the same order."""
    values = [value for episode in episodes for value in episode.logprobs]
    return torch.tensor(values, dtype=torch.double, device=device)


def updated(trainer: Learner, policy: Policy, episodes: Sequence[Episode]) -> torch.Tensor:
    """What the update scores them with, in the same order."""
    found = Decisions.of(episodes, policy.model.device)
    with torch.no_grad(), policy.learning() as model:
        slices = trainer._scorer.split(episodes, range(len(episodes)))
        for one, scores in trainer._scores(model, slices):
            found = found.replaced(one, scores, False)
    return found.logprobs[found.mask.bool()].double()


def gradients(
    policy: Policy, episodes: Sequence[Episode], advantages: torch.Tensor, copies: int = 1
) -> list[torch.Tensor]:
    """Return the adapter's gradients of the loss `dapo` on policy: -Σ advantage · log p /
    decisions."""
    model = policy.model
    model.eval()
    total = sum(len(episode.logprobs) for episode in episodes)
    for parameter in policy.parameters.values():
        parameter.grad = None
    for episode, advantage in zip(episodes, advantages.tolist(), strict=True):
        for turn in turns(model, episode, copies):
            (-advantage * turn.sum() / total).backward()
    return taken(policy)


def taken(policy: Policy) -> list[torch.Tensor]:
    """Return the adapter's gradients in fp64, which are set back to none."""
    found = []
    for parameter in policy.parameters.values():
        assert parameter.grad is not None
        found.append(parameter.grad.double())
        parameter.grad = None
    return found


def relative(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """Return the L2 norm of the difference, as a share of the expected one's."""
    difference = sum(float((a - b).square().sum()) for a, b in zip(found, expected, strict=True))
    whole = sum(float(item.square().sum()) for item in expected)
    return float((difference / whole) ** 0.5)


@torch.no_grad()
def token_logprobs(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (tokens, vocabulary) in fp64 after every token of the rows."""
    rows = [model(input_ids=row[None], use_cache=False).logits[0].double() for row in ids]
    return torch.cat(rows).log_softmax(-1)


def kl(one: torch.Tensor, other: torch.Tensor) -> float:
    """KL(one || other), the mean over positions."""
    return float((one.exp() * (one - other)).sum(-1).mean())
