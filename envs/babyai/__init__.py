"""BabyAI."""

from contrail.envs.babyai.environment import BabyAI, BabyAIConfig

__all__ = ["BabyAI", "BabyAIConfig"]
