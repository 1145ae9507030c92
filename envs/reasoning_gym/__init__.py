"""reasoning-gym's datasets."""

from contrail.envs.reasoning_gym.environment import ReasoningGym, ReasoningGymConfig

__all__ = ["ReasoningGym", "ReasoningGymConfig"]
