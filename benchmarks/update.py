"""Updates: contrail's gradients of a batch of episodes, and TRL's of the same episodes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import trl_trainer, trl_updates
from benchmarks.measure import alternate, ratio
from benchmarks.models import make_policy
from benchmarks.report import Report
from benchmarks.workload import SEED, Settings, record
from contrail.model.policy import Policy
from contrail.training.learner import Learner
from contrail.training.objective import Batch

import torch  # isort: skip

DEFAULTS: dict[str, Any] = {}
EXACT = 1e-4
LOSSES: dict[str, dict[str, str]] = {
    "grpo": {"loss_type": "grpo"},
    "dapo": {"loss_type": "dapo"},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
}


def run(settings: Settings) -> Report:
    """Let every contender learn from the same recorded episodes each round."""
    report = Report("update", settings)
    policy = make_policy(settings)
    episodes = record(policy, settings)
    advantages = some_advantages(len(episodes))
    parameters = [item for item in policy.model.parameters() if item.requires_grad]
    with tempfile.TemporaryDirectory() as scratch:
        arguments = trl_trainer.config(settings, Path(scratch))
        trainer = Learner(policy, contrail_config(settings, Path(scratch)))
        trl = trl_trainer.make_trainer(policy, arguments)
        whole = trl_updates.batch(episodes, policy, advantages)
        # The step is taken, and the weights stay, so that all rounds are alike.
        optimizer = torch.optim.AdamW(parameters, lr=0.0)

        def contrail() -> None:
            policy.model.train()
            optimizer.zero_grad()
            trainer.gradients(Batch.of(episodes, advantages))
            optimizer.step()

        def by_trl() -> None:
            policy.model.train()
            optimizer.zero_grad()
            trl_updates.gradients(trl, policy, whole, settings.trl_batch)
            optimizer.step()

        def by_trl_checkpointing() -> None:
            with trl_trainer.checkpointing(policy):
                by_trl()

        report.timings, _ = alternate(
            {"contrail": contrail, "trl": by_trl, "trl_checkpointing": by_trl_checkpointing},
            settings.rounds,
            settings.device,
        )
    report.meaning["trl_checkpointing"] = "TRL with activation checkpointing, its default"
    seconds = {name: item.seconds(settings.device) for name, item in report.timings.items()}
    ours = seconds.pop("contrail")
    best = min(seconds, key=lambda name: ratio(seconds[name], ours))
    meaning = f"how many times faster than the faster of TRL's settings ({best})"
    report.aim("trl", ratio(seconds[best], ours), ">=", 3, meaning)
    report.counts["tokens"] = {
        "of_all_episodes": sum(len(episode.token_ids) for episode in episodes),
        "written": sum(episode.generated_tokens for episode in episodes),
        "trl_with_padding": whole["prompt_ids"].numel() + whole["completion_ids"].numel(),
    }
    optimizer.zero_grad()
    _check_gradients(report, policy, settings)
    return report


def contrail_config(settings: Settings, directory: Path, **values: Any) -> Any:
    """TRL's settings as contrail's trainer takes them: one batch, which it splits itself."""
    return trl_trainer.config(
        settings,
        directory,
        per_device_train_batch_size=settings.episodes,
        gradient_accumulation_steps=1,
        bf16=False,  # the weights are of the right type already
        remove_unused_columns=False,
        **values,
    )


def some_advantages(count: int) -> torch.Tensor:
    """Advantages (count,), none of which is 0, since equal rewards would spare contrail work."""
    return torch.randn(count, generator=torch.Generator().manual_seed(SEED))


def _check_gradients(report: Report, policy: Policy, settings: Settings) -> None:
    """In fp32, on a few short episodes, for every loss, without and with KL."""
    if settings.dtype != "float32":
        policy = make_policy(settings, "float32")
    few = replace(settings, dtype="float32", tasks=2, group=2, turns=2, trl_batch=1)
    episodes = record(policy, few)
    del episodes[0].turns[1:]  # the losses differ in how they weigh lengths
    advantages = some_advantages(len(episodes))
    whole = trl_updates.batch(episodes, policy, advantages)
    policy.model.train()
    with tempfile.TemporaryDirectory() as scratch:
        for name, loss in LOSSES.items():
            for beta in (0.0, 0.04):
                trl = trl_trainer.make_trainer(
                    policy, trl_trainer.config(few, Path(scratch), **loss)
                )
                trl.beta = beta  # set here, so that TRL adds no second adapter as the reference
                trl_updates.gradients(trl, policy, whole, few.trl_batch)
                expected = _taken(policy)
                arguments = contrail_config(few, Path(scratch), beta=beta, **loss)
                Learner(policy, arguments).gradients(Batch.of(episodes, advantages))
                error = _relative_l2(_taken(policy), expected)
                report.check(f"gradients_{name}_beta_{beta:g}", error, EXACT)


def _taken(policy: Policy) -> list[torch.Tensor]:
    """Return the gradients, which are set back to none."""
    found = []
    for parameter in policy.model.parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None
            found.append(parameter.grad)
            parameter.grad = None
    return found


def _relative_l2(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    difference = sum(float((a - b).square().sum()) for a, b in zip(found, expected, strict=True))
    return float((difference / sum(float(b.square().sum()) for b in expected)) ** 0.5)
