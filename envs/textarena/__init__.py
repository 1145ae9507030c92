"""TextArena's games."""

from contrail.envs.textarena.environment import TextArena, TextArenaConfig

__all__ = ["TextArena", "TextArenaConfig"]
