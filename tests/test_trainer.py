"""The trainer: scores are the recorded ones, gradients are TRL's, and nothing leaks."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
from conftest import Rooms, train

import contrail
from contrail import Observation
from contrail.download import cache
from contrail.model import Policy, load_base, with_adapter
from contrail.plugins.choose import Choose
from contrail.plugins.models import smollm2_135m
from contrail.plugins.react import React, ReactConfig
from contrail.seeding import generator

import torch  # isort: skip
from contrail import packs as packs_module  # isort: skip
from contrail.rollout.episode import Episode  # isort: skip
from contrail.rollout.play import EnvironmentPool, Job, play  # isort: skip
from contrail.rollout.scoring import Forest, Part  # isort: skip
from contrail.rollout.states import States  # isort: skip
from contrail.tree import ROOT, TokenTree  # isort: skip
from contrail.groups import describe, group_advantages  # isort: skip
from contrail.trainer import Trainer  # isort: skip
from datasets import Dataset  # isort: skip
from peft import LoraConfig  # isort: skip
from trl import GRPOConfig, GRPOTrainer  # isort: skip

EXACT = 1e-4
Make = Callable[..., Policy]
Gradients = dict[str, torch.Tensor]


class Words(React):
    """Free text; whatever the model writes is an action."""

    def parse(self, text: str, observation: Observation) -> str:
        return text


class One(Rooms):
    """Rooms, in episodes of one turn."""

    max_turns = 1


def config(tmp_path: Path, **values: Any) -> GRPOConfig:
    minibatches = values.pop("steps_per_generation", 1)
    defaults = {
        "output_dir": str(tmp_path),
        "per_device_train_batch_size": 8 // minibatches,
        "gradient_accumulation_steps": 1,
        "generation_batch_size": 8,
        "num_generations": 4,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "max_completion_length": 50,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "remove_unused_columns": False,
        "report_to": "none",
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    made = GRPOConfig(**defaults | values)
    assert made.steps_per_generation == minibatches
    return made


def groups(
    policy: Policy,
    adapter: contrail.Adapter,
    temperature: float = 1.0,
    environment: Callable[[], Rooms] = Rooms,
    count: int = 2,
    size: int = 4,
    states: States | None = None,
) -> list[list[Episode]]:
    """Episodes of `count` tasks, `size` of each."""
    jobs = [
        Job("rooms", task, adapter, generator(0, task.id, sample), sample)
        for task in Rooms().tasks("train")[:count]
        for sample in range(size)
    ]
    pool = EnvironmentPool({"rooms": environment})
    episodes = play(policy, pool, jobs, temperature=temperature, states=states)
    return [episodes[begin : begin + size] for begin in range(0, len(jobs), size)]


def flat(grouped: Sequence[Sequence[Episode]]) -> list[Episode]:
    return [episode for group in grouped for episode in group]


def some_advantages(count: int) -> torch.Tensor:
    """Of both signs, and one of zero."""
    values = torch.randn(count, generator=torch.Generator().manual_seed(5))
    values[1] = 0.0
    return values


def disturb(episodes: Sequence[Episode], scale: float = 0.3) -> None:
    """Make the recorded log-probabilities those of another policy."""
    rng = numpy.random.default_rng(7)
    for episode in episodes:
        for turn in episode.turns:
            noise = rng.normal(0, scale, len(turn.logprobs))
            turn.logprobs = [float(value) for value in turn.logprobs + noise]


def taken(policy: Policy) -> Gradients:
    """The gradients, which are set back to none."""
    found = {}
    for name, parameter in policy.model.named_parameters():
        if parameter.grad is not None:
            assert parameter.requires_grad
            found[name] = parameter.grad.clone()
            parameter.grad = None
    return found


def distance(found: Gradients, expected: Gradients) -> float:
    """Relative L2."""
    assert found.keys() == expected.keys()
    assert found
    difference = sum(float((found[name] - expected[name]).square().sum()) for name in found)
    size = sum(float(value.square().sum()) for value in expected.values())
    assert size > 1e-12
    return (difference / size) ** 0.5


def parameters(policy: Policy) -> Gradients:
    return {name: item.detach().clone() for name, item in policy.model.named_parameters()}


def set_parameters(policy: Policy, values: Gradients) -> None:
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            parameter.copy_(values[name])


def changed(policy: Policy, before: Gradients) -> set[str]:
    after = parameters(policy)
    return {name for name in after if not torch.equal(after[name], before[name])}


# against TRL


def trl_gradients(
    policy: Policy,
    settings: GRPOConfig,
    episodes: Sequence[Episode],
    advantages: torch.Tensor,
    off_policy: bool,
) -> tuple[float, Gradients, dict[str, list[float]]]:
    """Loss, gradients and metrics of TRL's own trainer, which runs padded full forwards.

    A mask leaves out what the environment wrote.
    """
    beta, settings.beta = settings.beta, 0.0
    trl = GRPOTrainer(
        model=policy.model,
        reward_funcs=[lambda completions, **_: [0.0] * len(completions)],
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": ["-"]}),
        processing_class=policy.chat.tokenizer,
    )
    settings.beta = trl.beta = beta
    trl.current_gradient_accumulation_steps = 1
    assert policy.model.config._attn_implementation == "sdpa"

    pad = policy.chat.tokenizer.pad_token_id
    starts = [len(episode.turns[0].prompt) for episode in episodes]
    before = max(starts)
    after = max(len(item.token_ids) - start for item, start in zip(episodes, starts, strict=True))

    def rows(values: Sequence[Sequence[float]], filler: float) -> tuple[Any, Any]:
        """Prompts padded on the left, completions on the right."""
        left = [
            [filler] * (before - start) + list(row[:start])
            for row, start in zip(values, starts, strict=True)
        ]
        right = [
            [*row[start:], *[filler] * (after - len(row) + start)]
            for row, start in zip(values, starts, strict=True)
        ]
        return torch.tensor(left), torch.tensor(right)

    prompt_ids, completion_ids = rows([item.token_ids for item in episodes], pad)
    prompt_mask, completion_mask = rows([[1] * len(item.token_ids) for item in episodes], 0)
    _, tool_mask = rows([item.mask for item in episodes], 0)
    recorded = []
    for episode in episodes:
        values = iter(episode.logprobs)
        recorded.append([next(values) if bit else 0.0 for bit in episode.mask])
    _, old = rows(recorded, 0.0)
    policy.model.train()
    reference = None
    if beta:
        with torch.no_grad(), policy.model.disable_adapter():
            reference, _, _ = trl._get_per_token_logps_and_entropies(
                policy.model,
                torch.cat([prompt_ids, completion_ids], 1),
                torch.cat([prompt_mask, completion_mask], 1),
                after,
            )
    loss = trl._compute_loss(
        policy.model,
        {
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
            "completion_ids": completion_ids,
            "completion_mask": completion_mask,
            "tool_mask": tool_mask,
            "advantages": advantages,
            "old_per_token_logps": old if off_policy else None,
            "ref_per_token_logps": reference,
            "num_items_in_batch": tool_mask.sum(),
        },
    )
    loss.backward()
    return float(loss.detach()), taken(policy), dict(trl._metrics["train"])


LOSSES = [
    *[{"loss_type": name} for name in ("grpo", "dapo", "dr_grpo", "bnpo")],
    {"loss_type": "grpo", "importance_sampling_level": "sequence"},  # GSPO
]
OTHERS = [
    *[{"loss_type": name} for name in ("cispo", "sapo", "vespo")],
    {"loss_type": "luspo", "importance_sampling_level": "sequence"},
    {"loss_type": "dr_grpo", "entropy_coef": 0.05},
    {"loss_type": "bnpo", "use_adaptive_entropy": True, "entropy_target": 100.0},
    {"loss_type": "dapo", "epsilon_high": 0.28, "delta": 1.5},
]
CASES = [(loss, beta, off) for loss in LOSSES for beta in (0.0, 0.04) for off in (False, True)]
CASES += [(loss, 0.04 * (number % 2), True) for number, loss in enumerate(OTHERS)]


@pytest.fixture(scope="module")
def many_turns(make_tiny: Make) -> list[Episode]:
    """Free text at a temperature, of several turns, some as often as four times."""
    return flat(groups(make_tiny(), Words(ReactConfig(max_new_tokens=7)), temperature=0.8))


@pytest.mark.parametrize(("loss", "beta", "off_policy"), CASES, ids=str)
def test_gradients_are_those_of_trl(
    make_tiny: Make,
    many_turns: list[Episode],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loss: dict[str, Any],
    beta: float,
    off_policy: bool,
) -> None:
    policy = make_tiny()
    episodes = copy.deepcopy(many_turns)
    if off_policy:
        disturb(episodes)
    advantages = some_advantages(len(episodes))
    settings = config(tmp_path, temperature=0.8, beta=beta, **loss)
    expected_loss, expected, metrics = trl_gradients(
        policy, settings, episodes, advantages, off_policy
    )
    for limit in (packs_module.MAX_TOKENS, 1):  # in one pack, and in packs of one turn
        trainer = Trainer(policy, settings)
        policy.model.train()
        monkeypatch.setattr(packs_module, "MAX_TOKENS", limit)
        found_loss = trainer.gradients(episodes, advantages, off_policy)
        assert distance(taken(policy), expected) < EXACT
        assert found_loss == pytest.approx(expected_loss, abs=5e-5)
        found = trainer._trl.take_metrics()
        assert found.keys() == metrics.keys()
        # These are of all episodes, of which those that cannot matter are not scored.
        for name in metrics.keys() - {"entropy", "vespo/phi_seq_mean"}:
            assert [found[name]] == pytest.approx(metrics[name], abs=1e-5), name


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_gradients_of_single_turns_are_those_of_trl(
    make_tiny: Make, tmp_path: Path, loss: dict[str, Any]
) -> None:
    policy = make_tiny()
    adapter = Words(ReactConfig(max_new_tokens=12))
    episodes = flat(groups(policy, adapter, environment=One))
    assert all(len(item.turns) == 1 for item in episodes)
    assert all(sum(item.mask) == len(item.turns[0].written) for item in episodes)
    advantages = some_advantages(len(episodes))
    settings = config(tmp_path, beta=0.04, **loss)
    _, expected, _ = trl_gradients(policy, settings, episodes, advantages, off_policy=False)
    trainer = Trainer(policy, settings)
    policy.model.train()
    trainer.gradients(episodes, advantages)
    assert distance(taken(policy), expected) < EXACT


def test_gradients_on_a_real_model_are_those_of_trl(tmp_path: Path) -> None:
    if not (cache() / "models" / "smollm2-135m" / "config.json").is_file():
        pytest.skip("smollm2-135m is not in the cache; `make demo` puts it there")
    torch.set_num_threads(1)
    base, tokenizer = load_base(str(smollm2_135m()), dtype="float32", device="cpu")
    modules = ["q_proj", "v_proj", "down_proj"]
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=modules, task_type="CAUSAL_LM")
    policy = with_adapter(base, tokenizer, lora, seed=0)
    train(policy, 0.01)

    class Two(Rooms):
        max_turns = 2

    adapter = Words(ReactConfig(max_new_tokens=6, list_actions=False))
    episodes = flat(groups(policy, adapter, environment=Two, count=1, size=2))
    advantages = torch.tensor([1.0, -0.5])
    settings = config(tmp_path, loss_type="dapo")
    _, expected, _ = trl_gradients(policy, settings, episodes, advantages, off_policy=False)
    trainer = Trainer(policy, settings)
    policy.model.train()
    trainer.gradients(episodes, advantages)
    assert distance(taken(policy), expected) < EXACT


# choices


def plain_choices(
    policy: Policy, episode: Episode, temperature: float
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Log-probabilities and entropies of the choices, by full forwards of the PEFT model."""
    logprobs, entropies = [], []
    history: list[int] = []
    for turn in episode.turns:
        history += turn.prompt
        scores = []
        for branch in turn.choices:
            logits = policy.model(input_ids=torch.tensor([history + branch])).logits[0]
            tokens = logits[len(history) - 1 : -1].log_softmax(-1)
            scores.append(tokens[torch.arange(len(branch)), branch].mean())
        every = (torch.stack(scores) / temperature).log_softmax(-1)
        logprobs.append(every[turn.choice])
        entropies.append(-(every.exp() * every).sum())
        history += turn.written
    return logprobs, entropies


