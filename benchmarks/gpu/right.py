"""Right? Rollout, update and acting policy against plain forwards through PEFT's model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gpu import plain
from benchmarks.gpu.house import play_house
from benchmarks.gpu.models import random_policy
from benchmarks.gpu.record import Sink
from benchmarks.gpu.settings import Options
from benchmarks.update import contrail_config, some_advantages
from benchmarks.workload import SEED, Settings, grouped
from contrail.episode import Episode
from contrail.model.policy import Policy
from contrail.seeding import generator
from contrail.training.learner import Learner
from contrail.training.objective import Batch

import torch  # isort: skip

LOGPROBS = "Log-probabilities: largest difference"
GRADIENTS = "LoRA gradients: relative L2 error"
DRIFT = "Policies after five updates at 1e-5: mean KL (nats a token)"
SEEDS = "The same seed twice"


def float32(options: Options, sink: Sink) -> None:
    """In fp32."""
    default = torch.backends.cuda.matmul.allow_tf32
    sink.add(SEEDS, "TF32 for fp32 products, by default", "", "on" if default else "off")
    torch.backends.cuda.matmul.allow_tf32 = False
    _compare(options, sink, "float32")


def bfloat16(options: Options, sink: Sink) -> None:
    """In bf16, and how far plain bf16 forwards themselves are from fp32."""
    _compare(options, sink, "bfloat16")


def _compare(options: Options, sink: Sink, dtype: str) -> None:
    policy = random_policy(options.models[0], dtype, options.device)
    exact = None
    if dtype != "float32":
        torch.backends.cuda.matmul.allow_tf32 = False
        exact = random_policy(options.models[0], "float32", options.device)
        for mine, theirs in zip(policy.model.parameters(), exact.model.parameters(), strict=True):
            theirs.data.copy_(mine.data)
    for adapter in ("react", "choose"):
        _compare_one(options, sink, f"{options.models[0]} {adapter} {dtype}", policy, exact)
        options.on.clean()


def _compare_one(
    options: Options, sink: Sink, row: str, policy: Policy, exact: Policy | None
) -> None:
    _, adapter, dtype = row.split()
    device = policy.model.device
    episodes = _episodes(options, policy, adapter)
    expected = plain.decisions(policy.model.eval(), episodes)

    def tell(column: str, one: torch.Tensor, other: torch.Tensor) -> None:
        sink.add(LOGPROBS, row, column, float((one - other).abs().max()))

    rollout = plain.recorded(episodes, device)
    tell("rollout – plain", rollout, expected)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = _trainer(options, policy, dtype, len(episodes), scratch)
        update = plain.updated(trainer, policy, episodes)
        tell("update – plain", update, expected)
        tell("update – rollout", update, rollout)
        advantages = some_advantages(len(episodes))
        wanted = plain.gradients(policy, episodes, advantages)
        trainer.gradients(Batch.of(episodes, advantages))
        ours = plain.taken(policy)
    sink.add(GRADIENTS, row, "update – plain", plain.relative(ours, wanted))
    again = plain.recorded(_episodes(options, policy, adapter), device)
    same = len(again) == len(rollout) and bool((again == rollout).all())
    sink.add(SEEDS, row, "", "the same log-probabilities, bit by bit" if same else "differ")
    copied = plain.decisions(policy.model.eval(), episodes, 4)
    tell("plain, 4 copies of each row – plain", copied, expected)
    if exact is None:
        return
    truth = plain.decisions(exact.model.eval(), episodes)
    tell("rollout – fp32", rollout, truth)
    tell("plain – fp32", expected, truth)
    truths = plain.gradients(exact, episodes, advantages)
    sink.add(GRADIENTS, row, "update – fp32", plain.relative(ours, truths))
    sink.add(GRADIENTS, row, "plain – fp32", plain.relative(wanted, truths))


def _episodes(options: Options, policy: Policy, adapter: str) -> list[Episode]:
    """Two episodes of each of two tasks, with two turns, the second of which needs the first."""
    prompt, tokens = options.pick((300, 6), (40, 4))
    return play_house(policy, adapter, tasks=2, group=2, turns=2, prompt=prompt, tokens=tokens)


def _trainer(
    options: Options, policy: Policy, dtype: str, episodes: int, scratch: str, **values: Any
) -> Learner:
    settings = Settings(
        dtype=dtype, device=options.device, tasks=episodes // 2, group=2, trl_batch=1
    )
    arguments = contrail_config(settings, Path(scratch), loss_type="dapo", beta=0.0, **values)
    return Learner(policy, arguments)


def drift(options: Options, sink: Sink) -> None:
    """Whether small updates of a fresh adapter reach the policy that acts."""
    sizes: dict[str, Any] = options.pick({"prompt": 300, "tokens": 4}, {"prompt": 40, "tokens": 4})
    for dtype in ("bfloat16", "float32"):
        policy = random_policy(options.models[0], dtype, options.device, fresh=True)
        row = f"{options.models[0]} {dtype}"
        noise = generator(SEED, "rewards")
        with tempfile.TemporaryDirectory() as scratch:
            trainer = _trainer(options, policy, dtype, 4, scratch, learning_rate=1e-5)
            trainer.begin(5)
            for number in range(5):
                # One short turn: that the next update sees the last one needs no more.
                episodes = play_house(policy, "react", tasks=2, group=2, turns=1, **sizes)
                for episode, reward in zip(episodes, noise.normal(size=len(episodes)), strict=True):
                    episode.turns[-1].reward = float(reward)
                trainer.update(grouped(episodes, 2), generator(SEED, "update", number))
        policy.model.eval()
        length = min(len(episode.token_ids) for episode in episodes)
        ids = torch.tensor([item.token_ids[:length] for item in episodes[:2]])
        ids = ids.to(policy.model.device)
        with policy.acting() as model:
            acting = plain.token_logprobs(model, ids)
        unmerged = plain.token_logprobs(policy.base, ids)
        with policy.reference() as model:
            base = plain.token_logprobs(model, ids)
        sink.add(DRIFT, row, "acting ‖ unmerged", plain.kl(acting, unmerged))
        sink.add(DRIFT, row, "acting ‖ base", plain.kl(acting, base))
        sink.add(DRIFT, row, "unmerged ‖ base", plain.kl(unmerged, base))
        del policy, trainer, acting, unmerged, base
        options.on.clean()
