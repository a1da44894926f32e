"""Features of every tick, kept up to date message by message.

A tick is a quote: an update of the best bid and ask. By default it has the ten features of
`lstmcore.demo.market.features`, in the same order, so that the shipped model takes them; there are two more to choose.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import log, log1p, sqrt
from operator import itemgetter

import numpy as np

from lstmcore.demo import market
from lstmcore.feed.clock import NS_PER, unit_of
from lstmcore.feed.messages import MARKET, Depth, Message, Quote, Trade
from lstmcore.inputs import as_out
from lstmcore.layers import Array
from lstmcore.text import quoted

#: Every feature there is, by name. The first ten are defined in `lstmcore.demo.market.features`; the others:
#: order_flow  change of the quantities at the best prices since the tick before: what came at the bid or went from
#:             the ask, less what went from the bid or came at the ask (Cont, Kukanov and Stoikov 2014, "The price
#:             impact of order book events", equation 10)
#: elapsed     ln(1 + time since the tick before, by the receive times, in microseconds)
NAMES = (*market.FEATURES, "order_flow", "elapsed")
SMALLEST, LARGEST = 1e-15, 1e15  # of prices and quantities; beyond, float32 would not hold what is made of them
SILENCE_MS = 1000
OLD_IN_A_ROW = 100  # messages of a kind with older ids, and none with a newer one among them: the ids began anew


@dataclass
class Counts:
    """What came, and what became of it. A message is counted once, apart from `gaps`."""

    ticks: int = 0  # quotes that were taken
    trades: int = 0  # trades that were taken
    depth: int = 0  # depth updates that were taken
    duplicates: int = 0  # dropped: the id of the last of their kind
    out_of_order: int = 0  # dropped: an older id than the last of their kind
    bad_values: int = 0  # dropped: a price or quantity that is 0, negative, NaN, or beyond reason
    not_market: int = 0  # dropped: a trade that no order in the book made, such as an insurance fund's
    crossed: int = 0  # dropped: a bid that is not below the ask
    gaps: int = 0  # times that messages were missing, and everything began anew
    restarts: int = 0  # gaps at which the ids began anew with lower ones, as after some reconnects


class Features:
    """The features of the newest tick, in a buffer that stays where it is.

    >>> from lstmcore.feed.features import Features
    >>> from lstmcore.feed.messages import Quote
    >>> features = Features(tick_size=0.1, names=("imbalance", "spread"))
    >>> features.take(Quote(update_id=1, bid=99.5, bid_size=3, ask=99.7, ask_size=1))
    True
    >>> features.out
    array([0.5, 2. ], dtype=float32)

    Args:
        tick_size: The smallest step of a price.
        names: Which of `NAMES`, in the order that the model takes them.
        out: Where the features go, (len(names),) float32, such as `stream.input`; None: a new array.
        silence_ms: Two quotes that are further apart than this, by the exchange's times, have a gap between them.

    Raises:
        ValueError: A name that there is not, a tick size that no price has, a silence that is not above 0, or an `out`
            of another shape or dtype, or of a subclass of arrays.

    Messages that are missing show in the ids of trades, which follow each other one by one, in those of depth
    updates, which name the one before, and in a silence. Then everything is forgotten: see `Counts.gaps`.
    What is dropped is not missing: the id and the time of a message that follows the last one count as seen.

    A lower id is an old message's, unless the exchange's time of the quote is newer than that of all before it, or a
    hundred such messages of a kind came in a row: then the ids began anew, see `Counts.restarts`.
    The exchange's times may be in s, ms, µs or ns: their size says in which, and one of no such size is taken as ms.
    """

    def __init__(
        self,
        tick_size: float,
        names: Sequence[str] = market.FEATURES,
        out: Array | None = None,
        silence_ms: float = SILENCE_MS,
    ) -> None:
        for name in names:
            if name not in NAMES:
                raise ValueError(f"names: expected some of {', '.join(NAMES)}, got {quoted(name)}")
        if not names:
            raise ValueError(f"names: expected at least one of {', '.join(NAMES)}")
        if not SMALLEST <= tick_size <= LARGEST:  # beyond, float32 would not hold a spread in ticks either
            raise ValueError(f"tick_size: expected {SMALLEST:g} to {LARGEST:g}, got {quoted(tick_size)}")
        if not silence_ms > 0:  # infinity: no silence is a gap
            raise ValueError(f"silence_ms: expected more than 0, got {quoted(silence_ms)}")
        if out is None:
            self._buffer = memoryview(bytearray(4 * len(names)))
            out = np.frombuffer(self._buffer, np.float32)
        else:
            self._buffer = as_out(out, (len(names),), np.dtype(np.float32)).data.cast("B")
        self.out = out
        self.names = tuple(names)
        self.counts = Counts()
        #: In which unit the exchange tells its times, a key of `clock.NS_PER`; "" where it has told none.
        self.exchange_unit = ""
        self._tick_size, self._silence_ms = tick_size, silence_ms
        self._silence = silence_ms  # in the exchange's unit
        self._pack = struct.Struct(f"{len(names)}f").pack_into
        places = [NAMES.index(name) for name in names]
        self._pick = itemgetter(*places) if len(places) > 1 else lambda values: (values[places[0]],)
        self._mids: deque[float] = deque(maxlen=21)  # the newest last
        self.reset()

    def take(self, message: Message | None, received_ns: int = 0) -> bool:
        """Take one message; whether it was a tick, whose features now stand in `out`.

        Args:
            message: What `Parser` made of it. None is nothing.
            received_ns: When it came, for the feature `elapsed`; only differences matter.
        """
        kind = type(message)
        if kind is Quote:
            return self._take_quote(message, received_ns)  # type: ignore[arg-type]  # `is` is faster than isinstance
        if kind is Trade:
            self._take_trade(message)  # type: ignore[arg-type]
        elif kind is Depth:
            self._take_depth(message)  # type: ignore[arg-type]
        return False

    def reset(self) -> None:
        """Forget everything but the counts: the next messages may have any ids and times."""
        self._quote_id = self._trade_id = self._depth_id = -1
        self._event_time = 0
        self._old: dict[type, tuple[int, int]] = {}  # of each kind: the last id, and how many older came since
        self._start_over()

    def _start_over(self) -> None:
        """Forget what features are made of, but not how far the ids and times have come."""
        self._mids.clear()
        self._received_ns = 0
        self._bought = self._sold = 0.0
        self._trades = 0
        self._bid = self._bid_size = self._ask = self._ask_size = 0.0
        self._flow = self._intensity = self._variance = self._depth = 0.0  # exponential means

    def _gap(self) -> None:
        self.counts.gaps += 1
        self._start_over()

    def _is_old(self, kind: type, new: int, last: int, *, newer: bool = False) -> bool:
        """Whether to drop a message for its id; `newer`: its time is newer than that of the last one."""
        if new > last:
            return False
        if new == last:
            self.counts.duplicates += 1
            return True
        before, many = self._old.get(kind, (last, 0))
        many = many + 1 if before == last else 1
        self._old[kind] = last, many
        if newer or many == OLD_IN_A_ROW:
            self.counts.restarts += 1
            self.counts.gaps += 1
            self.reset()
            return False
        self.counts.out_of_order += 1
        return True

    def _set_unit(self, event_time: int) -> None:
        """Find out in which unit the exchange tells its times, from the first one after a gap."""
        self.exchange_unit = unit_of(event_time) or "ms"
        self._silence = self._silence_ms * NS_PER["ms"] / NS_PER[self.exchange_unit]

    def _take_trade(self, trade: Trade) -> None:
        if self._is_old(Trade, trade.trade_id, self._trade_id):
            return
        quantity = trade.quantity
        is_market = trade.kind == MARKET
        if not (is_market and SMALLEST <= quantity <= LARGEST and SMALLEST <= trade.price <= LARGEST):
            if is_market:
                self.counts.bad_values += 1
            else:
                self.counts.not_market += 1
            if trade.trade_id == self._trade_id + 1:  # dropped, not missing; of other ids nothing is known
                self._trade_id = trade.trade_id
            return
        if trade.trade_id > self._trade_id + 1 and self._trade_id >= 0:
            self._gap()
        self._trade_id = trade.trade_id
        self.counts.trades += 1
        self._trades += 1
        if trade.seller_started:
            self._sold += quantity
        else:
            self._bought += quantity

    def _take_depth(self, depth: Depth) -> None:
        if self._is_old(Depth, depth.update_id, self._depth_id):
            return
        if self._depth_id >= 0:
            if depth.previous_id:
                missing = depth.previous_id != self._depth_id
            else:
                missing = depth.first_id > self._depth_id + 1
            if missing:
                self._gap()
        self._depth_id = depth.update_id
        self.counts.depth += 1

    def _take_quote(self, quote: Quote, received_ns: int) -> bool:
        event_time = quote.event_time
        bid, bid_size, ask, ask_size = quote.bid, quote.bid_size, quote.ask, quote.ask_size
        if not (
            SMALLEST <= bid <= LARGEST
            and SMALLEST <= ask <= LARGEST
            and SMALLEST <= bid_size <= LARGEST
            and SMALLEST <= ask_size <= LARGEST
        ):
            self.counts.bad_values += 1
            self._drop_quote(event_time)
            return False
        if bid >= ask:
            self.counts.crossed += 1
            self._drop_quote(event_time)
            return False
        apart = event_time - self._event_time if self._event_time else 0
        if quote.update_id <= self._quote_id and self._is_old(Quote, quote.update_id, self._quote_id, newer=apart > 0):
            return False
        if (apart > self._silence or apart < -self._silence) and event_time and self._mids:
            self._gap()
        if not self._mids and event_time:
            self._set_unit(event_time)
        self._quote_id, self._event_time = quote.update_id, event_time
        self.counts.ticks += 1

        mids = self._mids
        mid, total = (bid + ask) / 2, bid_size + ask_size
        net = self._bought - self._sold
        if mids:
            return_1 = 1e4 * (mid / mids[-1] - 1)
            self._flow += (net - self._flow) / 5
            self._intensity += (self._trades - self._intensity) / 20
            self._variance += (return_1 * return_1 - self._variance) / 50
            self._depth += (total - self._depth) / 100
            order_flow = (bid_size if bid >= self._bid else 0.0) - (self._bid_size if bid <= self._bid else 0.0)
            order_flow += (self._ask_size if ask >= self._ask else 0.0) - (ask_size if ask <= self._ask else 0.0)
            elapsed = log1p(max(0, received_ns - self._received_ns) / 1e3)
        else:  # what has no tick before it is as if the market had stood like this for ever
            mids.extend([mid] * 20)
            return_1 = order_flow = elapsed = 0.0
            self._flow, self._intensity, self._depth = net, float(self._trades), total
        mids.append(mid)
        self._bought = self._sold = 0.0
        self._trades = 0
        self._bid, self._bid_size, self._ask, self._ask_size = bid, bid_size, ask, ask_size
        self._received_ns = received_ns

        imbalance = (bid_size - ask_size) / total
        spread = (ask - bid) / self._tick_size
        values = (
            imbalance,
            imbalance * spread / 2,
            spread,
            return_1,
            1e4 * (mid / mids[-6] - 1),
            1e4 * (mid / mids[0] - 1),
            self._flow,
            self._intensity,
            sqrt(self._variance),
            log(total / self._depth),
            order_flow,
            elapsed,
        )
        self._pack(self._buffer, 0, *self._pick(values))
        return True

    def _drop_quote(self, event_time: int) -> None:
        """No silence: a quote came, though it cannot be used. A time that does not follow is not believed either."""
        if 0 < event_time - self._event_time <= self._silence and self._event_time:
            self._event_time = event_time
