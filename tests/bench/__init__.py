"""Figures, not tests: ``python -m tests.bench`` prints what the design limits, measured in the
lab.
"""
