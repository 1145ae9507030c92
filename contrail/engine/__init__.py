"""contrail's own sampler: forwards for many episodes at once, over a cache of keys and values."""
