"""One run: its parts, its loop, its directory on disk, and its result."""
