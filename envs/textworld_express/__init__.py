"""TextWorldExpress's games."""
