"""What a run is judged by: scores of test tasks, and what R, its columns and its changes say."""
