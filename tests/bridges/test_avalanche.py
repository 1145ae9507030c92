"""A stream as an Avalanche benchmark, with Avalanche's own templates, strategies and plugins."""

from __future__ import annotations

import random
from typing import Any

import gymnasium
import pytest

import contrail
from contrail.bridges import as_avalanche
from contrail.compat.torchvision import repair

repair()
import torch  # noqa: E402
from avalanche.benchmarks import CLExperience, CLScenario, CLStream  # noqa: E402
from avalanche.core import BasePlugin  # noqa: E402
from avalanche.evaluation.metrics import accuracy_metrics  # noqa: E402
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin  # noqa: E402
from avalanche.training.supervised import Naive  # noqa: E402
from avalanche.training.templates.base import BaseTemplate  # noqa: E402

WAYS = ["north", "south"]


class Signs(contrail.Environment):
    """Go where the sign points."""

    def tasks(self, split: str) -> list[contrail.Task]:
        first = 0 if split == "train" else 100
        return [
            contrail.Task("signs", str(i), i, split, ("low", "high")[i % 2])
            for i in range(first, first + 20)
        ]

    def way(self, task: contrail.Task) -> str:
        return random.Random(task.seed).choice(WAYS)

    def reset(self, task: contrail.Task) -> contrail.Observation:
        self.right = self.way(task)
        return contrail.Observation(f"The sign says {self.right}.", WAYS)

    def step(self, action: str) -> contrail.Step:
        done = action == self.right
        return contrail.Step(
            contrail.Observation("You went."), float(done), True, success=done, info={"far": 1}
        )

    def expert(self, task: contrail.Task) -> list[str]:
        return [self.way(task)]


class Mirrored(Signs):
    """Go where the sign does not point."""

    def way(self, task: contrail.Task) -> str:
        return WAYS[1 - WAYS.index(super().way(task))]

    def reset(self, task: contrail.Task) -> contrail.Observation:
        self.right = self.way(task)
        return contrail.Observation(f"The mirror says {super().way(task)}.", WAYS)


class Silent(Signs):
    """No expert."""

    def expert(self, task: contrail.Task) -> None:  # type: ignore[override]
        return None


STREAM: dict[str, Any] = {
    "stream": [
        {"environment": Signs, "updates": 3, "train": {"difficulty": "low"}},
        {"environment": Mirrored},
        {"environment": Signs, "name": "again"},
    ],
    "evaluate": {"tasks": 6, "environments": [Silent]},
}


def encode(batch: list[tuple[str, str, int]]) -> list[torch.Tensor]:
    """Bags of words, the action's number, and the task label."""
    x = torch.zeros(len(batch), 64)
    for row, (text, _, _) in enumerate(batch):
        for word in text.strip(".").split():
            x[row, sum(map(ord, word)) % 64] += 1
    y = torch.tensor([WAYS.index(action) for _, action, _ in batch])
    return [x, y, torch.tensor([label for _, _, label in batch])]


@pytest.fixture
def benchmark() -> Any:
    return as_avalanche(STREAM, collate_fn=encode)


def test_its_streams_are_avalanche_s(benchmark: Any) -> None:
    assert isinstance(benchmark, CLScenario)
    assert set(benchmark.streams) == {"train", "test"}
    train, test = benchmark.train_stream, benchmark.test_stream
    assert isinstance(train, CLStream)
    assert [item.name for item in train] == ["Signs", "Mirrored", "again"]
    assert [item.name for item in test] == ["Signs", "Mirrored", "Silent"]
    assert [item.task_label for item in train] == [0, 1, 0]
    assert [item.current_experience for item in train] == [0, 1, 2]
    assert all(isinstance(item, CLExperience) and item.origin_stream is train for item in train)
    assert [item.name for item in train[1:]] == ["Mirrored", "again"]
    assert (len(train[0].tasks), train[0].updates) == (10, 3)
    assert {task.difficulty for task in train[0].tasks} == {"low"}
    assert [len(item.tasks) for item in test] == [6, 6, 6]
    assert {task.split for item in test for task in item.tasks} == {"test"}


