"""Which models take the fast path, which run on plain forwards, and which are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from models import FAST, GPT, SLOW, SMALL, make
from rooms import Rooms

import contrail
from contrail.errors import ContrailError
from contrail.model.policy import Policy, load_base
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import ReactConfig
from contrail.plugins.models.smollm2 import tiny_random
from contrail.seeding import generator

import torch  # isort: skip
from contrail.engine.sampler import open_sampler  # isort: skip
from contrail.episode import Episode  # isort: skip
from contrail.rollout.play import EnvironmentPool, Job, play  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from contrail.training.scorer import PlainScorer, Scorer  # isort: skip
from contrail.training.shared.scorer import TreeScorer  # isort: skip
from contrail.training.verify import verify  # isort: skip
from learning import (
    EXACT,
    VARIED,
    Gradients,
    Words,
    changed,
    config,
    distance,
    flat,
    groups,
    parameters,
    rewarded,
    taken,
)  # isort: skip

ADAPTERS = [Choose(), Words(ReactConfig(max_new_tokens=6))]


def brute_force(policy: Policy, episode: Episode, temperature: float) -> list[float]:
    """The log-probability of each decision, by one forward for each turn and candidate."""
    found = []
    history: list[int] = []
    for turn in episode.turns:
        history += turn.prompt
        scores = []
        for branch in turn.choices or [turn.written]:
            with torch.no_grad():
                ids = torch.tensor([history + branch])
                logits = policy.model.eval()(input_ids=ids, use_cache=False).logits[0]
            rows = logits[len(history) - 1 : -1].float()
            picked = torch.arange(len(branch)), torch.tensor(branch)
            if turn.choices is None:
                found += (rows / temperature).log_softmax(-1)[picked].tolist()
            scores.append(rows.log_softmax(-1)[picked].mean())
        if turn.choices is not None:
            found.append(float((torch.stack(scores) / temperature).log_softmax(-1)[turn.choice]))
        history += turn.written
    return found


def largest(policy: Policy, episodes: list[Episode], temperature: float) -> float:
    return max(
        abs(one - other)
        for episode in episodes
        for one, other in zip(
            episode.logprobs, brute_force(policy, episode, temperature), strict=True
        )
    )


def scored(
    policy: Policy, scorer: Scorer, episodes: list[Episode], temperature: float
) -> tuple[torch.Tensor, torch.Tensor, Gradients]:
    """Log-probabilities and entropies by episode and turn, and gradients of their sum."""
    found = {}
    with policy.learning() as model:
        slices = scorer.split(episodes, range(len(episodes)))
        for one, scores in scorer.score(model, slices, temperature, entropies=True):
            for row, part, values in zip(one.rows, one.parts, scores, strict=True):
                found[row, part.begin] = values.logprobs.detach(), values.entropies.detach()
            torch.cat([values.logprobs + values.entropies for values in scores]).sum().backward()
    logprobs, entropies = zip(*(found[key] for key in sorted(found)), strict=True)
    return torch.cat(logprobs), torch.cat(entropies), taken(policy)


@pytest.mark.parametrize("kind", FAST)
def test_plain_and_fast_agree(kind: str) -> None:
    """Rollout, scores, gradients: 1e-4 in float32, beyond sliding windows too."""
    # Latent attention of enlarged weights is nearly an argmax, which enlarges rounding, too.
    policy = make(kind, FAST[kind], enlarged=3.0 if kind == "minicpm3" else 6.0)
    verify(policy)
    assert policy.slow_because == ""
    temperature = 0.8
    for adapter in ADAPTERS:
        fast = flat(groups(policy, adapter, temperature, count=2, size=2))
        assert largest(policy, fast, temperature) < EXACT
        by_tree = scored(policy, TreeScorer(policy), fast, temperature)
        policy.slow_because = "of the test"
        by_plain = scored(policy, PlainScorer(), fast, temperature)
        plain = flat(groups(policy, adapter, temperature, count=2, size=2))
        policy.slow_because = ""
        for one, other in zip(fast, plain, strict=True):
            assert one.token_ids == other.token_ids
            assert one.logprobs == pytest.approx(other.logprobs, abs=EXACT)
            assert one.entropies == pytest.approx(other.entropies, abs=EXACT)
        recorded = torch.tensor([value for episode in fast for value in episode.logprobs])
        for found in (by_tree[0], by_plain[0]):
            assert float((found - recorded).abs().max()) < EXACT
        assert float((by_tree[1] - by_plain[1]).abs().max()) < EXACT
        assert distance(by_tree[2], by_plain[2]) < 1e-3


@pytest.mark.parametrize("kind", SLOW)
def test_other_models_act_and_learn_by_plain_forwards(kind: str, tmp_path: Path) -> None:
    policy = make(kind, SLOW[kind])
    verify(policy)
    assert policy.slow_because
    for adapter in ADAPTERS:
        grouped = groups(policy, adapter, 0.8, count=2, size=4)
        episodes = flat(grouped)
        assert largest(policy, episodes, 0.8) < EXACT
        learner = Learner(policy, config(tmp_path, temperature=0.8, beta=0.1))
        parts = [scores for part in learner.score(episodes) for scores in part]
        found = torch.cat([scores.logprobs.detach() for scores in parts])
        recorded = torch.tensor([value for episode in episodes for value in episode.logprobs])
        assert float((found - recorded).abs().max()) < EXACT
        assert learner.extra_tokens > 0
        before = parameters(policy)
        rewarded(grouped, VARIED)
        learner.update(grouped, generator(0))
        assert changed(policy, before) == {name for name in before if "lora_" in name}


@pytest.mark.parametrize("kind", SLOW)
def test_weights_as_transformers_draws_them_show_it_as_well(kind: str) -> None:
    """Nearly uniform probabilities hardly depend on what is attended to."""
    policy = make(kind, SLOW[kind], enlarged=1.0, trained=False)
    before = policy.snapshot()
    verify(policy)
    assert policy.slow_because
    assert all(torch.equal(value, before[name]) for name, value in policy.snapshot().items())


def test_reasons_are_in_words() -> None:
    reasons = {}
    for kind in ("lfm2", "gptj", "gemma2"):
        policy = make(kind, SLOW[kind])
        verify(policy)
        reasons[kind] = policy.slow_because
    assert reasons == {
        "lfm2": "its layers are not all ordinary attention (also conv)",
        "gptj": "only 0 of its 4 layers use transformers' attention interface",
        "gemma2": "contrail's own forwards do not fit it (its attention has softcap)",
    }


@pytest.mark.parametrize("enlarged", [1.0, 6.0])
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_what_sees_later_tokens_is_refused(kind: str, enlarged: float) -> None:
    policy = make(kind, {**SMALL, "pad_token_id": 0}, enlarged)
    with pytest.raises(ContrailError, match="it is not a causal language model"):
        verify(policy)


def test_what_transformers_cannot_run_is_refused() -> None:
    """Attention heads that do not fit."""
    settings = {**SMALL, "num_key_value_heads": 2, "kv_lora_rank": 16, "v_head_dim": 16}
    settings |= {"qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "n_routed_experts": 4}
    settings |= {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "q_lora_rank": 32}
    policy = make("deepseek_v3", {**settings, "moe_intermediate_size": 48, "n_shared_experts": 1})
    with pytest.raises(ContrailError, match="transformers cannot run it"):
        verify(policy)


LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 8,
    "long_factor": [4.0] * 8,
    "original_max_position_embeddings": 256,
}


def test_rotary_embeddings_that_change_with_the_length_need_a_bound() -> None:
    settings = {**SMALL, "rope_parameters": LONG, "original_max_position_embeddings": 256}
    with pytest.raises(ContrailError, match=re.escape("Set max_context: 256.")):
        verify(make("phi3", settings))
    policy = make("phi3", settings, max_context=256)
    verify(policy)
    assert policy.fast
    episodes = flat(groups(policy, Choose(), count=2, size=2))
    assert largest(policy, episodes, 1.0) < EXACT


def test_dynamic_rotary_embeddings_change_beyond_the_context_only() -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
    policy = make("llama", {**SMALL, "rope_parameters": rope})
    assert policy.max_context == SMALL["max_position_embeddings"]
    verify(policy)
    assert policy.fast


def test_layers_whose_window_is_not_known_run_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make("mistral", {**SMALL, "sliding_window": 300})
    verify(policy)
    assert policy.fast
    for module in policy.model.modules():
        if hasattr(module, "layer_idx"):
            monkeypatch.setattr(module.config, "sliding_window", None)
            monkeypatch.setattr(module, "sliding_window", None, raising=False)
    monkeypatch.setattr("contrail.training.verify.sliding_window", lambda config: 300)
    verify(policy)
    assert policy.slow_because == "its sliding window is not passed to the attention"


def test_context_limits_have_many_names() -> None:
    assert make("gpt2", GPT).max_context == 2048
    assert make("mpt", SLOW["mpt"]).max_context == 2048
    assert make("mamba", SLOW["mamba"]).max_context == 1 << 30
    assert make("bloom", SLOW["bloom"]).max_context == 1 << 30


def test_a_tokenizer_larger_than_the_embedding_is_refused(tmp_path: Path) -> None:
    base, tokenizer = load_base(str(tiny_random()), dtype="float32", device="cpu")
    for added, fits in ((["<one>"], False), ([], True)):
        tokenizer.add_tokens(added)
        base.resize_token_embeddings(len(tokenizer) - len(added))
        base.save_pretrained(tmp_path / str(fits))
        tokenizer.save_pretrained(tmp_path / str(fits))
        if fits:
            base.resize_token_embeddings(len(tokenizer) + 64)
            base.save_pretrained(tmp_path / str(fits))
            load_base(str(tmp_path / str(fits)), dtype="float32", device="cpu")
        else:
            with pytest.raises(ContrailError, match="its tokenizer has tokens up to number"):
                load_base(str(tmp_path / str(fits)), dtype="float32", device="cpu")


def test_experts_learn_without_the_auxiliary_loss(tmp_path: Path) -> None:
    policy = make("qwen3_moe", {**FAST["qwen3_moe"], "output_router_logits": False})
    learner = Learner(policy, config(tmp_path))
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)
    scalars = learner.update(grouped, generator(0))
    assert "aux_loss" not in scalars


class Watched:
    """A sampler that notes what it is asked for."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.requests: list[Any] = []

    def submit(self, request: Any) -> None:
        self.requests.append(request)
        self._inner.submit(request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_rollout_takes_any_sampler(adapter: contrail.Adapter) -> None:
    from contextlib import contextmanager

    policy = make("llama", SMALL)
    jobs = [
        Job("rooms", task, adapter, generator(0, task.id)) for task in Rooms().tasks("train")[:3]
    ]
    made: list[Watched] = []

    @contextmanager
    def opened(policy: Policy, temperature: float) -> Any:
        with open_sampler(policy, temperature) as inner:
            made.append(Watched(inner))
            yield made[-1]

    episodes = play(policy, EnvironmentPool({"rooms": Rooms}), jobs, open_sampler=opened)
    assert len(made[0].requests) == sum(len(episode.turns) for episode in episodes)
