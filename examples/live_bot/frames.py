"""WebSocket frames (RFC 6455, section 5.2), cut out of what a socket gave, one at a time.

The websockets package reads all frames of a chunk before the first can be used, some 5 µs each, so that in a burst
the first tick would wait for the last. Here the first is handed out before the second is looked at.
"""

from __future__ import annotations

LONGEST = 1 << 20  # bytes of one message
FINAL, RESERVED = 0x80, 0x70
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class Frames:
    """Bytes in, frames out; a frame may come in any number of pieces."""

    def __init__(self, data: bytes = b"") -> None:
        self._buffer, self._at = data, 0

    def feed(self, data: bytes) -> None:
        """Take what came next."""
        self._buffer = self._buffer[self._at :] + data
        self._at = 0

    def next(self) -> tuple[int, bytes] | None:
        """The next frame's first byte (FINAL and the kind) and its payload; None where it has not all come.

        Raises:
            ConnectionError: A masked frame, which servers do not send, an extension's, or one that is too long.
        """
        buffer, at = self._buffer, self._at
        if len(buffer) < at + 2:
            return None
        first, length, start = buffer[at], buffer[at + 1], at + 2
        if length >= 126:
            if length > 127:
                raise ConnectionError("a masked frame came, which servers do not send")
            start = at + (4 if length == 126 else 10)
            if len(buffer) < start:
                return None
            length = int.from_bytes(buffer[at + 2 : start], "big")
            if length > LONGEST:
                raise ConnectionError(f"a frame of {length:,} bytes came; at most {LONGEST:,} are taken")
        if first & RESERVED:
            raise ConnectionError(f"a frame of an extension came (first byte {first:#x}), and none was asked for")
        end = start + length
        if len(buffer) < end:
            return None
        self._at = end
        return first, buffer[start:end]
