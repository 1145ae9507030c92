"""Repairs of libraries that do not import as they should, or import too much."""
