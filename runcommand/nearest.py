"""The word that somebody most likely meant: the known one with the fewest letters to change."""

from __future__ import annotations

from typing import Iterable, List, Optional

LONGEST = 64  # letters of a word for which one is looked for
# So many letters allow one error: a short word is not turned into quite another.
LETTERS_AN_ERROR = 3


def nearest(word: str, known: Iterable[str]) -> Optional[str]:
    """The known word closest to a misspelt one, the first of several; None where none is close."""
    lower = word.lower()
    best: Optional[str] = None
    fewest = max(1, len(word) // LETTERS_AN_ERROR) + 1
    for candidate in known if 0 < len(word) <= LONGEST else ():
        errors = distance(lower, candidate.lower())
        if errors < min(fewest, len(candidate)):
            best, fewest = candidate, errors
    return best


def distance(one: str, other: str) -> int:
    """How many letters have to be added, taken away, replaced or swapped with their neighbour.

    (The restricted Damerau-Levenshtein distance.)
    """
    before: List[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        current = [row]
        for column, its in enumerate(other, 1):
            cost = min(last[column] + 1, current[-1] + 1, last[column - 1] + (letter != its))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == its:
                cost = min(cost, before[column - 2] + 1)
            current.append(cost)
        before, last = last, current
    return last[-1]
