"""reasoning-gym: questions of reasoning-gym's datasets (arXiv:2505.24760)."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from contrail import (
    ConfigError,
    Environment,
    Observation,
    Step,
    Task,
    hookimpl,
    nearest,
    read_action,
)
from contrail.envs.reasoning_gym.expressions import is_plain
from contrail.envs.shared.lent_random import LentRandom
from contrail.errors import Raised, boundary
from contrail.leaks import seed_tasks

BLOCK = 1000  # questions of one dataset object; some draw all of them when they are made
LONGEST = 10_000  # characters of an answer; a flood is not read
OURS = ("seed", "size")
EXPRESSIONS = (
    "countdown",
    "intermediate_integration",
    "polynomial_multiplication",
    "puzzle24",
    "simple_integration",
)
"""Datasets whose verifier lets sympy evaluate the answer."""
LITERALS = ("binary_matrix", "n_queens", "spiral_matrix", "string_insertion")
"""Datasets whose verifier calls `eval` on the answer, to read a list."""
HASHED = ("isomorphic_strings", "polynomial_multiplication", "ransom_note")
"""Datasets whose questions follow the order of sets, and so the hash seed of the process."""
SOLUTIONS = ("example_correct_answer", "possible_answer", "example_answer", "solution")
"""Fields of a question's metadata that may hold a right answer, where it has none itself."""


@dataclass
class ReasoningGymConfig:
    """The keys of reasoning-gym in stream.yaml."""

    dataset: str = "chain_sum"
    """The name of a dataset, such as "word_sorting". `contrail environments --search reasoning-gym`
    lists them."""
    params: dict[str, Any] = field(default_factory=dict)
    """The dataset's own settings, such as {min_terms: 2, max_terms: 3}, but for `seed` and
    `size`."""
    train_tasks: int = 500
    """The number of training questions: seeds 0, 1, 2, 3, 5, 6, ..."""
    test_tasks: int = 100
    """The number of test questions: every fifth seed, 4, 9, 14, ..."""
    split_by: str = "seed"
    """What decides whether a question is for training or testing: its "seed", or its "start", the
    words of the question. Use start for datasets that ask the same question twice; each question is
    then one task, and `tasks` makes a question per seed."""


