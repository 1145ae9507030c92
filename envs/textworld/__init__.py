"""TextWorld's games."""

from contrail.envs.textworld.environment import TextWorld, TextWorldConfig

__all__ = ["TextWorld", "TextWorldConfig"]
