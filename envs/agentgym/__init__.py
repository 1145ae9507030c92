"""Environments of AgentGym's servers."""

from contrail.envs.agentgym.environment import AgentGym, AgentGymConfig

__all__ = ["AgentGym", "AgentGymConfig"]
