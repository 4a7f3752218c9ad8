"""Runs every collector side by side under one deadline and makes the facts of what they find:
``board`` is what collectors see of a run, ``run`` begins and ends them.
"""

from .board import Board, Collector
from .errors import NoFact, NoProgram
from .run import RunOptions, collect, now

__all__ = ["Board", "Collector", "NoFact", "NoProgram", "RunOptions", "collect", "now"]
