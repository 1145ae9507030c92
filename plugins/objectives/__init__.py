"""Objectives: what stages learn by."""
