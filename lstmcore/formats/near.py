"""What a misspelt word may have been meant to be, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST = 1 << 10  # words that are looked at: comparing takes time


def near(word: str, known: Iterable[str]) -> str:
    """ "; perhaps 'lstm' or 'lstm_1'"; nothing where no known word is like it."""
    words = list(known)[:MOST]
    small = {each.lower(): each for each in reversed(words)}
    found = [small[each] for each in difflib.get_close_matches(word[:200].lower(), small, 3)]
    return f"; perhaps {' or '.join(map(repr, found))}" if found else ""
