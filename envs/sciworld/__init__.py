"""ScienceWorld."""

from contrail.envs.sciworld.environment import SciWorld, SciWorldConfig

__all__ = ["SciWorld", "SciWorldConfig"]
