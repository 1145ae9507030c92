"""TextCraft."""

from contrail.envs.textcraft.environment import TextCraft, TextCraftConfig

__all__ = ["TextCraft", "TextCraftConfig"]
