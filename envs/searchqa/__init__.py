"""SearchQA."""

from contrail.envs.searchqa.environment import SearchQA, SearchQAConfig

__all__ = ["SearchQA", "SearchQAConfig"]
