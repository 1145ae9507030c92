"""Checks of adapters: what the model is shown, and what is read in its answers."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from contrail.adapter import Adapter
from contrail.check.actions import NONSENSE, SLOW, TRIED
from contrail.check.subject import Failed, Skipped, Subject, Warned, quoted
from contrail.check.surroundings import untouched
from contrail.check.trial import Trial
from contrail.environment import Environment, Observation, Task
from contrail.episode import Turn
from contrail.errors import ConfigError, ContrailError, InvalidAction
from contrail.rollout.interface import Interface
from contrail.workers.factory import EnvironmentFactory

TURNS = 8
PURE = "An adapter keeps no state: what it must know of the past is in `episode`."


@dataclass(frozen=True)
class Shown:
    """One turn as the model sees it, and what the adapter reads in its answer."""

    message: str
    candidates: tuple[tuple[str, str | None], ...] | None
    """Each with what `parse` reads in it; None if that is no action."""
    answers: tuple[tuple[str, str, str | None], ...]
    """Actions, each with its answer and with what `parse` reads in that."""
    actions: tuple[str, ...] | None
    """Those that the environment lists."""
    text: str
    """The model's answer."""
    read: str | None


@dataclass
class AdapterSubject:
    """An adapter under check, and episodes through it.

    Attributes:
        make: makes instances of it.
        factory: makes the environment.
        trial: small runs with it.
        plays: episodes, once `messages` has been checked.
    """

    make: Callable[[], Adapter]
    factory: EnvironmentFactory
    trial: Trial
    plays: list[list[Shown]] = field(default_factory=list)

    def close(self) -> None:
        """Close the environment, and remove the runs."""
        self.subject.close()
        self.trial.close()

    def __post_init__(self) -> None:
        self.subject = Subject(self.factory)
        self.subject.listed = {split: self.subject.used.tasks(split) for split in ("train", "test")}
        self.tasks = self.subject.sample(3)

    def play(self, adapter: Adapter, environment: Environment, task: Task) -> Iterator[Shown]:
        """Yield the turns of an episode, in which the actions depend on nothing but the task."""
        rng = random.Random(task.id)
        plan = [*self.subject.expert_plan(environment, task)]
        first = environment.reset(task)
        interface = Interface(adapter, self.factory.name, environment, task, first)
        for _ in range(min(TURNS, environment.max_turns)):
            actions = interface.observation.actions
            message, found = interface.render(), interface.candidates()
            if known := list(actions or plan[:1]):
                taken = rng.choice(known)
            else:  # words that the environment itself uses come nearest to sense
                taken = rng.choice(interface.observation.text.split() or ["look"])
            plan = plan[1:]
            answers = []
            for action in rng.sample(known, min(TRIED, len(known))):
                text = _text(adapter.answer(action), action)
                answers.append((action, text, _read(interface, text)))
            candidates = None
            if found is not None:
                candidates = tuple((text, _read(interface, text)) for text in found)
            text = rng.choice(found) if found else adapter.answer(taken)
            read = _read(interface, text)
            listed = None if actions is None else tuple(actions)
            yield Shown(message, candidates, tuple(answers), listed, text, read)
            turn = Turn([], [], [], [], observation=message, text=text, action=read)
            if read is None:
                turn.valid = False
                interface.take(turn)
                continue
            step = environment.step(read)
            turn.valid, turn.reward = step.valid, step.reward
            interface.take(turn, step.observation)
            if step.terminated or step.truncated:
                return


def messages(subject: AdapterSubject) -> str:
    """system and render return texts, and candidates texts or None."""
    for task in subject.tasks:
        with subject.subject.instance() as environment:
            try:
                subject.plays.append(list(subject.play(subject.make(), environment, task)))
            except ContrailError as error:
                raise Failed(
                    f"task {task.id!r}: {error} If it is for some environments only, name one: "
                    "contrail check ADAPTER --environment NAME."
                ) from error
    turns = [turn for play in subject.plays for turn in play]
    if empty := next((turn for turn in turns if turn.candidates == ()), None):
        raise Failed(
            f"candidates returned none after {quoted(empty.message)}, though the episode goes on. "
            "Return None to let the model write freely."
        )
    return f"{len(turns)} turns of {len(subject.plays)} episodes"


def choices(subject: AdapterSubject) -> str:
    """Each candidate is read as an action, and no two as the same."""
    turns = [turn for play in subject.plays for turn in play if turn.candidates is not None]
    if not turns:
        raise Skipped("free text")
    left = 0
    for turn in turns:
        texts, read = zip(*turn.candidates or (), strict=True)
        if None in read:
            raise Failed(f"the candidate {quoted(texts[read.index(None)])} is no action for parse.")
        for many, what in ((texts, "candidate"), (read, "action")):
            twice = [item for item, count in Counter(many).items() if count > 1]
            if twice:
                raise Failed(
                    f"the {what} {quoted(twice[0])} can be chosen twice, so it is twice as "
                    "probable. Name each once."
                )
        left += len(set(turn.actions or ()) - set(read))
    if left:
        raise Warned(f"{left} listed actions of {len(turns)} turns cannot be chosen.")
    return f"{len(turns)} turns"


