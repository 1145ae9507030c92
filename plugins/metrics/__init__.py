"""Metrics of an episode."""
