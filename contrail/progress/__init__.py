"""What a run is doing: on the terminal, and in its directory."""
