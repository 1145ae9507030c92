"""Instances of environments, in this process or in workers."""
