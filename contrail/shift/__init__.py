"""Interface shifts: the same tasks, seen and answered in another way."""