@pytest.mark.parametrize("off_policy", [False, True], ids=["on", "off"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_gradients_of_choices(
    make_tiny: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    temperature: float,
    off_policy: bool,
) -> None:
    """PPO's clipped objective, KL and entropy, written out in plain torch."""
    policy = make_tiny()
    episodes = flat(groups(policy, Choose(), temperature))
    if off_policy:
        disturb(episodes)
    advantages = some_advantages(len(episodes))
    settings = config(
        tmp_path, loss_type="dr_grpo", temperature=temperature, beta=0.04, entropy_coef=0.02
    )
    policy.model.train()
    total = torch.zeros(())
    uncertain = []
    clipped = 0
    for episode, advantage in zip(episodes, advantages, strict=True):
        with torch.no_grad(), policy.model.disable_adapter():
            reference, _ = plain_choices(policy, episode, temperature)
        logprobs, entropies = plain_choices(policy, episode, temperature)
        uncertain += entropies
        for now, then, first in zip(logprobs, episode.logprobs, reference, strict=True):
            ratio = (now - (then if off_policy else now.detach())).exp()
            bounded = ratio.clamp(0.8, 1.2)
            clipped += int(ratio != bounded)
            total = total - torch.minimum(ratio * advantage, bounded * advantage)
            # TRL weighs it by the ratio, so that its gradient is that of the KL divergence.
            total = total + 0.04 * ratio * ((first - now).exp() - (first - now) - 1)
    loss = total / (len(episodes) * 50) - 0.02 * torch.stack(uncertain).mean()
    loss.backward()
    expected = taken(policy)
    assert (clipped > 3) is off_policy

    trainer = Trainer(policy, settings)
    policy.model.train()
    found = trainer.gradients(episodes, advantages, off_policy)
    assert distance(taken(policy), expected) < EXACT
    assert found == pytest.approx(float(loss.detach()), abs=1e-5)
    for size in (1, 150, 400):
        monkeypatch.setattr(packs_module, "MAX_TOKENS", size)
        trainer.gradients(episodes, advantages, off_policy)
        assert distance(taken(policy), expected) < EXACT


def decisions(packs: Sequence[packs_module.Pack]) -> list[tuple[int, int]]:
    """(episode, turn) of all that the packs score."""
    return sorted(
        (row, turn)
        for pack in packs
        for row, part in zip(pack.rows, pack.parts, strict=True)
        for turn in range(part.begin, part.end)
    )


def test_packs_hold_every_decision_once(make_tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = flat(groups(make_tiny(), Choose(), count=4))
    monkeypatch.setattr(packs_module, "MAX_TOKENS", 4096)
    (whole,) = packs_module.split(episodes, range(len(episodes)))
    assert whole.rows == list(range(16))
    needed = [0, 2, 3, *range(5, 16)]
    expected = [(row, turn) for row in needed for turn in range(len(episodes[row].turns))]
    for limit in (1, 60, 150, 400):
        monkeypatch.setattr(packs_module, "MAX_TOKENS", limit)
        packs = list(packs_module.split(episodes, needed))
        assert decisions(packs) == expected
        assert len(packs) > 1
        for pack in packs:
            turns = sum(part.end - part.begin for part in pack.parts)
            assert turns == 1 or pack.forest(TokenTree()).plan.size <= limit
        assert any(pack.splits for pack in packs) == (limit < 400)


def test_what_a_group_begins_with_is_computed_once(
    make_tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_tiny()
    episodes = flat(groups(policy, Words(ReactConfig(max_new_tokens=6)), count=2))
    trainer = Trainer(policy, config(tmp_path))
    sizes = []
    longest = max(len(episode.token_ids) for episode in episodes)
    for limit in (longest, 1 << 20):
        monkeypatch.setattr(packs_module, "MAX_TOKENS", limit)
        trainer.extra_tokens = 0
        parts = list(trainer.score(episodes))
        sizes.append((len(parts), trainer.extra_tokens))
    (several, split), (one, whole) = sizes
    assert several > 2
    assert one == 1
    # Packs of a group share a little more than its first prompt: what is written by chance.
    again = (several - 2) * len(episodes[0].turns[0].prompt)
    assert whole <= split < whole + again / 2


# scores


def wholes(episodes: Sequence[Episode]) -> list[Part]:
    return [Part(episode, 0, len(episode.turns)) for episode in episodes]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize(
    "adapter", [Choose(), Words(ReactConfig(max_new_tokens=6))], ids=["choose", "react"]
)
def test_scores_are_the_recorded_ones(
    make_tiny: Make, adapter: contrail.Adapter, temperature: float
) -> None:
    policy = make_tiny()
    episodes = flat(groups(policy, adapter, temperature, count=4))
    forest = Forest(TokenTree())
    forest.add(wholes(episodes[:5]))
    forest.add(wholes(episodes[5:]))
    for model in (policy.base.eval(), None):
        if model is not None:
            scores = forest.score(model, temperature, token_entropies=True)
            assert scores[0].logprobs.requires_grad
        else:
            with torch.no_grad(), policy.merged() as merged:
                scores = forest.score(merged, temperature, token_entropies=True)
        for episode, score in zip(episodes, scores, strict=True):
            recorded = torch.tensor([episode.logprobs, episode.entropies])
            found = torch.stack([score.logprobs, score.entropies])
            assert float((found - recorded).detach().abs().max()) < EXACT


def test_choices_and_free_text_in_one_forest(make_tiny: Make) -> None:
    policy = make_tiny()
    episodes = flat(groups(policy, Choose(), count=1)) + flat(
        groups(policy, Words(ReactConfig(max_new_tokens=6)), count=1)
    )
    forest = Forest(TokenTree())
    forest.add(wholes(episodes))
    with torch.no_grad():
        scores = forest.score(policy.base.eval(), 1.0)
    for episode, score in zip(episodes, scores, strict=True):
        assert float((score.logprobs - torch.tensor(episode.logprobs)).abs().max()) < EXACT


def test_a_group_is_computed_once(make_tiny: Make) -> None:
    episodes = flat(groups(make_tiny(), Choose(), count=1, size=4, environment=One))
    one, four = Forest(TokenTree()), Forest(TokenTree())
    one.add(wholes(episodes[:1]))
    four.add(wholes(episodes))
    assert one.plan.size == four.plan.size
    assert one.plan.size == packs_module._nodes(episodes[0].turns[0])


# updates


def rewarded(grouped: Sequence[Sequence[Episode]], rewards: Sequence[Sequence[float]]) -> None:
    for group, values in zip(grouped, rewards, strict=True):
        for episode, value in zip(group, values, strict=True):
            for turn in episode.turns:
                turn.reward = 0.0
            episode.turns[-1].reward = value


VARIED = [[0.0, 1.0, 1.0, 0.5], [1.0, 0.0, 0.0, 0.0]]


def test_group_advantages_by_hand(make_tiny: Make) -> None:
    grouped = groups(make_tiny(), Choose())
    rewarded(grouped, [[0.0, 1.0, 1.0, 0.0], [2.0, 2.0, 2.0, 2.0]])
    third = (1 / 3) ** 0.5  # the standard deviation of 0, 1, 1, 0
    half = 0.5 / (third + 1e-4)
    assert group_advantages(grouped, "group") == pytest.approx([-half, half, half, -half] + [0] * 4)
    assert group_advantages(grouped, "none") == pytest.approx([-0.5, 0.5, 0.5, -0.5] + [0] * 4)
    spread = numpy.std([0, 1, 1, 0, 2, 2, 2, 2], ddof=1)
    half = 0.5 / (spread + 1e-4)
    assert group_advantages(grouped, "batch") == pytest.approx([-half, half, half, -half] + [0] * 4)


def test_equal_rewards_are_exactly_no_advantage(make_tiny: Make) -> None:
    """The mean of 0.1, 0.1, 0.1 is not 0.1 in floating point."""
    grouped = [group[:3] for group in groups(make_tiny(), Choose())]
    rewarded(grouped, [[0.1] * 3, [0.7] * 3])
    for scale in ("group", "batch", "none"):
        assert group_advantages(grouped, scale) == [0.0] * 6


@pytest.mark.parametrize("steps", [{}, {"num_iterations": 2}, {"steps_per_generation": 2}])
def test_groups_without_variance_change_nothing(
    make_tiny: Make, tmp_path: Path, steps: dict[str, int]
) -> None:
    policy = make_tiny()
    trainer = Trainer(policy, config(tmp_path, weight_decay=0.1, **steps))
    trainer.begin(3)
    grouped = groups(policy, Choose())
    rewarded(grouped, [[0.1] * 4, [0.7] * 4])
    before = parameters(policy)
    scalars = trainer.update(grouped, generator(0))
    assert not changed(policy, before)
    assert not taken(policy)
    assert scalars["zero_variance_groups"] == 1
    assert scalars["gradient_norm"] == scalars["loss"] == 0
    # After an update that moved, its momentum does not move on.
    rewarded(grouped, VARIED)
    trainer.update(grouped, generator(0))
    assert changed(policy, before)
    before = parameters(policy)
    rewarded(grouped, [[0.1] * 4, [0.7] * 4])
    trainer.update(grouped, generator(0))
    assert not changed(policy, before)
    # One group without, one with: the gradient is the other group's.
    rewarded(grouped, [[0.1] * 4, VARIED[1]])
    assert trainer.update(grouped, generator(0))["zero_variance_groups"] == 0.5
    assert changed(policy, before)


def test_only_the_adapter_is_trained(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    trainer = Trainer(policy, config(tmp_path))
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)
    before = parameters(policy)
    scalars = trainer.update(grouped, generator(0))
    moved = changed(policy, before)
    assert moved == {name for name in before if "lora_" in name}
    assert scalars["episodes"] == 8
    assert scalars["gradient_norm"] > 0
    assert all(numpy.isfinite(value) for value in scalars.values())


def test_an_update_makes_the_rewarded_likelier(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny(trained=False)
    trainer = Trainer(policy, config(tmp_path, learning_rate=1e-3))
    grouped = groups(policy, Choose(), environment=One)
    wanted = grouped[0][0].turns[0].choice
    assert len({episode.turns[0].choice for episode in grouped[0]}) > 1
    rewarded(grouped[:1], [[float(item.turns[0].choice == wanted) for item in grouped[0]]])
    before = grouped[0][0].logprobs[0]
    trainer.update(grouped[:1], generator(0))
    forest = Forest(TokenTree())
    forest.add(wholes(grouped[0][:1]))
    with torch.no_grad():
        assert float(forest.score(policy.base, 1.0)[0].logprobs[0]) > before


@pytest.mark.parametrize("limit", [2048, 60])
def test_frozen_layers_are_not_computed_again(
    make_tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(packs_module, "MAX_TOKENS", limit)
    policy = make_tiny(layers_to_transform=[1])
    trainer = Trainer(policy, config(tmp_path))
    states = States()
    episodes = [
        episode
        for adapter in (Choose(), Words(ReactConfig(max_new_tokens=6)))
        for episode in flat(groups(policy, adapter, count=4, states=states))
    ]
    advantages = some_advantages(len(episodes))
    trainer.gradients(episodes, advantages)
    expected = taken(policy)
    below: list[int] = []
    hook = policy.base.model.layers[0].mlp.register_forward_hook(lambda *_: below.append(1))
    trainer.gradients(episodes, advantages, states=states)
    hook.remove()
    assert not below
    assert distance(taken(policy), expected) < EXACT


def test_frozen_layers_are_computed_where_a_part_of_their_states_is_missing(
    make_tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs_module, "MAX_TOKENS", 150)
    policy = make_tiny(layers_to_transform=[1])
    trainer = Trainer(policy, config(tmp_path))
    states = States()
    episodes = flat(groups(policy, Choose(), count=2, states=states))
    advantages = some_advantages(len(episodes))
    trainer.gradients(episodes, advantages)
    expected = taken(policy)
    packs = list(packs_module.split(episodes, range(len(episodes))))
    assert any(pack.stem for pack in packs)
    whole = [states.tree.walk(ROOT, episodes[0].turns[0].prompt)]
    stems = [
        states.tree.walk(ROOT, pack.stem[: place + 1])
        for pack in packs
        for place in range(len(pack.stem))
    ]
    for missing in (whole, stems):
        states._known = torch.ones(len(states._known), dtype=torch.bool)
        states._known[missing] = False
        trainer.gradients(episodes, advantages, states=states)
        assert distance(taken(policy), expected) < EXACT


def test_faulted_episodes_are_left_out(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    start = parameters(policy)
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)
    with_faults = copy.deepcopy(grouped)
    with_faults[0][2].fault = "step: it broke"
    with_faults[0][2].turns[-1].reward = 100.0
    never_began = copy.deepcopy(grouped[1][0])
    never_began.turns, never_began.fault = [], "reset: it broke"
    with_faults[1].append(never_began)
    alone = [copy.deepcopy(grouped[1][0]), never_began]  # nothing to compare it with
    ends = []
    for batch in ([[*grouped[0][:2], grouped[0][3]], grouped[1]], [*with_faults, alone]):
        set_parameters(policy, start)
        trainer = Trainer(policy, config(tmp_path))
        scalars = trainer.update(batch, generator(0))
        assert scalars["episodes"] == 7
        ends.append(parameters(policy))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in start)
    before = parameters(policy)
    assert trainer.update([alone, [never_began] * 4], generator(0)) == {"episodes": 0.0}
    assert not changed(policy, before)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("adapter", [Choose(), Words(ReactConfig(max_new_tokens=5))])
def test_stages_do_not_leak(
    make_tiny: Make, tmp_path: Path, adapter: contrail.Adapter, adaptive: bool
) -> None:
    """From the same weights, a stage ends the same whether or not another came before."""
    start = parameters(make_tiny())
    grouped = groups(make_tiny(), adapter)
    rewarded(grouped, VARIED)
    other = groups(make_tiny(), adapter, count=3)[2:]
    rewarded(other, VARIED[:1])

    def end(before: bool, begin: bool) -> Gradients:
        policy = make_tiny()
        entropy = {"use_adaptive_entropy": True, "entropy_target": 100.0} if adaptive else {}
        settings = config(tmp_path, lr_scheduler_type="linear", beta=0.01, **entropy)
        trainer = Trainer(policy, settings)
        if before:
            trainer.begin(5)
            for update in range(3):
                trainer.update(other, generator(0, update))
            set_parameters(policy, start)
        if begin:
            trainer.begin(2)
        for update in range(2):
            trainer.update(grouped, generator(0, update))
        return parameters(policy)

    alone, second, leaked = end(False, True), end(True, True), end(True, False)
    assert all(torch.equal(alone[name], second[name]) for name in start)
    assert any(not torch.equal(alone[name], leaked[name]) for name in start)


def test_schedule_covers_a_stage(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    trainer = Trainer(
        policy,
        config(tmp_path, lr_scheduler_type="linear", num_iterations=2, steps_per_generation=2),
    )
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)
    for _ in range(2):
        trainer.begin(3)
        rates = []
        for update in range(3):
            rates.append(trainer._trl.lr_scheduler.get_last_lr()[0])
            trainer.update(grouped, generator(0, update))
        assert rates == pytest.approx([1e-2, 1e-2 * 2 / 3, 1e-2 / 3])
        assert trainer._trl.lr_scheduler.get_last_lr()[0] == 0


def test_first_of_several_iterations_is_the_only_one(make_tiny: Make, tmp_path: Path) -> None:
    """With one iteration and two, the first step is the same; the second learns off policy."""
    ends = []
    grouped = groups(make_tiny(), Choose())
    rewarded(grouped, VARIED)
    for iterations in (1, 2):
        policy = make_tiny()
        trainer = Trainer(policy, config(tmp_path, num_iterations=iterations))
        steps: list[Gradients] = []
        step = trainer._step

        def watched(
            *args: Any,
            step: Any = step,
            steps: list[Gradients] = steps,
            policy: Policy = policy,
        ) -> Any:
            made = step(*args)
            steps.append(parameters(policy))
            return made

        trainer._step = watched
        scalars = trainer.update(grouped, generator(0))
        assert all(numpy.isfinite(value) for value in scalars.values())
        assert len(steps) == iterations
        ends.append(steps)
    first, second = ends[1]
    assert max(float((ends[0][0][name] - first[name]).abs().max()) for name in first) < 1e-3
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_minibatches_are_parts_of_the_batch(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)
    ends = []
    for seed in (0, 0, 1):
        policy = make_tiny()
        trainer = Trainer(policy, config(tmp_path, steps_per_generation=2, num_iterations=2))
        seen: list[list[Episode]] = []
        step = trainer._step

        def watched(episodes: list[Episode], *args: Any, step: Any = step, seen: Any = seen) -> Any:
            seen.append(episodes)
            return step(episodes, *args)

        trainer._step = watched
        trainer.update(grouped, generator(seed))
        assert [len(part) for part in seen] == [4, 4, 4, 4]
        for halves in (seen[:2], seen[2:]):
            everyone = [id(item) for part in halves for item in part]
            assert sorted(everyone) == sorted(id(item) for item in flat(grouped))
        ends.append(parameters(policy))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert any(not torch.equal(ends[0][name], ends[2][name]) for name in ends[0])


def test_global_random_state_is_not_touched(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)

    def state() -> tuple[Any, ...]:
        return (
            random.getstate(),
            numpy.random.get_state()[1].tolist(),  # noqa: NPY002
            torch.get_rng_state().tolist(),
        )

    random.seed(11)
    numpy.random.seed(11)  # noqa: NPY002
    torch.manual_seed(11)
    before = state()
    trainer = Trainer(policy, config(tmp_path, num_iterations=2, steps_per_generation=2, beta=0.1))
    assert state() == before
    trainer.begin(2)
    trainer.update(grouped, generator(0))
    assert state() == before


def test_describe(make_tiny: Make) -> None:
    assert describe([]) == {"episodes": 0.0}
    grouped = groups(make_tiny(), Words(ReactConfig(max_new_tokens=3)))
    rewarded(grouped, VARIED)
    grouped[0][0].turns[0].valid = False
    scalars = describe(grouped)
    turns = sum(len(episode.turns) for episode in flat(grouped))
    assert scalars["reward"] == pytest.approx(3.5 / 8)
    assert scalars["turns"] == turns / 8
    assert scalars["invalid_action_rate"] == pytest.approx(1 / turns)
    assert scalars["generated_tokens"] <= 3 * Rooms.max_turns
    assert scalars["zero_variance_groups"] == 0
