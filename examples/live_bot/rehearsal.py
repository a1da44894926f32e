"""What the bot does while nothing comes: the same as ever, with made-up ticks, so that the caches stay warm.

A processor that did something else for some milliseconds has forgotten code, model and all; the first tick after that
takes several times as long. A rehearsal may also be in the way of a tick that comes meanwhile, by its own length.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot import Bot

QUOTE = b'{"stream":"none@bookTicker","data":{"e":"bookTicker","u":%d,"s":"NONE","b":"1.0","B":"1","a":"1.1","A":"2"}}'


class Rehearsal:
    """Callable; its bot is one of its own, with the model of the real one."""

    def __init__(self, bot: Bot) -> None:
        self.bot = bot
        self._ids = itertools.count(1)

    def __call__(self) -> None:
        """Take one tick, from parsing to catching up, and forget the answer."""
        self.bot.take(QUOTE % next(self._ids), 0, 0)
        del self.bot.stamps[:], self.bot.answers[:]
