"""Mutation testing of the pure parts: would any test fail if a line were a little wrong?

``python -m tests.mutation --sample 350 --seed 1 runcommand/rules runcommand/fixes`` changes one
operator, number or condition at a time, with the operators of Cosmic Ray
(https://cosmic-ray.readthedocs.io), and runs the quick tests that reach the changed line. It prints
what survived, and the share that was killed by module. Strings are never changed: a test that holds
every sentence to its letter would say nothing of what the program does.
"""
