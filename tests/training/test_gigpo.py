"""Advantages of turns: which turns are compared, and what the loss makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest

from contrail import Environment, Observation, Step
from contrail.environment import Task
from contrail.plugins.adapters.choose import Choose
from contrail.seeding import generator
from contrail.training.advantages import discounted, step_advantages
from contrail.training.gigpo import GiGPO, GiGPOConfig, histories, observations

import torch  # isort: skip
from contrail.episode import Episode, Turn  # isort: skip
from contrail.rollout.play import EnvironmentPool, Job, play  # isort: skip
from contrail.training.decisions import Decisions  # isort: skip
from contrail.training.grpo import GRPO  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from contrail.training.objective import Batch  # isort: skip
from learning import (  # isort: skip
    EXACT,
    VARIED,
    Make,
    Words,
    changed,
    config,
    distance,
    disturb,
    flat,
    groups,
    parameters,
    rewarded,
    taken,
)

LOSSES: list[dict[str, Any]] = [
    *[
        {"loss_type": name, "importance_sampling_level": level}
        for name in ("grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "vespo", "luspo")
        for level in ("token", "sequence")
    ],
    {"loss_type": "dapo", "off_policy_mask_threshold": 0.01},
    {"loss_type": "dapo", "delta": 1.2},
]


def walk(*steps: tuple[str, str, float], environment: str = "e", decisions: int = 1) -> Episode:
    """An episode of (observation, action, reward) steps, each of so many decisions."""
    turns = [
        Turn(
            [1],
            [2] * decisions,
            [-1.0] * decisions,
            [1.0] * decisions,
            observation=seen,
            action=action,
            reward=reward,
        )
        for seen, action, reward in steps
    ]
    return Episode(environment, Task(environment, "0", 0, "train"), 0, turns)


# One goes straight to the end, one wastes a step at the start, one in the middle, one gets lost.
GROUP = [
    walk(("start", "go", 0.0), ("hall", "open", 1.0)),
    walk(("start", "wait", 0.0), ("start", "go", 0.0), ("hall", "open", 1.0)),
    walk(("start", "go", 0.0), ("hall", "wait", 0.0), ("hall", "open", 1.0)),
    walk(("start", "go", 0.0), ("hall", "jump", 0.0)),
]


def test_the_discounted_return() -> None:
    assert discounted([1.0, 0.0, 4.0], 0.5) == [2.0, 2.0, 4.0]
    assert discounted([], 0.5) == []


def test_turns_with_the_same_history_are_compared() -> None:
    found = step_advantages([GROUP], histories, 0.5, "none")
    # From the start, by hand: 0.5, 0.25, 0.25, 0. Mean 0.25.
    assert [turns[0] for turns in found] == [0.25, 0.0, 0.0, -0.25]
    # In the hall after `go`: 1, 0.5, 0. The second has been at the start for a turn more.
    assert [found[0][1], found[2][1], found[3][1]] == [0.5, 0.0, -0.5]
    assert [found[1][1], found[1][2], found[2][2]] == [0.0, 0.0, 0.0]


def test_turns_with_the_same_observation_are_compared() -> None:
    found = step_advantages([GROUP], observations, 0.5, "none")
    # start: 0.5, 0.25, 0.5 (the second's second turn), 0.25, 0. Mean 0.3.
    assert found[1][:2] == pytest.approx([-0.05, 0.2])
    # hall: 1, 1, 0.5, 1, 0. Mean 0.7.
    assert [found[0][1], *found[2][1:], found[3][1]] == pytest.approx([0.3, -0.2, 0.3, -0.7])


def test_malformed_answers_in_different_states_are_not_compared() -> None:
    """The adapter's message is the same everywhere; the environment is where it was."""
    message = "No action found."
    one = walk(("hall", "", 0.0), (message, "open", 1.0))
    other = walk(("hall", "go", 0.0), ("cellar", "", 0.0), (message, "wait", 0.0))
    same = walk(("cellar", "", 0.0), (message, "", 0.0), (message, "open", 1.0))
    for turn in (one.turns[0], other.turns[1], *same.turns[:2]):
        turn.action = None
    found = step_advantages([[one, other, same]], observations, 1.0, "none")
    assert found == [[0.5, 0.0], [-0.5, -0.5, -0.5], [0.5, 0.5, 0.0]]


@pytest.mark.parametrize(("scale", "of"), [("group", [0.5, 0.25, 0.25, 0.0]), ("batch", None)])
def test_the_scale_is_that_of_the_comparison(scale: str, of: list[float] | None) -> None:
    returns = [0.5, 0.25, 0.25, 0.0, 1.0, 0.5, 0.0, 0.5, 1.0, 1.0]  # of all turns
    expected = 0.25 / (numpy.std(of or returns, ddof=1) + 1e-4)
    assert step_advantages([GROUP], histories, 0.5, scale)[0][0] == pytest.approx(expected)


