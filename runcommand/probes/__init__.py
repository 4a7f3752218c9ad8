"""What is learnt over the network; the same on every system. Only this package sends anything."""
