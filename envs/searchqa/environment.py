"""SearchQA: answer a question with the help of a search engine, as AgentGym presents it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from contrail import SPLITS, ConfigError, Environment, Observation, Step, Task, hookimpl, nearest
from contrail.envs.shared.data_files import refusing_depth

if TYPE_CHECKING:
    from contrail.envs.searchqa.answers import Question
    from contrail.envs.searchqa.data import Library

SHOWN = 3  # documents an action brings
SEARCHES, ANSWERS = 12, 28  # listed at most
LONGEST_ACTION = 10_000  # characters; the rest of a flood of text is not looked at
REWARDS = ("exact_match", "f1")
ACTION = re.compile(r"<(search|answer)>(.*?)</\1>", re.IGNORECASE | re.DOTALL)


@dataclass
class SearchQAConfig:
    """The keys of searchqa in stream.yaml."""

    data: str = field(default="", metadata={"path": ()})
    """A file of questions, or a directory with files of questions and documents. By default,
    questions of one to three hops over some 13,500 generated documents."""
    reward: str = "exact_match"
    """The measure of an answer: "exact_match", or "f1" of words. Success is an exact match in both
    cases."""
    retry_after_wrong: bool = False
    """Continue the episode after a wrong answer, and say that the answer was wrong."""
    like: Literal["agentgym"] | None = None
    """Follow the rules of another framework where they differ: "agentgym"."""
    test_ids: str = field(default="", metadata={"path": ()})
    """With `like: agentgym`, AgentGym's file of the questions to test on (AgentEval's
    searchqa_test.json). By default, all that are for testing."""


class SearchQA(Environment):
    """Search, read, answer. The reward is 1 for a right answer.

    The difficulty of a task is the number of hops, documents that one must read; in data that has
    levels (HotpotQA) it is the level.
    """

    Config = SearchQAConfig
    system_prompt = (
        "Answer the question. Actions: <search>words</search> shows the three documents that fit "
        "best, <answer>words</answer> gives the answer and ends. Some questions take several "
        "searches. Answer with a name, a number, yes or no, not with a sentence."
    )
    max_turns = 5
    forms = ("<search>{words}</search>", "<answer>{words}</answer>")
    finishing = (r".*<answer>.*</answer>.*",)
    verifying = (r".*<search>.*</search>.*",)

    def __new__(
        cls, config: SearchQAConfig | None = None, *others: object, **named: object
    ) -> SearchQA:
        """Return an environment of the rules that the settings name; a subclass has its own."""
        if cls is SearchQA and config is not None and config.like == "agentgym":
            from contrail.envs.searchqa.agentgym import AgentGymSearchQA

            return super().__new__(AgentGymSearchQA)
        return super().__new__(cls)

    def __init__(self, config: SearchQAConfig | None = None) -> None:
        super().__init__(config)
        _check(self.config)
        from contrail.envs.searchqa import answers as searchqa_answers

        self._answers = searchqa_answers
        data = self.config.data
        with refusing_depth(data):
            self._library = self._load()
        self.about_data = (
            f"questions in {data}"
            if data
            else "generated questions; HotpotQA's (hotpotqa.github.io) or MuSiQue's with data"
        )
        self.notes = self._library.notes
        self.about_data = "; ".join((self.about_data, *self.notes))
        self._question: Question | None = None
        self._ended = False
        self._searched: set[str] = set()
        self._read: list[int] = []

    def _load(self) -> Library:
        from contrail.envs.searchqa.data import load_library

        return load_library(self.config.data)

    def tasks(self, split: str) -> list[Task]:
        if split not in SPLITS:
            raise ConfigError(f"searchqa has no split {split!r}. {nearest(split, SPLITS)}")
        return [
            Task("searchqa", name, 0, split, question.difficulty)
            for name, question in self._library.questions[split].items()
        ]

    def reset(self, task: Task) -> Observation:
        self._question = self._question_of(task)
        self._ended = False
        self._searched = set()
        self._read = []  # places of the documents that were shown, the latest first
        return self._observe(f"Question: {self._question.text}")

    def step(self, action: str) -> Step:
        if self._question is None:
            raise RuntimeError("searchqa: reset(task) comes before step(action).")
        if self._ended:
            over = Observation("The episode is over.", ())
            return Step(over, terminated=True, valid=False)
        read = self._read_tags(action[:LONGEST_ACTION])
        if read is None:
            # The model's invented text is not repeated to it: it may contain a chat template's
            # tokens.
            text = "Not an action: write <search>words</search> or <answer>words</answer>."
            return Step(self._observe(text), valid=False)
        verb, words = read
        return self._grade(words, self._question) if verb == "answer" else Step(self._search(words))

    def _read_tags(self, action: str) -> tuple[str, str] | None:
        """Return the verb of an action, "search" or "answer", and its words; None for no action."""
        match = ACTION.search(action)
        words = " ".join(match[2].split()) if match else ""
        return (match[1].lower(), words) if match and words else None

    def expert(self, task: Task) -> list[str] | None:
        """Return searches for the question and for each necessary document that is not seen yet.

        Then a right answer follows. All actions are listed ones; None if they lead to no answer.
        """
        question = self._question_of(task)
        plan: list[str] = []
        best = None
        searched: set[str] = set()
        read: list[int] = []
        words: str | None = self._answers.query(question.text)
        while words and len(plan) < self.max_turns - 1:
            plan.append(f"<search>{words}</search>")
            searched.add(words.lower())
            read = _latest_first(self._library.search(words, SHOWN), read)
            searches, answers = self._listed(question, searched, read)
            right = [one for one in answers if self._answers.exact_match(one, question.answers)]
            if right:
                best = [*plan, f"<answer>{right[0]}</answer>"]
            words = self._leading(question, searches, read)
        return best

    def _leading(self, question: Question, searches: list[str], read: list[int]) -> str | None:
        """Return the search that finds a necessary document that is not read; its title, if
        allowed."""
        for place in question.gold:
            title = self._library.documents[place][0]
            for words in sorted(searches, key=lambda words: words != title):
                if place not in read and place in self._library.search(words, SHOWN):
                    return words
        return None

    def game(self, task: Task) -> str:
        return self._question_of(task).text

    def _question_of(self, task: Task) -> Question:
        for questions in self._library.questions.values():
            if task.id in questions:
                return questions[task.id]
        raise ValueError(f"searchqa has no task {task.id!r}; tasks() lists them.")

    def _search(self, words: str) -> Observation:
        self._searched.add(words.lower())
        found = self._library.search(words, SHOWN)
        self._read = _latest_first(found, self._read)
        return self._observe(self._information([self._library.documents[i] for i in found]))

    def _information(self, documents: list[tuple[str, str]]) -> str:
        lines = [
            f"Doc {number} (Title: {title}) {text}"
            for number, (title, text) in enumerate(documents, 1)
        ]
        return "\n".join(["<information>", *(lines or ["Nothing found."]), "</information>"])

    def _grade(self, words: str, question: Question) -> Step:
        right = self._answers.exact_match(words, question.answers)
        f1 = self._answers.f1(words, question.answers)
        reward = float(right) if self.config.reward == "exact_match" else f1
        if not right and self.config.retry_after_wrong:
            return Step(self._observe("Wrong. Search on, or give another answer."))
        self._ended = True
        text = f"Exact match: {int(right)}. F1: {f1:.2f}."
        return Step(Observation(text, ()), reward, terminated=True, success=right)

    def _observe(self, text: str) -> Observation:
        assert self._question is not None
        searches, answers = self._listed(self._question, self._searched, self._read)
        actions = (
            *(f"<search>{words}</search>" for words in searches),
            *(f"<answer>{words}</answer>" for words in answers),
        )
        return Observation(text, actions)

    def _listed(
        self, question: Question, searched: set[str], read: list[int]
    ) -> tuple[list[str], list[str]]:
        """Return searches for the question and the names in it and in the documents; names as
        answers.

        A free text has no list of all actions: this one holds what a reader would try first. It is
        never empty: if nothing else is left, earlier searches stay.
        """
        texts = [". ".join(self._library.documents[place]) for place in read]
        answers = self._answers.candidate_answers(question.text, texts, ANSWERS) if texts else []
        most = SEARCHES + len(searched)
        titles = self._library.titles
        searches = self._answers.candidate_searches(question.text, answers, titles, most)
        new = [words for words in searches if words.lower() not in searched]
        return (new if new or answers else searches)[:SEARCHES], answers


def _latest_first(found: list[int], read: list[int]) -> list[int]:
    return [*found, *(place for place in read if place not in found)]


def _check(config: SearchQAConfig) -> None:
    """Refuse impossible settings.

    Raises:
        ConfigError: names the key and its possible values.
    """
    if config.reward not in REWARDS:
        raise ConfigError(
            f"searchqa: reward is {config.reward!r}. {nearest(config.reward, REWARDS)}"
        )
    if config.like and config.reward != "exact_match":
        raise ConfigError("searchqa: like: agentgym rewards an exact match; leave `reward` out.")
    if config.test_ids and not config.like:
        raise ConfigError("searchqa: test_ids is for like: agentgym.")


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    """Register searchqa."""
    register("searchqa", SearchQA)
