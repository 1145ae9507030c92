"""Adapters, model sources, trackers and reports, registered through the public hooks."""
