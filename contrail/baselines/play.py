"""Episodes without a model: the rules of `contrail.rollout.play`, without tokens."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy

from contrail.adapter import Adapter, EpisodeView, Exchange, call
from contrail.baselines.players import Moment, NoChoice, Player
from contrail.environment import Environment, Observation, Task
from contrail.errors import ConfigError, InvalidAction, Raised, boundary, describe_error
from contrail.rollout.checked import checked_step
from contrail.rollout.watchdog import OnWait, Watchdog, described
from contrail.values import as_texts
from contrail.workers.pool import EnvironmentPool
from contrail.workers.remote import Remote


@dataclass(frozen=True)
class Game:
    """One episode to play: a task of the environment in column `environment` of R, and how.

    `end_after_invalid`: see `contrail.rollout.play`.
    """

    environment: str
    task: Task
    adapter: Adapter
    player: Player
    rng: numpy.random.Generator
    end_after_invalid: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How an episode went.

    `invalid` counts turns. `listed` holds everything that could be chosen in the episode. `fault`:
    what the environment raised. `undefined`: why the player could not play at all, or, with `turns`
    above 0, not to the end.
    """

    task: Task
    success: bool = False
    reward: float = 0.0
    turns: int = 0
    invalid: int = 0
    listed: frozenset[str] = frozenset()
    fault: str | None = None
    undefined: str | None = None


Calls = Generator[tuple[str, *tuple[Any, ...]], Any, Outcome]


def play_games(
    pool: EnvironmentPool,
    games: Sequence[Game],
    progress: Callable[[], object] = lambda: None,
    on_wait: OnWait | None = None,
) -> list[Outcome]:
    """Play games to their ends, as many at a time as there are worker processes.

    An exception of an environment is a fault of its episode, as in training; no others are caught.

    Args:
        pool: the environments.
        games: the games to play.
        progress: called after each episode.
        on_wait: called while an environment takes long, see `contrail.rollout.watchdog`.

    Returns:
        The outcomes, in the order of the games.
    """
    with Watchdog(on_wait) if on_wait is not None else nullcontext() as watchdog:
        return _played(pool, games, progress, watchdog)


def _played(
    pool: EnvironmentPool,
    games: Sequence[Game],
    progress: Callable[[], object],
    watchdog: Watchdog | None,
) -> list[Outcome]:
    waiting = deque(enumerate(games))
    under_way: list[_Play] = []
    done: dict[int, Outcome] = {}
    try:
        while waiting or under_way:
            while waiting and pool.free(waiting[0][1].environment):
                place, game = waiting.popleft()
                under_way.append(_Play(place, game, pool.take(game.environment), watchdog))
                if not under_way[-1].remote:
                    break  # in this process a second episode under way would gain nothing
            for item in under_way:
                item.send()
            for item in under_way:
                item.receive()
            for item in [item for item in under_way if item.outcome is not None]:
                under_way.remove(item)
                pool.give(item.game.environment, item.environment)
                assert item.outcome is not None
                done[item.place] = item.outcome
                progress()
    finally:
        for item in under_way:
            pool.give(item.game.environment, item.environment)
    return [done[place] for place in range(len(games))]


class _Play:
    """An episode under way, and the call that its environment has to answer next."""

    def __init__(
        self, place: int, game: Game, environment: Environment, watchdog: Watchdog | None
    ) -> None:
        self.place = place
        self.game = game
        self.environment = environment
        self.watchdog = watchdog
        self.outcome: Outcome | None = None
        self.remote = isinstance(environment, Remote)
        self._calls = _episode(game, environment)
        self._call: tuple[str, *tuple[Any, ...]] = next(self._calls)

    def send(self) -> None:
        """Have the environment do it, if that happens in a process of its own."""
        if isinstance(self.environment, Remote):
            with self._faults():
                self.environment.send(*self._call)

    def receive(self) -> None:
        """Handle the environment's answer, and continue the episode."""
        if self.outcome is not None:
            return
        with self._faults():
            with self._watching():
                if isinstance(self.environment, Remote):
                    value = self.environment.receive()
                else:
                    member, *arguments = self._call
                    value = getattr(self.environment, member)(*arguments)
            try:
                self._call = self._calls.send(value)
            except StopIteration as stop:
                self.outcome = stop.value

    def _watching(self) -> AbstractContextManager[None]:
        """Context manager: the environment's call is watched."""
        if self.watchdog is None:
            return nullcontext()
        member, *arguments = self._call
        limit = (
            self.environment.time_limit(member) if isinstance(self.environment, Remote) else None
        )
        return self.watchdog.watching(
            self.game.environment, self.game.task.id, described(member, arguments), limit
        )

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """Makes an error the fault of the episode."""
        try:
            with boundary():
                yield
        except Raised as raised:
            member, *arguments = self._call
            where = described(member, arguments)
            self.outcome = Outcome(self.game.task, fault=f"{where}: {describe_error(raised.error)}")


def _episode(game: Game, environment: Environment) -> Calls:
    """Yields a call of the environment, is sent its value, and so on; returns the outcome."""
    player, adapter, task = game.player, game.adapter, game.task
    script: Sequence[str] = ()
    if player.scripted:
        said = yield "expert", task
        if said is None:
            return Outcome(task, undefined="the environment has no expert for the task")
        script = as_texts(said, "expert()")
    observation: Observation = yield "reset", task
    view = EpisodeView(game.environment, task, environment.max_turns, observation)
    shown = call(adapter, "render", observation, view)
    listed: set[str] = set()
    reward, in_a_row, success = 0.0, 0, False
    while view.turns_left > 0 and in_a_row != game.end_after_invalid:
        choices, are_answers = _choices(adapter, observation, view)
        listed.update(choices or ())
        try:
            chosen = player.act(Moment(view.turn, view.first.text, choices, script), game.rng)
        except NoChoice as why:
            return Outcome(task, turns=view.turn, undefined=str(why))
        if chosen is None:
            break
        text = chosen if are_answers and not player.scripted else adapter.answer(chosen)
        try:
            action = call(adapter, "parse", text, observation, view)
        except InvalidAction as error:
            view = view.after(Exchange(shown, observation, text, None, valid=False))
            shown = str(error)
            in_a_row += 1
            continue
        step = checked_step(game.environment, f"step({action!r})", (yield "step", action))
        reward += step.reward
        in_a_row = 0 if step.valid else in_a_row + 1
        success = step.success
        view = view.after(Exchange(shown, observation, text, action, step.valid, step.reward))
        observation = step.observation
        if step.terminated or step.truncated:
            break
        shown = call(adapter, "render", observation, view)
    else:
        if (end := (yield ("finish",))) is not None:
            end = checked_step(game.environment, "finish()", end)
            reward, success = reward + end.reward, end.success
    invalid = sum(not exchange.valid for exchange in view.history)
    return Outcome(task, success, reward, view.turn, invalid, frozenset(listed))


def _choices(
    adapter: Adapter, observation: Observation, view: EpisodeView
) -> tuple[Sequence[str] | None, bool]:
    """Return the choices, and whether they are answers already rather than actions."""
    try:
        candidates = call(adapter, "candidates", observation, view)
    except ConfigError:  # of an adapter that needs a list where the environment gives none
        return None, False
    if candidates is not None:
        candidates = as_texts(candidates, "candidates()")
    choices = observation.actions if candidates is None else candidates
    if choices is not None and not choices:
        raise ValueError("the list of admissible actions is empty")
    return choices, candidates is not None
