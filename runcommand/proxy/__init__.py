"""Which client goes through which proxy, by whose bypass rules."""
