"""A WebSocket client for someone in a hurry: a blocking socket, no event loop, and the time of every read."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator

from frames import Frames
from websockets.client import ClientProtocol
from websockets.frames import CloseCode
from websockets.protocol import State
from websockets.uri import parse_uri

from lstmcore.text import clean

CHUNK = 1 << 16  # bytes that one read may give
HEAD = 1 << 16  # bytes of the handshake's answer
NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
IDLE = 500e-6  # seconds of waiting from one call of `idle` to the next


class Connection:
    """One connection to a server.

    Args:
        uri: ws://host:port/path, or wss:// for TLS.
        timeout: Seconds, for the opening handshake as a whole, and for a message from its first byte on. A server that
            sends nothing is asked for a sign of life (a ping) after half of them, and taken to be gone after all.
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
        self._timeout, self._idle, self._spin = timeout, idle, spin
        target = parse_uri(uri)
        self._protocol = ClientProtocol(target)
        until = time.perf_counter() + timeout
        self._socket = socket.create_connection((target.host, target.port), timeout)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if target.secure:
                self._socket.settimeout(max(until - time.perf_counter(), 1e-3))
                self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=target.host)
            self._frames = Frames(self._protocol, self._send, self._shake_hands(until))
            self._wait()
        except BaseException:
            self._socket.close()
            raise

    def messages(self) -> Iterator[bytes]:
        """The messages, one by one, until the server closes as it should.

        Raises:
            OSError: The connection broke, the server closed it for a reason or broke the protocol (ConnectionError),
                or it took too long (TimeoutError).
        """
        frames = self._frames
        since: float | None = None  # when the message began of which the rest has not come
        while True:
            came = False
            while (message := frames.next()) is not None:
                came = True
                yield message
            if frames.closed is not None:
                if frames.closed.code != CloseCode.NORMAL_CLOSURE:
                    raise ConnectionError(f"the server closed the connection with code {clean(frames.closed)}")
                return
            if not frames.unfinished:
                since = None
            elif since is None or came:
                since = time.perf_counter()
            elif time.perf_counter() - since > self._timeout:
                raise TimeoutError(f"a message did not end within {self._timeout:g} s")
            frames.feed(self._read(since))

    def close(self) -> None:
        """Say that no more is wanted, where the connection is open, and let go of the socket."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
            with contextlib.suppress(OSError):
                self._socket.setblocking(False)
                self._socket.send(b"".join(self._protocol.data_to_send()))
        self._socket.close()

    def _read(self, since: float | None) -> bytes:
        """What comes next, which may take as long as a ping's answer, unless a message began at `since`."""
        try:
            data = self._receive()
        except TimeoutError:
            if since is None:
                self._protocol.send_ping(b"")
                self._send(b"".join(self._protocol.data_to_send()))
            try:
                data = self._receive()
            except TimeoutError:
                raise TimeoutError(f"the server was silent for {self._timeout:g} s") from None
        return self._stamped(data)

    def _stamped(self, data: bytes) -> bytes:
        self.read_ns, self.received_ns = time.perf_counter_ns(), time.time_ns()
        if not data:
            raise ConnectionError("the connection broke off")
        return data

    def _wait(self) -> None:
        """Let the socket wait for as long as a read may take, or not at all."""
        self._socket.settimeout(0 if self._spin else self._timeout / 2)

    def _receive(self) -> bytes:
        """What comes within half of the timeout. Raises TimeoutError where nothing does."""
        start = called = time.perf_counter()
        while True:
            try:
                return self._socket.recv(CHUNK)
            except NOT_YET:  # noqa: PERF203  # how a socket that spins says so
                now = time.perf_counter()
                if now - start > self._timeout / 2:
                    raise TimeoutError from None
                if self._idle is not None and now - called > IDLE:
                    self._idle()
                    called = time.perf_counter()

    def _send(self, data: bytes) -> None:
        self._socket.settimeout(self._timeout)  # a socket that spins would take what fits, and no more
        self._socket.sendall(data)
        self._wait()

    def _shake_hands(self, until: float) -> bytes:
        """The opening handshake, over at `until` on time.perf_counter; what came behind it already."""
        protocol = self._protocol
        protocol.send_request(protocol.connect())
        self._send(b"".join(protocol.data_to_send()))
        answer, end = bytearray(), -1
        while end < 0:
            self._socket.settimeout(max(until - time.perf_counter(), 1e-3))
            try:
                data = self._stamped(self._socket.recv(CHUNK))
            except TimeoutError:
                data = b""
            if not data or time.perf_counter() > until:
                raise TimeoutError(f"no handshake within {self._timeout:g} s")
            seen = max(0, len(answer) - 3)
            answer += data
            end = answer.find(b"\r\n\r\n", seen)
            if end < 0 and len(answer) > HEAD:
                raise ConnectionError(f"no end of the handshake's answer within {HEAD:,} bytes")
        protocol.receive_data(bytes(answer[: end + 4]))
        protocol.events_received()
        if protocol.state is not State.OPEN:
            said = bytes(answer[: min(end, 80)])
            raise ConnectionError(
                f"no WebSocket handshake: {clean(protocol.handshake_exc or f'the server said {said!r}')}"
            )
        return bytes(answer[end + 4 :])
