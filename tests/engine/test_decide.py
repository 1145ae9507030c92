"""Decisions: drawn from the distribution they say they are drawn from."""

from __future__ import annotations

import numpy
import pytest
import torch

from contrail.engine import decide
from contrail.engine.decide import choose, sample, token_logprobs


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn((3, 700), generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_token_is_the_quantile_of_its_draw(logits: torch.Tensor, temperature: float) -> None:
    rng = numpy.random.default_rng(0)
    cumulative = (logits.double() / temperature).softmax(-1).cumsum(-1)
    for _ in range(200):
        draws = rng.random(3).tolist()
        for row, (draw, found) in enumerate(
            zip(draws, sample(logits, temperature, draws), strict=True)
        ):
            low = cumulative[row, found.choice - 1] if found.choice else 0.0
            assert low - 1e-5 <= draw <= cumulative[row, found.choice] + 1e-5


def test_log_probabilities_and_entropies_are_those_of_the_softmax(logits: torch.Tensor) -> None:
    expected = (logits / 0.7).log_softmax(-1)
    for row, found in enumerate(sample(logits, 0.7, [0.1, 0.5, None])):
        assert found.logprob == pytest.approx(float(expected[row, found.choice]), abs=1e-5)
        entropy = -(expected[row].exp() * expected[row]).sum()
        assert found.entropy == pytest.approx(float(entropy), abs=1e-5)
    assert found.choice == int(logits[2].argmax())


def test_draws_at_both_ends_give_tokens_that_can_be(logits: torch.Tensor) -> None:
    logits = logits.clone()
    logits[:, :50] = logits[:, 600:] = float("-inf")
    for draw in (0.0, 1 - 2**-53):
        for found in sample(logits, 1.0, [draw] * 3):
            assert 50 <= found.choice < 600
            assert numpy.isfinite([found.logprob, found.entropy]).all()


def test_slices_change_nothing(logits: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sample(logits, 1.0, [0.2, 0.4, 0.9])
    rows, tokens = [2, 0, 1, 0], [5, 6, 7, 699]
    values = token_logprobs(logits, rows, tokens)
    torch.testing.assert_close(values, logits.log_softmax(-1)[rows, tokens])
    monkeypatch.setattr(decide, "LOGITS_AT_ONCE", 700)
    assert sample(logits, 1.0, [0.2, 0.4, 0.9]) == whole
    torch.testing.assert_close(token_logprobs(logits, rows, tokens), values)


def test_candidates_are_drawn_by_their_scores() -> None:
    scores = torch.tensor([-1.0, -0.5, -3.0])
    expected = (scores / 0.5).softmax(-1)
    ends = expected.cumsum(-1).tolist()
    for draw, place in ((0.0, 0), (ends[0] + 1e-6, 1), (ends[1] + 1e-6, 2), (1 - 2**-53, 2)):
        found = choose(scores, 0.5, draw)
        assert found.choice == place
        assert found.logprob == pytest.approx(float(expected[place].log()), abs=1e-6)
        assert found.entropy == pytest.approx(float(-(expected * expected.log()).sum()), abs=1e-6)
        assert found.choice_logprobs == pytest.approx(expected.log().tolist(), abs=1e-6)
    assert choose(scores, 0.5, None).choice == 1
