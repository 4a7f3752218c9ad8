"""What follows from the facts. Pure."""
