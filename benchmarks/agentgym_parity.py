"""Play the environments that have `like: agentgym` side by side with AgentGym's own code.

`python -m benchmarks.agentgym_parity CHECKOUT [ENVIRONMENT …]`, where CHECKOUT is the path of a
clone of AgentGym (github.com/WooooDyy/AgentGym). AgentGym's clients and servers are called in this
process, with a function call in place of HTTP. What is compared is, after every action: the facts
in the observation, the list of actions, the sum of rewards, and whether the episode has ended.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import random
import re
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any

import typer

import contrail
from contrail.envs.shared.agentgym import task_id
from contrail.envs.textcraft.recipes import RecipeBook
from contrail.registry.plugins import load_plugins

Facts = dict[str, Any]
DIFFERENCES_SHOWN = 5


class Pair(ABC):
    """An environment here and there.

    Args:
        checkout: the path of AgentGym.
        settings: the environment's keys here.
    """

    name = ""
    client = ""
    """AgentGym's client class."""
    turns = 30
    expert = 0.5
    """The share of episodes in which the expert's actions are played."""

    def __init__(self, checkout: Path, **settings: Any) -> None:
        registered = load_plugins().environments[self.name].value
        self.ours: Any = registered(registered.Config(like="agentgym", **settings))
        self.server = self.start(checkout)
        module = importlib.import_module(f"agentenv.envs.{self.name}")
        vars(module)["requests"] = SimpleNamespace(post=self._post)
        self.theirs = getattr(module, self.client)("", 1)

    def start(self, checkout: Path) -> Any:
        """Return AgentGym's server."""
        return load(checkout, f"agentenv_{self.name}.environment").server

    @abstractmethod
    def numbers(self, rng: random.Random) -> Iterator[int]:
        """Yield AgentGym's numbers of the tasks to play."""

    @abstractmethod
    def proposals(self, actions: list[str], rng: random.Random) -> str:
        """Return an action that may not be listed."""

    @abstractmethod
    def compare(self, ours: contrail.Observation, theirs: str) -> Iterator[str]:
        """Yield what differs between two observations."""

    def random(self, text: str) -> bool:
        """Return whether the two sides may go on differently after an observation."""
        return False

    def _post(self, url: str, json: Any = None, timeout: float = 0) -> Any:
        path = url.rpartition("/")[2]
        body = dict(json or {})
        answer = getattr(self.server, path)(*([body.pop("id")] if "id" in body else []), **body)
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"AgentGym's server failed at {path} {json}: {answer['error']}")
        return SimpleNamespace(status_code=200, json=lambda: answer)


class BabyAI(Pair):
    name, client, turns = "babyai", "BabyAIEnvClient", 20

    def start(self, checkout: Path) -> Any:
        import gymnasium

        from contrail.envs.babyai.environment import registry, resolve

        registry()  # silences minigrid
        sys.modules.setdefault("gym", gymnasium)  # AgentGym takes only gym.Env from it
        module = load(checkout, "agentenv_babyai.environment")
        # A level may have another version by now.
        levels = module.all_levels
        levels.update({number: f"BabyAI-{resolve(name)}" for number, name in levels.items()})
        return module.server

    def numbers(self, rng: random.Random) -> Iterator[int]:
        yield from range(10**6)

    def proposals(self, actions: list[str], rng: random.Random) -> str:
        colors = ("red", "green", "blue", "purple", "yellow", "grey")
        thing = f"{rng.choice(colors)} {rng.choice(('ball', 'key', 'box'))} {rng.randint(1, 3)}"
        door = f"{rng.choice(colors)} {rng.choice(('open', 'closed', 'locked'))} door 1"
        return rng.choice(
            [
                *("", "drop", "toggle", "move forward", "fly", "Turn LEFT!", "check"),
                *(f"{verb} {thing}" for verb in ("go to", "pickup", "pick up")),
                *(f"{verb} {door}" for verb in ("go through", "toggle and go through", "go to")),
            ]
        )

    def compare(self, ours: contrail.Observation, theirs: str) -> Iterator[str]:
        text, _, listed = theirs.partition("\nAvailable actions: [")
        their_list = re.findall(r'"([^"]*)"', listed)
        if ours.actions:
            yield from differing({"actions": [*ours.actions]}, {"actions": their_list})
        yield from differing(self._our_facts(ours.text), self._their_facts(text))

    def _our_facts(self, text: str) -> Facts:
        things = re.findall(
            r"([a-z ]+ \d+) \((\d+) steps ahead(?: and (\d+) to your (left|right))?\)", text
        )
        barrier = re.search(r"Ahead is a (\w+), (\d+) steps away", text)
        carried = re.search(r"You carry (?:a )?([a-z ]+)\.", text)
        goal = re.search(r"Your goal: (.*)", text)
        return {
            "things": [(name.strip(), *where) for name, *where in things],
            "barrier": barrier and barrier.groups(),
            "carried": carried and carried[1].replace("nothing", ""),
            "goal": goal and goal[1],
            "completed": "The task is completed." in text,
            "refusal": refusal(text) if carried is None else "",
        }

    def _their_facts(self, text: str) -> Facts:
        things = []
        for name, ahead, ahead_too, right, side in re.findall(
            r"There is a ([a-z ]+ \d+) (?:right in front of you (\d+) steps away"
            r"|(\d+) steps in front of you and (\d+) steps to your (left|right))",
            text,
        ):
            things.append((name, ahead or ahead_too, right, side))
        barrier = re.search(r"You are facing a (\w+) (\d+) steps away", text)
        carried = re.search(r"You are (?:not )?carrying (?:a |anything)([a-z ]*)\.", text)
        shown = carried is not None and "The room has walls" in text
        goal = re.search(r"Your goal: (.*)", text)
        return {
            "things": things,
            "barrier": barrier and barrier.groups(),
            "carried": carried[1] if carried is not None and shown else None,
            "goal": goal and goal[1],
            "completed": "The task is completed." in text,
            "refusal": "" if shown else refusal(text),
        }


