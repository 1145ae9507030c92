"""From a stream file and the command line to a checked configuration."""
