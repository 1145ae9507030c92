"""The gradients of the update are those of TRL's own loss on the same episodes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rooms import Rooms, train

from contrail.cache import cache
from contrail.model.policy import Policy, load_base, with_lora
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import ReactConfig
from contrail.plugins.models.smollm2 import smollm2_135m

import torch  # isort: skip
from contrail.training.shared import packs as packs_module  # isort: skip
from contrail.episode import Episode  # isort: skip
from contrail.training.objective import Batch

from contrail.training.learner import Learner  # isort: skip
from datasets import Dataset  # isort: skip
from peft import LoraConfig  # isort: skip
from trl import GRPOConfig, GRPOTrainer  # isort: skip

from learning import (
    EXACT,
    Gradients,
    Make,
    One,
    Words,
    config,
    distance,
    disturb,
    flat,
    groups,
    some_advantages,
    taken,
)  # isort: skip


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
        trainer = Learner(policy, settings)
        policy.model.train()
        monkeypatch.setattr(packs_module, "MAX_TOKENS", limit)
        found_loss = trainer.gradients(Batch.of(episodes, advantages, off_policy))
        assert distance(taken(policy), expected) < EXACT
        assert found_loss == pytest.approx(expected_loss, abs=5e-5)
        found = trainer.trl.take_metrics()
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
    trainer = Learner(policy, settings)
    policy.model.train()
    trainer.gradients(Batch.of(episodes, advantages))
    assert distance(taken(policy), expected) < EXACT


def test_gradients_on_a_real_model_are_those_of_trl(tmp_path: Path) -> None:
    if not (cache() / "models" / "smollm2-135m" / "config.json").is_file():
        pytest.skip("smollm2-135m is not in the cache; `make demo` puts it there")
    torch.set_num_threads(1)
    base, tokenizer = load_base(str(smollm2_135m()), dtype="float32", device="cpu")
    modules = ["q_proj", "v_proj", "down_proj"]
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=modules, task_type="CAUSAL_LM")
    policy = with_lora(base, tokenizer, lora, seed=0)
    train(policy, 0.01)

    class Two(Rooms):
        max_turns = 2

    adapter = Words(ReactConfig(max_new_tokens=6, list_actions=False))
    episodes = flat(groups(policy, adapter, environment=Two, count=1, size=2))
    advantages = torch.tensor([1.0, -0.5])
    settings = config(tmp_path, loss_type="dapo")
    _, expected, _ = trl_gradients(policy, settings, episodes, advantages, off_policy=False)
    trainer = Learner(policy, settings)
    policy.model.train()
    trainer.gradients(Batch.of(episodes, advantages))
    assert distance(taken(policy), expected) < EXACT


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

    trainer = Learner(policy, settings)
    policy.model.train()
    found = trainer.gradients(Batch.of(episodes, advantages, off_policy))
    assert distance(taken(policy), expected) < EXACT
    assert found == pytest.approx(float(loss.detach()), abs=1e-5)
    for size in (1, 150, 400):
        monkeypatch.setattr(packs_module, "MAX_TOKENS", size)
        trainer.gradients(Batch.of(episodes, advantages, off_policy))
        assert distance(taken(policy), expected) < EXACT


@pytest.mark.parametrize(
    ("settings", "again"),
    [
        ({"loss_type": "dapo"}, False),
        ({"loss_type": "sapo"}, False),
        ({"importance_sampling_level": "sequence"}, True),
        ({"loss_type": "vespo"}, True),
        ({"off_policy_mask_threshold": 0.01}, True),
        ({"top_entropy_quantile": 0.5}, True),
    ],
    ids=str,
)
def test_divided_episodes_are_scored_again_only_where_decisions_weigh_on_one_another(
    make_tiny: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    again: bool,
) -> None:
    policy = make_tiny()
    episodes = flat(groups(policy, Choose(), count=4))
    disturb(episodes)
    advantages = some_advantages(len(episodes))
    learner = Learner(policy, config(tmp_path, **settings))
    policy.model.train()

    def gradients(off_policy: bool) -> tuple[Gradients, int]:
        before = learner._scorer.computed_tokens
        learner.gradients(Batch.of(episodes, advantages, off_policy))
        return taken(policy), learner._scorer.computed_tokens - before

    whole, _ = gradients(True)
    monkeypatch.setattr(packs_module, "MAX_TOKENS", 80)
    divided, tokens = gradients(True)
    _, once = gradients(False)
    if settings.get("top_entropy_quantile") is None:  # a threshold over all slices' entropies
        assert distance(divided, whole) < EXACT
    assert tokens == once * (1 + again)