class TextCraft(Pair):
    name, client = "textcraft", "TextCraftEnvClient"

    def start(self, checkout: Path) -> Any:
        # Its tasks are in the order in which the disk lists the recipes: here, by name.
        listed = os.listdir
        vars(os)["listdir"] = lambda path: sorted(listed(path))
        try:
            server = load(checkout, "agentenv_textcraft.env_wrapper").server
        finally:
            vars(os)["listdir"] = listed
        return SimpleNamespace(
            create=lambda minecraft_dir, **body: server.create(**body),
            step=server.step,
            reset=server.reset,
        )

    def numbers(self, rng: random.Random) -> Iterator[int]:
        while True:
            yield rng.randrange(1000)

    def proposals(self, actions: list[str], rng: random.Random) -> str:
        book: RecipeBook = self.ours._book
        item, other = rng.choice([*book.gettable]), rng.choice([*book.recipes])
        command = rng.choice(book.recipes[other]).text
        kind = rng.choice([*book.kinds])
        listed = rng.choice(actions or ["inventory"])
        return rng.choice(
            [
                *("inventory", "Inventory", "inventory, please", "", "look", "get oak log"),
                *(f"get {rng.randrange(9)} {name}" for name in (item, other, kind, "gold")),
                *(command, f"craft {kind} using 1 oak log", f"craft {other} using 2 {item}"),
                *(f"{command}, 1 {item}", command.replace("using ", "using many "), listed.upper()),
                *(f'"{listed}".', re.sub(r"[0-9]+", "3", listed), f"{listed} now"),
            ]
        )

    def compare(self, ours: contrail.Observation, theirs: str) -> Iterator[str]:
        yield from differing(self._facts(ours.text), self._facts(theirs))

    def _facts(self, text: str) -> Facts:
        commands, _, goal = text.partition("\n\nGoal: ")
        if goal:
            needed = {recipe.text for recipe in self.ours._book.closure(self.ours._goal)}
            shown = set(commands.splitlines()[1:])
            return {"goal": goal, "commands": sorted(shown & needed), "all": needed <= shown}
        if text.startswith(("Got", "Crafted", "Inventory")):
            return {"text": text.strip()}
        return {"refusal": refusal(text)}


class SciWorld(Pair):
    name, client = "sciworld", "SciworldEnvClient"
    expert = 0.2  # it takes a minute

    def numbers(self, rng: random.Random) -> Iterator[int]:
        while True:
            yield rng.randrange(len(self.server.games))

    def proposals(self, actions: list[str], rng: random.Random) -> str:
        return rng.choice(["wait", "wait1", "task", "inventory", "dance", "focus on door", "0"])

    def compare(self, ours: contrail.Observation, theirs: str) -> Iterator[str]:
        yield from differing(self._facts(ours.text), self._facts(theirs))

    def random(self, text: str) -> bool:
        return text.startswith("Ambiguous request")

    def _facts(self, text: str) -> Facts:
        # In which order AgentGym's Java machine lists things is drawn when it starts.
        return {"text": sorted(text.replace(",", " ").split())}


