"""What the big trader and the crowd do, and when: the story to be found, and the stories that look like it.

An episode is told for sellers' walls ("a wall at the ask, the crowd sells"); half of all episodes are its mirror image.
All durations are drawn from the same ranges whatever the kind, so no kind is told by how long its parts last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lstmcore.layers import Array

#: How often each kind comes. The order of its parts is all that makes a spoof.
KINDS = {
    "spoof": 0.30,  # wall, the crowd sells while it stands, wall cancelled, taker buys: the price rises
    "real wall": 0.12,  # wall, the crowd sells, and the wall stays for long: nothing follows
    "sell-off first": 0.12,  # the crowd sells, then a wall comes and is cancelled: nothing follows
    "cancel first": 0.12,  # wall, wall cancelled, then the crowd sells: nothing follows
    "lone wall": 0.12,  # wall, wall cancelled: nothing follows
    "lone sell-off": 0.12,  # the crowd sells: nothing follows
    "lone taker": 0.10,  # a taker buys out of nothing: the price rises, and nobody could have known
}
QUIET = 30, 90  # ticks between two episodes
ALERT = 4, 12  # ticks from the wall to the first sale, or between any two parts that follow each other
SELLING = 8, 20  # ticks that the crowd sells
STANDING = 8, 20  # ticks that a wall stands where nobody sells into it
LINGER = 1, 6  # ticks from the last sale to the cancel
PATIENCE = 4, 12  # ticks from the cancel to the taker
TAKING = 6, 12  # ticks that the taker buys
STUBBORN = 40, 80  # ticks that a real wall stays behind the sell-off


@dataclass(frozen=True)
class Episode:
    """One telling of a story."""

    kind: str
    side: int  # -1: the wall is at the ask and the price rises at the end; 1: the mirror image
    start: int  # the first tick
    told: int  # the tick at which all has happened that foretells the end: nothing of the taker's yet


@dataclass(frozen=True)
class Script:
    """What is done at each of N ticks; every array is (N,) int8."""

    wall: Array  # 1: a wall at the bid stands; -1: one at the ask; 0: none
    crowd: Array  # 1: the crowd buys; -1: sells; 0: is away
    taker: Array  # 1: the taker buys; -1: sells; 0: is away
    episodes: tuple[Episode, ...]


def write(ticks: int, rng: np.random.Generator) -> Script:
    """Episodes one after the other, with quiet ticks between. Raises ValueError for fewer than one tick."""
    if ticks < 1:
        raise ValueError(f"ticks: expected at least 1, got {ticks}")
    wall, crowd, taker = (np.zeros(ticks, np.int8) for _ in range(3))
    episodes, now = [], _draw(rng, QUIET)
    kinds, shares = list(KINDS), list(KINDS.values())
    while now < ticks:
        kind, side = str(rng.choice(kinds, p=shares)), -1 if rng.random() < 0.5 else 1
        start = now
        if kind == "spoof":
            sale = start + _draw(rng, ALERT)
            over = sale + _draw(rng, SELLING)
            gone = over + _draw(rng, LINGER)
            wall[start:gone], crowd[sale:over] = side, side
            told = gone
        elif kind == "real wall":
            sale = start + _draw(rng, ALERT)
            over = sale + _draw(rng, SELLING)
            told = over + _draw(rng, LINGER)
            gone = over + _draw(rng, STUBBORN)
            wall[start:gone], crowd[sale:over] = side, side
        elif kind == "sell-off first":
            over = start + _draw(rng, SELLING)
            up = over + _draw(rng, ALERT)
            gone = up + _draw(rng, STANDING)
            wall[up:gone], crowd[start:over] = side, side
            told = gone
        elif kind == "cancel first":
            gone = start + _draw(rng, STANDING)
            sale = gone + _draw(rng, ALERT)
            over = sale + _draw(rng, SELLING)
            wall[start:gone], crowd[sale:over] = side, side
            told = over
        elif kind == "lone wall":
            told = gone = start + _draw(rng, STANDING)
            wall[start:gone] = side
        elif kind == "lone sell-off":
            told = over = start + _draw(rng, SELLING)
            crowd[start:over] = side
        else:
            told = start
        end = told + _draw(rng, PATIENCE)
        if kind in ("spoof", "lone taker"):
            begin, end = end, end + _draw(rng, TAKING)
            taker[begin:end] = -side
        if kind == "real wall":
            end = max(end, gone)
        if told < ticks:
            episodes.append(Episode(kind, side, start, told))
        now = end + _draw(rng, QUIET)
    return Script(wall, crowd, taker, tuple(episodes))


def _draw(rng: np.random.Generator, limits: tuple[int, int]) -> int:
    return int(rng.integers(limits[0], limits[1] + 1))
