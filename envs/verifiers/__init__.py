"""Environments of the library verifiers."""

from contrail.envs.verifiers.environment import Verifiers, VerifiersConfig

__all__ = ["Verifiers", "VerifiersConfig"]