def answers(subject: AdapterSubject) -> str:
    """parse turns answer(action) back into the action, and the model could write it."""
    turns = [turn for play in subject.plays for turn in play]
    tried = [answer for turn in turns for answer in turn.answers]
    if not tried:
        raise Skipped("the environment lists no actions, and has no expert")
    adapter = subject.make()
    for action, text, _ in (item for turn in turns if not turn.candidates for item in turn.answers):
        _check_writable(adapter, text, action)
    for action, text, read in tried:
        if read != action:
            raise Failed(
                f"answer({action!r}) is {quoted(text)}, in which parse reads {quoted(read)}. "
                "Experts and other players without a model act through answer."
            )
    return f"{len(tried)} actions"


def _check_writable(adapter: Adapter, text: str, action: str) -> None:
    most = adapter.max_new_tokens
    if len(text.split()) > most:  # a word is a token at least
        raise Failed(
            f"answer({action!r}) is {quoted(text)}, which max_new_tokens ({most}) cuts off. Raise "
            "it, or answer in fewer words."
        )
    for stop in adapter.stop:
        if text.partition(stop)[2].strip():
            raise Failed(
                f"answer({action!r}) is {quoted(text)}, which the model cannot write: it stops "
                f"at {stop!r}. Let the answer end there, or name another text in `stop`."
            )


def nonsense(subject: AdapterSubject) -> None:
    """parse reads an action in nonsense, or raises InvalidAction; soon."""
    view = _situation(subject)
    attempts = {**NONSENSE, "an open bracket": '{"action": [<', "nothing but Action:": "Action:"}
    for what, text in attempts.items():
        begun = time.perf_counter()
        try:
            view.parse(text)
        except InvalidAction as error:
            if not str(error).strip():
                raise Failed(
                    f"InvalidAction on {what} has no message. It is what the model reads next: say "
                    "what is expected."
                ) from error
        except ContrailError as error:
            raise Failed(f"{what}: {error} Raise contrail.InvalidAction.") from error
        if time.perf_counter() - begun > SLOW:
            raise Failed(f"{what} took {time.perf_counter() - begun:.0f} s.")


def unlisted(subject: AdapterSubject) -> str:
    """An observation without a list of actions is shown, or refused with a ConfigError."""
    view = _situation(subject)
    view.observation = Observation("You see a door.")
    try:
        view.render()
        view.candidates()
    except ConfigError as error:
        return str(error)
    except ContrailError as error:
        raise Failed(
            f"{error} Where it needs the list, raise contrail.ConfigError, and say so."
        ) from error
    return ""


def state(subject: AdapterSubject) -> None:
    """It keeps no state: episodes side by side are as each by itself."""
    adapter = subject.make()
    environments = [subject.factory.here() for _ in subject.tasks]
    try:
        plays = [
            subject.play(adapter, environment, task)
            for environment, task in zip(environments, subject.tasks, strict=True)
        ]
        shown: list[list[Shown]] = [[] for _ in plays]
        open_plays = list(range(len(plays)))
        while open_plays:
            for index in list(open_plays):
                turn = next(plays[index], None)
                if turn is None:
                    open_plays.remove(index)
                else:
                    shown[index].append(turn)
    finally:
        for environment in environments:
            environment.close()
    for task, alone, beside in zip(subject.tasks, subject.plays, shown, strict=True):
        for number, (one, other) in enumerate(zip(alone, beside, strict=False)):
            if one != other:
                raise Failed(
                    f"task {task.id!r}, turn {number}: {quoted(one.message)} by itself, and "
                    f"{quoted(other.message)} beside other episodes. {PURE}"
                )
        if len(alone) != len(beside):
            raise Failed(f"task {task.id!r}: {len(alone)} turns, then {len(beside)}. {PURE}")


def randomness(subject: AdapterSubject) -> None:
    """The random state of random, numpy and torch, which belongs to others, stays as it is."""
    with subject.subject.instance() as environment:
        plays = [subject.play(subject.make(), environment, subject.tasks[0])]
        with untouched("a method"):
            for play in plays:
                list(play)


def _situation(subject: AdapterSubject) -> Interface:
    """Return the interface to a first observation."""
    environment, task = subject.subject.used, subject.tasks[0]
    first = environment.reset(task)
    return Interface(subject.make(), subject.factory.name, environment, task, first)


def _text(answer: Any, action: str) -> str:
    if not isinstance(answer, str):
        raise Failed(f"answer({action!r}) returned {quoted(answer)}. Return a text.")
    return answer


def _read(interface: Interface, text: str) -> str | None:
    """Return the action that the adapter reads in a text; None if there is none."""
    try:
        return interface.parse(text)
    except InvalidAction:
        return None


def in_trial(check: Callable[[Trial], Any]) -> Callable[[AdapterSubject], Any]:
    """Return the check of a small run as one of an adapter."""

    def checked(subject: AdapterSubject) -> Any:
        if subject.make().tools:
            raise Skipped("the tiny model's chat template has no tools")
        return check(subject.trial)

    checked.__name__, checked.__doc__ = check.__name__, check.__doc__
    return checked
