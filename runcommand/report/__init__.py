"""A diagnosis in, text out. Pure: no clock, no I/O, no question which system this is."""
