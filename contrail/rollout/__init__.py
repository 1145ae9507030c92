"""From tasks to episodes: the chat format, the engine, and the players."""
