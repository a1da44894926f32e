"""Which sizes of a batch and of a window a reading is tried with, given the numbers that the source holds.

A slice of the last 50 steps is the whole window up to 50 of them. What a reader finds out with one size holds for
another only if none of the source's numbers lies between the two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

#: From here on a number says "to the end": no window is as long.
ENDLESS = (1 << 31) - 1

FEW = 4  # so many numbers are put together too: their sums, products and quotients
MOST = 1 << 20  # of what is put together


def sizes(numbers: Iterable[float]) -> dict[int, float]:
    """Sizes below, at and beyond each number, and one far beyond all: each with the number that it comes from.

    0, 1 and -1 are left out, which every size is beyond; a size of 1 is for the caller to try.
    """
    own = {size: n for n in numbers if abs(n) < ENDLESS for size in _whole(abs(n)) if 1 < size < ENDLESS}
    found = {**_together(own), **own}
    tried = {size + step: n for size, n in found.items() for step in (-1, 0, 1)}
    if own:
        tried.setdefault(2 * sum(own) + 1, own[max(own)])
    return {size: tried[size] for size in sorted(tried)}


def _whole(number: float) -> tuple[int, ...]:
    """The integers beside a number; beside its inverse, which a size may be multiplied with, where it is a fraction."""
    number = 1 / number if 0 < number < 1 else number
    return (math.floor(number), math.ceil(number)) if number < ENDLESS else ()


def _together(own: dict[int, float]) -> dict[int, float]:
    """What few numbers make of each other, as where 2·T is compared with 100."""
    if len(own) > FEW:
        return {}
    pairs = [(a, b) for a in own for b in own]
    made = {result: own[a] for a, b in pairs for result in (a + b, a - b, a * b, a // b, -(-a // b))}
    return {size: n for size, n in made.items() if 1 < size <= MOST}
