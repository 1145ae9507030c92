"""What an adapter is given: the episode so far, as it was played, and no more than it takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
from playing import Make, Words, jobs, pool
from rooms import Rooms

import contrail
from contrail import EpisodeView, InvalidAction, Observation, Task
from contrail.adapter import call, check_parameters
from contrail.baselines.play import Game, play_games
from contrail.baselines.players import Random
from contrail.config import load
from contrail.errors import PluginError
from contrail.plugins.adapters.react import ReactConfig
from contrail.registry.plugins import load_plugins
from contrail.stream.listing import listed
from contrail.stream.scenario import make_scenario

from contrail.rollout.play import Job, play  # isort: skip

EXAMPLES = Path(__file__).parents[2] / "examples"


class Recorder(contrail.Adapter):
    """Notes what it is called with; every second answer has no action."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.calls: list[tuple[str, Observation, EpisodeView]] = []
        self.tasks: list[Task] = []

    def system(self, environment: contrail.Environment, task: Task) -> str:
        self.tasks.append(task)
        return "Walk."

    def render(self, observation: Observation, episode: EpisodeView) -> str:
        self.calls.append(("render", observation, episode))
        return f"{episode.turn}: {observation.text}"

    def candidates(self, observation: Observation, episode: EpisodeView) -> Sequence[str] | None:
        self.calls.append(("candidates", observation, episode))
        return observation.actions

    def parse(self, text: str, observation: Observation, episode: EpisodeView) -> str:
        self.calls.append(("parse", observation, episode))
        if episode.turn % 2:
            raise InvalidAction("Not now.")
        return text


def check_views(calls: list[tuple[str, Observation, EpisodeView]]) -> None:
    """That the views are those of one episode of Rooms, in its order."""
    first = calls[0][1]
    turn = 0
    for name, seen, view in calls:
        assert (view.environment, view.max_turns) == ("rooms", Rooms.max_turns)
        assert (view.turn, view.turns_left) == (turn, Rooms.max_turns - turn)
        assert view.first == first
        assert seen.text.startswith("You are in room ")
        turn += name == "parse"
    names = [name for name, _, _ in calls]
    assert names[:3] == ["render", "candidates", "parse"]
    assert max(view.turn for _, _, view in calls) >= 2


def test_the_view_is_the_episode_so_far(make_tiny: Make) -> None:
    for job in jobs(Recorder(), 6, 1):
        adapter = Recorder()
        job = Job(job.environment, job.task, adapter, job.rng)
        (episode,) = play(make_tiny(), pool(), [job])
        if len(episode.turns) < 3:
            continue
        check_views(adapter.calls)
        assert adapter.tasks == [job.task]
        assert all(view.task == job.task for _, _, view in adapter.calls)
        for name, seen, view in adapter.calls:
            turns = episode.turns[: view.turn]
            assert len(view.history) == len(turns)
            for past, turn in zip(view.history, turns, strict=True):
                assert past.observation == turn.observation
                assert (past.text, past.action) == (turn.text, turn.action)
                assert (past.valid, past.reward) == (turn.valid, turn.reward)
            # After an answer without an action the environment's observation is still the same.
            if name == "candidates" and view.turn and not view.history[-1].valid:
                assert episode.turns[view.turn].observation == "Not now."
                assert view.history[-1].seen == seen
            elif name == "candidates":
                assert episode.turns[view.turn].observation == f"{view.turn}: {seen.text}"
        break
    else:
        pytest.fail("no episode was long enough")


def test_players_without_a_model_see_the_same() -> None:
    (task,) = Rooms().tasks("train")[1:2]
    for seed in range(20):
        adapter = Recorder()
        games = [Game("rooms", task, adapter, Random(), numpy.random.default_rng(seed))]
        (outcome,) = play_games(pool(), games)
        assert outcome.fault is None
        if outcome.turns == Rooms.max_turns:
            break
    check_views(adapter.calls)
    history = adapter.calls[-1][2].history
    assert [past.valid for past in history] == [True, False, True]
    assert history[1].observation == f"1: {history[1].seen.text}"
    assert history[2].observation == "Not now."
    assert history[2].seen == history[1].seen
    assert sum(past.reward for past in history) <= outcome.reward


def test_a_view_cannot_be_changed() -> None:
    view = EpisodeView("e", Task("e", "t", 0, "train"), 9, Observation("x"))
    with pytest.raises(AttributeError):
        view.max_turns = 3  # type: ignore[misc]


# Signatures.


class Short(contrail.Adapter):
    """As adapters were before there was a view."""

    def system(self, environment: contrail.Environment, extra: str = "!") -> str:
        return super().system(environment) + extra

    def render(self, observation: Observation) -> str:
        return observation.text

    def candidates(self, *arguments: Any) -> None:
        assert len(arguments) == 2

    @staticmethod
    def parse(text: str) -> str:
        return text


