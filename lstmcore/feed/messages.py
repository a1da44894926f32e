"""The exchange's JSON messages, of which the features need three kinds.

A message is an object `{"stream": ..., "data": {"e": kind, ...}}`. Prices and quantities are strings in it. Of what
stands in a message only the fields below are read; the rest is skipped without being built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lstmcore.terminal import need

if TYPE_CHECKING:
    import msgspec
else:
    msgspec = need("msgspec", "live")


class Quote(
    msgspec.Struct,
    tag_field="e",
    tag="bookTicker",
    gc=False,
    rename={"update_id": "u", "bid": "b", "bid_size": "B", "ask": "a", "ask_size": "A", "event_ms": "T"},
):
    """The best bid and ask after an update of the order book."""

    update_id: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    event_ms: int = 0  # the exchange's time, ms since 1970; 0: not told


class Trade(
    msgspec.Struct,
    tag_field="e",
    tag="trade",
    gc=False,
    rename={"trade_id": "t", "price": "p", "quantity": "q", "seller_started": "m"},
):
    """One trade."""

    trade_id: int  # the next trade's is one more
    price: float
    quantity: float
    seller_started: bool  # the buyer's order was in the book, the seller's met it


class Depth(
    msgspec.Struct,
    tag_field="e",
    tag="depthUpdate",
    gc=False,
    rename={"update_id": "u", "previous_id": "pu"},
):
    """An update of the order book, of which only the ids are read: they tell whether messages are missing."""

    update_id: int
    previous_id: int = 0  # of the depth update before; 0: not told


Message = Quote | Trade | Depth


class _Envelope(msgspec.Struct, gc=False):
    data: Message


class _OtherData(msgspec.Struct, gc=False):
    e: str = ""


class _OtherEnvelope(msgspec.Struct, gc=False):
    data: _OtherData | None = None


# not strict: strings that hold numbers are read as numbers
_decode = msgspec.json.Decoder(_Envelope, strict=False).decode
_decode_other = msgspec.json.Decoder(_OtherEnvelope).decode
UNUSABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # all that it raises; not all are documented
_KINDS: set[Any] = {kind.__struct_config__.tag for kind in (Quote, Trade, Depth)}


class Parser:
    """Reads messages, and counts those it cannot use.

    >>> from lstmcore.feed.messages import Parser
    >>> parse = Parser()
    >>> parse(b'{"data": {"e": "bookTicker", "u": 7, "b": "99.5", "B": "3", "a": "99.6", "A": "1", "T": 1723161256}}')
    Quote(update_id=7, bid=99.5, bid_size=3.0, ask=99.6, ask_size=1.0, event_ms=1723161256)
    >>> parse(b'{"data": {"e": "bookTicker", "u": 8, "b": "99'), parse.malformed
    (None, 1)
    """

    def __init__(self) -> None:
        #: Messages that are not JSON, or lack a field, or have a value of another kind in it.
        self.malformed = 0
        #: Sound messages of other kinds: answers to requests, snapshots, other events.
        self.other = 0

    def __call__(self, payload: bytes) -> Message | None:
        """The message, or None for one that cannot be used. Raises nothing."""
        try:
            return _decode(payload).data
        except UNUSABLE:
            self._count(payload)
            return None

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
