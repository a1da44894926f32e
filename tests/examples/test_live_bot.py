"""examples/live_bot: faults, the connection, the paper position, and the whole run on loopback."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstmcore
from lstmcore.demo.run import MODEL

pytest.importorskip("msgspec", reason="msgspec is not installed; the bot reads messages with it")
pytest.importorskip("websockets", reason="websockets is not installed; the bot and its server need it")

import bot as bots
from connection import Connection
from faults import BAD, Faults, inject
from position import PaperPosition
from websockets.sync.server import ServerConnection, serve

from lstmcore.feed import simulator
from lstmcore.feed.features import Features
from lstmcore.feed.messages import Parser
from lstmcore.feed.recording import Line, Recording

EXAMPLE = Path(__file__).parents[2] / "examples" / "live_bot"
WINDOW, TICK_SIZE = 50, 0.01


@contextlib.contextmanager
def served(handler: Callable[[ServerConnection], None]) -> Iterator[str]:
    """A server on loopback; its address."""
    with serve(handler, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


# --- the connection ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spin", [False, True])
def test_messages_pings_and_pieces(spin: bool) -> None:
    ponged = []

    def handler(server: ServerConnection) -> None:
        server.send("one")
        server.send(["t", "w", "o"])  # in three frames
        ponged.append(server.ping().wait(10))
        server.send(b"\xff three")
        server.send("4" * 200_000)

    with served(handler) as uri:
        connection = Connection(uri, 10, spin)
        read = []
        with contextlib.closing(connection):
            for message in connection.messages():
                read.append(connection.read_ns)
                assert message == (b"one", b"two", b"\xff three", b"4" * 200_000)[len(read) - 1]
    assert len(read) == 4
    assert read == sorted(read)
    assert ponged == [True]


def test_a_connection_that_breaks_is_an_error() -> None:
    def closes(server: ServerConnection) -> None:
        server.close(1011)

    def breaks(server: ServerConnection) -> None:
        server.send("one")
        server.socket.shutdown(socket.SHUT_WR)

    for handler, text in ((closes, "code 1011"), (breaks, "broke off")):
        with served(handler) as uri:
            connection = Connection(uri, 10)
            with contextlib.closing(connection), pytest.raises(ConnectionError, match=text):
                list(connection.messages())


def test_time_is_given_while_a_connection_that_spins_waits() -> None:
    idle: list[None] = []

    def late(server: ServerConnection) -> None:
        time.sleep(0.1)
        server.send("one")

    with served(late) as uri:
        connection = Connection(uri, 10, spin=True, idle=lambda: idle.append(None))
        with contextlib.closing(connection):
            assert list(connection.messages()) == [b"one"]
    assert idle


# --- faults, position -------------------------------------------------------------------------------------------


def test_faults_are_done_as_often_as_they_say() -> None:
    lines = [Line(n, b'{"e":"bookTicker"} %d' % n) for n in range(1, 101)]
    assert list(inject(lines, Faults(), Counter())) == lines

    def injected(**faults: int) -> tuple[list[Line | None], Counter[str]]:
        done: Counter[str] = Counter()
        return list(inject(lines, Faults(**faults), done)), done

    out, done = injected(disconnect_every=40, lose=3)
    assert out == [*lines[:39], None, *lines[42:79], None, *lines[82:]]
    assert done == {"disconnects": 2, "lost": 6}
    out, done = injected(duplicate_every=50)
    assert out == [*lines[:50], lines[49], *lines[50:], lines[99]]
    assert done == {"duplicates": 2}
    out, done = injected(reorder_every=60)
    assert [line.payload for line in out if line] == [lines[n].payload for n in (*range(59), 60, 59, *range(61, 100))]
    assert [line.received_ns for line in out if line] == sorted(line.received_ns for line in out if line)
    assert done == {"out_of_order": 1}
    out, done = injected(malformed_every=10)
    assert [line for line in out if line in lines] == lines
    assert [line.payload for line in out if line and line not in lines] == [BAD[n % len(BAD)][1] for n in range(10)]
    assert done == Counter(BAD[n % len(BAD)][0] for n in range(10))


def test_bad_messages_are_counted_as_they_say() -> None:
    for kind, payload in BAD:
        parse, features = Parser(), Features(TICK_SIZE)
        assert not features.take(parse(payload))
        assert parse.malformed + vars(features.counts).get(kind, 0) == 1
        assert (parse.malformed == 1) == (kind == "malformed")


def test_the_paper_position_pays_the_spread() -> None:
    position = PaperPosition()
    for signal, bid, ask in ((math.nan, 1, 2), (0.55, 1, 2), (0.7, 10, 11), (0.55, 20, 21), (math.nan, 5, 6)):
        position.act(signal, bid, ask)
    assert (position.side, position.trades) == (1, 0)
    position.act(0.4, 14, 15)  # long from 11 to 14
    assert (position.side, position.trades, position.profit) == (0, 1, 3)
    position.act(0.3, 14, 15)
    position.act(0.45, 1, 2)
    assert position.side == -1
    position.leave(12, 13)  # short from 14 to 13
    position.leave(1, 2)
    assert (position.side, position.trades, position.profit) == (0, 2, 4)


# --- the bot ----------------------------------------------------------------------------------------------------


def answers_by_windows(recording: Path, tick_size: float, window: int = WINDOW) -> np.ndarray:
    """What the model says to each recorded tick's window, asked for one by one; none reaches across a gap."""
    model = lstmcore.load(MODEL)
    parse, features = Parser(), Features(tick_size)
    gaps = 0
    rows: list[np.ndarray] = []
    out = []
    for received_ns, payload in Recording(recording):
        if features.take(parse(payload), received_ns):
            if features.counts.gaps > gaps:
                gaps, rows = features.counts.gaps, []
            rows.append(features.out.copy())
            out.append(model(np.array(rows[-window:])).item() if len(rows) >= window else math.nan)
    return np.array(out, np.float32)