def test_trailing_parameters_may_be_left_out() -> None:
    check_parameters(Short)
    adapter, seen = Short(), Observation("x")
    view = EpisodeView("e", Task("e", "t", 0, "train"), 9, seen)
    assert call(adapter, "system", Rooms(), view.task) == f"{Rooms.system_prompt}!"
    assert call(adapter, "render", seen, view) == "x"
    assert call(adapter, "candidates", seen, view) is None
    assert call(adapter, "parse", "go", seen, view) == "go"


@pytest.mark.parametrize(
    "written",
    [
        "render(self, episode)",
        "render(self, observation, episode, more)",
        "render(self, observation, *, episode)",
        "system(self, task)",
        "parse(self, observation, text)",
        "candidates(self, observation, episode, *, more)",
        "answer(self, action, observation)",
    ],
)
def test_other_parameters_are_refused_with_the_method(written: str) -> None:
    plugins = load_plugins()
    methods: dict[str, Any] = {}
    exec(f"def {written}: return 'x'", methods)
    del methods["__builtins__"]
    (name,) = methods
    cls = type("Odd", (Short,), {**methods, "__module__": "odd"})
    with pytest.raises(PluginError) as caught:
        plugins.add_class(cls)
    message = str(caught.value)
    assert message.startswith("plugin 'odd': adapter 'Odd': ")
    assert f"The parameters are {name}(" in message


# The adapters of docs/adapters.md.


def example(name: str) -> contrail.Adapter:
    plugins = load_plugins([str(EXAMPLES / "windows.py")])
    return plugins.adapters[name].value()


def shown(make_tiny: Make, name: str) -> tuple[list[str], Any]:
    class Long(Rooms):
        max_turns = 10

        def step(self, action: str) -> contrail.Step:
            return contrail.Step(super().step(action).observation)

    adapter = example(name)
    type(adapter).max_new_tokens = 4
    (episode,) = play(make_tiny(), pool(Long), jobs(adapter, 1, 1))
    assert len(episode.turns) == 10
    return [turn.observation for turn in episode.turns], episode


def test_actions_in_the_first_turn_only(make_tiny: Make) -> None:
    texts, _ = shown(make_tiny, "once")
    assert ["You can: go, go left, go left now" in text for text in texts] == [True] + [False] * 9
    assert not any("You can" in text for text in texts[1:])


def test_turn_3_of_10(make_tiny: Make) -> None:
    texts, _ = shown(make_tiny, "counted")
    assert texts[2].startswith("Turn 3 of 10. You are in room ")
    assert texts[9].startswith("Turn 10 of 10. ")


def test_examples_by_task() -> None:
    adapter = example("fewshot")
    task = Task("textcraft", "t", 0, "train")
    assert "Example: craft 4 oak planks" in call(adapter, "system", Rooms(), task)
    assert "Lower" in call(adapter, "system", Rooms(), Task("guess-number", "t", 0, "train"))


def test_a_window_of_two_exchanges(make_tiny: Make) -> None:
    texts, episode = shown(make_tiny, "window")
    said = [turn.text for turn in episode.turns]
    for number, text in enumerate(texts):
        assert text.count("You are in room") == min(number, 2) + 1
        assert all(turn in text for turn in said[max(0, number - 2) : number])
    assert all(turn.restart for turn in episode.turns[1:])


def test_a_run_tries_the_view_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(
        "import contrail\n"
        "class Late(contrail.Adapter):\n"
        "    def render(self, observation, episode):\n"
        "        return f'{episode.turns_left} {episode.environment} {episode.nothing}'\n"
        "    def parse(self, text): return text\n"
        "@contrail.hookimpl\n"
        "def contrail_adapters(register): register('late', Late)\n"
    )
    values = {
        "plugins": [str(tmp_path / "late.py")],
        "adapter": "late",
        "stream": [{"environment": {"name": "textcraft", "depths": [1]}}],
    }
    config, plugins = load(values)
    with listed(config, plugins) as listing, pytest.raises(PluginError, match="nothing") as caught:
        make_scenario(config, plugins, listing)
    assert "adapter 'late'" in str(caught.value)


def test_the_shared_adapters_work_as_before(make_tiny: Make) -> None:
    """An adapter without views plays the same episodes as one that takes them."""

    class Viewing(Words):
        def parse(self, text: str, observation: Observation, episode: EpisodeView) -> str:
            return super().parse(text, observation)

    config = ReactConfig(max_new_tokens=5)
    first, second = (
        play(make_tiny(), pool(), jobs(adapter, 3, 1))
        for adapter in (Words(config), Viewing(config))
    )
    assert [item.record() for item in first] == [item.record() for item in second]
