"""Log-probabilities without logits: the same values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from contrail.model.policy import Policy

import torch  # isort: skip
from contrail.model import head as head_module  # isort: skip
from contrail.model.head import Head  # isort: skip


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_values_and_gradients_are_those_of_logits(
    make_tiny: Callable[..., Policy], monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    monkeypatch.setattr(head_module, "ROWS", 3)
    policy = make_tiny()
    assert policy.head is not None
    layer = policy.base.get_output_embeddings()
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn((8, layer.in_features), generator=generator, requires_grad=True)
    rows, tokens = torch.tensor([7, 0, 0, 3, 4]), torch.tensor([1, 2, 3, 4, 5])
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.0])
    expected = (layer(hidden) / temperature).log_softmax(-1)[rows, tokens]
    (gradient,) = torch.autograd.grad((expected * weights).sum(), hidden)
    found = policy.head.logprobs(hidden, rows, tokens, temperature)
    torch.testing.assert_close(found, expected)
    (found_gradient,) = torch.autograd.grad((found * weights).sum(), hidden)
    torch.testing.assert_close(found_gradient, gradient, atol=1e-5, rtol=1e-4)


def test_the_model_is_left_as_it_was(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny()
    tokens = torch.tensor([[5, 6, 7]])
    assert policy.head is not None
    with torch.no_grad():
        expected = policy.base(input_ids=tokens).logits
        with policy.head.bypassed():
            hidden = policy.base(input_ids=tokens).logits
        assert hidden.shape == (1, 3, policy.base.config.hidden_size)
        torch.testing.assert_close(policy.base(input_ids=tokens).logits, expected)


def test_logits_that_are_changed_afterwards_are_not_a_layer_s(
    make_tiny: Callable[..., Policy],
) -> None:
    base = make_tiny().base
    layer = base.get_output_embeddings()
    layer.register_forward_hook(lambda module, args, logits: 30 * torch.tanh(logits / 30))
    assert Head.of(base) is None
    base.set_output_embeddings(torch.nn.Linear(layer.in_features, layer.out_features))
    assert Head.of(base) is None
