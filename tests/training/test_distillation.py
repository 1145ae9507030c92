"""On-policy distillation: its gradients, its teachers, and what it teaches."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from rooms import train

import contrail
from contrail import ContrailError
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import ReactConfig
from contrail.runs.no_signal import kind_of
from contrail.seeding import generator

import torch  # isort: skip
from peft import PeftModel  # isort: skip
from contrail.engine.decide import choice_logprobs  # isort: skip
from contrail.episode import Episode  # isort: skip
from contrail.model.teacher import Teacher, same_model  # isort: skip
from contrail.training import distillation  # isort: skip
from contrail.training.distillation import Distillation  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from contrail.training.objective import Batch  # isort: skip
from contrail.training.scorer import PlainScorer  # isort: skip
from contrail.training.shared import packs as packs_module  # isort: skip
from learning import (
    EXACT,
    Gradients,
    Make,
    Words,
    changed,
    config,
    distance,
    flat,
    groups,
    parameters,
    taken,
)  # isort: skip

TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9, 3]])
TEMPERATURE = 0.8


class From(Distillation):
    """Distillation from one teacher, who sees some more tokens at the beginning."""

    def __init__(self, one: Teacher, more: Sequence[int] = ()) -> None:
        super().__init__()
        self.one = one
        self.more = list(more)

    def shown(self, learner: Learner, episode: Episode) -> Episode:
        if not self.more:
            return episode
        first, *turns = episode.turns
        return replace(episode, turns=[replace(first, prompt=self.more + first.prompt), *turns])

    def teacher(self, learner: Learner, environment: str) -> Teacher:
        return self.one


def saved(make: Make, directory: Path, scale: float = 0.2, **lora: Any) -> Path:
    """A trained LoRA, as PEFT saves it."""
    policy = make(trained=False, **lora)
    train(policy, scale)
    policy.save(directory)
    return directory


def peft(make: Make, directory: Path) -> Any:
    """The LoRA on its base model, as PEFT loads it."""
    base = make(trained=False).model.unload()
    return PeftModel.from_pretrained(base, str(directory)).eval()


def distributions(model: Any, episode: Episode) -> list[torch.Tensor]:
    """Log-probabilities of all that could have been decided, each by a forward of its own."""
    found = []
    context: list[int] = []
    for turn in episode.turns:
        context += turn.prompt

        def logits(written: Sequence[int], before: tuple[int, ...] = tuple(context)) -> Any:
            ids = torch.tensor([[*before, *written]])
            return model(input_ids=ids, use_cache=False).logits[0, len(before) - 1 : -1]

        if turn.choices is None:
            found += [*(logits(turn.written) / TEMPERATURE).log_softmax(-1)]
        else:
            means = [
                logits(choice).log_softmax(-1).gather(1, torch.tensor(choice)[:, None]).mean()
                for choice in turn.choices
            ]
            found.append(choice_logprobs(torch.stack(means), TEMPERATURE))
        context += turn.written
    return found


@pytest.mark.parametrize(
    "adapter", [Choose(), Words(ReactConfig(max_new_tokens=5))], ids=["choose", "text"]
)
@pytest.mark.parametrize("more", [(), (5, 6, 7, 8, 9)], ids=["same", "more"])
@pytest.mark.parametrize("scorer", ["fast", "plain"])
def test_gradients_are_those_of_the_divergence(
    make_tiny: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    adapter: contrail.Adapter,
    scorer: str,
    more: Sequence[int],
) -> None:
    directory = saved(make_tiny, tmp_path / "teacher", r=3, target_modules=["q_proj", "up_proj"])
    policy = make_tiny()
    episodes = flat(groups(policy, adapter, TEMPERATURE, size=2))
    weights = torch.linspace(0.5, 1.5, len(episodes))
    count = sum(len(episode.logprobs) for episode in episodes)
    teacher = peft(make_tiny, directory)
    helped = From(Teacher.load(policy, directory), more)
    expected_loss = 0.0
    policy.model.eval()
    for episode, weight in zip(episodes, weights, strict=True):
        with torch.no_grad():
            target = distributions(teacher, helped.shown(None, episode))  # type: ignore[arg-type]
        pairs = zip(distributions(policy.model, episode), target, strict=True)
        term = weight / count * sum((own.exp() * (own - other)).sum() for own, other in pairs)
        term.backward()
        expected_loss += float(term.detach())
    expected = taken(policy)
    for limit, values in ((packs_module.MAX_TOKENS, 1 << 26), (1, 1)):
        monkeypatch.setattr(packs_module, "MAX_TOKENS", limit)
        monkeypatch.setattr(distillation, "MAX_VALUES", values)
        own_scorer = PlainScorer() if scorer == "plain" else None
        learner = Learner(policy, config(tmp_path, temperature=TEMPERATURE), own_scorer)
        learner.begin(1, helped)
        loss = learner.objective.backward(learner, Batch.of(episodes, weights))
        assert distance(taken(policy), expected) < EXACT
        assert loss == pytest.approx(expected_loss, rel=1e-4)
        assert learner.extra_tokens > 0


def test_environments_count_by_their_episodes(make_tiny: Make, tmp_path: Path) -> None:
    """One has four turns, the other one; the loss is the mean of their means."""
    policy = make_tiny()
    teacher = Teacher.load(policy, saved(make_tiny, tmp_path / "teacher"))
    long, short = ([[one] for one in flat(groups(policy, Choose(), size=2))[:2]] for _ in range(2))
    for group in short:
        group[0].environment = "short"
        del group[0].turns[1:]
    learner = Learner(policy, config(tmp_path))
    learner.begin(1, From(teacher))

    def loss(grouped: list[list[Episode]]) -> float:
        [weights] = learner.objective.weights(learner, grouped, [list(range(len(grouped)))])
        return learner.objective.backward(learner, Batch.of(flat(grouped), weights))

    assert loss([*long, *short]) == pytest.approx((loss(long) + loss(short)) / 2, rel=1e-4)
    logged = learner.objective.take_logged()
    assert set(logged) == {"divergence/rooms", "divergence/short"}
    learner.by_environment = False
    assert loss([*long, *short]) != pytest.approx((loss(long) + loss(short)) / 2, rel=1e-2)


def test_loss_and_gradient_are_those_of_the_episodes_that_count(
    make_tiny: Make, tmp_path: Path
) -> None:
    policy = make_tiny()
    learner = Learner(policy, config(tmp_path))
    learner.begin(1, From(Teacher.load(policy, saved(make_tiny, tmp_path / "teacher"))))
    one, other = flat(groups(policy, Choose(), size=2))[:2]
    expected = learner.objective.backward(learner, Batch.of([one], torch.ones(1)))
    gradients = taken(policy)
    batch = Batch.of([one, other], torch.tensor([1.0, 0.0]))
    assert learner.objective.backward(learner, batch) == pytest.approx(expected, rel=1e-4)
    assert distance(taken(policy), gradients) < EXACT


def test_turns_that_are_left_out_teach_nothing(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    learner = Learner(policy, config(tmp_path))
    learner.begin(1, From(Teacher.load(policy, saved(make_tiny, tmp_path / "teacher"))))
    episodes = flat(groups(policy, Choose(), size=1))

    def step() -> tuple[float, Gradients]:
        batch = Batch.of(episodes, torch.ones(len(episodes)))
        return learner.objective.backward(learner, batch), taken(policy)

    whole, _ = step()
    for turn in [turn for episode in episodes for turn in episode.turns[1:]]:
        turn.left_out = True
    loss, found = step()
    assert loss != pytest.approx(whole, rel=1e-2)
    for episode in episodes:
        del episode.turns[1:]
    expected_loss, expected = step()
    assert loss == pytest.approx(expected_loss, rel=1e-4)
    assert distance(found, expected) < EXACT


@pytest.mark.parametrize(
    "adapter", [Choose(), Words(ReactConfig(max_new_tokens=5))], ids=["choose", "text"]
)
@pytest.mark.parametrize(
    "settings",
    [{}, {"layers_to_transform": [1]}, {"dtype": torch.bfloat16}, {"use_dora": True}],
    ids=str,
)
@pytest.mark.parametrize("kind", ["loaded", "snapshot", "itself"])
def test_an_equal_teacher_changes_nothing(
    make_tiny: Make,
    tmp_path: Path,
    adapter: contrail.Adapter,
    settings: dict[str, Any],
    kind: str,
) -> None:
    policy = make_tiny(**settings)
    policy.slow_because = "it is slow" if settings.get("use_dora") else ""
    policy.save(tmp_path / "teacher")
    teacher = {
        "loaded": lambda: Teacher.load(policy, tmp_path / "teacher"),
        "snapshot": lambda: Teacher.of(policy, policy.snapshot()),
        "itself": lambda: Teacher.of(policy),
    }[kind]()
    before = parameters(policy)
    learner = Learner(policy, config(tmp_path))
    learner.begin(2, From(teacher))
    for update in range(2):
        with policy.keeping():
            grouped = [[one] for one in flat(groups(policy, adapter, size=2))]
            scalars = learner.update(grouped, generator(0, update))
        assert scalars["divergence/rooms"] == 0
        assert scalars["no_signal"] == scalars["skipped_steps"] == 1
        assert kind_of([episode for [episode] in grouped], learner.objective) == "agreed"
    assert not changed(policy, before)


def test_the_policy_comes_to_agree_with_its_teacher(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny(trained=False, enlarged=4)
    directory = saved(make_tiny, tmp_path / "teacher", enlarged=4, r=8, scale=0.3)
    learner = Learner(policy, config(tmp_path, learning_rate=5e-3))
    learner.begin(20, From(Teacher.load(policy, directory)))
    losses, agreed = [], []
    for update in range(20):
        played = flat(groups(policy, Choose(), count=12, size=1))
        with torch.no_grad(), learner.objective.one.acting() as model:  # type: ignore[attr-defined]
            scorer = learner.scorer
            pieces = scorer.split(played, range(len(played)))
            best = [
                [int(item.argmax()) for item in score.distributions]
                for _, scores in scorer.score(model, pieces, 1.0, distributions=True)
                for score in scores
            ]
        own = [[int(item.argmax()) for item in part] for part in learner.distributions(played)]
        pairs = [*zip(chain(*own), chain(*best), strict=True)]
        agreed.append(sum(one == other for one, other in pairs) / len(pairs))
        losses.append(learner.update([[one] for one in played], generator(0, update))["loss"])
    assert losses[-1] < 0.2 * losses[0]
    assert agreed[-1] > max(0.9, agreed[0])


SHAPES: list[dict[str, Any]] = [
    {"r": 1},
    {"r": 9, "lora_alpha": 3, "target_modules": ["o_proj"]},
    {"r": 4, "use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 32}},
    {"layers_to_transform": [0]},
    {"use_dora": True, "lora_dropout": 0.1},
    {"target_modules": ["q_proj", "lm_head"]},
    {"target_modules": ["embed_tokens", "k_proj"]},
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_teacher_of_another_shape_is_as_in_peft(
    make_tiny: Make, tmp_path: Path, shape: dict[str, Any]
) -> None:
    directory = saved(make_tiny, tmp_path / "teacher", **shape)
    policy = make_tiny(layers_to_transform=[1])
    tokens = {"input_ids": TOKENS, "use_cache": False}
    with torch.no_grad(), policy.acting() as model:
        own = model(**tokens).logits
    trained = policy.parameters
    learner = Learner(policy, config(tmp_path, temperature=TEMPERATURE))
    sizes = sum(item.numel() for item in policy.model.parameters())
    teacher = Teacher.load(policy, directory)
    expected = peft(make_tiny, directory)
    with torch.no_grad():
        with teacher.acting() as model:
            found = model(**tokens).logits
        assert not torch.allclose(found, own, atol=1e-2)
        torch.testing.assert_close(found, expected(**tokens).logits, atol=2e-5, rtol=1e-4)
        with policy.acting() as model:
            assert torch.equal(model(**tokens).logits, own)
    # Nothing else is trained, saved, or in memory twice.
    assert {name: id(item) for name, item in policy.parameters.items()} == {
        name: id(item) for name, item in trained.items()
    }
    added = sum(item.numel() for item in policy.model.parameters()) - sizes
    lora = {name: item.numel() for name, item in expected.named_parameters() if "lora_" in name}
    assert added == sum(lora.values())
    policy.save(tmp_path / "policy")
    files = {file.name for file in (tmp_path / "policy").iterdir()}
    assert files == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    # The fast scorer, too, sees it as PEFT does, though the policy's lower layers are frozen.
    with policy.keeping():
        episodes = flat(groups(policy, Choose(), size=1))
        targets = From(teacher)._targets(learner, teacher, episodes)
    with torch.no_grad():
        for episode, target in zip(episodes, targets, strict=True):
            for one, other in zip(target, distributions(expected, episode), strict=True):
                torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-3)


def edited(directory: Path, **values: object) -> Path:
    file = directory / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return directory


WRONG: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: edited(path, base_model_name_or_path="other/model"), "needs the policy's base"),
    (lambda path: edited(path, r=5), "does not fit"),
    (lambda path: edited(path, target_modules=["nothing"]), "does not fit the model: .*nothing"),
    (lambda path: edited(path, bias="all"), "bias: must be none"),
    (lambda path: edited(path, modules_to_save=["lm_head"]), "low-rank matrices alone"),
    (lambda path: edited(path, peft_type="IA3"), "not IA3Config"),
    (lambda path: (path / "adapter_config.json").write_text("{"), "cannot be read"),
    (lambda path: (path / "adapter_model.safetensors").unlink(), "does not fit the model"),
    (lambda path: (path / "adapter_model.safetensors").write_bytes(b"?"), "does not fit the model"),
]


@pytest.mark.parametrize(("spoil", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_teacher_that_does_not_fit_is_refused(
    make_tiny: Make, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    directory = saved(make_tiny, tmp_path / "teacher")
    spoil(directory)
    policy = make_tiny()
    trained = set(policy.parameters)
    with torch.no_grad(), policy.acting() as model:
        before = model(input_ids=TOKENS, use_cache=False).logits
    with pytest.raises(ContrailError, match=message):
        Teacher.load(policy, directory)
    assert set(policy.parameters) == trained
    with torch.no_grad(), policy.acting() as model:
        assert torch.equal(model(input_ids=TOKENS, use_cache=False).logits, before)


def test_models_are_compared_by_their_weights(tmp_path: Path) -> None:
    one, copied, other = (tmp_path / name / "model" for name in ("one", "copied", "other"))
    one.mkdir(parents=True)
    (one / "model.safetensors").write_bytes(b"weights")
    shutil.copytree(one, copied)
    shutil.copytree(one, other)
    (other / "model.safetensors").write_bytes(b"others")
    (tmp_path / "link").symlink_to(one)
    assert same_model(str(one), str(copied))
    assert same_model(str(one), str(tmp_path / "link"))
    assert not same_model(str(one), str(other))
    assert same_model("hub/SmolLM2-135M", "/elsewhere/smollm2-135m")
    assert not same_model("hub/SmolLM2-135M", "hub/SmolLM2-360M")
    assert same_model("hub/SmolLM2-135M", "hub/smollm2-135m")
    assert not same_model("alice/policy", "bob/policy")


def test_teachers_draw_nothing_from_the_global_generator(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    directory = saved(make_tiny, tmp_path / "teacher")
    state = torch.random.get_rng_state()
    Teacher.load(policy, directory)
    assert torch.equal(torch.random.get_rng_state(), state)
