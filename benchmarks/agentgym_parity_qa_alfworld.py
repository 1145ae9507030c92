"""Steps AgentGym's own servers of SearchQA and ALFWorld and `like: agentgym` side by side.

    python -m benchmarks.agentgym_parity_qa_alfworld CHECKOUT searchqa DATA [--actions 2000]
    python -m benchmarks.agentgym_parity_qa_alfworld CHECKOUT alfworld DATA [--actions 500]

CHECKOUT is AgentGym's repository. DATA of searchqa is a directory with files of questions to train
and to test on, and documents; both sides search by contrail's index, since AgentGym's retriever
wants Wikipedia and a GPU. DATA of alfworld holds json_2.1.1.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from contrail import Environment
from contrail.envs.alfworld import AlfWorld, AlfWorldConfig
from contrail.envs.alfworld.agentgym import numbered_trials
from contrail.envs.searchqa import SearchQA, SearchQAConfig

ODD_TAGS = [
    "",
    "Paris",
    "<Search>x</Search>",
    "<answer>x",
    "<search>x</answer>",
    "<answer></answer>",
]
ODD_TAGS += ["<search>a</search> <answer>b</answer>", "<answer>The</answer>"]
ODD_COMMANDS = ["", "Look", "go to nowhere 1", "look around", "put it down", "help"]


def module(folder: Path, package: str, name: str) -> Any:
    """Import a module of a folder of the checkout, without its package's __init__."""
    stub = ModuleType(package)
    stub.__path__ = [str(folder / package)]
    sys.modules[package] = stub
    spec = importlib.util.find_spec(f"{package}.{name}")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    with contextlib.redirect_stdout(io.StringIO()):
        spec.loader.exec_module(found)
    return found


def their_searchqa(checkout: Path, ours: SearchQA) -> tuple[Any, list[str]]:
    """Return AgentGym's server over the questions and the search of ours."""
    library = ours._library
    rows = {
        split: [
            {"question": q.text, "reward_model": {"ground_truth": {"target": [*q.answers]}}}
            for q in library.questions[split].values()
        ]
        for split in ("test", "train")
    }
    retriever = ModuleType("agentenv_searchqa.retriever")

    def search(query: list[str], num: int, return_score: bool) -> tuple[list[Any], list[float]]:
        places = library.search(" ".join(query[0].split()), num)
        found = ("\n".join(library.documents[place]) for place in places)
        return [{"contents": text} for text in found], [0.0] * len(places)

    vars(retriever)["get_retriever"] = lambda config: SimpleNamespace(search=search)
    sys.modules[retriever.__name__] = retriever
    datasets = ModuleType("datasets")
    vars(datasets)["load_dataset"] = lambda kind, data_files, **_: {
        "train": rows[Path(data_files).stem]
    }
    sys.modules["datasets"] = datasets
    wrapper = module(checkout / "agentenv-searchqa", "agentenv_searchqa", "env_wrapper")
    tests, total = len(rows["test"]), len(rows["test"]) + len(rows["train"])
    wrapper.ITEM_RANGE = {"test": (0, tests), "train": (tests, total)}
    server = wrapper.searchqa_env_server
    server.create(0)
    return server, [q.text for split in rows for q in library.questions[split].values()]


def their_alfworld(checkout: Path, data: Path) -> Any:
    """Return AgentGym's server over a directory of games."""
    home = Path(tempfile.mkdtemp())
    (home / ".cache").mkdir()
    (home / ".cache/alfworld").symlink_to(data)
    os.environ["HOME"] = str(home)
    sys.modules["gym"] = ModuleType("gym")
    import textworld.gym
    from alfworld.agents.environment.alfred_tw_env import AlfredTWEnv

    register = textworld.gym.register_games  # in this process: theirs waits for another
    textworld.gym.register_games = lambda *args, **named: register(
        *args, **{**named, "asynchronous": False}
    )
    AlfredTWEnv.get_game_logic = lambda self: None  # of alfworld 0.3.3; games bring theirs along
    server = module(checkout / "agentenv-alfworld", "agentenv_alfworld", "env_wrapper").server
    with contextlib.redirect_stdout(io.StringIO()):
        server.create()
    return server