def test_groups_are_not_compared_with_one_another() -> None:
    worse = [walk(("start", "go", 0.0), ("hall", "open", -5.0)) for _ in range(2)]
    found = step_advantages([GROUP, worse], histories, 0.5, "none")
    assert found[:4] == step_advantages([GROUP], histories, 0.5, "none")
    assert found[4:] == [[0.0, 0.0], [0.0, 0.0]]


def test_thoughts_do_not_separate_and_actions_do() -> None:
    one, other = walk(("a", "x", 0.0), ("b", "y", 1.0)), walk(("a", "x", 0.0), ("b", "z", 0.0))
    one.turns[0].text, other.turns[0].text = "hm, x", "x!"
    assert step_advantages([[one, other]], histories, 1.0, "none")[0] == [0.5, 0.5]
    other.turns[0].action = None  # it happened to see the same
    assert step_advantages([[one, other]], histories, 1.0, "none")[0] == [0.5, 0.0]


@pytest.fixture
def learner(make_tiny: Make, tmp_path: Path) -> Learner:
    return Learner(make_tiny(), config(tmp_path, scale_rewards="none"))


def test_a_decision_has_the_advantage_of_its_turn(learner: Learner) -> None:
    group = [walk(("a", "x", 0.0), ("b", "y", 1.0), decisions=2), walk(("a", "z", 0.0))]
    objective = GiGPO(GiGPOConfig(omega=2.0, gamma=0.5))
    [weights] = objective.weights(learner, [group], [[0, 1]])
    # Of episodes 0.5 and -0.5; of the first turns 0.25 and -0.25; nobody else was at b.
    assert weights[0].tolist() == [1.0, 1.0, 0.5, 0.5]
    assert weights[1, 0].item() == -1.0
    parts = objective.weights(learner, [group], [[1], [0]])
    assert [part.tolist() for part in parts] == [[[-1.0]], [[1.0, 1.0, 0.5, 0.5]]]


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("loss_type", ["dapo", "bnpo", "grpo"])
def test_environments_count_by_their_episodes(
    make_tiny: Make, tmp_path: Path, loss_type: str, steps: int
) -> None:
    """The factor of an episode is that of GRPO, at all of its decisions."""
    settings = config(tmp_path, loss_type=loss_type, steps_per_generation=steps)
    learner = Learner(make_tiny(), settings)
    grouped = [
        [walk(("a", "x", value), decisions=4) for value in (0.0, 1.0)],
        [walk(("a", "x", value), environment="f") for value in (0.0, 1.0)],
    ]
    minibatches = [[0, 3], [1, 2]] if steps == 2 else [[0, 1, 2, 3]]
    plain = GRPO().weights(learner, grouped, minibatches)
    found = GiGPO(GiGPOConfig(omega=0.0)).weights(learner, grouped, minibatches)
    for rows, values in zip(found, plain, strict=True):
        for row, value in zip(rows, values, strict=True):
            assert set(row.tolist()) == {value.item()}


@pytest.mark.parametrize("adapter", [Choose(), Words()], ids=["choose", "words"])
@pytest.mark.parametrize("steps", [1, 2])
def test_without_omega_it_is_grpo_bit_for_bit(
    make_tiny: Make, tmp_path: Path, steps: int, adapter: Any
) -> None:
    ends = []
    for objective in (GRPO(), GiGPO(GiGPOConfig(omega=0.0))):
        policy = make_tiny()
        learner = Learner(policy, config(tmp_path, steps_per_generation=steps))
        learner.begin(2, objective)
        grouped = groups(policy, adapter)
        rewarded(grouped, VARIED)
        scalars = [learner.update(grouped, generator(n)) for n in range(2)]
        ends.append((parameters(policy), scalars))
    (before, logged), (after, logged_too) = ends
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert logged == logged_too


