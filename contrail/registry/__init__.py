"""What plugins register, and how their hooks are called."""
