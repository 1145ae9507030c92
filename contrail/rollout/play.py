"""Plays tasks: environments, adapter and engine together."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy
import torch

from contrail.adapter import Adapter
from contrail.environment import Environment, Observation, Step, Task
from contrail.errors import InvalidAction, PluginError
from contrail.model import Policy
from contrail.rollout.engine import Answer, Context, Engine, Request
from contrail.rollout.episode import Episode, Turn
from contrail.rollout.scoring import choice_logprobs

Progress = Callable[[Episode], None]


@dataclass(frozen=True)
class Job:
    """One episode to play: a task of the environment in column `environment` of R, its adapter, and
    the generator of all its randomness."""

    environment: str
    task: Task
    adapter: Adapter
    rng: numpy.random.Generator
    sample: int = 0


class EnvironmentPool:
    """Instances of the environments, made when needed and used again.

    Args:
        makers: for each column of R, what makes an instance of its environment.
    """

    def __init__(self, makers: dict[str, Callable[[], Environment]]) -> None:
        self._makers = makers
        self._idle: dict[str, list[Environment]] = {name: [] for name in makers}
        self._all: list[Environment] = []

    def take(self, name: str) -> Environment:
        """An instance that nobody else plays on."""
        if self._idle[name]:
            return self._idle[name].pop()
        made = self._makers[name]()
        self._all.append(made)
        return made

    def give(self, name: str, environment: Environment) -> None:
        """Hand an instance back."""
        self._idle[name].append(environment)

    def close(self) -> None:
        """Close every instance."""
        for environment in self._all:
            environment.close()


@dataclass
class _Play:
    job: Job
    environment: Environment
    episode: Episode
    context: Context = field(default_factory=Context)
    observation: Observation = field(default_factory=lambda: Observation(""))
    shown: str = ""
    prompt: list[int] = field(default_factory=list)  # of the coming turn
    written: list[int] = field(default_factory=list)  # by the model, and not in the tree yet
    turn: Turn | None = None  # free text under way
    length: int = 0  # tokens of all turns


def play(
    policy: Policy,
    pool: EnvironmentPool,
    jobs: Sequence[Job],
    *,
    temperature: float = 1.0,
    greedy: bool = False,
    concurrency: int = 64,
    progress: Progress | None = None,
) -> list[Episode]:
    """Play jobs to their ends; a finished episode's place is taken by the next job.

    Args:
        policy: who plays, with its adapter merged for the time being.
        pool: the environments.
        jobs: what to play.
        temperature: of the distribution that is sampled.
        greedy: take the likeliest choice or token instead of sampling.
        concurrency: episodes under way at the same time.
        progress: called with each finished episode.

    Returns:
        The episodes, in the order of the jobs.
    """
    with policy.merged() as model:
        player = _Player(policy, Engine(model, temperature), temperature, greedy)
        waiting = list(enumerate(jobs))[::-1]
        done: dict[int, Episode] = {}
        under_way: dict[int, _Play] = {}
        while waiting or under_way:
            while waiting and len(under_way) < concurrency:
                index, job = waiting.pop()
                under_way[index] = player.begin(job, pool)
            player.turn([item for item in under_way.values() if not item.episode.ended])
            for index, item in list(under_way.items()):
                if item.episode.ended:
                    del under_way[index]
                    done[index] = item.episode
                    pool.give(item.job.environment, item.environment)
                    if progress is not None:
                        progress(item.episode)
    return [done[index] for index in range(len(jobs))]


class _Player:
    def __init__(self, policy: Policy, engine: Engine, temperature: float, greedy: bool) -> None:
        self._chat = policy.chat
        self._max_context = policy.max_context
        self._engine = engine
        self._temperature = temperature
        self._greedy = greedy

    def begin(self, job: Job, pool: EnvironmentPool) -> _Play:
        environment = pool.take(job.environment)
        item = _Play(job, environment, Episode(job.environment, job.task, job.sample))
        try:
            item.observation = environment.reset(job.task)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (counted as a fault)
            self._fault(item, "reset", error)
            return item
        item.shown = job.adapter.render(item.observation)
        item.prompt = self._chat.start(job.adapter.system(environment), item.shown)
        return item

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
        answers = self._engine.run([request for _, request, _ in asked])
        texts: list[tuple[_Play, str]] = []
        for (item, request, candidates), answer in zip(asked, answers, strict=True):
            if candidates is not None:
                texts.append((item, self._choose(item, request, candidates, answer)))
            elif (text := self._write(item, answer)) is not None:
                texts.append((item, text))
        self._engine.settle()
        for item, text in texts:
            self._act(item, text)

    def _request(self, item: _Play) -> tuple[Request | None, Sequence[str] | None]:
        """What to ask the engine next, or None where the context has no room for it."""
        if item.turn is not None:
            return Request(item.context, item.written), None
        candidates = item.job.adapter.candidates(item.observation)
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
        if item.length + len(item.prompt) + room > self._max_context:
            return None, None
        tokens = [*item.written, *item.prompt]
        return Request(item.context, tokens, branches), candidates

    def _choose(
        self, item: _Play, request: Request, candidates: Sequence[str], answer: Answer
    ) -> str:
        scores = torch.stack([values.mean() for values in answer.branches])
        logprobs = choice_logprobs(scores, self._temperature).double().numpy()
        chosen = self._pick(logprobs, item.job.rng)
        self._engine.choose(item.context, chosen)
        written = request.branches[chosen]
        item.episode.turns.append(
            Turn(
                prompt=item.prompt,
                written=written,
                logprobs=[float(logprobs[chosen])],
                entropies=[_entropy(logprobs)],
                choices=request.branches,
                choice=chosen,
                observation=item.shown,
            )
        )
        item.length += len(item.prompt) + len(written)
        item.written = written[-1:]
        return candidates[chosen]

    def _write(self, item: _Play, answer: Answer) -> str | None:
        """Sample a token of free text; the text when it is complete."""
        assert answer.next is not None
        if item.turn is None:
            item.turn = Turn(item.prompt, [], [], [], observation=item.shown)
            item.length += len(item.prompt)
        turn = item.turn
        logprobs = answer.next.double().numpy()
        token = self._pick(logprobs, item.job.rng)
        item.written = [token]
        turn.written.append(token)
        turn.logprobs.append(float(logprobs[token]))
        turn.entropies.append(_entropy(logprobs))
        item.length += 1
        adapter = item.job.adapter
        text = self._chat.text(turn.written)
        over = (
            token in self._chat.ends
            or len(turn.written) >= adapter.max_new_tokens
            or any(stop in text for stop in adapter.stop)
        )
        if not over:
            return None
        item.episode.turns.append(turn)
        item.turn = None
        return text

    def _act(self, item: _Play, text: str) -> None:
        turn = item.episode.turns[-1]
        turn.text = text
        try:
            turn.action = item.job.adapter.parse(text, item.observation)
        except InvalidAction as error:
            turn.valid = False
            self._next(item, str(error))
            return
        try:
            step = item.environment.step(turn.action)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (counted as a fault)
            self._fault(item, f"step({turn.action!r})", error)
            return
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
            self._next(item, item.job.adapter.render(step.observation))

    def _next(self, item: _Play, message: str) -> None:
        if len(item.episode.turns) >= item.environment.max_turns:
            self._end(item, "max_turns")
            return
        item.shown = message
        # A turn that was cut off before its end is closed for the model.
        closing = [] if item.written[-1] == self._chat.end else [self._chat.end]
        item.prompt = [*closing, *self._chat.follow(message)]

    def _pick(self, logprobs: numpy.ndarray, rng: numpy.random.Generator) -> int:
        if self._greedy:
            return int(logprobs.argmax())
        cumulative = numpy.exp(logprobs).cumsum()
        place = int(numpy.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
        return min(place, len(logprobs) - 1)

    def _fault(self, item: _Play, where: str, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        place = f"; {frames[-1].filename} line {frames[-1].lineno}" if frames else ""
        item.episode.fault = f"{where}: {type(error).__name__}: {error}{place}"
        self._end(item, "fault")

    def _end(self, item: _Play, how: str) -> None:
        item.episode.ended = how
        self._engine.finish(item.context)


def _entropy(logprobs: numpy.ndarray) -> float:
    probabilities = numpy.exp(logprobs)
    return max(0.0, -float((probabilities * numpy.where(probabilities > 0, logprobs, 0)).sum()))
