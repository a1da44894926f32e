"""Damaged bytes."""

from __future__ import annotations

import random

NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
SEVERAL = (1, 1, 1, 2, 4, 16)  # how many damages a copy has


def mutated(data: bytes, draw: random.Random) -> bytes:
    """A damaged copy."""
    out = bytearray(data)
    for _ in range(draw.choice(SEVERAL)):
        if not out:
            break
        at = draw.randrange(len(out))
        size = min(draw.choice((1, 2, 4, 8, 16, 64)), len(out) - at)
        kind = draw.randrange(7)
        if kind == 0:
            out[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            out[at] = draw.choice((0, 0xFF, 0x7F, 0x80, draw.randrange(256)))
        elif kind == 2:
            number = draw.choice((*NUMBERS, len(data), draw.getrandbits(64))).to_bytes(
                16, draw.choice(("little", "big"))
            )
            out[at : at + size] = (number[:size] if draw.random() < 0.5 else number[-size:])[: len(out) - at]
        elif kind == 3:
            del out[at : at + size]
        elif kind == 4:
            out[at:at] = out[at : at + size]
        elif kind == 5:
            other = draw.randrange(len(out))
            out[at : at + size] = out[other : other + size]
        else:
            del out[at:]
    return bytes(out)
