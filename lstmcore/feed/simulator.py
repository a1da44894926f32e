"""A recording of a market that is made up: the demo's, told in the exchange's messages.

Prices, quantities and trades are those of `lstmcore.demo.market`; here they get ids and receive times. Ticks come in
bursts: most stand alone, some have dozens behind them within microseconds, and between bursts are milliseconds.
The parameters were chosen so that the gaps' quantiles resemble those of a perpetual future's stream.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from lstmcore.demo import market
from lstmcore.feed.recording import Line, Writer
from lstmcore.layers import Array

SYMBOL = "SIMUSDT"
START_NS = 1_700_000_000 * 10**9  # the first message's receive time
BURST = -0.7, 1.4  # mean and deviation of ln(ticks in a burst); rounded up
LONGEST = 64  # ticks in a burst
BETWEEN = np.log(4e6), 1.5  # ... of ln(ns between two bursts)
WITHIN = np.log(1e3), 0.8  # ... of ln(ns between two ticks of a burst)
LEAST_GAP = 400.0  # ns between two ticks
TRADE_LEAD = 5000  # ns that a tick's trades may come before it


def lines(ticks: int, seed: int) -> Iterator[Line]:
    """The messages of `ticks` ticks, each behind its trades. The first n are the same however many are asked for.

    Raises:
        ValueError: Fewer than one tick.
    """
    quotes = market.simulate(ticks, seed)
    received = START_NS + np.cumsum(_gaps(ticks, seed)).astype(np.int64)
    skipped = np.random.default_rng([seed, 104]).geometric(0.02, ticks)
    update_ids = np.cumsum(skipped)  # updates below the best prices have ids too, and are not told
    columns = zip(
        received.tolist(),
        update_ids.tolist(),
        *(column.tolist() for column in vars(quotes).values()),
        strict=True,
    )
    trade_id, before = 0, START_NS
    for at, update_id, bid, ask, bid_size, ask_size, bought, sold, trades, _ in columns:
        lead = min(at - before, TRADE_LEAD)
        for n in range(int(trades)):
            trade_id += 1
            time = at - lead + lead * (n + 1) // (int(trades) + 1)
            yield Line(time, _trade(trade_id, ask if bought else bid, (bought + sold) / trades, not bought, time))
        yield Line(at, _quote(update_id, bid, bid_size, ask, ask_size, at))
        before = at


def write(path: str | os.PathLike[str], ticks: int, seed: int) -> None:
    """Write such a recording, the same bytes for the same seed; compressed where the name ends in .gz.

    Raises:
        ValueError: Fewer than one tick.
        FileNotFoundError: No such folder.
    """
    with Writer(path) as file:
        for line in lines(ticks, seed):
            file.write(*line)


def _gaps(ticks: int, seed: int) -> Array:
    """Nanoseconds between each tick and the one before, (ticks,)."""
    sizes, between, within = (
        np.random.default_rng([seed, 101 + n]).lognormal(*parameters, ticks)
        for n, parameters in enumerate((BURST, BETWEEN, WITHIN))
    )
    first = np.zeros(ticks, bool)
    starts = np.concatenate([[0], np.cumsum(np.ceil(np.minimum(sizes, LONGEST)))]).astype(np.int64)
    first[starts[starts < ticks]] = True
    return np.maximum(np.where(first, between, within), LEAST_GAP)


def _quote(update_id: int, bid: float, bid_size: float, ask: float, ask_size: float, ns: int) -> bytes:
    ms = ns // 10**6
    return (
        f'{{"stream":"{SYMBOL.lower()}@bookTicker","data":{{"e":"bookTicker","u":{update_id},"s":"{SYMBOL}",'
        f'"b":"{bid:.2f}","B":"{bid_size:.3f}","a":"{ask:.2f}","A":"{ask_size:.3f}","T":{ms},"E":{ms}}}}}'
    ).encode()


def _trade(trade_id: int, price: float, quantity: float, seller_started: bool, ns: int) -> bytes:
    ms = ns // 10**6
    side = "true" if seller_started else "false"
    return (
        f'{{"stream":"{SYMBOL.lower()}@trade","data":{{"e":"trade","E":{ms},"T":{ms},"s":"{SYMBOL}","t":{trade_id},'
        f'"p":"{price:.2f}","q":"{max(quantity, 1e-3):.3f}","X":"MARKET","m":{side}}}}}'
    ).encode()
