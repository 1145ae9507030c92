"""A made-up environment whose prompts have the length one asks for."""

from __future__ import annotations

from collections.abc import Sequence

import contrail
from benchmarks.choose import PLACES, THINGS, VERBS
from benchmarks.workload import SEED, Scripted
from contrail.episode import Episode
from contrail.model.policy import Policy
from contrail.plugins.adapters.choose import Choose
from contrail.rollout.play import Job, play
from contrail.seeding import generator
from contrail.workers.pool import EnvironmentPool

ACTIONS = [
    f"{verb} the {thing} in the {place}" for verb in VERBS for place in PLACES for thing in THINGS
]


class House(contrail.Environment):
    """`turns` turns, in each of which one of `actions` actions can be done.

    What is seen differs from task to task and from turn to turn, but for its beginning.
    """

    def __init__(self, turns: int, actions: int, words: int) -> None:
        super().__init__()
        self.max_turns = turns
        self._actions = actions
        self._words = words

    def tasks(self, split: str) -> list[contrail.Task]:
        return [contrail.Task("house", f"{split}-{seed}", seed, split) for seed in range(100)]

    def reset(self, task: contrail.Task) -> contrail.Observation:
        self._rng = generator(SEED, "house", task.seed)
        return self._observe(" you" * self._words)

    def step(self, action: str) -> contrail.Step:
        return contrail.Step(self._observe(f"You {action}."))

    def _observe(self, text: str) -> contrail.Observation:
        chosen = self._rng.choice(len(ACTIONS), self._actions, replace=False)
        seen = ACTIONS[int(self._rng.integers(len(ACTIONS)))]
        return contrail.Observation(f"{text} You see: {seen}", [ACTIONS[i] for i in chosen])


class Silent(Scripted):
    """Free text whose prompt is the observation alone."""

    def system(self, environment: contrail.Environment) -> str:
        return ""

    def render(self, observation: contrail.Observation) -> str:
        return observation.text


def words_for(policy: Policy, tokens: int) -> int:
    """Return the number of words that make a first prompt of about `tokens` tokens."""
    house = House(1, 1, 0)
    empty = len(policy.chat.start("", house.reset(house.tasks("train")[0]).text))
    return max(0, tokens - empty)  # " you" is one token


def jobs(adapter: str, tasks: Sequence[contrail.Task], group: int, tokens: int) -> list[Job]:
    """Return each task `group` times."""
    return [
        Job(
            "house",
            task,
            Choose() if adapter == "choose" else Silent(tokens, f"{task.id} {sample}"),
            generator(SEED, task.id, sample),
            sample,
        )
        for task in tasks
        for sample in range(group)
    ]


def play_house(
    policy: Policy,
    adapter: str,
    *,
    tasks: int,
    group: int,
    turns: int = 2,
    actions: int = 20,
    prompt: int = 300,
    tokens: int = 16,
) -> list[Episode]:
    """contrail's rollout.

    Args:
        policy: who plays.
        adapter: "choose" or "react".
        tasks: how many.
        group: episodes of each.
        turns: of an episode.
        actions: candidates of a choice.
        prompt: tokens of the first prompt, about.
        tokens: written in a turn of free text.

    Raises:
        RuntimeError: an episode ended in a fault.
    """
    words = words_for(policy, prompt)
    pool = EnvironmentPool({"house": lambda: House(turns, actions, words)})
    chosen = House(turns, actions, words).tasks("train")[:tasks]
    try:
        work = jobs(adapter, chosen, group, tokens)
        episodes = play(policy, pool, work, concurrency=len(work))
    finally:
        pool.close()
    for episode in episodes:
        if episode.fault is not None:
            raise RuntimeError(f"{episode.task.id}: {episode.fault}")
    return episodes