def test_an_experience_has_a_gymnasium_environment(benchmark: Any) -> None:
    experience = benchmark.train_stream[0]
    environment = experience.environment
    assert isinstance(environment, gymnasium.Env)
    assert environment is experience.env
    seen = {environment.reset(seed=seed)[1]["task"] for seed in range(100)}
    assert seen == {task.id for task in experience.tasks}
    _, info = environment.reset(options={"task": "2"})
    _, reward, terminated, _, info = environment.step(info["admissible_commands"][0])
    assert terminated
    assert (info["success"], info["far"]) == (bool(reward), 1)


class Bandit(BaseTemplate):  # type: ignore[misc]
    """A template of Avalanche's that plays the experiences' environments."""

    def _train_exp(self, experience: Any, eval_streams: Any, **kwargs: Any) -> None:
        optimizer = torch.optim.Adam(self.model.parameters(), lr=0.1)
        torch.manual_seed(0)
        for seed in range(150):
            text, _ = experience.environment.reset(seed=seed)
            chances = torch.distributions.Categorical(
                logits=self.model(encode([(text, "north", 0)])[0])
            )
            action = chances.sample()
            reward = experience.environment.step(WAYS[int(action)])[1]
            loss = -(chances.log_prob(action) * (reward - 0.5)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def _eval_exp(self, **kwargs: Any) -> None:
        experience = self.experience
        wins = []
        for task in experience.tasks:
            text, _ = experience.environment.reset(options={"task": task.id})
            chosen = self.model(encode([(text, "north", 0)])[0]).argmax()
            wins.append(experience.environment.step(WAYS[int(chosen)])[4]["success"])
        self.scores[experience.name] = sum(wins) / len(wins)


class Told(BasePlugin):  # type: ignore[misc]
    """A plugin of Avalanche's."""

    def __init__(self) -> None:
        super().__init__()
        self.trained: list[str] = []

    def after_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.trained.append(strategy.experience.name)


def test_a_template_learns_by_reinforcement(benchmark: Any) -> None:
    torch.manual_seed(0)
    told = Told()
    template = Bandit(model=torch.nn.Linear(64, 2), plugins=[told])
    template.scores = {}
    template.train(benchmark.train_stream[1:2], eval_streams=[])
    template.eval(benchmark.test_stream)
    assert told.trained == ["Mirrored"]
    assert template.scores == {"Signs": 0, "Mirrored": 1, "Silent": 0}


@pytest.mark.filterwarnings("ignore")
def test_a_strategy_learns_from_the_expert(benchmark: Any) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
    measured = EvaluationPlugin(accuracy_metrics(experience=True), loggers=[])
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.5),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=4,
        train_epochs=20,
        eval_mb_size=4,
        plugins=[ReplayPlugin(mem_size=10)],
        evaluator=measured,
    )
    for experience in benchmark.train_stream:
        strategy.train(experience)
    found = strategy.eval(benchmark.test_stream[:2])
    assert [value for name, value in found.items() if "Top1_Acc_Exp" in name] == [1.0, 1.0]


def test_without_an_expert_there_is_no_dataset(benchmark: Any) -> None:
    silent = benchmark.test_stream[2]
    assert silent.environment.reset(seed=0)
    with pytest.raises(contrail.ConfigError, match="'Silent' has no expert"):
        silent.dataset  # noqa: B018


def test_a_stream_file_with_mistakes_is_refused(tmp_path: Any) -> None:
    (tmp_path / "stream.yaml").write_text("stream: [babyay]\n")
    with pytest.raises(contrail.ConfigError, match="Did you mean 'babyai'"):
        as_avalanche(tmp_path / "stream.yaml")
