"""GEM's environments."""

from contrail.envs.gem.environment import Gem, GemConfig

__all__ = ["Gem", "GemConfig"]
