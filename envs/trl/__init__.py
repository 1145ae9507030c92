"""Environments that were written for TRL's GRPOTrainer."""

from contrail.envs.trl.environment import TRL, TRLConfig

__all__ = ["TRL", "TRLConfig"]
