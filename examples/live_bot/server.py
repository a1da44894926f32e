"""A WebSocket server that replays a recording, as the exchange would send it, to one client after the other.

    python examples/live_bot/server.py RECORDING [--port N] [--speed X]

Messages go out at the recorded times, `--speed` times as fast; with `--speed 0`, as fast as they are taken. A client
that comes back after its connection broke goes on where the recording is. The first line on stdout says the port; when
the recording is at its end the connection is closed with code 1000, and the last line says which faults there were.
"""

from __future__ import annotations

import argparse
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields

from faults import Faults, inject

from lstmcore import terminal
from lstmcore.feed.recording import Line, Recording

terminal.ask_or_exit("live", "websockets")

from websockets.exceptions import ConnectionClosed  # noqa: E402  # behind the question
from websockets.sync.server import ServerConnection, serve  # noqa: E402

SPIN = 200e-6  # seconds before a message's time in which sleeping would be too coarse


class Replay:
    """The one stream that all connections share, one after the other."""

    def __init__(self, messages: Iterator[Line | None], speed: float) -> None:
        self.messages, self.speed = messages, speed
        self.ended = threading.Event()
        self._one = threading.Lock()

    def __call__(self, connection: ServerConnection) -> None:
        """Send until the connection breaks or the recording ends."""
        with self._one:
            first: tuple[int, float] | None = None  # receive time of the connection's first message, and when it went
            for message in self.messages:
                if message is None:
                    connection.socket.shutdown(socket.SHUT_WR)  # no goodbye
                    return
                first = first or (message.received_ns, time.perf_counter())
                if self.speed:
                    wait_until(first[1] + (message.received_ns - first[0]) / 1e9 / self.speed)
                try:
                    connection.send(message.payload, text=_is_text(message.payload))
                except ConnectionClosed:  # the client went; this message is lost
                    return
            self.ended.set()


def _is_text(payload: bytes) -> bool:
    """What is not UTF-8 may go as binary only."""
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def wait_until(due: float) -> None:
    """Sleep until shortly before `due` on time.perf_counter, then wait busily: gaps of microseconds are kept."""
    while (left := due - time.perf_counter()) > 0:
        if left > SPIN:
            time.sleep(left - SPIN)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a client has seen the recording's end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free (0)")
    add_replay_arguments(parser)
    options = parser.parse_args(argv)
    faults = Faults(**{field.name: getattr(options, field.name) for field in fields(Faults)})
    done: Counter[str] = Counter()
    replay = Replay(inject(Recording(options.recording), faults, done), options.speed)
    with serve(replay, "127.0.0.1", options.port, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        print(json.dumps({"port": server.socket.getsockname()[1]}), flush=True)
        replay.ended.wait()
        server.shutdown()
        thread.join()
    print(json.dumps(done), flush=True)
    return 0


def add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    """What `run.py` takes too, and hands on."""
    parser.add_argument("--speed", type=float, default=1.0, help="times the recorded speed; 0: no waiting (1)")
    for field in fields(Faults):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=int, default=0, metavar="N", help="a fault to inject: see faults.py (0: none)")


if __name__ == "__main__":
    raise SystemExit(main())
