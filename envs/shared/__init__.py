"""Parts that several environments use."""
