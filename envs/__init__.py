"""Environments, a package each, registered through the public hooks."""
