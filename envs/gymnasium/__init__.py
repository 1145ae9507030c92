"""gymnasium's text environments."""

from contrail.envs.gymnasium.environment import Gymnasium, GymnasiumConfig

__all__ = ["Gymnasium", "GymnasiumConfig"]
