"""What can go wrong on the way from an exchange, done to a stream of messages on purpose, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lstmcore.feed.recording import Line

QUOTE = b'"e":"bookTicker"'
NEWEST = 1 << 62  # an id that is newer than all others: what is dropped must not be remembered by it
#: Messages that nobody can use, by what the bot is expected to count them as.
BAD = (
    ("malformed", b'{"stream":"bad@bookTicker","data":{"e":"bookTicker","u":7,"b":"61'),
    ("malformed", b"\xff\xfe\x00 not even text"),
    ("malformed", b""),
    ("malformed", b'{"stream":"bad@trade","data":{"e":"trade","t":7,"p":"one","q":"1","m":false}}'),
    ("bad_values", b'{"data":{"e":"bookTicker","u":%d,"b":"NaN","B":"1","a":"2","A":"1"}}' % NEWEST),
    ("bad_values", b'{"data":{"e":"trade","t":%d,"p":"1","q":"-3","m":true}}' % NEWEST),
    ("crossed", b'{"data":{"e":"bookTicker","u":%d,"b":"2","B":"1","a":"1","A":"1"}}' % NEWEST),
)


@dataclass(frozen=True)
class Faults:
    """How often each happens: at every so manieth message of the recording; 0: never."""

    disconnect_every: int = 0
    lose: int = 0  # messages that are lost with a connection
    duplicate_every: int = 0
    reorder_every: int = 0  # the next quote comes before this one
    malformed_every: int = 0


def inject(lines: Iterable[Line], faults: Faults, done: Counter[str]) -> Iterator[Line | None]:
    """The messages with faults among them; None: the connection breaks here. `done` counts what was done."""
    lost = 0
    bad = 0
    held: Line | None = None
    hold = False
    for n, line in enumerate(lines, 1):
        if _due(n, faults.disconnect_every):
            yield None
            done["disconnects"] += 1
            lost = faults.lose
        if lost:
            lost -= 1
            done["lost"] += 1
            continue
        if _due(n, faults.malformed_every):
            kind, payload = BAD[bad % len(BAD)]
            bad += 1
            done[kind] += 1
            yield Line(line.received_ns, payload)
        hold = hold or _due(n, faults.reorder_every)
        is_quote = QUOTE in line.payload
        if hold and is_quote and held is None:
            held, hold = line, False
            continue
        yield line
        if _due(n, faults.duplicate_every):
            done["duplicates"] += 1
            yield line
        if held is not None and is_quote:
            done["out_of_order"] += 1
            yield Line(line.received_ns, held.payload)
            held = None
    if held is not None:
        yield held


def _due(n: int, every: int) -> bool:
    return every > 0 and n % every == 0
