"""Environments of OpenEnv servers."""

from contrail.envs.openenv.environment import OpenEnv, OpenEnvConfig

__all__ = ["OpenEnv", "OpenEnvConfig"]