REFUSALS = {
    "not enough": r"not enough items|enough items to craft",
    "no recipe": r"no such recipe|valid recipe",
    "format": r"Wrong (item )?format",
    "not found": r"Could not find",
    "not executed": r"Could not execute",
    "list": r"following actions|You can: ",
    "nothing changes": r"No change|Nothing changes",
    "unknown": r"not recognized|not an action",
    "no way": r"no path|no way",
    "barrier": r"barrier",
    "nothing carried": r"not carrying anything|carry nothing",
    "blocked": r"already an object|something in front",
    "closed": r"is closed",
    "no key": r"not carrying a key|no key",
    "color": r"does not match|another color",
}


def refusal(text: str) -> str:
    """Return why an action was not carried out, in one word, and of which thing."""
    reason = next((word for word, pattern in REFUSALS.items() if re.search(pattern, text)), text)
    listed = re.findall(r"[a-z]+(?: [a-z]+)* \d+", text) if reason == "list" else []
    return f"{reason} {sorted(listed)}"


def differing(ours: Facts, theirs: Facts) -> Iterator[str]:
    """Yield the facts that differ."""
    for key in ours:
        if ours[key] != theirs[key]:
            yield f"{key}: {ours[key]!r}, there {theirs[key]!r}"


def load(checkout: Path, name: str) -> ModuleType:
    """Import a module of AgentGym, without the package around it, which starts a web server."""
    package, _, module = name.partition(".")
    folder = checkout / package.replace("_", "-") / package
    around = ModuleType(package)
    around.__path__ = [str(folder)]
    sys.modules[package] = around
    with contextlib.chdir(folder.parent), contextlib.redirect_stdout(io.StringIO()):
        return importlib.import_module(f"{package}.{module}")


def play(pair: Pair, actions: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Play at least so many actions on both sides; return counts and the differences."""
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    differences: list[str] = []
    for number in pair.numbers(rng):
        if counts["actions"] >= actions:
            break
        task = contrail.Task(pair.name, task_id(number), number, "train")
        expert = list(pair.ours.expert(task) or ()) if rng.random() < pair.expert else []
        seen = pair.ours.reset(task)
        pair.theirs.reset(number)
        found = [f"reset: {what}" for what in pair.compare(seen, pair.theirs.observe())]
        counts["episodes"] += 1
        counts["different starts"] += bool(found)
        total = 0.0
        for turn in range(pair.turns):
            listed = [*(seen.actions or ())]
            if expert and rng.random() < 0.9:
                action = expert.pop(0)
            elif listed and rng.random() < 0.8:
                action = rng.choice(listed)
            else:
                action = pair.proposals(listed, rng)
            step = pair.ours.step(action)
            with contextlib.redirect_stdout(io.StringIO()):
                answer = pair.theirs.step(f"Thought:\nSo.\n\nAction:\n{action}")
            seen = step.observation
            total += step.reward
            counts["actions"] += 1
            counts["refused"] += not step.valid
            same = [*pair.compare(seen, answer.state)]
            if abs(total - answer.reward) > 1e-9:
                same.append(f"reward: {total}, there {answer.reward}")
            if step.terminated != answer.done:
                same.append(f"end: {step.terminated}, there {answer.done}")
            found += [f"turn {turn}, {action!r}: {what}" for what in same]
            counts["different actions"] += bool(same)
            if step.terminated or answer.done:
                counts["ended"] += 1
                counts["won"] += step.success
                break
            if pair.random(answer.state):
                break
        differences += [f"task {number}, {what}" for what in found]
    return counts, differences


PAIRS: dict[str, Callable[[Path], Pair]] = {
    "babyai": BabyAI,
    "textcraft": TextCraft,
    "sciworld": SciWorld,
}


def main(
    checkout: Annotated[Path, typer.Argument(help="The path of a clone of AgentGym.")],
    environments: Annotated[list[str] | None, typer.Argument(help="By default, all.")] = None,
    actions: Annotated[int, typer.Option(help="At least so many of each environment.")] = 2000,
    seed: int = 0,
) -> None:
    """Play AgentGym's environments and ours side by side."""
    sys.path.insert(0, str(checkout / "agentenv"))
    for name in environments or PAIRS:
        pair = PAIRS[name](checkout)
        counts, differences = play(pair, actions, seed)
        print(f"{name}: {', '.join(f'{count} {what}' for what, count in counts.items())}")
        print("\n".join(differences[:DIFFERENCES_SHOWN]))
        pair.ours.close()


if __name__ == "__main__":
    typer.run(main)