def run(out: Path, *options: str) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": str(Path(lstmcore.__file__).parents[1])}
    command = [sys.executable, str(EXAMPLE / "run.py"), "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same bits" in done.stdout
    facts: dict[str, Any] = json.loads((out / "report.json").read_text())
    return facts


FAULTS = {"disconnect_every": 700, "lose": 25, "duplicate_every": 41, "reorder_every": 67, "malformed_every": 23}


@pytest.mark.parametrize("how", [[], ["--helper"], ["--rehearse"]], ids=["plain", "helper", "rehearse"])
def test_the_whole_run(tmp_path: Path, how: list[str]) -> None:
    options = [f"--{name.replace('_', '-')}={n}" for name, n in FAULTS.items()]
    facts = run(tmp_path, "--ticks", "2000", "--speed", "0", *options, *how)
    counts, injected = facts["counts"], facts["injected"]

    assert injected["disconnects"] >= 3
    assert counts["connections"] == injected["disconnects"] + 1
    for kind in ("malformed", "bad_values", "crossed", "duplicates", "out_of_order"):
        assert counts[kind] == injected[kind] > 5, kind
    assert 1 <= counts["gaps"] <= injected["disconnects"]
    assert counts["other"] == 0
    sent = list(inject(simulator.lines(2000, 7), Faults(**FAULTS), Counter()))
    assert counts["messages"] == len(sent) - injected["disconnects"]
    assert counts["ticks"] + counts["trades"] == counts["messages"] - sum(
        injected[kind] for kind in ("malformed", "bad_values", "crossed", "duplicates", "out_of_order")
    )

    received = list(Recording(tmp_path / "received.txt"))
    assert [line.payload for line in received] == [line.payload for line in sent if line]
    answers = np.load(tmp_path / "answers.npy")
    expected = answers_by_windows(tmp_path / "received.txt", TICK_SIZE)
    assert len(answers) == counts["ticks"]
    np.testing.assert_array_equal(answers, expected, strict=True)
    assert facts["answers"] == np.isfinite(answers).sum() > 1000
    assert np.nanstd(answers) > 0.05
    assert sum(burst["ticks"] for burst in facts["by_burst"]) == counts["ticks"]
    if importlib.util.find_spec("matplotlib"):
        assert all((tmp_path / name).stat().st_size > 10_000 for name in ("latency.png", "bursts.png"))


def test_a_recording_is_replayed_as_it_is(tmp_path: Path) -> None:
    recording = tmp_path / "mine.txt"
    simulator.write(recording, 200, 4)
    facts = run(tmp_path, "--recording", str(recording), "--speed", "50", "--window", "20")
    lines = list(Recording(recording))
    assert facts["counts"]["messages"] == len(lines)
    assert facts["answers"] == 200 - 20 + 1
    assert facts["injected"] == {}
    expected = answers_by_windows(recording, TICK_SIZE, 20)  # nothing in these features depends on when it came
    np.testing.assert_array_equal(np.load(tmp_path / "answers.npy"), expected)


def test_the_bot_gives_up_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]  # free once this is closed
    bot = bots.Bot(lstmcore.load(MODEL), WINDOW, TICK_SIZE)
    with pytest.raises(ConnectionRefusedError):
        bot.follow(f"ws://127.0.0.1:{port}")
    assert len(slept) == bots.ATTEMPTS - 1
    for n, delay in enumerate(slept, 1):
        longest = min(bots.LONGEST_DELAY, bots.FIRST_DELAY * 2**n)
        assert longest / 2 <= delay <= longest


