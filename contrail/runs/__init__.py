"""One run: what it is made of, its loop, its directory on disk, and its result."""
