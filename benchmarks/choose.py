"""Choices from a list: contrail's scores, and a full forward for every action."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import contrail
from benchmarks.measure import Timings, alternate, ratio, timed
from benchmarks.models import make_policy
from benchmarks.report import Report
from benchmarks.workload import Settings, episodes_of, make_environment
from contrail.environment import Environment
from contrail.episode import Episode
from contrail.model.policy import Policy
from contrail.plugins.adapters.choose import Choose

import torch  # isort: skip
from torch.nn.utils.rnn import pad_sequence  # isort: skip

# Brute force takes a second and more for every decision.
DEFAULTS: dict[str, Any] = {"tasks": 2, "group": 4}
EXACT = 1e-4
ROWS = 32  # of a forward of brute force
MANY = 400
VERBS = ("take", "open", "move", "look at", "pour", "heat", "connect", "focus on", "mix", "read")
PLACES = ("kitchen", "hall", "garden", "workshop", "bedroom", "cellar", "attic", "greenhouse")
THINGS = ("lamp", "jar", "metal pot", "seed packet", "thermometer")


class Many(Environment):
    """One turn, in which 400 made-up actions can be done."""

    max_turns = 1

    def __init__(self, count: int) -> None:
        super().__init__()
        actions = [f"{v} the {t} in the {p}" for v in VERBS for p in PLACES for t in THINGS]
        self._seen = contrail.Observation("You are in a large house.", actions[:count])

    def tasks(self, split: str) -> list[contrail.Task]:
        return [contrail.Task("many", "house", 0, split)]

    def reset(self, task: contrail.Task) -> contrail.Observation:
        return self._seen

    def step(self, action: str) -> contrail.Step:
        return contrail.Step(self._seen, truncated=True)


@dataclass
class Decision:
    """Log-probabilities of all actions, which was chosen, and what contrail recorded of it."""

    logprobs: torch.Tensor
    turn: Any

    def error(self) -> float:
        """Return the largest difference in the choice's log-probability and in the entropy over
        all."""
        entropy = -(self.logprobs.exp() * self.logprobs).sum()
        chosen = self.logprobs[self.turn.choice] - self.turn.logprobs[0]
        return float(torch.stack([chosen, entropy - self.turn.entropies[0]]).abs().max())


def run(settings: Settings) -> Report:
    """Play BabyAI, score each of its choices again; then a list of 400 actions."""
    report = Report("choose", settings)
    policy = make_policy(settings)
    environment = make_environment(settings)
    tasks = environment().tasks("train")[: settings.tasks]
    played: list[Episode] = []

    def contrail_plays() -> None:
        played[:] = _play(policy, settings, tasks, environment)

    report.timings, results = alternate(
        {"contrail": contrail_plays, "brute_force": lambda: brute_force(policy, played)},
        settings.rounds,
        settings.device,
    )
    ours, theirs = (
        report.timings[name].seconds(settings.device) for name in ("contrail", "brute_force")
    )
    meaning = "how many times faster than a full forward for every action"
    report.aim("brute_force", ratio(theirs, ours), ">=", 1, meaning)
    decisions: list[Decision] = results["brute_force"]
    report.counts["decisions"] = len(decisions)
    report.counts["actions"] = sum(len(item.logprobs) for item in decisions)

    count = 40 if settings.quick else MANY
    house = Many(count)
    long = [f"contrail_{count}_actions", f"brute_force_{count}_actions"]
    report.timings |= {name: Timings() for name in long}
    group = replace(settings, tasks=1, group=settings.episodes)
    samples = timed(
        lambda: _play(policy, group, house.tasks("train"), lambda: Many(count)),
        report.timings[long[0]],
        settings.device,
    )
    many = timed(  # one state, so one decision speaks for all
        lambda: brute_force(policy, samples[:1]), report.timings[long[1]], settings.device
    )
    if settings.dtype != "float32":
        policy = make_policy(settings, "float32")
        few = replace(settings, tasks=1, group=2)
        decisions = brute_force(policy, _play(policy, few, tasks[:1], environment))
        samples = _play(policy, group, house.tasks("train"), lambda: Many(count))
        many = brute_force(policy, samples[:1])
    report.check("choices", max(item.error() for item in decisions), EXACT)
    chosen = [replace(many[0], turn=episode.turns[0]) for episode in samples]
    report.check(f"choices_{count}_actions", max(item.error() for item in chosen), EXACT)
    return report


def _play(
    policy: Policy,
    settings: Settings,
    tasks: Sequence[contrail.Task],
    environment: Callable[[], Environment],
) -> list[Episode]:
    return episodes_of(policy, tasks, settings.group, environment, lambda task, sample: Choose())


def brute_force(policy: Policy, episodes: Sequence[Episode]) -> list[Decision]:
    """Return every decision of the episodes: each action scored by a full forward of its own."""
    made = []
    with policy.acting() as model, torch.inference_mode():
        for episode in episodes:
            context: list[int] = []
            for turn in episode.turns:
                context += turn.prompt
                assert turn.choices is not None
                scores = []
                for begin in range(0, len(turn.choices), ROWS):
                    scores += _scores(model, context, turn.choices[begin : begin + ROWS])
                made.append(Decision(torch.stack(scores).cpu().double().log_softmax(-1), turn))
                context += turn.written
    return made


def _scores(
    model: torch.nn.Module, context: list[int], actions: Sequence[list[int]]
) -> list[torch.Tensor]:
    """Return the mean log-probability of each action's tokens."""
    rows = [torch.tensor([*context, *action]) for action in actions]
    ids = pad_sequence(rows, batch_first=True).to(next(model.parameters()).device)
    longest = max(map(len, actions))
    logits = model(input_ids=ids, logits_to_keep=longest + 1).logits[:, :-1].float()
    wanted = ids[:, len(context) :]
    logprobs = logits.log_softmax(-1).gather(2, wanted[..., None])[..., 0]
    return [row[: len(action)].mean() for row, action in zip(logprobs, actions, strict=True)]
