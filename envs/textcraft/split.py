"""The goals of TextCraft for training and for testing, in whole families of recipes.

Oak doors and birch doors are one lesson, and planks are a step of both. So a family is on one side,
and no test goal is a step on any way to a training goal.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator
from functools import cache

from contrail.envs.shared.families import families
from contrail.envs.textcraft.recipes import Recipe, RecipeBook

TEST_SHARE = 0.2
MOST_ALIKE = 10  # goals that come into the test together, so that the test is of many recipes
# The Nether's mushrooms are its trees.
SYNONYMS = {"hyphae": "wood", "stem": "log", "stems": "logs"}
MATERIAL = "*"


@cache
def test_goals(book: RecipeBook) -> frozenset[str]:
    """Return the goals for testing: a fifth of each depth, as far as whole families allow.

    The order of families depends only on their names. A family brings along the families of all
    goals of which one of its own is a step.
    """
    alike = goal_families(book)
    family_of = {goal: family for family in alike for goal in family}
    needed_by: dict[frozenset[str], set[frozenset[str]]] = defaultdict(set)
    for goal in book.recipes:
        for recipe in book.closure(goal):
            needed_by[family_of[recipe.output]].add(family_of[goal])
    room = Counter(book.depths.values())
    room = Counter({depth: round(number * TEST_SHARE) for depth, number in room.items()})
    chosen: set[str] = set()
    for family in sorted(alike, key=_lot):
        new = frozenset(_with_users(family, needed_by)) - chosen
        depths = Counter(book.depths[goal] for goal in new)
        if len(new) <= MOST_ALIKE and depths <= room:
            chosen |= new
            room -= depths
    return frozenset(chosen)


def goal_families(book: RecipeBook) -> list[frozenset[str]]:
    """Return the goals in families: goals whose recipes share one of their `patterns`,
    transitively."""

    def keys(goal: str) -> list[Hashable]:
        return [pattern for recipe in book.recipes[goal] for pattern in patterns(recipe)]

    return [frozenset(family) for family in families(list(book.recipes), keys)]


def patterns(recipe: Recipe) -> Iterator[Hashable]:
    """Return the common patterns of recipes that differ only in names.

    First, the last word of its output, with all amounts: "diamond helmet" and "golden helmet".
    Second, the recipe without the words that output and needs share: "polished granite" of granite
    and "polished diorite" of diorite. Third, its ingredients: axes and pickaxes.
    """
    output = _words(recipe.output)
    needs = [(_words(name), number) for name, number in recipe.needs]
    yield "output", output[-1], recipe.count, tuple(sorted(number for _, number in needs))
    shared = {word for word in output if any(word in name for name, _ in needs)}
    if shared:
        of = tuple(sorted((_without(name, shared), number) for name, number in needs))
        yield "material", _without(output, shared), recipe.count, of
    yield "needs", recipe.count, tuple(sorted(recipe.needs))


def _words(name: str) -> list[str]:
    return [SYNONYMS.get(word, word) for word in name.split()]


def _without(name: list[str], material: set[str]) -> tuple[str, ...]:
    """Return a name with one mark for its material, of however many words ("dark oak")."""
    words: list[str] = []
    for word in name:
        word = MATERIAL if word in material else word
        if word != MATERIAL or words[-1:] != [MATERIAL]:
            words.append(word)
    return tuple(words)


def _with_users(
    family: frozenset[str], needed_by: dict[frozenset[str], set[frozenset[str]]]
) -> set[str]:
    """Return the goals of a family, and of all families that need one of them on some way."""
    found = [family]
    for one in found:  # grows while it is walked
        found += [user for user in needed_by[one] if user not in found]
    return set().union(*found)


def _lot(family: frozenset[str]) -> bytes:
    return hashlib.sha256(min(family).encode()).digest()