def main() -> None:
    """Compare, and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("environment", choices=["searchqa", "alfworld"])
    parser.add_argument("data")
    parser.add_argument("--actions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    counted: Counter[str] = Counter()

    def same(what: str, one: Any, other: Any) -> None:
        if one != other:
            counted[f"different {what}"] += 1
            if counted[f"different {what}"] <= 3:
                print(f"--- {what}\ntheirs: {str(one)[:400]}\nours:   {str(other)[:400]}")

    ours: Environment
    if options.environment == "searchqa":
        qa = ours = SearchQA(SearchQAConfig(data=options.data, like="agentgym"))
        server, texts = their_searchqa(options.checkout, qa)
    else:
        ours = AlfWorld(AlfWorldConfig(data=options.data, like="agentgym"))
        server = their_alfworld(options.checkout, Path(options.data))
        for number, trial in enumerate(numbered_trials()):
            same("games", Path(server.games[number]).parent.name, f"trial_T{trial}")
            counted["games"] += 1
    tasks = [task for split in ("test", "train") for task in ours.tasks(split)]
    while counted["actions"] < options.actions:
        task = rng.choice(tasks)
        number = int(task.id.removeprefix("agentgym-"))
        seen = ours.reset(task)
        plan = list(ours.expert(task) or ()) if rng.random() < 0.6 else []
        with contextlib.redirect_stdout(io.StringIO()):
            if options.environment == "searchqa":
                server.reset(0, number)
                same("questions", server.observation(0).rpartition("Question: ")[2], texts[number])
                same("starts", f"Question: {texts[number]}", seen.text)
            else:
                payload = server.reset(0, number, "Text")
                same("starts", payload["observation"].strip(), seen.text)
                same("lists", sorted(payload["available_actions"]), sorted(seen.actions or ()))
        counted["episodes"] += 1
        done, turn = False, 0
        while not done and turn < ours.max_turns:
            listed = list(seen.actions or ())
            if plan and rng.random() < 0.9:
                action = plan.pop(0)
            elif listed and rng.random() < 0.8:
                action = rng.choice(listed)
            else:
                action = rng.choice(ODD_TAGS if options.environment == "searchqa" else ODD_COMMANDS)
            turn += 1
            counted["actions"] += 1
            step = ours.step(action)
            seen = step.observation
            counted["refused"] += not step.valid
            with contextlib.redirect_stdout(io.StringIO()):
                if options.environment == "searchqa":
                    text, reward, done, _ = server.step(0, action)
                    text = text if text.startswith("<information>") else kind_of(text)
                    mine = (
                        seen.text if seen.text.startswith("<information>") else kind_of(seen.text)
                    )
                else:
                    payload = server.step(0, action)
                    text, reward, done = (
                        payload["observation"].strip(), payload["reward"], payload["done"]
                    )  # fmt: skip
                    mine = seen.text
                    if not done:
                        same(
                            "lists",
                            sorted(payload["available_actions"]),
                            sorted(seen.actions or ()),
                        )
            same("observations", text, mine)
            same("rewards", reward, step.reward)
            same("ends", done, step.terminated)
            counted["won"] += step.success
            done = done or step.terminated
        if not counted["episodes"] % 10:
            print(json.dumps(counted), flush=True)
    print(json.dumps(counted, indent=1))


def kind_of(text: str) -> str:
    """Return what a sentence without documents says, in one word."""
    words = text.lower()
    for kind, marks in (
        ("right", ("congratulations", "is right")),
        ("wrong", ("incorrect", "is wrong")),
        ("invalid", ("invalid", "not an action")),
    ):
        if any(mark in words for mark in marks):
            return kind
    return text


if __name__ == "__main__":
    main()
