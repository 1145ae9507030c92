"""ALFWorld."""

from contrail.envs.alfworld.environment import AlfWorld, AlfWorldConfig

__all__ = ["AlfWorld", "AlfWorldConfig"]
