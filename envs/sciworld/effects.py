"""What an action of ScienceWorld does, whatever its words."""

from __future__ import annotations

from typing import Any, NamedTuple


class Effect(NamedTuple):
    """What an action does: the simulator's name of it, and the ids of its things by their roles."""

    name: str
    roles: frozenset[tuple[str, int]]

    @classmethod
    def of(cls, name: str, assignments: Any) -> Effect:
        """Return the effect of an action with the objects that the simulator assigns to it."""
        pairs = assignments.iterator()
        roles = set()
        while pairs.hasNext():
            pair = pairs.next()
            roles.add((str(pair.productElement(0)), int(pair.productElement(1).uuid())))
        return cls(str(name), frozenset(roles))

    @property
    def things(self) -> frozenset[int]:
        """The ids of its things, without the player, who does everything."""
        return frozenset(number for role, number in self.roles if role != "agent")
