"""The market: noise traders around one order book, with the script's wall, crowd and taker among them.

The noise is the zero-intelligence model of Smith, Farmer, Gillemot and Krishnamurthy (2003), "Statistical theory of
the continuous double auction": limit orders, market orders and cancellations come at constant rates and know nothing.
Added to it: market orders tend to follow others of their side, as in every real market, and some orders are large, so
that neither a run of sales nor a thick price is the script's alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from lstmcore.demo.market import PRICE, TICK_SIZE, Quotes
from lstmcore.layers import Array
from order_book import script
from order_book.book import (
    BEST_ASK,
    BEST_BID,
    BUY,
    LEVELS,
    NOISE,
    NOISY,
    SELL,
    WALL,
    Book,
    cancel,
    opened,
    place,
    take,
)

LIMIT, MARKET, CANCEL = 0.5, 0.06, 0.001  # rates of the noise: orders, trades, and withdrawals per resting order
NEAR = 0.08  # a limit order's distance from the other side's best price is geometric with this parameter, in ticks
SMALL = 0.4  # an order's lots are geometric with this parameter
LARGE, TIMES = 0.03, 12  # this share of limit orders is so many times larger
FOLLOW = 0.7  # how often a noise trader's market order has the side of the one before
WALL_LOTS = 60, 150
PEG = 0.3  # how often, at a tick, a wall that is no longer at the best price is moved there
CROWD, CROWD_LOTS = 0.4, (1, 4)  # how often, while the crowd is there, the next event is its market order
TAKER, TAKER_LOTS = 0.7, (15, 40)
DEAR = 8  # ticks between bid and ask from which on the taker waits
LADDER = 20  # prices on each side at which a lot of orders rest before the warm-up
WARM_UP = 3000  # events before the first tick: the book fills
WIDEST = 200  # ticks between bid and ask; beyond, the book counts as empty


class Session(NamedTuple):
    """A market day: what was shown, and what was hidden."""

    quotes: Quotes  # N ticks; each is a change of the best prices or their lots
    script: script.Script


def simulate(ticks: int, seed: int) -> Session:
    """The first `ticks` ticks of the market with this seed; the first n are the same however many are asked for.

    Raises:
        ValueError: Fewer than one tick, or a book that ran empty or left its prices.
    """
    told = script.write(ticks, np.random.default_rng([seed, 0]))
    rows = np.empty((ticks, 7))
    _run(opened(), told.wall, told.crowd, told.taker, rows, np.random.default_rng([seed, 1]))
    bid, ask, bid_size, ask_size, bought, sold, trades = rows.T.copy()
    middle = PRICE / TICK_SIZE - LEVELS // 2
    quotes = Quotes(
        bid=(bid + middle) * TICK_SIZE,
        ask=(ask + middle) * TICK_SIZE,
        bid_size=bid_size,
        ask_size=ask_size,
        bought=bought,
        sold=sold,
        trades=trades,
        pressure=(told.crowd + told.taker).astype(np.float64),
    )
    return Session(quotes, told)


@njit(cache=True)
def _run(book: Book, wall: Array, crowd: Array, taker: Array, rows: Array, rng: np.random.Generator) -> None:
    """Fill rows (ticks, 7): bid, ask, their lots, lots bought, lots sold, trades since the tick before."""
    count, volume = book.counts, book.volume
    for away in range(1, LADDER + 1):  # something to begin with, which the warm-up wears away
        for side in (BUY, SELL):
            place(book, side, LEVELS // 2 - side * away, 10, NOISE)
    flow = np.zeros(4)  # lots bought, lots sold, trades; the side of the noise traders' last market order
    flow[3] = 1.0
    for _ in range(WARM_UP):
        _noise(book, flow, rng)
    flow[:3] = 0.0
    standing, wall_side = -1, 0
    for n in range(len(rows)):
        bid, ask = count[BEST_BID], count[BEST_ASK]
        bid_lots, ask_lots = volume[bid], volume[ask]
        if standing >= 0 and book.owner[standing] != WALL:
            standing = -1  # traders have eaten it
        if standing >= 0 and wall[n] != wall_side:
            cancel(book, standing)
            standing = -1
        previous = wall[n - 1] if n else 0
        if wall[n] != 0 and wall[n] != previous:
            wall_side = wall[n]
            standing = place(book, wall_side, _best(book, wall_side), _between(WALL_LOTS, rng), WALL)
        elif standing >= 0 and book.price[standing] != _best(book, wall_side) and rng.random() < PEG:
            lots = book.lots[standing]
            cancel(book, standing)
            standing = place(book, wall_side, _best(book, wall_side), lots, WALL)
        while (
            bid == count[BEST_BID]
            and ask == count[BEST_ASK]
            and bid_lots == volume[count[BEST_BID]]
            and ask_lots == volume[count[BEST_ASK]]
        ):
            if crowd[n] != 0 and rng.random() < CROWD:
                _trade(book, crowd[n], _between(CROWD_LOTS, rng), flow)
            elif taker[n] != 0 and count[BEST_ASK] - count[BEST_BID] < DEAR and rng.random() < TAKER:
                _trade(book, taker[n], _between(TAKER_LOTS, rng), flow)
            else:
                _noise(book, flow, rng)
        if count[BEST_ASK] - count[BEST_BID] > WIDEST:
            raise ValueError("the book ran empty")
        rows[n, 0], rows[n, 1] = count[BEST_BID], count[BEST_ASK]
        rows[n, 2], rows[n, 3] = volume[count[BEST_BID]], volume[count[BEST_ASK]]
        rows[n, 4:] = flow[:3]
        flow[:3] = 0.0


@njit(cache=True)
def _noise(book: Book, flow: Array, rng: np.random.Generator) -> None:
    """One event of the noise traders."""
    withdrawals = CANCEL * book.counts[NOISY]
    chance = rng.random() * (LIMIT + MARKET + withdrawals)
    if chance < LIMIT:
        side = BUY if rng.random() < 0.5 else SELL
        lots = _geometric(SMALL, rng)
        if rng.random() < LARGE:
            lots *= TIMES
        distance = _geometric(NEAR, rng)
        place(book, side, _best(book, -side) - side * distance, lots, NOISE)
    elif chance < LIMIT + MARKET:
        if rng.random() >= FOLLOW:
            flow[3] = -flow[3]
        _trade(book, BUY if flow[3] > 0 else SELL, _geometric(SMALL, rng), flow)
    elif book.counts[NOISY] > 0:
        cancel(book, book.noisy[int(rng.random() * book.counts[NOISY])])


@njit(cache=True)
def _trade(book: Book, side: int, lots: int, flow: Array) -> None:
    take(book, side, lots)
    flow[0 if side == BUY else 1] += lots
    flow[2] += 1


@njit(cache=True)
def _best(book: Book, side: int) -> int:
    return book.counts[BEST_BID] if side == BUY else book.counts[BEST_ASK]


@njit(cache=True)
def _between(limits: tuple[int, int], rng: np.random.Generator) -> int:
    return limits[0] + int(rng.random() * (limits[1] - limits[0] + 1))


@njit(cache=True)
def _geometric(p: float, rng: np.random.Generator) -> int:
    """1, 2, ... with mean 1/p."""
    return 1 + int(np.log(1 - rng.random()) / np.log(1 - p))
