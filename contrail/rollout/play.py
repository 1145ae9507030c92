"""Plays tasks: environments, adapter and engine together.

An episode whose environment is at work in another process is left out of the forwards meanwhile.
Which episodes share a forward decides the last bits of its results, so that must not depend on how
fast anything is. Time is therefore counted in forwards: what is asked of a worker process is taken
up after PATIENCE of them, in the order of asking, and waited for if it is not there yet. Where no
episode has anything for the model to do, the older half of what is under way is taken up: the two
halves then take turns, one with the model, one with their environments.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy

from contrail.adapter import Adapter
from contrail.engine.admission import CacheAdmission, cache_tokens
from contrail.engine.batch import Context, Request
from contrail.engine.decide import Decision
from contrail.engine.engine import Engine
from contrail.engine.hidden_states import HiddenStates
from contrail.environment import Environment, Observation, Step, Task
from contrail.episode import Episode, Turn
from contrail.errors import (
    ContrailError,
    InvalidAction,
    PluginError,
    Raised,
    boundary,
    describe,
)
from contrail.model.policy import Policy
from contrail.values import as_text, as_texts
from contrail.workers.pool import EnvironmentPool
from contrail.workers.remote import Remote

T = TypeVar("T")
Progress = Callable[[Episode], None]

# Forwards for which a worker process is not waited for. With fewer the other episodes wait for it
# more often, with more its own episode waits longer than it need.
PATIENCE = 8


@dataclass(frozen=True)
class Job:
    """One episode to play: a task of the environment in column `environment` of R, its adapter, and
    the generator of all its randomness."""

    environment: str
    task: Task
    adapter: Adapter
    rng: numpy.random.Generator
    sample: int = 0


@dataclass
class _Play:
    job: Job
    environment: Environment
    episode: Episode = field(init=False)
    asked: tuple[str, Any] | None = None  # of the environment, and not answered yet
    due: int = 0  # the number of the forward before which the answer is taken up
    context: Context = field(default_factory=Context)
    observation: Observation = field(default_factory=lambda: Observation(""))
    shown: str = ""
    prompt: list[int] = field(default_factory=list)  # of the coming turn
    turn: Turn | None = None  # free text under way

    def __post_init__(self) -> None:
        self.episode = Episode(self.job.environment, self.job.task, self.job.sample)

    @property
    def ready(self) -> bool:
        """Whether the model is to act."""
        return self.asked is None and not self.episode.ended

    @property
    def length(self) -> int:
        """Tokens of the context, with what the next forward adds of the prompt."""
        coming = self.prompt if self.ready and self.turn is None else ()
        return len(self.context.tokens) + len(coming)


def play(
    policy: Policy,
    pool: EnvironmentPool,
    jobs: Sequence[Job],
    *,
    temperature: float = 1.0,
    greedy: bool = False,
    concurrency: int = 64,
    states: HiddenStates | None = None,
    progress: Progress | None = None,
) -> list[Episode]:
    """Play jobs to their ends; a finished episode's place is taken by the next job.

    Args:
        policy: who plays.
        pool: the environments.
        jobs: what to play.
        temperature: of the distribution that is sampled.
        greedy: take the likeliest choice or token instead of sampling.
        concurrency: episodes under way at the same time, at most; of an environment in worker
            processes no more than it has of these.
        states: where to keep what the policy's frozen layers compute, for the update.
        progress: called with each finished episode.

    Returns:
        The episodes, in the order of the jobs.
    """
    waiting = list(enumerate(jobs))
    done: dict[int, Episode] = {}
    under_way: dict[int, _Play] = {}
    try:
        with policy.acting() as model:
            engine = Engine(model, temperature, frozen=policy.frozen, states=states)
            player = _Player(policy, engine, greedy)
            while waiting or under_way:
                while len(under_way) < concurrency:
                    place = _next(waiting, pool)
                    if place is None:
                        break
                    index, job = waiting.pop(place)
                    under_way[index] = item = _Play(job, pool.take(job.environment))
                    player.ask(item, "reset", job.task)
                items = list(under_way.values())
                player.hear(busy=bool(player.acting(items)))
                player.turn(player.acting(items))
                for index, item in list(under_way.items()):
                    if item.episode.ended:
                        del under_way[index]
                        done[index] = item.episode
                        pool.give(item.job.environment, item.environment)
                        if progress is not None:
                            progress(item.episode)
    finally:
        for item in under_way.values():
            pool.give(item.job.environment, item.environment)
    return [done[index] for index in range(len(jobs))]


def _next(waiting: Sequence[tuple[int, Job]], pool: EnvironmentPool) -> int | None:
    """The place of the first job for whose environment there is an instance."""
    places = enumerate(waiting)
    return next((place for place, (_, job) in places if pool.free(job.environment)), None)


def _adapted(convert: Callable[[Any, str], T], method: Callable[..., Any], *arguments: Any) -> T:
    """What a method of an adapter returns.

    Raises:
        InvalidAction: the adapter found none.
        ContrailError: it raised something else, or returned something of another type.
    """

    def blame(error: BaseException) -> Exception:
        if isinstance(error, (ContrailError, InvalidAction)):
            return error
        kind = type(getattr(method, "__self__", method)).__name__
        return PluginError(f"adapter {kind}: {method.__name__}: {describe(error)}")

    with boundary(blame):
        return convert(method(*arguments), f"what {method.__name__} returned")


def _candidates(value: Any, what: str) -> Sequence[str] | None:
    return None if value is None else as_texts(value, what)


class _Player:
    def __init__(self, policy: Policy, engine: Engine, greedy: bool) -> None:
        self._chat = policy.chat
        self._max_context = policy.max_context
        self._engine = engine
        self._room = CacheAdmission(cache_tokens(policy.base, policy.cache_gb))
        self._greedy = greedy
        self._forwards = 0
        self._asked: deque[_Play] = deque()  # of worker processes

    def acting(self, items: Sequence[_Play]) -> list[_Play]:
        """Those for whom the model is to act, as far as there is room for their keys.

        Args:
            items: all episodes under way, the oldest first.
        """
        admitted = self._room.admit(
            [item.job.environment for item in items],
            [item.length for item in items],
            [item.context.row >= 0 for item in items],
        )
        chosen = []
        for item, may in zip(items, admitted, strict=True):
            if not may:
                self._engine.finish(item.context)
            elif item.ready:
                chosen.append(item)
        return chosen

    def ask(self, item: _Play, member: str, argument: Any) -> None:
        """Have the episode's environment do something: at once, or in its worker process."""
        item.asked = member, argument
        if isinstance(item.environment, Remote):
            item.environment.send(member, argument)
            item.due = self._forwards + PATIENCE
            self._asked.append(item)
        else:
            self._answered(item, functools.partial(getattr(item.environment, member), argument))

    def hear(self, busy: bool) -> None:
        """Take up what worker processes were asked for long enough ago.

        Args:
            busy: whether the model has something else to do.
        """
        count = 0 if busy else (len(self._asked) + 1) // 2
        while self._asked and (count > 0 or self._asked[0].due <= self._forwards):
            item = self._asked.popleft()
            assert isinstance(item.environment, Remote)
            self._answered(item, item.environment.receive)
            count -= 1

    def _answered(self, item: _Play, answer: Callable[[], Any]) -> None:
        assert item.asked is not None
        (member, argument), item.asked = item.asked, None
        try:
            with boundary():
                value = answer()
        except Raised as raised:
            where = "reset" if member == "reset" else f"{member}({argument!r})"
            self._fault(item, where, raised.error)
            return
        if member == "reset":
            self._begin(item, value)
        else:
            self._go_on(item, value)

    def _begin(self, item: _Play, observation: Observation) -> None:
        if not isinstance(observation, Observation):
            raise PluginError(
                f"environment {item.job.environment!r}: reset must return a contrail.Observation; "
                f"for the task {item.job.task.id!r} it returned {str(observation)[:80]}"
            )
        adapter = item.job.adapter
        item.observation = observation
        item.shown = _adapted(as_text, adapter.render, observation)
        system = _adapted(as_text, adapter.system, item.environment)
        item.prompt = self._chat.start(system, item.shown)

    def turn(self, items: Sequence[_Play]) -> None:
        """One forward for all: choices are made; free text grows by one token."""
        asked: list[tuple[_Play, Request, Sequence[str] | None]] = []
        for item in items:
            request, candidates = self._request(item)
            if item.episode.ended:
                continue
            if request is None:
                self._end(item, "max_context")
            else:
                asked.append((item, request, candidates))
        if not asked:
            return
        self._forwards += 1
        decisions = self._engine.run([request for _, request, _ in asked])
        if not all(math.isfinite(decision.logprob) for decision in decisions):
            raise ContrailError(
                "the model's probabilities are not numbers. Its weights may have grown without "
                "bound: lower grpo.learning_rate, or what the strategy adds to the loss."
            )
        for (item, request, candidates), decision in zip(asked, decisions, strict=True):
            if candidates is not None:
                self._choose(item, request, decision)
                self._act(item, candidates[decision.choice])
            elif (text := self._write(item, decision)) is not None:
                self._act(item, text)

    def _request(self, item: _Play) -> tuple[Request | None, Sequence[str] | None]:
        """What to ask the engine next, or None where the context has no room for it."""
        if item.turn is not None:
            return Request(item.context, (), (), self._draw(item)), None
        candidates = _adapted(_candidates, item.job.adapter.candidates, item.observation)
        if candidates is None:
            room = item.job.adapter.max_new_tokens
            branches = []
        else:
            if not candidates:
                nothing = ValueError("the list of admissible actions is empty")
                self._fault(item, f"after {len(item.episode.turns)} turns", nothing)
                return None, None
            branches = [self._chat.answer(text) for text in candidates]
            room = max(len(branch) for branch in branches)
        if len(item.context.tokens) + len(item.prompt) + room > self._max_context:
            return None, None
        return Request(item.context, item.prompt, branches, self._draw(item)), candidates

    def _draw(self, item: _Play) -> float | None:
        return None if self._greedy else item.job.rng.random()

    def _choose(self, item: _Play, request: Request, decision: Decision) -> None:
        choices = [list(branch) for branch in request.branches]
        item.episode.turns.append(
            Turn(
                prompt=item.prompt,
                written=choices[decision.choice],
                logprobs=[decision.logprob],
                entropies=[decision.entropy],
                choices=choices,
                choice=decision.choice,
                observation=item.shown,
            )
        )

    def _write(self, item: _Play, decision: Decision) -> str | None:
        """Add a token of free text; the text when it is complete."""
        if item.turn is None:
            item.turn = Turn(item.prompt, [], [], [], observation=item.shown)
        turn, token = item.turn, decision.choice
        turn.written.append(token)
        turn.logprobs.append(decision.logprob)
        turn.entropies.append(decision.entropy)
        adapter = item.job.adapter
        text = self._chat.text(turn.written)
        over = (
            token in self._chat.ends
            or len(turn.written) >= adapter.max_new_tokens
            or any(stop in text for stop in (*adapter.stop, *self._chat.stop))
        )
        if not over:
            return None
        item.episode.turns.append(turn)
        item.turn = None
        return self._chat.cut(text)

    def _act(self, item: _Play, text: str) -> None:
        turn = item.episode.turns[-1]
        turn.text = text
        try:
            turn.action = _adapted(as_text, item.job.adapter.parse, text, item.observation)
        except InvalidAction as error:
            turn.valid = False
            self._next(item, str(error))
            return
        self.ask(item, "step", turn.action)

    def _go_on(self, item: _Play, step: Step) -> None:
        turn = item.episode.turns[-1]
        if not (isinstance(step, Step) and isinstance(step.observation, Observation)):
            raise PluginError(
                f"environment {item.job.environment!r}: step({turn.action!r}) must return a "
                f"contrail.Step with a contrail.Observation; it returned {str(step)[:80]}"
            )
        try:
            turn.reward = float(step.reward)
            if not math.isfinite(turn.reward):
                raise ValueError(f"the reward is {turn.reward}")
        except (TypeError, ValueError) as error:
            turn.reward = 0.0
            self._fault(item, f"step({turn.action!r})", error)
            return
        turn.valid = bool(step.valid)
        item.observation = step.observation
        item.episode.success = bool(step.success)
        if step.terminated or step.truncated:
            self._end(item, "terminated" if step.terminated else "truncated")
        else:
            self._next(item, _adapted(as_text, item.job.adapter.render, step.observation))

    def _next(self, item: _Play, message: str) -> None:
        if len(item.episode.turns) >= item.environment.max_turns:
            self._end(item, "max_turns")
            return
        item.shown = message
        # A turn that was cut off before its end is closed for the model.
        closing = [] if item.context.tokens[-1] == self._chat.end else [self._chat.end]
        item.prompt = [*closing, *self._chat.follow(message)]

    def _fault(self, item: _Play, where: str, error: BaseException) -> None:
        item.episode.fault = f"{where}: {describe(error)}"
        self._end(item, "fault")

    def _end(self, item: _Play, how: str) -> None:
        item.episode.ended = how
        self._engine.finish(item.context)
