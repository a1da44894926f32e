"""lstmcore.feed: recordings read and written, messages parsed, a market simulated, features of every tick."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import os
import tracemalloc
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmcore.demo import market
from lstmcore.feed import recording as recordings
from lstmcore.feed.recording import Line, Recording, Writer

pytest.importorskip("msgspec", reason="msgspec is not installed; lstmcore.feed parses messages with it")
from lstmcore.feed import simulator
from lstmcore.feed.clock import NS_PER
from lstmcore.feed.features import NAMES, OLD_IN_A_ROW, Counts, Features
from lstmcore.feed.messages import Depth, Message, Parser, Quote, Trade

TICKS = 1500
COMMON = settings(max_examples=100, deadline=None)
NS = 1723161255088169167  # a moment in 2024
QUOTE = {"u": 7, "b": "99.50", "B": "3.000", "a": "99.60", "A": "1.500", "T": 1723161256313}


def message(kind: str, **data: Any) -> bytes:
    return json.dumps({"stream": f"x@{kind}", "data": {"e": kind, "s": "X", **data}}).encode()


def quote(update_id: int, bid: float = 99.5, ask: float = 99.6, **more: Any) -> Quote:
    return Quote(update_id=update_id, **{"bid": bid, "bid_size": 3.0, "ask": ask, "ask_size": 1.0, **more})


def trade(trade_id: int, quantity: float = 1.0, price: float = 99.5, **more: Any) -> Trade:
    return Trade(trade_id=trade_id, price=price, quantity=quantity, seller_started=False, **more)


def counted(messages: Iterable[Message]) -> dict[str, int]:
    """What `Counts` says after the messages, without zeros."""
    features = Features(0.1)
    for each in messages:
        features.take(each)
    return {name: n for name, n in dataclasses.asdict(features.counts).items() if n}


# --- recordings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt", "a.gz"])
@COMMON
@given(st.lists(st.tuples(st.integers(10**18, 2**63 - 1), st.binary(max_size=60))))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, name: str, lines: list[Any]) -> None:
    path = tmp_path_factory.mktemp("recording") / name
    with Writer(path) as file:
        for line in lines:
            file.write(*line)
    again = Recording(path)
    for _ in range(2):
        assert list(again) == [(ns, payload.replace(b"\n", b" ").rstrip(b"\r")) for ns, payload in lines]
        assert (again.malformed, again.damage, again.position) == (0, "", again.size)
        assert again.unit == ("ns" if lines else "")


def test_malformed_lines_are_counted_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "MAX_LINE", 100)
    at = b"1723161255088169167"
    long, longest = at + b" " + b"x" * 500, at + b" " + b"y" * 79
    lines = [at + b" a", b"", b"nonsense", b"-" + at + b" b", b"1723161255.088 b", b" " + at + b" c", b"5 since boot"]
    lines += [
        b"9" * 19 + b" d",
        b"9223372036854775808 d",
        long,
        longest,
        b"\xff\xfe",
        at,
        at + b" ",
        at + b" last",
        b"5",
    ]
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n".join(lines))  # the last line has no end
    recording = Recording(path)
    ns = int(at)
    assert list(recording) == [Line(ns, b"a"), Line(ns, b"y" * 79), Line(ns, b""), Line(ns, b"last")]
    assert recording.malformed == len(lines) - 4


@pytest.mark.parametrize("cut", [11, 300, 900])
def test_a_damaged_file_is_read_up_to_there(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.gz"
    with Writer(path) as file:
        for n in range(500):
            file.write(NS + n, b"%d" % (n * n * n))
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    recording = Recording(path)
    read = list(recording)
    assert read == [(NS + n, b"%d" % (n * n * n)) for n in range(len(read))]
    assert len(read) == zlib.decompressobj(31).decompress(whole[:cut]).count(b"\n") < 500
    assert "end" in recording.damage
    for end in (whole[:-8], whole[:-8] + bytes(8), whole + b"junk"):  # nothing is missing but what says so
        path.write_bytes(end)
        assert len(list(recording)) == 500
        assert recording.damage
        assert recording.malformed == 0
    path.write_bytes(whole[:cut] + bytes(50) + whole[cut:])
    assert len(list(recording)) < 500
    assert recording.damage


@COMMON
@given(st.lists(st.integers(10**18, 2**63 - 1), min_size=1, max_size=20), st.sampled_from(list(NS_PER)), st.data())
def test_the_unit_of_receive_times_is_found(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], unit: str, data: st.DataObject
) -> None:
    """Every unit, junk among the lines, a byte order mark and the line ends of other systems; two units are refused."""
    path = tmp_path_factory.mktemp("recording") / "a.txt"
    told = [time // NS_PER[unit] for time in times]
    end = data.draw(st.sampled_from([b"\n", b"\r\n"]))
    junk = st.sampled_from([b"", b"junk", b"17 x", b"time payload", b"-5 x"])
    lines = [line for n in told for line in (data.draw(junk), b"%d {}" % n)]
    path.write_bytes(data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + end.join(lines))
    recording = Recording(path)
    assert list(recording) == [(n * NS_PER[unit], b"{}") for n in told]
    assert (recording.unit, recording.malformed) == (unit, len(told))
    other = data.draw(st.sampled_from([name for name in NS_PER if name != unit]))
    strange = b"%d {}" % (times[0] // NS_PER[other])
    path.write_bytes(end.join([*lines, strange, *lines]))
    assert len(list(recording)) == 2 * len(told)
    assert recording.malformed == 2 * len(told) + 1
    path.write_bytes(end.join([*lines, strange, strange]))
    with pytest.raises(
        ValueError,
        match=rf"a.txt: line {len(lines) + 2}: .* is one in {other}, line {len(lines) + 1} has one in {other}, "
        rf"and the first is in {unit}; a recording has one unit",
    ):
        list(recording)


@pytest.mark.parametrize(("other", "third"), [("us", "us"), ("ms", "us"), ("s", "ms")])
@pytest.mark.parametrize("apart", [1, 2, 50])
def test_recordings_in_two_units_that_were_merged(tmp_path: Path, other: str, third: str, apart: int) -> None:
    """Between any two lines of another unit are sound ones, and half of the messages would be gone."""
    sound = [b"%d {}" % (NS + n) for n in range(apart)]
    lines = [*sound, b"%d {}" % (NS // NS_PER[other]), *sound, b"%d {}" % (NS // NS_PER[third]), *sound]
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n".join(lines))
    first, second = apart + 1, 2 * apart + 2
    with pytest.raises(ValueError, match=rf"line {second}: .* in {third}, line {first} .* in {other}, .* is in ns; "):
        list(Recording(path))
    path.write_bytes(b"\n".join([b"junk", b"", *lines]))
    assert len(list(Recording(path))) == 3 * apart, "more lines are damaged, and so may these two be"


def test_the_first_lines_as_they_stand(tmp_path: Path) -> None:
    plain, packed, cut = (tmp_path / name for name in ("a.txt", "a.gz", "cut.gz"))
    plain.write_bytes(b"1 a\r\n\nnonsense" + b"x" * 100)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    cut.write_bytes(packed.read_bytes()[:12])
    for path in (plain, packed):
        assert Recording(path).head(2) == [b"1 a", b""]
        assert Recording(path).head(9, most=10) == [b"1 a", b"", b"nonsensexx"]
    assert Recording(cut).head(2) == []


def test_a_file_that_is_not_there() -> None:
    recording = Recording("no/such/recording.gz")
    for read in (lambda: list(recording), lambda: recording.size, lambda: recording.head(1)):
        with pytest.raises(FileNotFoundError):
            read()


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    """A pipe is not waited for; a pointer is called one."""
    pipe, pointer = tmp_path / "pipe.gz", tmp_path / "pointer.gz"
    os.mkfifo(pipe)
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    for path, text in ((pipe, "a named pipe"), (pointer, "a Git LFS pointer"), (tmp_path, "a directory")):
        with pytest.raises(ValueError, match=text):
            list(Recording(path))


# --- messages ---------------------------------------------------------------------------------------------------


def test_the_three_kinds_of_messages() -> None:
    parse = Parser()
    assert parse(message("bookTicker", **QUOTE)) == Quote(7, 99.5, 3.0, 99.6, 1.5, 1723161256313, "X")
    trades = {"t": 5, "p": "99.6", "q": "0.002", "m": True}
    assert parse(message("trade", **trades)) == Trade(5, 99.6, 0.002, True, "MARKET", "X")
    assert parse(message("trade", **trades, X="INSURANCE_FUND")) == Trade(5, 99.6, 0.002, True, "INSURANCE_FUND", "X")
    assert parse(message("depthUpdate", U=3, u=9, pu=2, b=[["1", "2"]], a=[])) == Depth(9, 2, 3, "X")
    assert (parse.malformed, parse.other) == (0, 0)


def test_a_spot_quote_has_no_kind_and_no_times() -> None:
    parse = Parser()
    fields = {"u": 7, "s": "BNBUSDT", "b": "25.35190000", "B": "31.21000000", "a": "25.36520000", "A": "40.66000000"}
    text = json.dumps({"stream": "bnbusdt@bookTicker", "data": fields}).encode()
    assert parse(text) == Quote(7, 25.3519, 31.21, 25.3652, 40.66, 0, "BNBUSDT")
    assert (parse.malformed, parse.other, parse.reason) == (0, 0, "")
    for left_out in fields:
        less = {"data": {key: value for key, value in fields.items() if key != left_out}}
        assert parse(json.dumps(less).encode()) is None
    assert parse(json.dumps({"data": fields | {"e": "24hrTicker"}}).encode()) is None
    assert (parse.malformed, parse.other) == (0, len(fields) + 1)
    assert parse.reason == "Object missing required field `e` - at `$.data`"


@pytest.mark.parametrize("chosen", [None, "A", "B"])
def test_messages_of_other_markets_are_counted_and_dropped(chosen: str | None) -> None:
    parse = Parser(chosen)
    own = chosen or "A"
    fields = {"t": 5, "p": "99.6", "q": "0.002", "m": True}
    for symbol in "ABACAB":
        found = parse(json.dumps({"data": {"e": "trade", "s": symbol, **fields}}).encode())
        assert (found is not None) == (symbol == own)
        assert parse(json.dumps({"data": {"e": "trade", **fields}}).encode()) is not None  # it names no market
    assert parse.symbol == own
    assert parse.other_symbols == [each for each in "ABC" if each != own]
    assert parse.other_symbol == 6 - "ABACAB".count(own)


def test_what_is_kept_of_others_text_is_bounded_and_one_line() -> None:
    long = "X\n\x1b[2J" * 40_000
    parse = Parser()
    assert parse(message("trade", **{"t": 5, "p": "1", "q": "2", "m": True, "s": long})) is not None
    assert parse(message("trade", **{"t": 6, "p": "1", "q": "2", "m": True, "s": long})) is not None, "the same market"
    assert parse(message("trade", **{"t": 6, "p": "1", "q": "2", "m": True, "s": long + "2"})) is None
    assert parse(message("bookTicker", **QUOTE | {"u": long})) is None
    assert parse(json.dumps({"data": {"e": long}}).encode()) is None
    shown = [str(parse.symbol), *parse.other_symbols, parse.reason]
    assert len(shown) == 3
    for text in shown:
        assert 0 < len(text) <= 400
        assert text.isprintable()


OTHER = [b'{"result":null,"id":1}', b'{"lastUpdateId":1,"bids":[["1","2"]],"asks":[]}', message("kline", k={}), b"{}"]
WITHOUT = [message("bookTicker", **{k: v for k, v in QUOTE.items() if k != missing}) for missing in "ubBaA"]
MALFORMED = [
    b"", b"null", b"[]", b"7", b'"text"', b"\xff\xfe", b'{"data":[]}', b'{"data":{"e":7}}', b"[" * 100_000,
    b'{"data":' * 5000, message("bookTicker", **QUOTE)[:-1], *WITHOUT,
    message("bookTicker", **QUOTE | {"b": "99.5x"}), message("bookTicker", **QUOTE | {"B": [1]}),
    message("bookTicker", **QUOTE | {"u": 1.5}), message("bookTicker", **QUOTE | {"a": True}),
    message("trade", t=5, p="99.6", q="0.002"), message("trade", t=None, p="99.6", q="0.002", m=True),
]  # fmt: skip


@pytest.mark.parametrize("payload", OTHER)
def test_other_messages_are_no_error(payload: bytes) -> None:
    parse = Parser()
    assert parse(payload) is None
    assert (parse.malformed, parse.other) == (0, 1)


@pytest.mark.parametrize("payload", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_messages_are_counted(payload: bytes) -> None:
    parse = Parser()
    assert parse(payload) is None
    assert (parse.malformed, parse.other) == (1, 0)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 200))
def test_no_bytes_are_an_exception(noise: bytes, start: int, length: int) -> None:
    """Noise alone, and a sound message with some of its bytes replaced by noise, through parser and features."""
    sound = message("bookTicker", **QUOTE)
    parse, features = Parser(), Features(0.1)
    for payload in (noise, sound[:start] + noise + sound[start + length :]):
        features.take(parse(payload))
        assert np.isfinite(features.out).all()
    counts = features.counts
    dropped = counts.bad_values + counts.crossed + counts.out_of_order + counts.duplicates + parse.other_symbol
    assert parse.malformed + parse.other + counts.ticks + counts.trades + counts.depth + dropped == 2


# --- the simulator ----------------------------------------------------------------------------------------------


def test_the_simulator_writes_the_same_bytes_for_a_seed(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.gz", "b.gz", "c.gz", "d.txt")]
    for path, seed in zip(paths, (1, 1, 2, 1), strict=True):
        simulator.write(path, 200, seed)
    a, b, c, d = (path.read_bytes() for path in paths)
    assert a == b != c
    assert gzip.decompress(a) == d
    few, more = list(simulator.lines(50, 1)), list(simulator.lines(200, 1))
    assert few == more[: len(few)]
    with pytest.raises(ValueError, match="at least 1"):
        list(simulator.lines(0, 1))


def test_the_simulator_writes_the_exchanges_form() -> None:
    keys = {
        "bookTicker": ["e", "u", "s", "b", "B", "a", "A", "T", "E"],
        "trade": ["e", "E", "T", "s", "t", "p", "q", "X", "m"],
    }
    ids: dict[str, list[int]] = {"u": [], "t": []}
    times = []
    for received_ns, payload in simulator.lines(TICKS, 3):
        document = json.loads(payload)
        assert list(document) == ["stream", "data"]
        data = document["data"]
        assert document["stream"] == f"simusdt@{data['e']}"
        assert list(data) == keys[data["e"]]
        for key in ids.keys() & data.keys():
            ids[key].append(data[key])
        assert data["T"] == received_ns // 10**6
        times.append(received_ns)
    assert np.all(np.diff(times) >= 0)
    assert np.all(np.diff(ids["u"]) > 0)
    assert ids["t"] == list(range(1, len(ids["t"]) + 1))


def test_the_simulated_ticks_come_in_bursts() -> None:
    times = [ns for ns, payload in simulator.lines(20_000, 3) if b"bookTicker" in payload]
    short, half, long = np.percentile(np.diff(times), [10, 50, 90])
    assert short < 1e3 < half < 1e6 < long


# --- features ---------------------------------------------------------------------------------------------------


def as_quotes(lines: Iterable[Line]) -> tuple[market.Quotes, np.ndarray]:
    """A recording as the demo's arrays, by the plainest of code; and the ticks' receive times."""
    rows: list[list[float]] = []
    times: list[int] = []
    bought, sold, trades = 0.0, 0.0, 0
    for received_ns, payload in lines:
        data = json.loads(payload)["data"]
        if data["e"] == "trade":
            trades += 1
            bought += 0.0 if data["m"] else float(data["q"])
            sold += float(data["q"]) if data["m"] else 0.0
        elif data["e"] == "bookTicker":
            rows.append([*(float(data[key]) for key in "baBA"), bought, sold, trades, 0.0])
            times.append(received_ns)
            bought, sold, trades = 0.0, 0.0, 0
    return market.Quotes(*np.array(rows).T), np.array(times)


def recomputed(quotes: market.Quotes, times: np.ndarray, tick_size: float) -> np.ndarray:
    """All features from whole arrays, (N, len(NAMES)) float64."""
    ten = market.features(quotes).astype(np.float64)
    ten[:, 1:3] *= market.TICK_SIZE / tick_size  # micro_price and spread
    flow = np.zeros(len(times))
    for n in range(1, len(times)):
        now, before = ({k: v[m] for k, v in vars(quotes).items()} for m in (n, n - 1))
        flow[n] = now["bid_size"] * (now["bid"] >= before["bid"]) - before["bid_size"] * (now["bid"] <= before["bid"])
        flow[n] += before["ask_size"] * (now["ask"] >= before["ask"]) - now["ask_size"] * (now["ask"] <= before["ask"])
    elapsed = np.log1p(np.diff(times, prepend=times[:1]) / 1e3)
    return np.column_stack([ten, flow, elapsed])


def followed(lines: Iterable[Line], features: Features) -> np.ndarray:
    """The features of every tick, (N, F) float32."""
    parse = Parser()
    return np.array([features.out.copy() for ns, payload in lines if features.take(parse(payload), ns)])


def assert_close(rows: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(rows, expected, rtol=2e-6, atol=2e-6)


def test_features_are_those_of_whole_arrays() -> None:
    lines = list(simulator.lines(TICKS, 5))
    rows = followed(lines, Features(0.02, NAMES))
    assert rows.shape == (TICKS, len(NAMES))
    assert_close(rows, recomputed(*as_quotes(lines), 0.02))
    assert np.all(rows.std(axis=0) > 0.01)


def test_by_default_they_are_the_shipped_models() -> None:
    features = Features(market.TICK_SIZE)
    assert features.names == market.FEATURES
    rows = followed(simulator.lines(TICKS, 5), features)
    quotes = market.simulate(TICKS, 5)
    flow = market.FEATURES.index("flow")
    np.testing.assert_allclose(rows[:, flow], market.features(quotes)[:, flow], atol=2e-3)  # lots have 3 decimals
    assert_close(np.delete(rows, flow, 1), np.delete(market.features(quotes), flow, 1))


@pytest.mark.parametrize("names", [("spread",), ("elapsed", "imbalance"), NAMES[::-1]])
def test_some_features_in_another_order(names: tuple[str, ...]) -> None:
    lines = list(simulator.lines(200, 5))
    out = np.zeros(len(names), np.float32)
    rows = followed(lines, Features(0.01, names, out=out))
    every = followed(lines, Features(0.01, NAMES))
    np.testing.assert_array_equal(rows, every[:, [NAMES.index(name) for name in names]])
    np.testing.assert_array_equal(out, rows[-1])


DROPPED: dict[str, tuple[list[Message], dict[str, int]]] = {
    "the same quote": ([quote(5), quote(5)], {"ticks": 1, "duplicates": 1}),
    "an older quote": ([quote(5), quote(4), quote(6)], {"ticks": 2, "out_of_order": 1}),
    "the same trade": ([trade(5), trade(5)], {"trades": 1, "duplicates": 1}),
    "an older trade": ([trade(5), trade(6), trade(5)], {"trades": 2, "out_of_order": 1}),
    "an older depth update": ([Depth(5), Depth(4)], {"depth": 1, "out_of_order": 1}),
    "crossed": ([quote(5, bid=99.7)], {"crossed": 1}),
    "locked": ([quote(5, bid=99.6)], {"crossed": 1}),
    "a bad trade": ([trade(5, quantity=-1), trade(6, price=math.nan), trade(5)], {"bad_values": 2, "trades": 1}),
    "missing trades": ([trade(5), trade(8)], {"trades": 2, "gaps": 1}),
    "missing depth updates": ([Depth(5), Depth(8, 5), Depth(11, 9)], {"depth": 3, "gaps": 1}),
    "depth updates that do not tell": ([Depth(5), Depth(8)], {"depth": 2}),
    "a silence": (
        [quote(1, event_time=1), quote(2, event_time=1001), quote(3, event_time=2002)],
        {"ticks": 3, "gaps": 1},
    ),
    "a clock set back": (
        [quote(1, event_time=9999), quote(2, event_time=1), quote(3, event_time=1)],
        {"ticks": 3, "gaps": 1},
    ),
    "an insurance fund's trade": (
        [trade(5), trade(6, kind="INSURANCE_FUND"), trade(7)],
        {"trades": 2, "not_market": 1},
    ),
    "a trade of price 0 that is none": (
        [trade(5), trade(6, 0.0, 0.0, kind="NA"), trade(7, 0.0), trade(8)],
        {"trades": 2, "not_market": 1, "bad_values": 1},
    ),
    "missing trades around one that is none": (
        [trade(5), trade(7, 0.0, 0.0, kind="NA"), trade(8)],
        {"trades": 2, "not_market": 1, "gaps": 1},
    ),
    "a second of crossed quotes": (
        [quote(n, 99.5 if n % 8 == 0 else 99.7, event_time=1000 + 300 * n) for n in range(9)],
        {"ticks": 2, "crossed": 7},
    ),
    "missing depth updates of a spot market": ([Depth(5), Depth(8, 0, 6), Depth(11, 0, 10)], {"depth": 3, "gaps": 1}),
    "lower ids with newer times": (
        [quote(90, event_time=1000), trade(70), Depth(80), quote(5, event_time=1001), trade(3), Depth(4), quote(6)],
        {"ticks": 3, "trades": 2, "depth": 2, "gaps": 1, "restarts": 1},
    ),
    "lower ids without times": (
        [quote(900), *(quote(n) for n in range(OLD_IN_A_ROW + 5))],
        {"ticks": 7, "out_of_order": OLD_IN_A_ROW - 1, "gaps": 1, "restarts": 1},
    ),
    "lower ids of trades": (
        [trade(900), *(trade(n) for n in range(OLD_IN_A_ROW + 5))],
        {"trades": 7, "out_of_order": OLD_IN_A_ROW - 1, "gaps": 1, "restarts": 1},
    ),
    "old ids, never many in a row": (
        [each for n in range(300) for each in (quote(9000 + n), quote(n), trade(9000 + n), trade(n))],
        {"ticks": 300, "trades": 300, "out_of_order": 600},
    ),
    "no times": ([quote(1), quote(2, event_time=5000), quote(3)], {"ticks": 3}),
} | {
    f"{name} {value}": ([quote(2**60, **{name: value}), quote(1)], {"bad_values": 1, "ticks": 1})
    for name in ("bid", "bid_size", "ask", "ask_size")
    for value in (0.0, -1.0, math.nan, math.inf, -math.inf, 1e300, 5e-324)
}


@pytest.mark.parametrize("case", DROPPED)
def test_what_is_dropped_and_what_is_missing_is_counted(case: str) -> None:
    messages, expected = DROPPED[case]
    assert counted(messages) == expected


def test_a_dropped_message_changes_nothing() -> None:
    lines = list(simulator.lines(300, 5))
    parse = Parser()
    messages = [parse(payload) for _, payload in lines]
    spoiled: list[Message | None] = []
    for each in messages:
        spoiled += [None, each, each, quote(2**60, bid_size=math.nan), quote(2**60, bid=1e9), trade(2**60, 0.0)]
    a, b = Features(0.01, NAMES), Features(0.01, NAMES)
    for each in messages:
        a.take(each)
    for each in spoiled:
        b.take(each)
    np.testing.assert_array_equal(a.out, b.out)
    assert a.counts.ticks == b.counts.ticks == 300


def sent(payload: bytes) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(payload)["data"]
    return data


@COMMON
@given(
    st.lists(st.tuples(st.integers(0, 399), st.sampled_from(["NA", "INSURANCE_FUND", "zero", "kline"])), max_size=40),
    st.sampled_from(list(NS_PER)),
)
def test_what_is_ignored_on_purpose_and_units_change_nothing(ignored: list[tuple[int, str]], unit: str) -> None:
    """No answer and no gap: trades that are none between the others, other messages, and times in every unit."""
    features, parse = Features(0.01, NAMES), Parser()
    rows, trade_id = [], 10**9
    for n, (received_ns, payload) in enumerate(SIMULATED_LINES):
        data = sent(payload)
        for what in (what for at, what in ignored if at == n):
            if what == "kline":
                extra = message("kline", k={})
            else:
                trade_id += 1
                amounts = {"p": "99", "q": "7"} if what == "INSURANCE_FUND" else {"p": "0", "q": "0"}
                kind = {} if what == "zero" else {"X": what}
                extra = message("trade", **{"t": trade_id, "m": True, "s": data["s"]} | amounts | kind)
            assert not features.take(parse(extra), received_ns)
        if data["e"] == "trade":
            trade_id += 1
            data["t"] = trade_id
        data["T"] = data["T"] * NS_PER["ms"] // NS_PER[unit]
        if features.take(parse(json.dumps({"data": data}).encode()), received_ns):
            rows.append(features.out.copy())
    np.testing.assert_array_equal(rows, SIMULATED)
    counts = features.counts
    assert (counts.gaps, counts.restarts, counts.out_of_order) == (0, 0, 0)
    assert features.exchange_unit == unit


@COMMON
@given(st.integers(2, 300), st.sampled_from(["ms", "us", "ns"]))
def test_ids_that_begin_anew_are_a_gap_and_no_more(restart: int, unit: str) -> None:
    """As a fresh start: with the first quote whose id is lower and whose time is newer."""
    used, fresh, parse = Features(0.01, NAMES), Features(0.01, NAMES), Parser()
    newest, started = 0, False
    for n, (received_ns, payload) in enumerate(SIMULATED_LINES):
        data = sent(payload)
        key = "t" if data["e"] == "trade" else "u"
        data[key] += 10**9 if n < restart else 0
        data["T"] = data["T"] * NS_PER["ms"] // NS_PER[unit]
        each = parse(json.dumps({"data": data}).encode())
        assert each is not None
        is_tick = used.take(each, received_ns)
        if isinstance(each, Quote) and n < restart:
            newest = each.event_time
        started = started or (isinstance(each, Quote) and n >= restart and (not newest or each.event_time > newest))
        if started:
            assert fresh.take(each, received_ns) == is_tick
            np.testing.assert_array_equal(used.out, fresh.out)
    assert started
    assert used.counts.restarts == used.counts.gaps == (newest > 0)
    assert fresh.counts.gaps == 0


SIMULATED_LINES = list(simulator.lines(300, 5))
SIMULATED = followed(SIMULATED_LINES, Features(0.01, NAMES))


@pytest.mark.parametrize("how", ["gap", "reset"])
def test_nothing_is_remembered_across_a_gap(how: str) -> None:
    parse = Parser()
    messages = [parse(payload) for _, payload in simulator.lines(400, 5)]
    half = next(n for n, each in enumerate(messages) if n > 300 and isinstance(each, Trade))
    fresh, used = Features(0.01, NAMES), Features(0.01, NAMES)
    for each in messages[: half - 150]:
        used.take(each)
    if how == "reset":
        used.reset()
        used.take(trade(1))  # ids may begin anew
        used.reset()
    for each in messages[half:]:
        fresh.take(each)
        used.take(each)
    np.testing.assert_array_equal(fresh.out, used.out)
    assert used.counts.gaps == (how == "gap")


numbers = st.one_of(st.floats(), st.floats(1e-15, 1e15), st.floats(99, 101))


@COMMON
@given(st.lists(st.tuples(st.booleans(), numbers, numbers, numbers, numbers, st.integers(-5, 2**64)), max_size=30))
def test_whatever_comes_features_are_finite(rows: list[Any]) -> None:
    features = Features(0.1, NAMES)
    for n, (is_quote, a, b, c, d, time) in enumerate(rows):
        sent: Message = Quote(n, a, b, c, d, time) if is_quote else Trade(n, a, b, time % 2 == 0)
        features.take(sent, time)
        assert np.isfinite(features.out).all()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"tick_size": 0}, "tick_size: expected 1e-15 to 1e.15, got 0"),
        ({"tick_size": math.nan}, "tick_size"),
        ({"tick_size": math.inf}, "tick_size: expected 1e-15 to 1e.15, got inf"),
        ({"tick_size": 1, "silence_ms": -1}, "silence_ms"),
        ({"tick_size": 1e-30}, "tick_size: expected 1e-15 to 1e.15, got 1e-30"),
        ({"tick_size": 1, "silence_ms": math.nan}, "silence_ms: expected more than 0, got nan"),
        ({"tick_size": 10**400}, "tick_size: expected 1e-15 to 1e.15, got 1000"),
        ({"tick_size": 1, "names": ("x\n" * 10**5,)}, "names: expected some of .*, got .{99,110}$"),
        ({"tick_size": 1, "names": ("spread", "colour")}, "got 'colour'"),
        ({"tick_size": 1, "names": ()}, "names: expected at least one of imbalance, "),
        ({"tick_size": 1, "out": np.zeros(9, np.float32)}, r"float32 array of shape \(10,\), got float32 \(9,\)"),
        ({"tick_size": 1, "out": np.zeros(10)}, "got float64"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Features(**arguments)


def test_a_real_recording() -> None:
    path = os.environ.get("LSTMCORE_RECORDING")
    if not path:
        pytest.skip("LSTMCORE_RECORDING does not name a recording of a real exchange")
    recording, parse, features = Recording(path), Parser(), Features(0.1, NAMES)
    lines = list(recording)
    rows = followed(lines, features)
    assert (recording.malformed, recording.damage, parse.malformed) == (0, "", 0)
    counts = features.counts
    assert counts == Counts(ticks=counts.ticks, trades=counts.trades, depth=counts.depth)  # nothing dropped or missing
    known = [line for line in lines if b'"data":' in line.payload]
    assert_close(rows, recomputed(*as_quotes(known), 0.1))


def test_long_lines_that_are_packed_small_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "r.gz"
    path.write_bytes(gzip.compress((b"1700000000000000000 " + b"x" * (3 << 20) + b"\n") * 3))
    tracemalloc.start()
    recording = Recording(path)
    assert len(list(recording)) == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert recording.malformed == 3
    assert peak < 4 << 20
