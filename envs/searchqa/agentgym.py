"""SearchQA by AgentGym's rules: its order of questions, its tags, and another try after a wrong
answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from contrail import ConfigError, Observation, Step, Task
from contrail.envs.searchqa.answers import Question, normalise
from contrail.envs.searchqa.data import Library, load_library
from contrail.envs.searchqa.environment import SearchQA
from contrail.envs.searchqa.split import TEST_FILE
from contrail.envs.shared.agentgym import number_of, numbers_in, task_id

ACTION = re.compile(r"<(search|answer)>(.*?)</\1>", re.DOTALL)
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


class AgentGymSearchQA(SearchQA):
    """SearchQA with `like: agentgym`.

    A task's id is "agentgym-N": the questions of the files to test on come first, in their order,
    then those to train on.
    """

    system_prompt = (
        "Always reason between <think> and </think> first. If you lack knowledge, write a search "
        "between <search> and </search> and stop: write neither <information> nor <answer> before "
        "you have got the <information>. Then reason again. If you are confident, or need no more "
        "knowledge, write the answer alone between <answer> and </answer>, such as "
        "<answer> Paris </answer>."
    )
    max_turns = 5

    def _load(self) -> Library:
        library = load_library(self.config.data, in_order)
        self._wanted = wanted(self.config.test_ids, library)
        if not self._wanted:
            raise ConfigError(
                f"searchqa: test_ids: {self.config.test_ids} names none of the "
                f"{len(library.questions['test'])} questions to test on."
            )
        return library

    def tasks(self, split: str) -> list[Task]:
        tasks = super().tasks(split)
        return [task for task in tasks if split == "train" or number_of(task.id) in self._wanted]

    def _read_tags(self, action: str) -> tuple[str, str] | None:
        """Read the first tags; if they are an answer's, the last answer counts."""
        match = ACTION.search(action)
        if match is None:
            return None
        if match[1] == "answer":
            return "answer", ANSWER.findall(action)[-1].strip()
        return "search", match[2].strip()

    def _information(self, documents: list[tuple[str, str]]) -> str:
        text = "\n".join(
            f"Doc {number}(Title: {title}) {text}"
            for number, (title, text) in enumerate(documents, 1)
        )
        return f"<information>{text.strip()}</information>"

    def _grade(self, words: str, question: Question) -> Step:
        if normalise(words) not in map(normalise, question.answers):
            return Step(self._observe("The answer is wrong. Try again."))
        self._ended = True
        return Step(Observation("The answer is right.", ()), 1.0, terminated=True, success=True)


def in_order(
    by_file: Mapping[str, Sequence[Question]], data: str
) -> dict[str, dict[str, Question]]:
    """Return all questions of each split by AgentGym's numbers.

    Raises:
        ConfigError: the files do not say which is for testing.
    """
    tests = [
        question for name, its in by_file.items() if TEST_FILE.search(name) for question in its
    ]
    rest = [q for name, its in by_file.items() if not TEST_FILE.search(name) for q in its]
    if not tests or not rest:
        raise ConfigError(
            f"searchqa: data: {data} must hold two files for like: agentgym, with `test` and "
            "`train` in their names, in AgentGym's order of questions."
        )
    numbered = [(task_id(number), question) for number, question in enumerate([*tests, *rest])]
    return {"train": dict(numbered[len(tests) :]), "test": dict(numbered[: len(tests)])}


def wanted(path: str, library: Library) -> frozenset[int]:
    """Return the numbers of the questions to test on; of a file, those that it names."""
    numbers = frozenset(map(number_of, library.questions["test"]))
    return numbers & numbers_in(path) if path else numbers
