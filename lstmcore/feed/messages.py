"""The exchange's JSON messages, of which the features need three kinds.

A message is an object `{"stream": ..., "data": {"e": kind, ...}}`. Prices and quantities are strings in it. Of what
stands in a message only the fields below are read; the rest is skipped without being built. The best bid and ask of
a spot market come without a kind and without times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lstmcore.terminal import need
from lstmcore.text import NAME, WORD, clean

if TYPE_CHECKING:
    import msgspec
else:
    msgspec = need("msgspec", "live")


MARKET = "MARKET"  # the kind of a trade between two orders; a spot market has no other, and tells none


class Quote(
    msgspec.Struct,
    tag_field="e",
    tag="bookTicker",
    gc=False,
    rename={
        "update_id": "u",
        "bid": "b",
        "bid_size": "B",
        "ask": "a",
        "ask_size": "A",
        "event_time": "T",
        "symbol": "s",
    },
):
    """The best bid and ask after an update of the order book."""

    update_id: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    event_time: int = 0  # the exchange's, since 1970, in the unit that it tells times in; 0: not told
    symbol: str = ""  # the market's name; "": not told, here and below


class Trade(
    msgspec.Struct,
    tag_field="e",
    tag="trade",
    gc=False,
    rename={"trade_id": "t", "price": "p", "quantity": "q", "seller_started": "m", "kind": "X", "symbol": "s"},
):
    """One trade, or what has a trade's number and is none: see `kind`."""

    trade_id: int  # the next trade's is one more
    price: float
    quantity: float
    seller_started: bool  # the buyer's order was in the book, the seller's met it
    kind: str = MARKET  # others, such as INSURANCE_FUND and NA, were made by no order that met the book
    symbol: str = ""


class Depth(
    msgspec.Struct,
    tag_field="e",
    tag="depthUpdate",
    gc=False,
    rename={"update_id": "u", "previous_id": "pu", "first_id": "U", "symbol": "s"},
):
    """An update of the order book, of which only the ids are read: they tell whether messages are missing."""

    update_id: int
    previous_id: int = 0  # of the depth update before; 0: not told, as on a spot market
    first_id: int = 0  # of the changes that it holds; on a spot market one more than the last id before; 0: not told
    symbol: str = ""


Message = Quote | Trade | Depth


class _Envelope(msgspec.Struct, gc=False):
    data: Message


class _SpotQuote(
    msgspec.Struct, gc=False, rename={"bid": "b", "bid_size": "B", "ask": "a", "ask_size": "A", "update_id": "u"}
):
    """A quote of a spot market, whose form is known by having all of these and no "e"."""

    update_id: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    s: str
    e: msgspec.UnsetType = msgspec.UNSET  # as a type, it allows no value


class _SpotEnvelope(msgspec.Struct, gc=False):
    data: _SpotQuote


class _OtherData(msgspec.Struct, gc=False):
    e: str = ""


class _OtherEnvelope(msgspec.Struct, gc=False):
    data: _OtherData | None = None


# not strict: strings that hold numbers are read as numbers
_decode = msgspec.json.Decoder(_Envelope, strict=False).decode
_decode_spot = msgspec.json.Decoder(_SpotEnvelope, strict=False).decode
_decode_other = msgspec.json.Decoder(_OtherEnvelope).decode
UNUSABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # all that it raises; not all are documented
_KINDS: set[Any] = {kind.__struct_config__.tag for kind in (Quote, Trade, Depth)}
MOST_NAMED = 8  # other symbols that are kept by name


class Parser:
    """Reads messages of one market, and counts those it cannot use.

    >>> from lstmcore.feed.messages import Parser
    >>> parse = Parser()
    >>> parse(b'{"data": {"e": "bookTicker", "u": 7, "s": "X", "b": "99.5", "B": "3", "a": "99.6", "A": "1", "T": 5}}')
    Quote(update_id=7, bid=99.5, bid_size=3.0, ask=99.6, ask_size=1.0, event_time=5, symbol='X')
    >>> parse(b'{"data": {"e": "bookTicker", "u": 8, "b": "99'), parse.malformed
    (None, 1)
    >>> parse(b'{"data": {"e": "trade", "s": "Y", "t": 7, "p": "1", "q": "2", "m": true}}'), parse.other_symbols
    (None, ['Y'])

    Args:
        symbol: The market, as the messages name it, such as "BTCUSDT". None: the one that is named first.
    """

    def __init__(self, symbol: str | None = None) -> None:
        self._own = symbol  # as it came, to compare with
        #: Messages that are not JSON, or lack a field, or have a value of another kind in it.
        self.malformed = 0
        #: Sound messages of other kinds: answers to requests, snapshots, other events.
        self.other = 0
        #: Messages of other markets. One that names none is taken as the market's own.
        self.other_symbol = 0
        #: The names of these markets, in the order in which they came, to be shown; only the first `MOST_NAMED`.
        self.other_symbols: list[str] = []
        #: What was wrong with the first message that could not be used; "" where there was none.
        self.reason = ""

    @property
    def symbol(self) -> str | None:
        """The market whose messages are read, to be shown; None: none has been named yet."""
        return None if self._own is None else clean(self._own, NAME)

    def __call__(self, payload: bytes) -> Message | None:
        """The message, or None for one that cannot be used. Raises nothing."""
        try:
            message = _decode(payload).data
        except UNUSABLE as error:
            spot = self._spot_quote(payload, error)
            if spot is None:
                return None
            message = spot
        if message.symbol != self._own and not self._is_own(message.symbol):
            return None
        return message

    def _is_own(self, symbol: str) -> bool:
        if not symbol:
            return True
        if self._own is None:
            self._own = symbol
            return True
        self.other_symbol += 1
        if len(self.other_symbols) < MOST_NAMED:
            shown = clean(symbol, NAME)
            if shown not in self.other_symbols:
                self.other_symbols.append(shown)
        return False

    def _spot_quote(self, payload: bytes, error: Exception) -> Quote | None:
        """What is no message of a known kind: a spot market's quote, or None, counted."""
        try:
            quote = _decode_spot(payload).data
        except UNUSABLE:
            self._count(payload)
            self.reason = self.reason or clean(error, WORD)
            return None
        return Quote(quote.update_id, quote.bid, quote.bid_size, quote.ask, quote.ask_size, symbol=quote.s)

    def _count(self, payload: bytes) -> None:
        try:
            data = _decode_other(payload).data
        except UNUSABLE:
            self.malformed += 1
            return
        if data is None or data.e not in _KINDS:
            self.other += 1
        else:
            self.malformed += 1
