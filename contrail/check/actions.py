"""Checks of actions: listed actions, nonsense, and the expert's."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from itertools import pairwise

from contrail.check.subject import Failed, Moment, Skipped, Subject, quoted
from contrail.environment import Environment, Task
from contrail.errors import Raised, boundary, message_of
from contrail.values import as_texts

TRIED = 24  # listed actions of a start state that are tried
SLOW = 10.0  # seconds; no answer to nonsense takes so long
FLOOD = 100_000  # characters; an observation that long only repeats the flood it answers

NONSENSE = {
    "an empty action": "",
    "blanks": " \n\r\t ",
    "a word": "xyzzy",
    "punctuation": "'\"`;{}%s[](\\)$^*+?<|im_end|>",
    "control characters": "".join(map(chr, range(32))) + "\x7f\x9b",
    "other scripts": "行く дом ß é 🙂 \u202e\u0301",
    "a long number": f"get {'9' * 5000} x",
    "a megabyte": "go to " * 175_000,
}


def actions(subject: Subject) -> str:
    """What is listed as admissible is accepted."""
    tried = 0
    starts = []
    for task, walk in zip(subject.tasks, subject.walks, strict=True):
        for before, moment in pairwise(walk):
            if before.actions:
                _accepted(moment, task)
                tried += 1
        listed = walk[0].actions or []
        chosen = random.Random(task.id).sample(listed, min(TRIED, len(listed)))
        starts += [(task, action) for action in chosen]
    random.Random(0).shuffle(starts)  # each takes a reset, and time may end before the list does
    for task, action in subject.in_time(starts):
        subject.reset(subject.used, task)
        _accepted(subject.step(subject.used, action), task)
        tried += 1
    if not tried:
        raise Skipped("it lists no actions, and needs `adapter: react`")
    return f"{tried} actions"


def nonsense(subject: Subject) -> None:
    """Nonsense never raises, and is answered soon and in few words."""
    environment = subject.used
    task = subject.tasks[0]
    moment = subject.reset(environment, task)
    listed = moment.actions or ["look"]
    attempts = {**NONSENSE, "an action a hundred times": f"{listed[0]} " * 100}
    for what, action in attempts.items():
        if moment.over:
            subject.reset(environment, task)
        begun = time.perf_counter()
        try:
            with boundary():
                moment = subject.step(environment, action)
        except Raised as raised:
            kind, _, message = message_of(raised.error).partition(": ")
            raise Failed(
                f"step raised {kind} on {what}, {quoted(action)}: {quoted(message)}. Answer in "
                "words, with valid=False."
            ) from raised.error
        taken = time.perf_counter() - begun
        if taken > SLOW:
            raise Failed(
                f"{what} took {taken:.0f} s. Answer at once; of a flood, look at the first 1,000 "
                "characters only."
            )
        if len(moment.text) > FLOOD:
            raise Failed(
                f"{what} is answered with {len(moment.text)} characters. Do not repeat what "
                "was sent: the answer goes back to the model."
            )


def success(subject: Subject) -> None:
    """Success is more than having ended: it comes with reward, and never of nonsense."""
    environment = subject.used
    for task in subject.in_time(subject.tasks):
        for words in (("", "xyzzy"), ("xyzzy", "")):
            subject.reset(environment, task)
            for turn in range(environment.max_turns + 1):
                moment = subject.step(environment, words[turn % 2])
                if moment.success:
                    raise Failed(
                        f"task {task.id!r} counts as solved after {turn + 1} turns of nonsense. "
                        "Set success only where the goal is reached, not where the episode ends."
                    )
                if moment.over:
                    break
            if turn:
                break  # it has seen both
    for task, walk in zip(subject.tasks, subject.walks, strict=True):
        rewards = []
        for moment in walk:
            rewards.append(moment.reward)
            _earned(moment, rewards, task)
        for before, after in pairwise(walk):
            _stays(before, after, task)
    for task in subject.in_time(subject.tasks):
        plan = list(subject.expert_plan(environment, task))
        if not plan:  # the only play that goes as far as an episode may
            for before, after in pairwise(
                subject.walk(environment, task, turns=environment.max_turns)
            ):
                _stays(before, after, task)
            continue
        moment = subject.reset(environment, task)
        for _ in range(environment.max_turns):
            before, listed = moment, moment.actions or ["look"]
            moment = subject.step(environment, plan.pop(0) if plan else listed[0])
            _stays(before, moment, task)
            if moment.over:
                break


def expert(subject: Subject) -> str:
    """The expert, where there is one, solves its tasks by listed actions."""
    solved, without, long = 0, 0, 0
    environment = subject.used
    for task in subject.tasks:
        with subject.during(f"expert({task.id!r})"):
            plan = environment.expert(task)
        if plan is not None:
            try:
                plan = as_texts(plan, f"expert({task.id!r})")
            except TypeError as error:
                raise Failed(
                    f"expert({task.id!r}) returned {quoted(plan)}. Return texts, or None."
                ) from error
        if plan is None:
            without += 1
        elif _follow(subject, environment, task, list(plan)):
            solved += 1
        else:
            long += 1
    notes = [f"{solved} of {len(subject.tasks)} tasks"]
    notes += [f"none for {without}"] * bool(without) + [f"max_turns too few for {long}"] * bool(
        long
    )
    if not solved:
        raise Skipped("no expert" if not long else "; ".join(notes))
    return "; ".join(notes)


def _accepted(moment: Moment, task: Task) -> None:
    if not moment.valid:
        raise Failed(
            f"task {task.id!r}: {moment.action!r} is listed, and refused: {quoted(moment.text)}. "
            "List what is accepted now, in the words that step understands."
        )


def _earned(moment: Moment, rewards: Sequence[float], task: Task) -> None:
    # Below 0 is no fault: with a cost for each step, a play that fails has less.
    if moment.success and not any(rewards):
        raise Failed(
            f"task {task.id!r} is solved by {quoted(moment.action)} without a reward. Training "
            "follows the reward: give more for success than for anything else."
        )


def _stays(before: Moment, after: Moment, task: Task) -> None:
    if before.success and not after.success:
        raise Failed(
            f"task {task.id!r} is solved by {quoted(before.action)}, and no longer after "
            f"{quoted(after.action)}. An episode counts by its last turn: end it with "
            "terminated=True where it is solved, or keep success."
        )


def _follow(subject: Subject, environment: Environment, task: Task, plan: list[str]) -> bool:
    """Play the expert's actions; return whether they fit into the task's limit of turns."""
    moment = subject.reset(environment, task)
    if len(plan) > environment.max_turns:
        return False
    rewards = []
    for turn, action in enumerate(plan, start=1):
        if moment.actions is not None and action not in moment.actions:
            raise Failed(
                f"task {task.id!r}, turn {turn}: the expert says {action!r}, which is not listed. "
                "List it, or let the expert use listed actions."
            )
        moment = subject.step(environment, action)
        rewards.append(moment.reward)
        if moment.over:
            break
    if not moment.success:
        raise Failed(
            f"task {task.id!r}: after the expert's {len(plan)} actions it is not solved, with a "
            f"reward of {sum(rewards):g}. Return None where the expert gives up."
        )
    _earned(moment, rewards, task)
    return True
