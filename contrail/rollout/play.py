"""Plays tasks: environments, adapter and sampler together.

The model continues with other episodes while an environment works in another process. The episodes
that share a forward decide the last bits of its results, so they must not depend on how fast
anything is. Time is therefore counted in the sampler's steps: the answer of a worker process is
collected PATIENCE steps after the question, in the order of the questions, and waited for if it is
late. When the sampler is idle, the older half of the answers is collected: the two halves then take
turns, one with the model, one with their environments.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

from contrail.engine.sampler import open_sampler
from contrail.environment import Observation
from contrail.episode import Episode, Turn
from contrail.errors import InvalidAction, Raised, boundary, describe_error
from contrail.model.policy import Policy
from contrail.model.tree import common_prefix_length
from contrail.rollout.checked import checked_expert, checked_observation, checked_step
from contrail.rollout.interface import Interface
from contrail.rollout.job import Job as Job
from contrail.rollout.job import Play as _Play
from contrail.rollout.prompts import next_prompt
from contrail.rollout.script import EXPERT, moves_of, scripted
from contrail.rollout.watchdog import OnWait, Watchdog, described
from contrail.sampler import (
    Choose,
    Context,
    Decision,
    Generate,
    OpenSampler,
    Request,
    Sampler,
    has_end,
)
from contrail.workers.pool import EnvironmentPool
from contrail.workers.remote import Remote

Progress = Callable[[Episode], None]

# Steps for which a worker process is not waited for. With fewer, the other episodes wait for it
# more often; with more, its own episode waits longer than it needs to.
PATIENCE = 8


def play(
    policy: Policy,
    pool: EnvironmentPool,
    jobs: Sequence[Job],
    *,
    temperature: float = 1.0,
    greedy: bool = False,
    concurrency: int = 64,
    end_after_invalid: int | None = None,
    open_sampler: OpenSampler = open_sampler,
    progress: Progress | None = None,
    check: Callable[[], None] | None = None,
    on_wait: OnWait | None = None,
) -> list[Episode]:
    """Play jobs to their ends; the next job takes the place of a finished episode.

    Args:
        policy: the policy that plays.
        pool: the environments.
        jobs: the episodes to play.
        temperature: of the distribution that is sampled.
        greedy: take the likeliest choice or token instead of sampling.
        concurrency: the largest number of episodes under way; of an environment in worker processes
            no more than it has processes.
        end_after_invalid: the number of invalid turns in a row after which an episode ends; None
            for never.
        open_sampler: opens the sampler that runs the model; by default contrail's own.
        progress: called with each finished episode.
        check: called before each step of the sampler; raises if the run is interrupted.
        on_wait: called while an environment takes long to answer, and when it has answered; see
            `contrail.rollout.watchdog`.

    Returns:
        The episodes, in the order of the jobs.
    """
    waiting = list(enumerate(jobs))
    done: dict[int, Episode] = {}
    under_way: dict[int, _Play] = {}
    try:
        with ExitStack() as stack:
            sampler = stack.enter_context(open_sampler(policy, temperature))
            watchdog = None if on_wait is None else stack.enter_context(Watchdog(on_wait))
            player = _Player(policy, pool, sampler, greedy, end_after_invalid, watchdog)
            while waiting or under_way:
                while len(under_way) < concurrency:
                    place = _next(waiting, pool)
                    if place is None:
                        break
                    index, job = waiting.pop(place)
                    context = sampler.begin(job.environment)
                    under_way[index] = item = _Play(job, pool.take(job.environment), context)
                    player.begin(item)
                if check is not None:
                    check()
                items = list(under_way.values())
                player.collect_answers(busy=player.ready_for_model(items))
                player.run_model(items)
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
    """Return the index of the first job whose environment has a free instance."""
    places = enumerate(waiting)
    return next((place for place, (_, job) in places if pool.free(job.environment)), None)


class _Player:
    def __init__(
        self,
        policy: Policy,
        pool: EnvironmentPool,
        sampler: Sampler,
        greedy: bool,
        end_after_invalid: int | None,
        watchdog: Watchdog | None,
    ) -> None:
        self._watchdog = watchdog
        self._pool = pool
        self._chat = policy.chat
        self._max_context = policy.max_context
        self._sampler = sampler
        self._greedy = greedy
        self._end_after_invalid = end_after_invalid
        self._steps = 0
        self._waiting: deque[_Play] = deque()  # for worker processes
        self._acting: dict[Context, _Play] = {}  # whose requests the sampler has
        self._scripted: deque[tuple[_Play, Request]] = deque()  # whose moves are known

    def ready_for_model(self, items: Sequence[_Play]) -> bool:
        """Return whether there is something to do that waits for no environment."""
        return self._sampler.ready() or bool(self._scripted) or any(item.stopped for item in items)

    def begin(self, item: _Play) -> None:
        """Begin an episode; a demonstration begins with the environment's expert."""
        script = item.job.script
        if script == EXPERT:
            self.ask(item, "expert", item.job.task)
            return
        if script is not None:
            item.moves = deque(moves_of(script))
        self.ask(item, "reset", item.job.task)

    def ask(self, item: _Play, member: str, *arguments: Any) -> None:
        """Have the episode's environment do something: at once, or in its worker process."""
        item.asked = member, arguments
        if isinstance(item.environment, Remote):
            item.environment.send(member, *arguments)
            item.due = self._steps + PATIENCE
            self._waiting.append(item)
        else:
            self._answered(item, functools.partial(getattr(item.environment, member), *arguments))

    def collect_answers(self, busy: bool) -> None:
        """Collect the answers of worker processes that are due.

        Args:
            busy: whether the model has something else to do.
        """
        count = 0 if busy else (len(self._waiting) + 1) // 2
        while self._waiting and (count > 0 or self._waiting[0].due <= self._steps):
            item = self._waiting.popleft()
            assert isinstance(item.environment, Remote)
            self._answered(item, item.environment.receive)
            count -= 1

    def _answered(self, item: _Play, answer: Callable[[], Any]) -> None:
        assert item.asked is not None
        (member, arguments), item.asked = item.asked, None
        call = described(member, arguments)
        try:
            with boundary(), self._watching(item, member, call):
                value = answer()
        except Raised as raised:
            self._fault(item, call, raised.error)
            return
        if member == "expert":
            job = item.job
            actions = checked_expert(self._pool.described(job.environment), job.task.id, value)
            if actions is None:
                self._end(item, "no_expert")
                return
            item.moves = deque(moves_of(actions))
            self.ask(item, "reset", item.job.task)
        elif member == "reset":
            self._started(item, value)
        else:
            self._after_step(item, member, call, value)

    def _watching(self, item: _Play, member: str, call: str) -> AbstractContextManager[None]:
        if self._watchdog is None:
            return nullcontext()
        environment = item.environment
        limit = environment.time_limit(member) if isinstance(environment, Remote) else None
        return self._watchdog.watching(item.job.environment, item.job.task.id, call, limit)

    def _started(self, item: _Play, observation: Observation) -> None:
        job = item.job
        observation = checked_observation(job.environment, job.task.id, observation)
        item.interface = Interface(
            job.adapter, job.environment, item.environment, job.task, observation
        )
        item.chat = self._chat.using(job.adapter.tools)
        item.shown = item.interface.render()
        item.episode.system = item.interface.system
        item.episode.max_turns = item.environment.max_turns
        item.prompt = item.chat.start(item.interface.system, item.shown)
        self._submit(item)

    def run_model(self, items: Sequence[_Play]) -> None:
        """Step the sampler, and act on the decisions that are complete."""
        for item in items:
            if item.stopped:
                self._stop(item, item.ending)
        for _ in range(len(self._scripted)):
            self._take_move(*self._scripted.popleft())
        decided = self._sampler.step()
        if decided is None:
            return
        self._steps += 1
        for request, decision in decided:
            item = self._acting.pop(request.context)
            self._record(item, request, decision)
            if decision.choice is None:
                self._act(item, item.chat.said(decision.written))
            else:
                self._act(item, item.candidates[decision.choice])

    def _submit(self, item: _Play) -> None:
        """Ask the sampler for the next turn, if there is anything to decide, and room for it."""
        adapter = item.job.adapter
        rng = None if self._greedy else item.job.rng
        candidates = item.interface.candidates()
        coming = item.prompt[len(item.context.tokens) :] if item.restart else item.prompt
        request: Request
        if candidates is None:
            room = adapter.max_new_tokens
            stop = (*adapter.stop, *item.chat.stop)
            request = Generate(item.context, coming, room, item.chat.ends, stop, rng)
        elif candidates:
            branches = [item.chat.answer(text) for text in candidates]
            room = max(len(branch) for branch in branches)
            request = Choose(item.context, coming, branches, rng)
            item.candidates = candidates
        else:
            listed = item.interface.observation.actions
            nothing = ValueError(
                f"candidates of the adapter {type(adapter).__name__} returned none, though the "
                f"environment lists {len(listed)} actions"
                if listed
                else "the list of admissible actions is empty"
            )
            item.episode.fault = f"after {len(item.episode.turns)} turns: {describe_error(nothing)}"
            item.ending = "fault"
            return
        if len(item.context.tokens) + len(coming) + room > self._max_context:
            item.ending = "max_context"
            return
        if item.moves is not None:
            self._scripted.append((item, request))
            return
        self._acting[item.context] = item
        self._sampler.submit(request)

    def _take_move(self, item: _Play, request: Request) -> None:
        """Decide a turn of a demonstration as its script does."""
        assert item.moves is not None
        if not item.moves:
            self._end(item, "gave_up")
            return
        text = item.moves.popleft().text(item.interface)
        chosen = isinstance(request, Choose)
        answer = (item.chat.answer if chosen else item.chat.words)(text)
        decision = scripted(request, answer, item.chat.text)
        if not isinstance(decision, Decision):
            self._end(item, decision)
            return
        item.context.tokens.extend((*request.prompt, *decision.written))
        self._record(item, request, decision)
        self._act(item, text)

    def _record(self, item: _Play, request: Request, decision: Decision) -> None:
        choices, cut_off = None, False
        if isinstance(request, Choose):
            choices = [list(candidate) for candidate in request.candidates]
        else:
            cut_off = not has_end(request, decision.written, item.chat.text)
        item.episode.turns.append(
            Turn(
                prompt=item.prompt,
                written=decision.written,
                logprobs=decision.logprobs,
                entropies=decision.entropies,
                choices=choices,
                choice=decision.choice,
                choice_logprobs=decision.choice_logprobs,
                observation=item.shown,
                restart=item.restart,
                cut_off=cut_off,
            )
        )

    def _act(self, item: _Play, text: str) -> None:
        turn = item.episode.turns[-1]
        turn.text = text
        try:
            turn.action = item.interface.parse(text)
        except InvalidAction as error:
            turn.valid = False
            item.interface.take(turn)
            message = str(error)
            if item.job.adapter.single_turn:  # nothing else in the conversation shows it
                message += f"\n\n{item.interface.render()}"
            self._next(item, message)
            return
        self.ask(item, "step", turn.action)

    def _after_step(self, item: _Play, member: str, call: str, value: Any) -> None:
        turn = item.episode.turns[-1]
        if member == "finish" and value is None:
            self._end(item, item.ending)
            return
        try:
            step = checked_step(item.job.environment, call, value)
        except ValueError as error:
            self._fault(item, call, error)
            return
        turn.reward += step.reward
        turn.info = {**turn.info, **step.info}
        item.episode.success = step.success
        if member == "finish":
            self._end(item, item.ending)
            return
        turn.valid = step.valid
        item.interface.take(turn, step.observation)
        if step.terminated or step.truncated:
            self._end(item, "terminated" if step.terminated else "truncated")
        else:
            self._next(item, item.interface.render())

    def _next(self, item: _Play, message: str) -> None:
        if item.episode.invalid_in_a_row == self._end_after_invalid:
            self._stop(item, "invalid")
            return
        if len(item.episode.turns) >= item.environment.max_turns:
            self._stop(item, "max_turns")
            return
        item.shown = message
        item.prompt, item.restart = next_prompt(
            item.chat,
            item.job.adapter,
            item.interface.system,
            item.episode.turns,
            item.context.tokens,
            message,
        )
        if item.restart:
            # The sampler needs a new token, after which it decides.
            known = common_prefix_length(item.context.tokens, item.prompt[:-1])
            self._sampler.rewind(item.context, known)
        self._submit(item)

    def _stop(self, item: _Play, how: str) -> None:
        """End an episode that its environment has not ended; it may score it still."""
        environment = item.environment
        asked = environment.finishes if isinstance(environment, Remote) else True
        if how == "fault" or not item.episode.turns or not asked:
            self._end(item, how)
            return
        item.ending = how
        self.ask(item, "finish")

    def _fault(self, item: _Play, where: str, error: BaseException) -> None:
        item.episode.fault = f"{where}: {describe_error(error)}"
        self._end(item, "fault")

    def _end(self, item: _Play, how: str) -> None:
        item.episode.ended = how
        self._sampler.forget(item.context)