def test_a_rehearsal_is_a_tick_of_its_own() -> None:
    bot = bots.Bot(lstmcore.load(MODEL), WINDOW, TICK_SIZE, rehearse=True)
    rehearsal = bot._idle
    assert rehearsal is not None
    for _ in range(WINDOW + 5):
        rehearsal()
    assert rehearsal.bot.features.counts.ticks == rehearsal.bot.stream.ticks == WINDOW + 5
    assert (len(rehearsal.bot.answers), bot.stream.ticks, bot.features.counts.ticks) == (0, 0, 0)


def test_the_bot_stops_after_so_many_ticks() -> None:
    lines = list(simulator.lines(200, 4))

    def handler(server: ServerConnection) -> None:
        with contextlib.suppress(Exception):  # the bot goes in the middle
            for line in lines:
                server.send(line.payload, text=True)

    bot = bots.Bot(lstmcore.load(MODEL), WINDOW, TICK_SIZE, most=60)
    with served(handler) as uri:
        bot.follow(uri)
    assert bot.features.counts.ticks == len(bot.answers) == 60
    times = bot.times()
    assert times.shape == (60, len(bots.STAMPS))
    assert (np.diff(times, axis=1) >= 0).all()
    assert (np.diff(times[:, 0]) >= 0).all()


def test_a_real_recording(tmp_path: Path) -> None:
    path = os.environ.get("LSTMCORE_RECORDING")
    if not path:
        pytest.skip("LSTMCORE_RECORDING does not name a recording of a real exchange")
    some = tmp_path / "some.txt"
    from lstmcore.feed.recording import Writer

    with Writer(some) as file:
        for line in itertools.islice(Recording(path), 5000):
            file.write(*line)
    facts = run(tmp_path, "--recording", str(some), "--speed", "0", "--tick-size", "0.1")
    assert facts["counts"]["messages"] == 5000
    assert facts["counts"]["gaps"] == facts["counts"]["malformed"] == 0
    answers = np.load(tmp_path / "answers.npy")
    np.testing.assert_array_equal(answers, answers_by_windows(some, 0.1))


def test_a_model_that_the_bot_cannot_ask_is_named(tmp_path: Path) -> None:
    six = tmp_path / "six.safetensors"
    weights = {"weight": np.ones((1, 6), np.float32), "bias": np.zeros(1, np.float32)}
    lstmcore.Model([lstmcore.layers.Linear("fc", 6, 1, weights=weights)]).save(six)
    (tmp_path / "text.safetensors").write_text("no model")
    cases = {
        six: r"six.safetensors: the model takes 6 features; the bot makes the demo's 10",
        tmp_path / "none.safetensors": r"No such file.*none.safetensors",
        tmp_path / "text.safetensors": r"text.safetensors: .*safetensors file",
    }
    for path, text in cases.items():
        with pytest.raises(SystemExit, match=rf"^error: .*{text}"):
            bots.main(["ws://127.0.0.1:1", "--model", str(path)])
