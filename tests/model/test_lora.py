"""LoRA layers act and learn as PEFT's do, in any dtype; frozen layers need not be run again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from learning import config, flat, groups
from models import SMALL, make

from contrail.errors import ContrailError
from contrail.model.policy import Policy
from contrail.plugins.adapters.choose import Choose

import torch  # isort: skip
from contrail.model.frozen_layers import FrozenLayers  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from peft import PeftModel  # isort: skip

TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9, 3]])


def gradients(policy: Policy) -> dict[str, torch.Tensor]:
    """Of a loss that reaches every layer; the adapter's gradients are left empty."""
    logits = policy.model(input_ids=TOKENS, use_cache=False).logits
    (logits.log_softmax(-1)[..., 7].sum() / 10).backward()
    found = {}
    for name, item in policy.model.named_parameters():
        if item.requires_grad and item.grad is not None:
            found[name], item.grad = item.grad, None
    return found


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert any(bool(item.any()) for item in expected.values())
    for name, item in expected.items():
        torch.testing.assert_close(found[name], item, atol=1e-5, rtol=1e-4)


def test_merged_weights_give_peft_s_gradients(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny()
    expected = gradients(policy)
    weights = {name: item.clone() for name, item in policy.model.named_parameters()}
    with policy.learning():
        assert_same(gradients(policy), expected)
    for name, item in policy.model.named_parameters():
        assert torch.equal(item, weights[name])
    assert_same(gradients(policy), expected)


def test_what_is_more_than_lora_runs_as_in_peft(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny(use_dora=True)
    expected = gradients(policy)
    with policy.learning():
        assert_same(gradients(policy), expected)
    with torch.no_grad(), policy.acting() as model:
        acting = model(input_ids=TOKENS).logits
        assert torch.equal(acting, policy.model(input_ids=TOKENS).logits)


@pytest.mark.parametrize("context", ["acting", "learning"])
def test_in_bfloat16_the_policy_is_base_plus_lora_as_peft_runs_it(
    make_tiny: Callable[..., Policy], context: str
) -> None:
    policy = make_tiny(dtype=torch.bfloat16)
    with torch.no_grad():
        expected = policy.model.eval()(input_ids=TOKENS).logits
        with getattr(policy, context)() as model:
            assert torch.equal(model(input_ids=TOKENS).logits, expected)


def test_in_bfloat16_gradients_are_peft_s(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny(dtype=torch.bfloat16)
    expected = gradients(policy)
    with policy.learning():
        found = gradients(policy)
    assert found.keys() == expected.keys()
    for name, item in expected.items():
        assert float((found[name] - item).norm()) < 0.02 * float(item.norm()), name


def divergence(one: torch.Tensor, other: torch.Tensor) -> float:
    """The mean over positions of KL(one, other), from logits."""
    p, q = (logits.double().log_softmax(-1) for logits in (one, other))
    return float((p.exp() * (p - q)).sum(-1).mean())


def test_a_small_learning_rate_is_not_rounded_away_in_bfloat16(
    make_tiny: Callable[..., Policy], tmp_path: Path
) -> None:
    """Added to bfloat16 weights, updates of 1e-5 change none of them."""
    policy = make_tiny(trained=False, dtype=torch.bfloat16)
    trainer = Learner(policy, config(tmp_path, learning_rate=1e-5))
    for update in range(5):
        played = groups(policy, Choose())
        for number, episode in enumerate(flat(played)):  # something to learn from, whatever it did
            episode.turns[-1].reward = float(number % 2)
        trainer.update(played, numpy.random.default_rng(update))
    with torch.no_grad():
        with policy.acting() as model:
            acting = model(input_ids=TOKENS).logits
        with policy.reference() as model:
            base = model(input_ids=TOKENS).logits
        unmerged = policy.model.eval()(input_ids=TOKENS).logits
    moved = divergence(acting, base)
    assert moved > 0
    assert divergence(acting, unmerged) < moved / 100


def shares_of_the_first_action(
    make_tiny: Callable[..., Policy], tmp_path: Path, dtype: torch.dtype
) -> list[float]:
    """Before each of twelve updates that reward the first of the actions."""
    policy = make_tiny(trained=False, dtype=dtype, enlarged=1)
    trainer = Learner(policy, config(tmp_path, learning_rate=1e-3, temperature=0.1))
    shares = []
    for update in range(12):
        played = groups(policy, Choose(), temperature=0.1, size=8)
        turns = [turn for episode in flat(played) for turn in episode.turns]
        shares.append(float(numpy.mean([turn.choice == 0 for turn in turns])))
        for turn in turns:
            turn.reward = float(turn.choice == 0)
        trainer.update(played, numpy.random.default_rng(update))
    return shares


def test_a_policy_learns_in_bfloat16_what_it_learns_in_float32(
    make_tiny: Callable[..., Policy], tmp_path: Path
) -> None:
    short = shares_of_the_first_action(make_tiny, tmp_path, torch.bfloat16)
    exact = shares_of_the_first_action(make_tiny, tmp_path, torch.float32)
    assert numpy.mean(short[-3:]) > short[0] + 0.2
    assert numpy.abs(numpy.subtract(short, exact)).max() < 0.1


def test_dropout_of_the_base_model_acts_in_no_update(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny()
    mlp = policy.base.model.layers[0].mlp
    mlp.act_fn = torch.nn.Sequential(mlp.act_fn, torch.nn.Dropout(0.5))
    policy.model.train()
    with torch.no_grad(), policy.acting() as model:
        acting = model(input_ids=TOKENS).logits
    with policy.learning() as model:
        assert torch.allclose(model(input_ids=TOKENS).logits, acting, atol=1e-4)
    assert mlp.training  # as it was


def test_the_acting_model_computes_what_the_adapter_adds(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny()
    with torch.no_grad():
        expected = policy.model.eval()(input_ids=TOKENS).logits
        with policy.acting() as model:
            found = model(input_ids=TOKENS).logits
        with policy.reference() as model:
            base = model(input_ids=TOKENS).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert (base - expected).abs().max() > 1e-3


def test_what_frozen_layers_gave_need_not_be_computed(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny(layers_to_transform=[1])
    assert policy.frozen is not None
    expected = gradients(policy)
    with policy.frozen.recorded() as record, torch.no_grad():
        policy.base(input_ids=TOKENS[:1])
        policy.base(input_ids=TOKENS[1:])
    assert [item.shape[0] for item in record] == [8, 8]
    calls = []
    below = policy.base.model.layers[0].mlp.register_forward_hook(lambda *_: calls.append(1))
    for number in range(2):
        with policy.frozen.replaced(record[number]):
            one = policy.base(input_ids=TOKENS[number : number + 1], use_cache=False).logits
        (one.log_softmax(-1)[..., 7].sum() / 10).backward()
    assert not calls
    below.remove()
    found = {n: p.grad for n, p in policy.model.named_parameters() if p.grad is not None}
    assert_same(found, expected)


@pytest.mark.parametrize("settings", [{}, {"layers_to_transform": [0, 1]}])
def test_nothing_is_frozen_below_the_first_layer(
    make_tiny: Callable[..., Policy], settings: dict[str, object]
) -> None:
    assert make_tiny(**settings).frozen is None


def test_other_trained_parts_leave_nothing_frozen(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny(layers_to_transform=[1])
    policy.base.get_input_embeddings().weight.requires_grad_(True)
    assert FrozenLayers.of(policy.model) is None


VARIANTS = {
    "init_lora_weights": "pissa",
    "bias": "all",
    "alora_invocation_tokens": [1, 2],
    "layer_replication": [(0, 1), (0, 2)],
    "use_qalora": True,
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_that_are_not_exact_are_refused(
    make_tiny: Callable[..., Policy], name: str
) -> None:
    with pytest.raises(ContrailError, match=f"lora.{name}: "):
        make_tiny(**{name: VARIANTS[name]})


EXACT_VARIANTS: list[dict[str, Any]] = [
    {"use_dora": True},
    {"use_rslora": True},
    {"lora_bias": True},
    {"init_lora_weights": "orthogonal"},
    {"modules_to_save": ["lm_head"], "target_modules": ["q_proj"]},
    {"trainable_token_indices": [3, 1, 4]},
    {"target_modules": ["q_proj", "embed_tokens"]},
    {"target_modules": ["q_proj", "lm_head"]},
]


@pytest.mark.parametrize("tied", [False, True], ids=["apart", "tied"])
@pytest.mark.parametrize("variant", EXACT_VARIANTS, ids=str)
def test_the_policy_is_what_peft_loads_from_a_checkpoint(
    tmp_path: Path, variant: dict[str, Any], tied: bool
) -> None:
    """An adapter of a tied embedding or head must not act on the other of the two."""
    policy = make("llama", {**SMALL, "tie_word_embeddings": tied}, trained=False, **variant)
    with torch.no_grad(), policy.reference() as model:
        before = model(input_ids=TOKENS).logits
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters.values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
        with policy.acting() as model:
            acting = model(input_ids=TOKENS).logits
        with policy.reference() as model:
            assert torch.equal(model(input_ids=TOKENS).logits, before)
    policy.save(tmp_path)
    fresh = make("llama", {**SMALL, "tie_word_embeddings": tied}, trained=False).model.unload()
    loaded = PeftModel.from_pretrained(fresh, str(tmp_path)).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(input_ids=TOKENS).logits, acting, atol=1e-4, rtol=1e-4)
    assert float((acting - before).abs().max()) > 0.01
