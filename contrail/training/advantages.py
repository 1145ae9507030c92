"""Statistics of an update's groups of episodes: advantages, and scalars to log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy

from contrail.episode import Episode

# Sums are off by less than this share of their size, or of 1 where they cancel out, even of rewards
# in single precision.
ROUNDING = 1e-6


def equal(rewards: Sequence[float]) -> bool:
    """Return whether rewards differ by rounding at most.

    Sums that are equal on paper need not be so in floats (0.1 + 0.2 and 0.3), and Adam takes a full
    step with any gradient, however small.
    """
    return max(rewards) - min(rewards) <= ROUNDING * max(1.0, *map(abs, rewards))


def turn_rewards(episode: Episode) -> list[float]:
    """Return the training rewards of an episode's turns, of which advantages are taken."""
    return [turn.training_reward for turn in episode.turns]


def group_advantages(groups: Sequence[Sequence[Episode]], scale: str) -> list[float]:
    """Return the advantage of each episode, group after group.

    Training reward minus the group's mean (GRPO, arXiv:2402.03300), divided by the standard
    deviation (plus 1e-4, as TRL does) of its group or of the whole batch, or not at all.

    Args:
        groups: episodes that played the same task.
        scale: TRL's `scale_rewards`: "group", "batch" or "none".
    """
    rewards = [[episode.training_reward for episode in group] for group in groups]
    return [value for group in _compared(rewards, scale) for value in group]


def step_advantages(
    groups: Sequence[Sequence[Episode]],
    anchors: Callable[[Episode], Sequence[Hashable]],
    gamma: float,
    scale: str,
) -> list[list[float]]:
    """Return the advantage of each turn of each episode, group after group.

    The discounted return from a turn on is compared with those from the group's other turns with
    the same anchor (GiGPO, arXiv:2505.10978). A turn whose anchor no other turn has gets 0.

    Args:
        groups: episodes that played the same task.
        anchors: returns the anchor of each turn of an episode.
        gamma: the discount factor.
        scale: as of `group_advantages`, where a group is one of turns with the same anchor.
    """
    returns: dict[tuple[int, Hashable], list[float]] = {}
    places: list[list[tuple[tuple[int, Hashable], int]]] = []  # of each turn: its key and index
    for number, group in enumerate(groups):
        for episode in group:
            values = discounted(turn_rewards(episode), gamma)
            places.append([])
            for anchor, value in zip(anchors(episode), values, strict=True):
                alike = returns.setdefault((number, anchor), [])
                places[-1].append(((number, anchor), len(alike)))
                alike.append(value)
    compared = dict(zip(returns, _compared(list(returns.values()), scale), strict=True))
    return [[compared[key][index] for key, index in turns] for turns in places]


def discounted(rewards: Sequence[float], gamma: float) -> list[float]:
    """Return, for each reward, the discounted sum of the rewards from it on."""
    totals: list[float] = []
    total = 0.0
    for reward in reversed(rewards):
        total = reward + gamma * total
        totals.append(total)
    return totals[::-1]


def _compared(groups: Sequence[Sequence[float]], scale: str) -> list[list[float]]:
    """Return each value minus the mean of its group, scaled as `group_advantages` says."""
    arrays = [numpy.array(values) for values in groups]
    everywhere = numpy.concatenate(arrays)
    compared = []
    for group, values in zip(groups, arrays, strict=True):
        if equal(group):
            centred = numpy.zeros(len(values))
        else:
            centred = values - values.mean()
            if scale == "group":
                centred = centred / (values.std(ddof=1) + 1e-4)
            elif scale == "batch":
                centred = centred / (everywhere.std(ddof=1) + 1e-4)
        compared.append(centred.tolist())
    return compared


def environment_weights(episodes: Sequence[Episode]) -> list[float]:
    """Return the factor of each episode's advantage with which environments count by their
    episodes.

    A loss that sums over decisions gives an environment with long answers more weight than one with
    as many episodes and short answers. With these factors (the mean number of decisions of all
    episodes, divided by that of the episode's environment) its weight is its share of the episodes.
    """
    decisions: dict[str, int] = {}
    counts = Counter(episode.environment for episode in episodes)
    if len(counts) < 2:
        return [1.0] * len(episodes)
    for episode in episodes:
        name = episode.environment
        decisions[name] = decisions.get(name, 0) + sum(episode.learnt)
    mean = sum(decisions.values()) / len(episodes)
    # An environment whose turns are all left out has no decision to weigh.
    return [
        mean * counts[episode.environment] / max(1, decisions[episode.environment])
        for episode in episodes
    ]


def group_scalars(groups: Sequence[Sequence[Episode]]) -> dict[str, float]:
    """Return scalars of the episodes of one update, beside the metrics of an episode."""
    episodes = [episode for group in groups for episode in group]
    if not episodes:
        return {"episodes": 0.0}
    played = [episode for episode in episodes if not episode.demonstrated]
    entropies = [value for episode in played for value in episode.entropies]
    several = [group for group in groups if len(group) > 1]
    without = [equal([episode.training_reward for episode in group]) for group in several]
    scalars = {"episodes": float(len(episodes))}
    if entropies:
        scalars["policy_entropy"] = float(numpy.mean(entropies))
    if without:
        scalars["zero_variance_groups"] = float(numpy.mean(without))
    if any(episode.training_reward != episode.reward for group in several for episode in group):
        alike = [equal([episode.reward for episode in group]) for group in several]
        by_penalties = [same and not zero for same, zero in zip(alike, without, strict=True)]
        scalars["penalty_only_groups"] = float(numpy.mean(by_penalties))
    if len(played) < len(episodes):
        shown = [episode for episode in episodes if episode.demonstrated]
        scalars["failed_demonstrations"] = float(numpy.mean([not item.success for item in shown]))
        if long := [item for item in shown if item.ended == "too_long"]:
            scalars["too_long_demonstrations"] = len(long) / len(shown)
    decisions = max(1, sum(sum(episode.learnt) for episode in episodes))
    for name in dict.fromkeys(episode.environment for episode in episodes):
        own = [episode for episode in episodes if episode.environment == name]
        scalars[f"share_of_episodes/{name}"] = len(own) / len(episodes)
        scalars[f"share_of_decisions/{name}"] = sum(sum(e.learnt) for e in own) / decisions
    return scalars
