"""examples/live_bot's WebSocket against servers that misbehave, and against the websockets package on any bytes."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("msgspec", reason="msgspec is not installed; the bot reads messages with it")
pytest.importorskip("websockets", reason="websockets is not installed; the bot needs it")

from connection import HEAD, Connection
from frames import LONGEST, Frames
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri
from websockets.utils import accept_key

TEXT, BINARY, CONT, CLOSE, PING = Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.CLOSE, Opcode.PING
PATIENCE = 0.4  # seconds, of the connections under test
Script = Callable[[socket.socket], None]


def frame(kind: Opcode, payload: bytes = b"", fin: bool = True) -> bytes:
    """As a server sends it, be it allowed or not."""
    size = len(payload)
    length = (
        bytes([size]) if size < 126 else struct.pack("!BH" if size < 1 << 16 else "!BQ", 126 + (size >> 16 > 0), size)
    )
    return bytes([fin << 7 | kind]) + length + payload


def opened() -> ClientProtocol:
    return ClientProtocol(parse_uri("ws://host/"), state=State.OPEN, max_size=LONGEST)


# --- frames -----------------------------------------------------------------------------------------------------


def taken(pieces: Sequence[bytes]) -> tuple[list[bytes], str, Frames]:
    """The messages in those bytes, what was wrong with what came then, and the frames."""
    frames = Frames(opened(), lambda _: None)
    found: list[bytes] = []
    try:
        for piece in pieces:
            frames.feed(piece)
            found += iter(frames.next, None)
    except ConnectionError as error:
        return found, str(error), frames
    return found, "", frames


def expected(data: bytes) -> tuple[list[bytes], bool]:
    """The same as the websockets package has it: the messages, and whether something is wrong."""
    protocol = opened()
    protocol.receive_data(data)
    found, parts, is_text = [], b"", False
    for each in protocol.events_received():
        if each.opcode in (TEXT, BINARY, CONT):
            is_text = each.opcode is TEXT if each.opcode is not CONT else is_text
            parts += each.data
            if each.fin:
                if is_text and parts.decode(errors="ignore").encode() != parts:
                    return found, True
                found.append(parts)
                parts = b""
    return found, protocol.parser_exc is not None


payloads = st.one_of(
    st.sampled_from([b"", b"x", "µ".encode(), "µ".encode()[:1], "µ".encode()[1:], b"\xff"]),
    st.sampled_from([125, 126, 127, 65535, 65536]).map(lambda n: b"a" * n),
)
codes = st.sampled_from([0, 999, 1000, 1001, 1005, 1006, 1011, 3000, 65535]).map(lambda n: n.to_bytes(2, "big"))
frames = st.one_of(
    st.builds(frame, st.sampled_from([TEXT, BINARY, CONT]), payloads, st.booleans()),
    st.builds(frame, st.sampled_from([PING, Opcode.PONG]), st.binary(max_size=3)),
    st.builds(frame, st.sampled_from(list(Opcode)), payloads, st.booleans()),
    st.builds(lambda code, text: frame(CLOSE, code + text), codes, st.sampled_from([b"", b"bye", b"\xff"])),
    st.binary(max_size=12),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(frames, max_size=8).map(b"".join), st.lists(st.integers(0, 70_000), max_size=6))
@example(frame(TEXT, b"a", fin=False) + frame(PING) + frame(CONT, b"b"), [1, 1, 1])
@example(frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), [])
@example(frame(CONT, b"a"), [])
@example(frame(TEXT, b"a") + frame(TEXT, b"\xff") + frame(TEXT, b"b"), [])
def test_what_the_package_takes_is_taken_and_nothing_else(data: bytes, sizes: list[int]) -> None:
    """However the bytes come: the same messages, and the same streams refused."""
    ends = [0, *itertools.accumulate(sizes), len(data)]
    got, error, frames = taken([data[a:b] for a, b in itertools.pairwise(ends)])
    messages, wrong = expected(data)
    assert got == messages
    # A frame of an unknown kind, or with a reserved bit, is refused once it has come, not before.
    assert bool(error) == wrong or (wrong and frames.unfinished)


REFUSED = {
    "an orphan continuation": (frame(CONT, b"x"), 1002, "unexpected continuation frame"),
    "a message within a message": (frame(TEXT, b"x", False) + frame(TEXT, b"y"), 1002, "expected a continuation frame"),
    "a mask": (Frame(TEXT, b"x").serialize(mask=True), 1002, "incorrect masking"),
    "a reserved bit": (b"\xc1\x01x", 1002, "reserved bits must be 0"),
    "another reserved bit": (b"\x91\x01x", 1002, "reserved bits must be 0"),
    "an unknown kind": (b"\x83\x01x", 1002, "invalid opcode"),
    "an unknown kind of control": (b"\x8b\x00", 1002, "invalid opcode"),
    "a ping in pieces": (frame(PING, b"x", False), 1002, "fragmented control frame"),
    "a long ping": (frame(PING, b"x" * 126), 1002, "control frame too long"),
    "half a code": (frame(CLOSE, b"\x03"), 1002, "close frame too short"),
    "a code that may not be sent": (frame(CLOSE, b"\x03\xed"), 1002, "invalid status code"),
    "a reason that is no text": (frame(CLOSE, b"\x03\xe8\xff"), 1007, "invalid start byte"),
    "text that is none": (frame(TEXT, b"\xff"), 1007, "not UTF-8"),
    "text in pieces that is none": (frame(TEXT, b"\xc2", False) + frame(CONT, b"x"), 1007, "not UTF-8"),
    "a frame that is too long": (b"\x81\x7f" + (LONGEST + 1).to_bytes(8, "big"), 1009, "exceeds limit of 1048576"),
    "a long message in pieces": (
        frame(TEXT, b"x" * 600_000, False) + frame(CONT, b"x" * 600_000),
        1009,
        "exceeds limit of 1048576",
    ),
    "closing within a message": (frame(TEXT, b"x", False) + frame(CLOSE, b"\x03\xe8"), 1002, "incomplete"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_server_may_send(name: str) -> None:
    data, code, text = REFUSED[name]
    sent: list[bytes] = []
    frames = Frames(opened(), sent.append, frame(TEXT, b"before") + data + frame(TEXT, b"behind"))
    assert frames.next() == b"before"
    with pytest.raises(ConnectionError, match=f"the server broke the WebSocket protocol: .*{text}"):
        frames.next()
    server = ServerProtocol(state=State.OPEN)
    server.receive_data(b"".join(sent))
    assert server.close_rcvd is not None
    assert server.close_rcvd.code == code


def test_many_small_pieces_take_linear_time_and_little_memory() -> None:
    """Each would take minutes if every piece were counted or copied again for the next."""
    start = time.perf_counter()
    empty, count = frame(CONT, b"", False), 50_000
    frames = Frames(opened(), lambda _: None, frame(TEXT, b"a", False) + empty * count + frame(CONT, b"b"))
    assert frames.next() == b"ab"
    assert not frames.unfinished
    message = b"x" * (LONGEST - 1)
    data = frame(BINARY, message)
    frames = Frames(opened(), lambda _: None)
    for n in range(len(data) - 1):
        frames.feed(data[n : n + 1])
        assert frames.next() is None
    assert frames.unfinished
    frames.feed(data[-1:])
    assert frames.next() == message
    assert time.perf_counter() - start < 30


# --- a server that misbehaves -----------------------------------------------------------------------------------


def shake_hands(client: socket.socket) -> None:
    """The server's part of the opening handshake, as it should be."""
    client.sendall(b"HTTP/1.1 101 Switching Protocols\r\n" + answer_headers(client) + b"\r\n")


