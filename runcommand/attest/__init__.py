"""Reads and verifies the attested document."""
