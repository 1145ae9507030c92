"""Ways in which episodes fail."""
