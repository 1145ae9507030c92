"""Which tasks are trained on, and which are tested."""
