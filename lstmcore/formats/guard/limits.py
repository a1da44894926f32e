"""How much memory a file may ask for, by its size: what packed, shared or repeated parts are held to."""

from __future__ import annotations

RATIO = 8  # bytes for each byte of the file; trained weights hardly shrink when they are packed
FLOOR = 4 << 20  # bytes that any file may take
MAX_EXTENT = 1 << 48  # elements, an empty axis counted as 1: numpy multiplies all axes as 64-bit integers


def allowed(size: int) -> int:
    """The most that a file of `size` bytes may become, in bytes."""
    return FLOOR + RATIO * size
