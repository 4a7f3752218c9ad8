"""What a packet filter does with a packet."""
