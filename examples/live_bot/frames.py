"""Messages of a WebSocket (RFC 6455), cut out of what a socket gave, one at a time.

The websockets package reads all frames of a chunk before the first can be used, some 5 µs each, so that in a burst the
first tick would wait for the last. Here a message that came in one frame, as ticks do, is handed out before the next is
looked at; all other frames (pieces of a message, pings, closing, what no server may send) are left to the package.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from websockets.client import ClientProtocol
from websockets.frames import Close, CloseCode, Opcode
from websockets.protocol import State

BROKEN = "the server broke the WebSocket protocol"
LONGEST = 1 << 20  # bytes of one message
TEXT, BINARY = PLAIN = 0x81, 0x82  # the first byte of a message in one frame


class Frames:
    """Bytes in, messages out; a frame may come in any number of pieces.

    Args:
        protocol: After the opening handshake.
        send: Called with what has to be sent: answers to pings and to closing.
        data: What came behind the handshake.
    """

    def __init__(self, protocol: ClientProtocol, send: Callable[[bytes], object], data: bytes = b"") -> None:
        #: What the server closed with, once it did; no messages come after that.
        self.closed: Close | None = None
        self._protocol, self._send = protocol, send
        self._buffer, self._at = data, 0
        self._more: list[bytes] = []  # came behind the buffer, and is too little for a frame yet
        self._lacking = 0  # bytes without which there is no frame
        self._between = True  # no message in several frames is half here
        self._parts = bytearray()  # of a message in several frames
        self._kind = BINARY  # of that message

    @property
    def unfinished(self) -> bool:
        """Whether a part of a message, or of a frame, has come and the rest has not."""
        return self._at < len(self._buffer) or bool(self._more) or self._protocol.current_size is not None

    def feed(self, data: bytes) -> None:
        """Take what came next."""
        self._lacking -= len(data)
        if self._at == len(self._buffer) and not self._more:
            self._buffer, self._at = data, 0  # the usual case: a burst is not copied
            return
        self._more.append(data)
        if self._lacking <= 0:  # joined once a frame, however many pieces it comes in
            self._buffer = b"".join((self._buffer[self._at :], *self._more))
            self._at = 0
            self._more.clear()

    def next(self) -> bytes | None:
        """The next message; None where it has not all come, or the connection is closed.

        Raises:
            ConnectionError: Something that no server may send, or a message that is too long.
        """
        buffer, at = self._buffer, self._at
        if self._between and len(buffer) >= at + 4:
            first, length, start = buffer[at], buffer[at + 1], at + 2
            if length == 126:
                start, length = at + 4, buffer[at + 2] << 8 | buffer[at + 3]
            elif length > 126:
                return self._other()
            end = start + length
            if first in PLAIN and end <= len(buffer):
                self._at = end
                message = buffer[start:end]
                return message if message.isascii() else self._checked(first, message)
        return self._other()

    def _other(self) -> bytes | None:
        """`next`, whatever comes next: all that is not usual takes this way."""
        while self._lacking <= 0 and self.closed is None:
            buffer, at = self._buffer, self._at
            if self._lacks(at + 2):
                break
            length, start = buffer[at + 1], at + 2
            masked = length > 127
            if length in (126, 127):
                start = at + (4 if length == 126 else 10)
                if self._lacks(start):
                    break
                length = int.from_bytes(buffer[at + 2 : start], "big")
            # What is wrong in the header already is refused with it: nobody waits for the rest.
            end = start if masked or length > LONGEST else start + length
            if self._lacks(end):
                break
            self._at = end
            message = self._hand_over(buffer[at:end])
            self._between = self._protocol.current_size is None and self.closed is None
            if message is not None:
                return message
        return None

    def _lacks(self, end: int) -> bool:
        """Whether the buffer ends before `end`; then there is nothing to do until it does not."""
        self._lacking = end - len(self._buffer)
        return self._lacking > 0

    def _hand_over(self, frame: bytes) -> bytes | None:
        """Let the package take a frame; the message that is whole with it."""
        protocol = self._protocol
        protocol.receive_data(frame)
        if protocol.writes:
            self._answer()
        if protocol.parser_exc is not None:
            raise ConnectionError(f"{BROKEN}: {protocol.parser_exc}")
        for event in protocol.events_received():
            if event.opcode is Opcode.CLOSE:
                self.closed = protocol.close_rcvd
            elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                if event.opcode is not Opcode.CONT:
                    self._kind = TEXT if event.opcode is Opcode.TEXT else BINARY
                self._parts += event.data
                if event.fin:
                    message = bytes(self._parts)
                    self._parts.clear()
                    return self._checked(self._kind, message)
        return None

    def _checked(self, kind: int, message: bytes) -> bytes:
        """A whole message. Raises ConnectionError for text that is none."""
        if kind == TEXT:
            try:
                message.decode()
            except UnicodeDecodeError as error:
                self._protocol.fail(CloseCode.INVALID_DATA)
                self._answer()
                raise ConnectionError(f"{BROKEN}: text that is not UTF-8: {error}") from None
        return message

    def _answer(self) -> None:
        """Send what the package has to say; where that is goodbye, the server may have left already."""
        with contextlib.suppress(OSError) if self._protocol.state is not State.OPEN else contextlib.nullcontext():
            self._send(b"".join(self._protocol.data_to_send()))