def test_equal_groups_are_not_learnt_from(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    learner = Learner(policy, config(tmp_path, entropy_coef=0.1))
    learner.begin(1, GiGPO())
    grouped = groups(policy, Choose())
    rewarded(grouped, [[0.0] * 4, [0.0] * 4])
    before = parameters(policy)
    assert learner.update(grouped, generator(0))["skipped_steps"] == 1
    assert not changed(policy, before)
    # Equal rewards of episodes, sooner and later: only turns differ, and they are learnt from.
    for group in grouped:
        for episode in group:
            episode.turns[0 if episode.sample % 2 else -1].reward = 1.0
    assert all(len({episode.reward for episode in group}) == 1 for group in grouped)
    assert learner.update(grouped, generator(0))["skipped_steps"] == 0
    assert changed(policy, before)


def direct(
    learner: Learner, episodes: Sequence[Episode], weights: torch.Tensor, off_policy: bool
) -> float:
    """The loss with all decisions scored in one graph, differentiated at once."""
    from contrail.training.scorer import PlainScorer

    scorer = PlainScorer()
    recorded = Decisions.of(episodes, torch.device("cpu"))
    current = recorded
    with learner.policy.learning() as model:
        slices = scorer.split(episodes, range(len(episodes)))
        for piece, scores in scorer.score(model, slices, learner.config.temperature):
            current = current.replaced(piece, scores, False)
        total = torch.tensor(float(recorded.mask.sum()))
        old = recorded.logprobs if off_policy else None
        loss = learner.trl.loss(current, weights, old, None, total, final=True)
        loss.backward()
    return float(loss.detach())


@pytest.mark.parametrize("off_policy", [False, True])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_gradients_are_those_of_the_whole_batch(
    make_tiny: Make, tmp_path: Path, loss: dict[str, Any], off_policy: bool
) -> None:
    """With advantages per decision, in slices or at once, for every loss that is allowed."""
    policy = make_tiny()
    learner = Learner(policy, config(tmp_path, **loss))
    grouped = groups(policy, Words())
    episodes = flat(grouped)
    if off_policy:
        disturb(episodes, 0.1)
    longest = max(len(episode.logprobs) for episode in episodes)
    weights = torch.randn(8, longest, generator=torch.Generator().manual_seed(3))
    weights[2] = 0.0
    weights[4, 1:] = 0.0
    found_loss = learner.gradients(Batch.of(episodes, weights, off_policy))
    found = taken(policy)
    assert found_loss == pytest.approx(direct(learner, episodes, weights, off_policy), abs=1e-5)
    assert distance(found, taken(policy)) < EXACT


def test_each_decision_follows_its_own_advantage(make_tiny: Make, tmp_path: Path) -> None:
    """On the policy that acted, the gradient at a decision is its advantage by the total."""
    learner = Learner(make_tiny(), config(tmp_path))
    recorded = Decisions.of([*GROUP], torch.device("cpu"))
    recorded.logprobs.requires_grad_()
    [weights] = GiGPO().weights(learner, [GROUP], [[0, 1, 2, 3]])
    total = torch.tensor(float(recorded.mask.sum()))
    loss = learner.trl.loss(recorded, weights, None, None, total, final=True)
    [gradient] = torch.autograd.grad(loss, recorded.logprobs)
    assert torch.allclose(gradient, -weights * recorded.mask / total)
    assert weights[0, 0] > weights[1, 0]  # the first wastes no step


class Porch(Environment):
    """Every play succeeds, in the first turn or after one that is wasted."""

    max_turns = 2

    def tasks(self, split: str) -> list[Task]:
        return [Task("porch", f"{split}/{seed}", seed, split) for seed in range(4)]

    def reset(self, task: Task) -> Observation:
        self.waited = False
        return Observation(f"Door {task.seed} is before you.", ["open", "wait"])

    def step(self, action: str) -> Step:
        done = self.waited or action == "open"
        self.waited = True
        return Step(Observation("You wait.", ["open", "wait"]), float(done), done, success=done)


def test_only_turns_tell_that_a_step_is_wasted(make_tiny: Make, tmp_path: Path) -> None:
    """GRPO learns nothing where all succeed; with turns, the wasted one goes."""
    wasted = {}
    for name, objective in (("grpo", GRPO()), ("gigpo", GiGPO())):
        policy = make_tiny(trained=False, enlarged=2)
        learner = Learner(policy, config(tmp_path, learning_rate=3e-3, scale_rewards="none"))
        learner.begin(12, objective)
        pool = EnvironmentPool({"porch": Porch})
        counts = []
        for update in range(12):
            jobs = [
                Job("porch", task, Choose(), generator(0, update, task.id, sample), sample)
                for task in Porch().tasks("train")[:2]
                for sample in range(4)
            ]
            episodes = play(policy, pool, jobs)
            assert all(episode.success for episode in episodes)
            counts.append(sum(len(episode.turns) - 1 for episode in episodes))
            learner.update([episodes[:4], episodes[4:]], generator(0, update))
        wasted[name] = sum(counts[-4:]) / 32
    assert wasted["grpo"] > 0.2
    assert wasted["gigpo"] < wasted["grpo"] / 2
