"""A limit order book: price levels, a first-in-first-out queue of orders at each, and what may be done to them.

Prices are whole ticks, quantities whole lots. Everything here is compiled by numba and works on arrays in place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from lstmcore.layers import Array

LEVELS = 1 << 14  # prices 0 .. LEVELS - 1; a book that leaves them is an error
ORDERS = 1 << 14  # orders that may rest at one time
BACKSTOP = 1 << 40  # lots
BUY, SELL = 1, -1  # sides
NOBODY, NOISE, WALL, BACK = range(4)  # owners; BACK: the backstop
NONE = -1

# what `Book.counts` holds
PLACED, TRADED, CANCELLED, RESTING, BEST_BID, BEST_ASK, FREE, NOISY, LAST = range(9)


class Book(NamedTuple):
    """Orders in a doubly linked list per price, oldest first, and the noise traders' orders in a list to draw from."""

    volume: Array  # (LEVELS,) lots resting at each price; one side only at any price
    head: Array  # (LEVELS,) the oldest order at each price, or NONE
    tail: Array  # (LEVELS,) the newest
    after: Array  # (ORDERS,) the next newer order in the queue; of a free order, the next free one
    before: Array  # (ORDERS,) the next older
    price: Array  # (ORDERS,)
    lots: Array  # (ORDERS,) what is left of the order
    side: Array  # (ORDERS,) BUY or SELL
    owner: Array  # (ORDERS,) NOBODY: free
    noisy: Array  # (ORDERS,) the noise traders' orders, the first `counts[NOISY]` places
    place: Array  # (ORDERS,) where in `noisy` an order stands
    counts: Array  # (LAST,) lots placed, traded, cancelled, resting; best bid, best ask; first free order; noise orders


def opened() -> Book:
    """A book with nothing but a backstop on each side: an order at the outermost price that no trade can use up."""
    levels = [np.zeros(LEVELS, np.int64), *(np.full(LEVELS, NONE, np.int64) for _ in range(2))]
    orders = [np.zeros(ORDERS, np.int64) for _ in range(8)]
    orders[0][:-1] = np.arange(1, ORDERS)
    orders[0][-1] = NONE
    count = np.zeros(LAST, np.int64)
    count[BEST_BID], count[BEST_ASK] = NONE, LEVELS
    book = Book(*levels, *orders, count)
    place(book, BUY, 0, BACKSTOP, BACK)
    place(book, SELL, LEVELS - 1, BACKSTOP, BACK)
    return book


@njit(cache=True)
def place(book: Book, side: int, price: int, lots: int, owner: int) -> int:
    """Let an order rest behind those at its price; its number. It must not meet the other side's best price."""
    count = book.counts
    if price < 0 or price >= LEVELS:
        raise ValueError("the price left the book's levels")
    if (side == BUY and price >= count[BEST_ASK]) or (side == SELL and price <= count[BEST_BID]):
        raise ValueError("an order to rest would cross the book")
    order = count[FREE]
    if order == NONE:
        raise ValueError("too many orders rest")
    count[FREE] = book.after[order]
    book.price[order], book.lots[order], book.side[order], book.owner[order] = price, lots, side, owner
    book.before[order], book.after[order] = book.tail[price], NONE
    if book.tail[price] == NONE:
        book.head[price] = order
    else:
        book.after[book.tail[price]] = order
    book.tail[price] = order
    book.volume[price] += lots
    count[PLACED] += lots
    count[RESTING] += lots
    if side == BUY:
        count[BEST_BID] = max(count[BEST_BID], price)
    else:
        count[BEST_ASK] = min(count[BEST_ASK], price)
    if owner == NOISE:
        book.noisy[count[NOISY]] = order
        book.place[order] = count[NOISY]
        count[NOISY] += 1
    return order


@njit(cache=True)
def cancel(book: Book, order: int) -> None:
    """Take an order out of its queue, wherever it stands in it."""
    book.counts[CANCELLED] += book.lots[order]
    _remove(book, order)


@njit(cache=True)
def take(book: Book, side: int, lots: int) -> None:
    """A market order: trade with the best prices of the other side, the oldest orders of each first."""
    count = book.counts
    while lots > 0:
        order = book.head[count[BEST_ASK] if side == BUY else count[BEST_BID]]
        dealt = min(lots, book.lots[order])
        book.lots[order] -= dealt
        book.volume[book.price[order]] -= dealt
        count[RESTING] -= dealt
        count[TRADED] += dealt
        lots -= dealt
        if book.lots[order] == 0:
            _remove(book, order)


@njit(cache=True)
def _remove(book: Book, order: int) -> None:
    count, price, side = book.counts, book.price[order], book.side[order]
    older, newer = book.before[order], book.after[order]
    if older == NONE:
        book.head[price] = newer
    else:
        book.after[older] = newer
    if newer == NONE:
        book.tail[price] = older
    else:
        book.before[newer] = older
    book.volume[price] -= book.lots[order]
    count[RESTING] -= book.lots[order]
    book.lots[order] = 0
    if book.owner[order] == NOISE:
        count[NOISY] -= 1
        last = book.noisy[count[NOISY]]
        book.noisy[book.place[order]] = last
        book.place[last] = book.place[order]
    book.owner[order] = NOBODY
    book.after[order], count[FREE] = count[FREE], order
    if book.head[price] == NONE:
        if side == BUY and price == count[BEST_BID]:
            count[BEST_BID] = _next_price(book, BUY, price)
        elif side == SELL and price == count[BEST_ASK]:
            count[BEST_ASK] = _next_price(book, SELL, price)


@njit(cache=True)
def _next_price(book: Book, side: int, price: int) -> int:
    """The best price of a side behind this one; the backstop is the last."""
    price -= side
    while book.head[price] == NONE:
        price -= side
    return price