def answer_headers(client: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        request += client.recv(4096)
    key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0].decode()
    return f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept_key(key)}\r\n".encode()


@contextlib.contextmanager
def served(script: Script, hands: Script = shake_hands) -> Iterator[str]:
    """A server whose one client is dealt with by `hands` and `script`; its address. The client may go at any time."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def once() -> None:
            with contextlib.suppress(OSError), listening.accept()[0] as client:
                client.settimeout(20)
                hands(client)
                script(client)

        thread = threading.Thread(target=once)
        thread.start()
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(30)
        assert not thread.is_alive()


def repeat(data: bytes, every: float = 0.02) -> Script:
    """Sends the same again and again, for as long as somebody is there."""

    def script(client: socket.socket) -> None:
        for _ in range(500):
            client.sendall(data)
            time.sleep(every)

    return script


def drip(data: bytes) -> Script:
    """Sends byte after byte, never fast."""

    def script(client: socket.socket) -> None:
        for n in range(len(data)):
            client.sendall(data[n : n + 1])
            time.sleep(0.02)

    return script


def then(data: bytes, script: Script) -> Script:
    def both(client: socket.socket) -> None:
        client.sendall(data)
        script(client)

    return both


def silence(client: socket.socket) -> None:
    """Reads, and says nothing."""
    while client.recv(4096):
        pass


def never_reads(client: socket.socket) -> None:
    """Wants a pong to each of ever more pings, and takes none."""
    while True:
        client.sendall(frame(PING, b"x" * 125) * 500)


def half_close(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
    silence(client)


ENDLESS = {
    "empty fragments": (then(frame(TEXT, b"x", False), repeat(frame(CONT, b"", False))), "did not end within"),
    "fragments and pings": (
        then(frame(TEXT, b"x", False), repeat(frame(CONT, b"y", False) + frame(PING, b"z"))),
        "did not end within",
    ),
    "a drip": (drip(frame(TEXT, b"x" * 1000)), "did not end within"),
    "a drip after messages": (then(frame(TEXT, b"x") * 3, drip(frame(TEXT, b"x" * 1000))), "did not end within"),
    "half a frame": (then(frame(TEXT, b"xyz")[:-1], silence), "was silent for"),
    "silence": (silence, "was silent for"),
    "pongs that nobody takes": (never_reads, "timed out|did not end within"),
}


@pytest.mark.parametrize("spin", [False, True], ids=["waits", "spins"])
@pytest.mark.parametrize("name", ENDLESS)
def test_a_server_that_never_comes_to_an_end(name: str, spin: bool) -> None:
    script, text = ENDLESS[name]
    with served(script) as uri, contextlib.closing(Connection(uri, PATIENCE, spin)) as connection:
        start = time.perf_counter()
        with pytest.raises(TimeoutError, match=text):
            assert list(connection.messages()) == [b"x"] * 3
        assert time.perf_counter() - start < 10


@pytest.mark.parametrize("spin", [False, True], ids=["waits", "spins"])
def test_a_quiet_server_that_answers_pings_is_there(spin: bool) -> None:
    pings: list[bytes] = []

    def quiet(client: socket.socket) -> None:
        server = ServerProtocol(state=State.OPEN)
        until = time.perf_counter() + 3 * PATIENCE
        while time.perf_counter() < until:
            client.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                server.receive_data(client.recv(4096))
            pings.extend(each.data for each in server.events_received() if each.opcode is PING)
            client.sendall(b"".join(server.data_to_send()))
        client.settimeout(20)
        client.sendall(frame(TEXT, b"at last") + frame(CLOSE, b"\x03\xe8"))
        silence(client)

    with served(quiet) as uri, contextlib.closing(Connection(uri, PATIENCE, spin)) as connection:
        assert list(connection.messages()) == [b"at last"]
    assert len(pings) >= 2


def test_pings_are_answered_and_both_sides_say_goodbye() -> None:
    server = ServerProtocol(state=State.OPEN)
    got: list[Frame] = []

    def script(client: socket.socket) -> None:
        client.sendall(
            frame(TEXT, b"a", False) + frame(PING, b"ping") + frame(CONT, b"b") + frame(CLOSE, b"\x03\xe8bye")
        )
        while data := client.recv(4096):
            server.receive_data(data)
            got.extend(server.events_received())

    with served(script) as uri, contextlib.closing(Connection(uri, 10)) as connection:
        assert list(connection.messages()) == [b"ab"]
        connection.close()
    assert [(each.opcode, bytes(each.data)) for each in got] == [(Opcode.PONG, b"ping"), (CLOSE, b"\x03\xe8bye")]

    server, got = ServerProtocol(state=State.OPEN), []
    with served(lambda client: script(client) if client.send(frame(TEXT, b"first")) else None) as uri:
        connection = Connection(uri, 10)
        assert next(connection.messages()) == b"first"
        connection.close()  # in the middle
    assert (got[-1].opcode, bytes(got[-1].data)) == (CLOSE, b"\x03\xe8")


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (half_close, "broke off"),
        (then(frame(TEXT, b"x" * 100)[:50], half_close), "broke off"),
        (then(frame(TEXT, b"x", False), half_close), "broke off"),
        (then(frame(CLOSE, b"\x03\xf3\x1b[2J\n"), silence), r"code 1011 .*\[2J"),
        (then(frame(CLOSE), silence), "code 1005"),
        (then(b"\x00\x01\x02", silence), "broke the WebSocket protocol"),
    ],
)
def test_a_server_that_goes_away_or_talks_nonsense(script: Script, text: str) -> None:
    with served(script) as uri, contextlib.closing(Connection(uri, 10)) as connection:
        with pytest.raises(ConnectionError, match=text) as caught:
            list(connection.messages())
        assert str(caught.value).isprintable()


def says(status: str, more: str = "", accept: bool = True) -> Script:
    def hands(client: socket.socket) -> None:
        headers = answer_headers(client)
        client.sendall(f"HTTP/1.1 {status}\r\n{more}".encode() + headers * accept + b"\r\n")

    return hands


def dripping_hands(client: socket.socket) -> None:
    drip(b"HTTP/1.1 101 Switching Protocols\r\n" + answer_headers(client) + b"X: " + b"x" * 2000)(client)


def endless_hands(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 101 Switching Protocols\r\n" + answer_headers(client))
    for _ in range(2 * HEAD // 100):
        client.sendall(b"X: " + b"x" * 95 + b"\r\n")
    silence(client)


def many_headers(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 101 Switching Protocols\r\n" + answer_headers(client) + b"X: x\r\n" * 1000 + b"\r\n")


WRONG_HANDS = {
    "a drip": (dripping_hands, TimeoutError, "no handshake within"),
    "silence": (silence, TimeoutError, "no handshake within"),
    "no end": (endless_hands, ConnectionError, "no end of the handshake's answer"),
    "many headers": (many_headers, ConnectionError, "no WebSocket handshake"),
    "nothing": (lambda client: client.close(), ConnectionError, ""),
    "nonsense": (lambda client: client.sendall(b"\x1b[2J\xff\r\n\r\n"), ConnectionError, "no WebSocket handshake"),
    "another page": (says("404 Not Found"), ConnectionError, "404"),
    "somewhere else": (says("301 Moved", "Location: ws://other/\r\n"), ConnectionError, "301"),
    "no key": (says("101 Switching Protocols", accept=False), ConnectionError, "missing"),
    "another key": (
        says(
            "101 Switching Protocols", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n", False
        ),
        ConnectionError,
        "Sec-WebSocket-Accept",
    ),
    "compression": (
        says("101 Switching Protocols", "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        ConnectionError,
        "no extensions supported",
    ),
    "a subprotocol": (
        says("101 Switching Protocols", "Sec-WebSocket-Protocol: soap\r\n"),
        ConnectionError,
        "no subprotocols supported",
    ),
}


@pytest.mark.parametrize("name", WRONG_HANDS)
def test_an_opening_handshake_that_is_none(name: str) -> None:
    hands, kind, text = WRONG_HANDS[name]
    start = time.perf_counter()
    with served(silence, hands) as uri, pytest.raises(kind, match=text or None) as caught:
        Connection(uri, PATIENCE if kind is TimeoutError else 10)
    assert str(caught.value).isprintable()
    assert time.perf_counter() - start < 10


def test_what_comes_with_the_handshake_is_read() -> None:
    def hands(client: socket.socket) -> None:
        head = b"HTTP/1.1 101 Switching Protocols\r\n" + answer_headers(client) + b"\r\n"
        client.sendall(head + frame(TEXT, b"one") + frame(TEXT, b"two")[:2])

    with (
        served(then(b"two" + frame(CLOSE, b"\x03\xe8"), silence), hands) as uri,
        contextlib.closing(Connection(uri, 10)) as connection,
    ):
        assert list(connection.messages()) == [b"one", b"two"]
        assert connection.read_ns > 0
