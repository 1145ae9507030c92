"""The numbers of the drawing of a group in docs/architecture.md."""

from __future__ import annotations

from pathlib import Path

from contrail import Episode, Task, Turn
from contrail.model.tree import TokenTree
from contrail.training.shared import packs
from contrail.training.shared.prefix import SharedPrefix

PROMPT = list(range(100, 112))
LEFT, RIGHT = [1, 9], [2, 9]
SEEN = {1: [21, 22, 23, 24], 2: [31, 32, 33, 34]}


def episode(sample: int, first: list[int], second: list[int]) -> Episode:
    """Two turns of one task; the observation between them depends on the first action."""
    turns = []
    for prompt, written in ((PROMPT, first), (SEEN[first[0]], second)):
        choice = [LEFT, RIGHT].index(written)
        turns.append(Turn(prompt, written, [-0.7], [0.7], choices=[LEFT, RIGHT], choice=choice))
    made = Episode("corridor", Task("corridor", "1", 1, "train"), sample)
    made.turns = turns
    return made


def test_the_numbers_of_the_drawing() -> None:
    group = [episode(0, LEFT, RIGHT), episode(1, RIGHT, LEFT)]
    plain = sum(
        len(history) + len(branch)
        for item in group
        for history in (PROMPT, PROMPT + item.turns[0].written + item.turns[1].prompt)
        for branch in (LEFT, RIGHT)
    )
    [together] = packs.into_packs(group, [0, 1])
    tree = together.forest(TokenTree()).plan.size
    apart = list(packs.into_packs(group, [0, 1], most=22))
    prefix = SharedPrefix(TokenTree(), apart[0].prefix)
    sizes = [pack.forest(prefix.tree, prefix).plan.size for pack in apart]
    page = Path(__file__).parents[2] / "docs" / "architecture.md"
    text = " ".join(page.read_text().split())
    assert f"{plain} tokens as eight sequences, {tree} as a tree" in text
    assert f"SharedPrefix, {prefix.plan.size} tokens" in text
    assert [f"pack {n}, {size} tokens" in text for n, size in enumerate(sizes, 1)] == [True, True]
