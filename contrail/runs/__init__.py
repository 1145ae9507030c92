"""A run of a stream: what it needs, its loop, its directory."""