class ReasoningGym(Environment):
    """A question of a dataset of reasoning-gym; one answer, in free text, ends the episode.

    A task is a seed: question n of the dataset with seed 0. The reward is the score that the
    dataset's own verifier gives, 0 to 1; 1 is success. An answer that differs from the dataset's
    own only by the signs around it that `read_action` takes away counts as that.

    Where a verifier evaluates the answer as Python, only numbers, symbols, common functions and
    lists are evaluated; anything else scores 0. The expert gives the dataset's own answer.
    """

    Config = ReasoningGymConfig
    system_prompt = (
        "You are asked a question. A program checks your answer: write the answer alone, in the "
        "form that the question asks for. You have one try."
    )
    max_turns = 1

    @classmethod
    def catalogue(cls) -> Iterator[tuple[dict[str, Any], str]]:
        with LentRandom()():
            from reasoning_gym.factory import DATASETS

        for name, (dataset, _) in DATASETS.items():
            about = (inspect.getdoc(dataset) or "").split("\n")[0].rstrip(".")
            kind = dataset.__module__.split(".")[1].replace("_", " ")
            if name != "composite":  # it mixes others, as a stage does
                yield {"dataset": name}, f"{about or name.replace('_', ' ')} ({kind})."

    def __init__(self, config: ReasoningGymConfig | None = None) -> None:
        super().__init__(config)
        if min(self.config.train_tasks, self.config.test_tasks) < 1:
            raise ConfigError("reasoning-gym: train_tasks and test_tasks must be 1 or more.")
        self._random = LentRandom()
        self._params = json.dumps(self.config.params, sort_keys=True)
        with self._random():
            _check(self.config)
            self._dataset(0)
        self._question: dict[str, Any] | None = None
        self.about_data = f"seeds of {self.config.dataset}"

    def tasks(self, split: str) -> list[Task]:
        listed = seed_tasks(self, "reasoning-gym", split)
        name, notes = self.config.dataset, []
        if name in HASHED and not os.environ.get("PYTHONHASHSEED", "").isdecimal():
            notes.append(
                f"reasoning-gym: the questions of {name} differ from process to process: they "
                "follow Python's hash seed. Set PYTHONHASHSEED=0 before you start a run."
            )
        if "\n" in str(self._ask(listed[0].seed)["answer"]):
            notes.append(
                f"reasoning-gym: answers of {name} have several lines. Use `adapter: xml` or "
                "`json`: react and act read one line."
            )
        self.notes = notes
        return listed

    def reset(self, task: Task) -> Observation:
        self._question = self._ask(task.seed)
        self._seed = task.seed
        return Observation(str(self._question["question"]))

    def step(self, action: str) -> Step:
        question, self._question = self._question, None
        if question is None:
            return Step(Observation("The question was answered."), terminated=True, valid=False)
        score = self._score(question, self._seed, action[:LONGEST])
        if score is None:
            seen = Observation("The answer cannot be read.")
            return Step(seen, terminated=True, valid=False)
        seen = Observation("Right." if score >= 1 else f"Not right: the score is {score:g}.")
        return Step(seen, score, terminated=True, success=score >= 1)

    def expert(self, task: Task) -> list[str] | None:
        """Return the dataset's own answer; None if its verifier does not take it."""
        question = self._ask(task.seed)
        known = [question["answer"], *map(question["metadata"].get, SOLUTIONS)]
        for answer in known:
            if isinstance(answer, str) and answer:
                score = self._score(question, task.seed, answer)
                if score is not None and score >= 1:
                    return [answer]
        return None

    def _dataset(self, seed: int) -> Any:
        """Return the dataset of a seed's block. Question n of any block is drawn from seed n."""
        return _load(self.config.dataset, self._params, seed // BLOCK * BLOCK)

    def _ask(self, seed: int) -> dict[str, Any]:
        self._random.seed(seed)
        with self._random():
            question: dict[str, Any] = self._dataset(seed)[seed % BLOCK]
        return question

    def _score(self, question: dict[str, Any], seed: int, action: str) -> float | None:
        """Return the verifier's score of an answer; None if it cannot read it."""
        own = question["answer"]
        answer = own if isinstance(own, str) and action == read_action(own) else action
        if not answer.strip():
            return None
        if self.config.dataset in EXPRESSIONS and answer != own and not is_plain(answer):
            return None
        self._random.seed(seed)
        try:
            with self._random(), boundary():  # verifiers do not expect all that models write
                return float(self._dataset(seed).score_answer(answer, question))
        except Raised:
            return None


def _check(config: ReasoningGymConfig) -> None:
    """Refuse settings that the dataset does not take.

    Raises:
        ConfigError: the name or a parameter is wrong.
    """
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    name = config.dataset
    if name not in DATASETS:
        known = nearest(name, DATASETS)
        raise ConfigError(f"reasoning-gym: there is no dataset {name!r}. {known[:300]}")
    keys = [item.name for item in dataclasses.fields(DATASETS[name][1]) if item.name not in OURS]
    unknown = next((key for key in config.params if key not in keys), None)
    if unknown is not None:
        hint = "Choose train_tasks and test_tasks." if unknown in OURS else nearest(unknown, keys)
        raise ConfigError(f"reasoning-gym: {name} takes no parameter {unknown!r}. {hint}")
    try:
        reasoning_gym.create_dataset(name, seed=0, size=1, **_given(name, config.params))
    except (AssertionError, TypeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"reasoning-gym: {name} refuses {config.params}: {text}") from error


@lru_cache(maxsize=64)
def _load(name: str, params: str, seed: int) -> Any:
    """Return a dataset. Instances share it: reading word lists takes up to a second."""
    import reasoning_gym

    dataset = reasoning_gym.create_dataset(
        name, seed=seed, size=BLOCK, **_given(name, json.loads(params))
    )
    if name in LITERALS:
        vars(sys.modules[type(dataset).__module__])["eval"] = ast.literal_eval
    return dataset


def _given(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters as the dataset's settings take them."""
    if name != "composite" or "datasets" not in params:
        return params
    from reasoning_gym.composite import DatasetSpec

    specs = [DatasetSpec(**{"weight": 1.0, "config": {}, **spec}) for spec in params["datasets"]]
    return {**params, "datasets": specs}


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    register("reasoning-gym", ReasoningGym)
