"""gymnasium's text environments."""
