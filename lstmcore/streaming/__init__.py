"""Sequences that come tick by tick: states carried on, and the exact sliding window.

A stream belongs to one thread at a time. Its answers have the bits that `model(window)` gives.
"""

from lstmcore.streaming.states import digest
from lstmcore.streaming.streams import SlidingWindow, Stateful, Stream

__all__ = ["SlidingWindow", "Stateful", "Stream", "digest"]
