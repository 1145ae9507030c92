"""Text games in the manner of ALFWorld, generated without its data.

They use the content of the package alfworld: the PDDL domain, the grammar, the goals in words and
in PDDL, the receptacles of AI2-THOR's 120 floor plans and the kinds of objects in each. The places
of objects are random. These are not the benchmark's games, whose rooms come from the simulator.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from contrail.envs.alfworld.engine import module

MOST_OF_A_KIND = 2
FIRST_SEEN = 500_000_000
"""The seeds from here on are those of "valid_seen", however many games there are to train on."""
LAMP = "DeskLamp"
LAMP_STANDS = ("CoffeeTable", "Desk", "Dresser", "Shelf", "SideTable")  # as in the real games
# Things that the room must contain in addition to the object and its destination.
APPLIANCE = {
    "pick_clean_then_place_in_recep": ("SinkBasin", "Cleanable"),
    "pick_heat_then_place_in_recep": ("Microwave", "Heatable"),
    "pick_cool_then_place_in_recep": ("Fridge", "Coolable"),
}
ABILITIES = {"Cleanable": "cleanable", "Heatable": "heatable", "Coolable": "coolable"}


class Room:
    """A floor plan: its receptacles, and the kinds of objects that belong into it."""

    def __init__(self, plan: int) -> None:
        constants = module("alfworld.gen.constants")
        layouts = Path(str(constants.__file__)).parent / "layouts"
        points = json.loads((layouts / f"FloorPlan{plan}-openable.json").read_text())
        listed = json.loads((layouts / f"FloorPlan{plan}-objects.json").read_text())
        holds = constants.VAL_RECEPTACLE_OBJECTS
        self.places = {place: kind for place in points if (kind := kind_of(place)) in holds}
        kinds = set(self.places.values())
        # Kinds of objects, each with the kinds of receptacles here that may hold it.
        self.homes = {
            item: homes
            for item in sorted(set(listed) - set(constants.STATIC_RECEPTACLES))
            if (homes := sorted(kind for kind in kinds if item in holds[kind]))
        }
        self.stands = sorted(kinds & set(LAMP_STANDS)) if LAMP in listed else []

    def goals(self, task_type: str) -> list[tuple[str, str]]:
        """Return the pairs of an object and where to bring it (or, under which lamp) that can be
        done."""
        if task_type == "look_at_obj_in_light":
            return [(item, LAMP) for item in self.homes] if self.stands else []
        appliance, ability = APPLIANCE.get(task_type, (None, None))
        if appliance is not None and appliance not in self.places.values():
            return []
        able = module("alfworld.gen.constants").VAL_ACTION_OBJECTS
        return [
            (item, home)
            for item, homes in self.homes.items()
            if ability is None or item in able[ability]
            for home in homes
            # It has to lie somewhere else at first.
            if len(homes) > 1
        ]


@cache
def room(plan: int) -> Room:
    """Return a floor plan, by AI2-THOR's number."""
    return Room(plan)


def kind_of(place: str) -> str:
    """Of a receptacle's name: "Drawer|+01.63|+00.18|-01.21", "Sink|…|SinkBasin"."""
    first, *_, last = place.split("|")
    return last if last.endswith("Basin") else first


@cache
def plans(split: str, task_type: str) -> list[int]:
    """Return the floor plans of a split in which such a task can be done.

    ALFRED's own division: "valid_unseen" is in rooms that no training task shows, "valid_seen" in
    the rooms of "train".
    """
    constants = module("alfworld.gen.constants")
    unseen = split == "valid_unseen"
    numbers = constants.TEST_SCENE_NUMBERS if unseen else constants.TRAIN_SCENE_NUMBERS
    return [plan for plan in sorted(numbers) if room(plan).goals(task_type)]


