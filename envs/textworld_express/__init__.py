"""TextWorldExpress's games."""

from contrail.envs.textworld_express.environment import TextWorldExpress, TextWorldExpressConfig

__all__ = ["TextWorldExpress", "TextWorldExpressConfig"]
