"""Environments, one file each, registered through the public hooks."""