def names(split: str, task_types: Sequence[str], number: int) -> list[tuple[str, int, int]]:
    """`number` games of a split, the task types in turn: task type, floor plan, seed."""
    listed = []
    first = FIRST_SEEN if split == "valid_seen" else 0
    for index in range(number):
        lap, place = divmod(index, len(task_types))
        task_type = task_types[place]
        known = plans(split, task_type)
        listed.append((task_type, known[lap % len(known)], first + lap // len(known)))
    return listed


def holds(split: str, task_type: str, plan: int, seed: int) -> bool:
    """Return whether a game is one of the split."""
    return plan in plans(split, task_type) and (seed >= FIRST_SEEN) == (split == "valid_seen")


def game(task_type: str, plan: int, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a game, the same whenever the arguments are.

    Returns:
        The content of a game.tw-pddl file, and what alfworld's expert reads in traj_data.json.
    """
    rng = random.Random(f"{task_type} {plan} {seed}")
    here = room(plan)
    item, goal = rng.choice(here.goals(task_type))
    wanted = 2 if task_type == "pick_two_obj_and_place" else 1
    objects: list[tuple[str, str]] = []  # kind, and the receptacle it is in
    for kind, homes in here.homes.items():
        # No object of the goal's kind is at its destination at first, so that something is left to
        # do.
        free = [home for home in homes if kind != item or home != goal]
        spots = [place for place, home in here.places.items() if home in free]
        least = wanted if kind == item else 0
        objects += [(kind, rng.choice(spots)) for _ in range(rng.randint(least, MOST_OF_A_KIND))]
    if here.stands:
        stands = [place for place, kind in here.places.items() if kind in here.stands]
        objects.append((LAMP, rng.choice(stands)))
    info = module("alfworld.info")
    entry = module("alfworld.gen.goal_library").gdict[task_type]
    words = rng.choice(entry["templates"]).format(
        obj=item.lower(), recep=goal.lower(), toggle=goal.lower()
    )
    aim = entry["pddl"].format(obj=item, recep=goal, toggle=goal)
    grammar = Path(info.ALFRED_TWL2_PATH).read_text()
    data = {
        "pddl_domain": Path(info.ALFRED_PDDL_PATH).read_text(),
        "grammar": grammar.replace("UNKNOWN GOAL", words),
        "pddl_problem": _problem(here, objects, aim),
    }
    lamp = goal == LAMP
    params = {
        "object_target": item,
        "parent_target": "" if lamp else goal,
        "toggle_target": goal if lamp else "",
    }
    return data, {"task_type": task_type, "pddl_params": params}


def _problem(here: Room, objects: list[tuple[str, str]], goal: str) -> str:
    """Return the start state in PDDL, with the predicates that ALFRED's own problems have."""
    constants = module("alfworld.gen.constants")
    able = constants.VAL_ACTION_OBJECTS
    where = {place: f"loc_bar_{index}" for index, place in enumerate(sorted(here.places), 1)}
    ids: list[str] = []
    number = count(1)
    facts = ["(atLocation agent1 loc_bar_0)"]
    for place, kind in sorted(here.places.items()):
        facts += [
            f"(receptacleType {_id(place)} {kind}Type)",
            f"(receptacleAtLocation {_id(place)} {where[place]})",
        ]
        if kind in constants.OPENABLE_CLASS_SET:
            facts.append(f"(openable {_id(place)})")
    for kind, place in objects:
        name = f"{kind}_bar_{next(number)}"
        ids.append(name)
        facts += [
            f"(objectType {name} {kind}Type)",
            f"(inReceptacle {name} {_id(place)})",
            f"(objectAtLocation {name} {where[place]})",
        ]
        if kind == LAMP:
            facts.append(f"(toggleable {name})")
            continue
        facts.append(f"(pickupable {name})")
        facts += [f"({word} {name})" for group, word in ABILITIES.items() if kind in able[group]]
        if kind in constants.MOVABLE_RECEPTACLES_SET:
            facts.append(f"(isReceptacleObject {name})")
        if kind in able["Sliceable"]:
            facts.append(f"(sliceable {name})")
    # Things that the domain names itself must be declared too: knives and appliances.
    kinds = {kind for kind, _ in objects} | {"Knife", "ButterKnife"}
    facts += [
        f"(canContain {home}Type {kind}Type)"
        for kind, homes in here.homes.items()
        if kind in kinds
        for home in homes
    ]
    places = {*here.places.values(), *(appliance for appliance, _ in APPLIANCE.values())}
    declared = [
        "agent1 - agent",
        *_declare(ids, "object"),
        *_declare((f"{kind}Type" for kind in sorted(kinds)), "otype"),
        *_declare((f"{kind}Type" for kind in sorted(places)), "rtype"),
        *_declare(map(_id, sorted(here.places)), "receptacle"),
        *_declare(("loc_bar_0", *where.values()), "location"),
    ]
    objects_part, init = "\n".join(declared), "\n".join(facts)
    # The library writes a type with "#", where PDDL has "-".
    goal = goal.replace("#", "-")
    return (
        f"(define (problem generated)\n(:domain alfred)\n(:objects\n{objects_part}\n)\n"
        f"(:init\n{init}\n)\n{goal}"
    )


def _declare(items: Iterable[str], kind: str) -> list[str]:
    return [f"{item} - {kind}" for item in items]


def _id(place: str) -> str:
    """Return a receptacle's name as alfworld writes it in PDDL."""
    for sign, word in (("|", "bar"), ("+", "plus"), ("-", "minus"), (".", "dot")):
        place = place.replace(sign, f"_{word}_")
    return place
