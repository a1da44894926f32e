"""A WebSocket client for someone in a hurry: a blocking socket, no event loop, and the time of every read."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator

from frames import BINARY, CLOSE, CONTINUATION, FINAL, LONGEST, PING, PONG, TEXT, Frames
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

CHUNK = 1 << 16  # bytes that one read may give
IDLE = 500e-6  # seconds of waiting from one call of `idle` to the next
NORMAL = 1000  # the code of a close that was meant


class Connection:
    """One connection to a server.

    Args:
        uri: ws://host:port/path, or wss:// for TLS.
        timeout: Seconds; a server that is silent for so long is taken to be gone.
        spin: Ask the socket again and again in place of sleeping.
        idle: Called now and then while it spins and nothing comes.

    Raises:
        OSError: Nobody there, or no WebSocket server; ConnectionError and TimeoutError are such.
    """

    def __init__(self, uri: str, timeout: float = 30.0, spin: bool = False, idle: Callable[[], object] | None = None):
        #: When the newest chunk was read, by time.perf_counter_ns.
        self.read_ns = 0
        #: The same moment in nanoseconds since 1970.
        self.received_ns = 0
        self._timeout, self._idle = timeout, idle
        target = parse_uri(uri)
        self._socket = socket.create_connection((target.host, target.port), timeout)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if target.secure:
                self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=target.host)
            self._frames = Frames(self._shake_hands(ClientProtocol(target)))
            if spin:
                self._socket.setblocking(False)
        except BaseException:
            self.close()
            raise

    def messages(self) -> Iterator[bytes]:
        """The messages, one by one, until the server closes as it should.

        Raises:
            OSError: The connection broke, or the server closed it for a reason.
        """
        parts: list[bytes] = []  # of a message in several frames
        while True:
            while frame := self._frames.next():
                first, payload = frame
                if first in (FINAL | TEXT, FINAL | BINARY):
                    yield payload
                elif first & ~FINAL in (TEXT, BINARY, CONTINUATION):
                    parts.append(payload)
                    if sum(map(len, parts)) > LONGEST:
                        raise ConnectionError(f"a message of more than {LONGEST:,} bytes came")
                    if first & FINAL:
                        yield b"".join(parts)
                        parts.clear()
                elif first == FINAL | PING:
                    self._send(Opcode.PONG, payload)
                elif first == FINAL | CLOSE:
                    self._send(Opcode.CLOSE, payload)
                    code = int.from_bytes(payload[:2], "big")
                    if code != NORMAL:
                        raise ConnectionError(f"the server closed the connection with code {code}")
                    return
                elif first != FINAL | PONG:
                    raise ConnectionError(f"a frame of an unknown kind came (first byte {first:#x})")
            self._frames.feed(self._read())

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def _read(self) -> bytes:
        data = self._receive()
        self.read_ns, self.received_ns = time.perf_counter_ns(), time.time_ns()
        if not data:
            raise ConnectionError("the connection broke off")
        return data

    def _receive(self) -> bytes:
        start = called = time.perf_counter()
        while True:
            try:
                return self._socket.recv(CHUNK)
            except (BlockingIOError, ssl.SSLWantReadError):  # noqa: PERF203  # how a socket that spins says "not yet"
                now = time.perf_counter()
                if now - start > self._timeout:
                    raise TimeoutError(f"the server was silent for {self._timeout:g} s") from None
                if self._idle is not None and now - called > IDLE:
                    self._idle()
                    called = time.perf_counter()

    def _send(self, kind: Opcode, payload: bytes) -> None:
        self._socket.sendall(Frame(kind, payload).serialize(mask=True))

    def _shake_hands(self, protocol: ClientProtocol) -> bytes:
        """The opening handshake; what came behind it already."""
        protocol.send_request(protocol.connect())
        for data in protocol.data_to_send():
            self._socket.sendall(data)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._read()
            if len(answer) > LONGEST:
                raise ConnectionError("no end of the handshake's answer")
        head, end, rest = answer.partition(b"\r\n\r\n")
        protocol.receive_data(head + end)
        if protocol.state is not State.OPEN:
            reason = protocol.handshake_exc or f"the server said {head[:80]!r}"
            raise ConnectionError(f"no WebSocket handshake: {reason}")
        return rest
