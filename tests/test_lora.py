"""Training through merged weights, and without the frozen layers: the same gradients, no drift."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from contrail.model import ADAPTER, Policy

import torch  # isort: skip
from contrail.frozen import FrozenLayers  # isort: skip
from contrail.lora import merged  # isort: skip

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


def test_what_is_more_than_lora_is_trained_unmerged(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny(use_dora=True)
    expected = gradients(policy)
    with merged(policy.model, ADAPTER, learn=True):
        assert_same(gradients(policy), expected)


def test_the_merged_model_computes_what_the_adapter_adds(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny()
    with torch.no_grad():
        expected = policy.model.eval()(input_ids=TOKENS).logits
        with policy.merged() as model:
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
