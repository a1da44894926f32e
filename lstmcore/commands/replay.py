"""Replay a recorded stream of market data: how long after each tick would its answer have come?

Ticks are best-bid-and-ask updates, and they come at the recorded receive times. Every answer is computed and timed
here; what is simulated is the queue: one server, which takes up a tick when it has come and the one before is done.
With lstmcore the server catches up after each answer, and the next tick waits for that if it comes too soon; with
onnxruntime every tick costs a whole window. Reading messages and making features is timed apart and not in the delays.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import lstmcore
from lstmcore import commands, files, summary, terminal
from lstmcore.demo.market import FEATURES, TICK_SIZE
from lstmcore.feed import delays, engines
from lstmcore.feed.recording import Recording
from lstmcore.layers import Array
from lstmcore.measure import bench, peers
from lstmcore.measure.comparison import largest_difference, steps_of
from lstmcore.text import clean

if TYPE_CHECKING:
    from lstmcore.feed.features import Features
    from lstmcore.feed.messages import Parser

LIMITS = (5, 10, 20, 50, 100, 1000)  # µs
CHUNK = 4096  # ticks that one engine answers before the next one's turn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.parser`."""
    parser.add_argument("recording", help="a recording, text or gzip: receive time, a space, the JSON message")
    parser.add_argument("--model", required=True, metavar="M", help="a .safetensors model file")
    parser.add_argument("--window", type=commands.positive, metavar="T", help="ticks in a window (default 50)")
    parser.add_argument("--engine", choices=(*engines.NAMES, "both"), default="lstmcore", help="who answers (lstmcore)")
    parser.add_argument(
        "--features", default=",".join(FEATURES), metavar="A,B", help="the model's features, in order (the demo's ten)"
    )
    parser.add_argument(
        "--tick-size", type=float, default=TICK_SIZE, metavar="X", help=f"the smallest step of a price ({TICK_SIZE})"
    )
    parser.add_argument("--symbol", metavar="S", help="the market, where the recording holds several, such as BTCUSDT")
    parser.add_argument("--ticks", type=commands.positive, metavar="N", help="only the first N ticks")
    commands.add_backend(parser, "what runs the model, for lstmcore")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write JSON on stdout, or in FILE beside the tables"
    )
    parser.add_argument("--force", action="store_true", help="overwrite FILE where it exists")


def run(options: argparse.Namespace) -> int:
    """See `cli.main`."""
    from lstmcore.feed.features import Features
    from lstmcore.feed.messages import Parser

    if options.json not in (None, "-"):
        commands.check_new(options.json, options.force, options.model, options.recording)
    names = engines.NAMES if options.engine == "both" else (options.engine,)
    peers.ask([name for name in names if name in peers.NAMES])
    model = lstmcore.load(options.model, backend=options.backend, kernel=options.kernel)
    summary.check_single(model, options.model)
    window = steps_of(model, options.window)
    features = Features(options.tick_size, options.features.split(","))
    if len(features.names) != model.input_size:
        raise ValueError(
            f"{options.model}: takes {model.input_size} features, and --features names {len(features.names)}"
            + (", by default those of the demo" if options.features == ",".join(FEATURES) else "")
        )
    recording, parse = Recording(options.recording), Parser(options.symbol)
    every = [engines.build(name, model, window) for name in names]
    chunks = _chunks(recording, parse, features, options.ticks)
    total = recording.size
    with bench.no_collection():
        shown = terminal.progress(chunks, total, "replaying", lambda _: recording.position)
        chunk, taken = _answer(shown, every)
    if recording.damage:
        terminal.note(f"warning: {options.recording}: read up to where it is damaged: {recording.damage}")
    counts = asdict(features.counts)
    if not any(counts.values()):
        raise ValueError(_nothing_usable(recording, parse))
    if parse.other_symbol and options.symbol is None:
        raise ValueError(
            f"{options.recording}: messages of several markets, {parse.symbol}, {', '.join(parse.other_symbols)}; "
            "--symbol picks one"
        )
    for text in _assumed(recording, features):
        terminal.note(f"{options.recording}: {text}")
    if len(chunk.arrival) < window:
        raise ValueError(f"{options.recording}: {len(chunk.arrival)} ticks; a window of {window} needs as many")
    facts = {
        "recording": options.recording,
        "symbol": parse.symbol,
        "receive_unit": recording.unit,
        "exchange_unit": features.exchange_unit or None,
        "model": options.model,
        "window": [window, model.input_size],
        "seconds": (int(chunk.arrival.max()) - int(chunk.arrival[0])) / 1e9,
        "counts": counts
        | {"malformed": recording.malformed + parse.malformed, "other": parse.other}
        | {"other_symbol": parse.other_symbol}
        | {"backward_times": int(np.sum(np.diff(chunk.arrival) < 0))},
        "answers": len(chunk.arrival) - window + 1,
        "parse_us": delays.percentiles(chunk.parse),
        "features_us": delays.percentiles(chunk.features),
        "engines": [
            _row(engine, chunk.arrival, *times[1:], window) for engine, times in zip(every, taken, strict=True)
        ],
        "difference": largest_difference(*(t[0][window - 1 :].astype(np.float64) for t in taken)).value
        if len(taken) == 2
        else None,
        "machine": lstmcore.info(),
    }
    if options.json == "-":
        terminal.write_json(facts)
        return 0
    _show(facts)
    if options.json:
        files.write_json(options.json, facts)
    return 0


def _nothing_usable(recording: Recording, parse: Parser) -> str:
    """What to say of a file in which no line is a message that features are made of."""
    head = [line.decode(errors="replace") for line in recording.head(2)]
    found = f"it begins with {' and '.join(map(repr, head))}" if head else "it is empty"
    expected = 'such as 1723161256313000000 {"data":{"e":"bookTicker",...}}'
    if parse.reason:
        found += f"; the first message that could not be used: {parse.reason}"
    if parse.other_symbol:
        found = f"messages of {', '.join(parse.other_symbols)}, and none of {parse.symbol}"
    return (
        f"{recording.path}: no usable message in it: expected lines of a receive time since 1970, a space and an "
        f"exchange's JSON message, {expected}; {found}"
    )


def _assumed(recording: Recording, features: Features) -> Iterator[str]:
    """What was concluded from the size of numbers, or could not be checked, where it is not the usual.

    Raises ValueError for receive times that are too coarse for a queue.
    """
    if recording.unit == "s":
        raise ValueError(f"{recording.path}: receive times in whole seconds, which do not tell how close ticks came")
    if recording.unit == "ms":
        yield "receive times are in ms: all ticks of a millisecond count as one burst, and delays as their upper bounds"
    if recording.unit == "us":
        yield "receive times are in µs"
    if features.exchange_unit not in ("ms", ""):
        yield f"exchange times are in {features.exchange_unit}"
    if features.counts.ticks and not features.exchange_unit:
        yield "no exchange times in its quotes: a silence between them is not seen as a gap"
    if features.counts.restarts:
        yield f"ids began anew with lower ones {features.counts.restarts} times; each is a gap"


class Chunk(NamedTuple):
    """Some ticks in the order in which they came."""

    arrival: Array  # (N,) int64, receive times in ns
    rows: Array  # (N, F) float32
    parse: Array  # (N,) int64, ns that reading the message took
    features: Array  # (N,) int64, ns that making the features took


def _chunks(recording: Recording, parse: Parser, features: Features, most: int | None) -> Iterator[Chunk]:
    """The ticks of a recording, `CHUNK` at a time, at most `most` of them."""
    clock, counts = time.perf_counter_ns, features.counts
    times: list[tuple[int, int, int]] = []
    rows = np.empty((CHUNK, len(features.names)), np.float32)
    for received_ns, payload in recording:
        start = clock()
        message = parse(payload)
        parsed = clock()
        if not features.take(message, received_ns):
            continue
        rows[len(times)] = features.out
        times.append((received_ns, parsed - start, clock() - parsed))
        if len(times) == CHUNK or counts.ticks == most:
            yield _chunk(times, rows)
            times = []
        if counts.ticks == most:
            return
    if times:
        yield _chunk(times, rows)


def _chunk(times: Sequence[tuple[int, int, int]], rows: Array) -> Chunk:
    arrival, parse, features = np.array(times, np.int64).T
    return Chunk(arrival, rows[: len(times)].copy(), parse, features)


def _answer(chunks: Iterator[Chunk], every: Sequence[engines.Engine]) -> tuple[Chunk, list[tuple[Array, Array, Array]]]:
    """All ticks, without their rows, and what `Engine.take` says of them, for each engine."""
    kept: list[Chunk] = []
    taken: list[list[tuple[Array, Array, Array]]] = [[] for _ in every]
    for chunk in chunks:
        for engine, pieces in zip(every, taken, strict=True):
            pieces.append(engine.take(chunk.rows))
        kept.append(chunk._replace(rows=chunk.rows[:0]))
    if not kept:
        nothing = np.empty(0, np.int64)
        return Chunk(nothing, np.empty((0, 0), np.float32), nothing, nothing), []
    joined = Chunk(*(np.concatenate(column) for column in zip(*kept, strict=True)))
    return joined, [
        tuple(np.concatenate(column) for column in zip(*pieces, strict=True))  # type: ignore[misc]  # three arrays
        for pieces in taken
    ]


def _row(engine: engines.Engine, arrival: Array, urgent: Array, afterwards: Array, window: int) -> dict[str, Any]:
    """What came out for one engine; the ticks before the first answer wait in the queue, but are not counted."""
    _, delay = delays.queue(arrival, urgent, afterwards)
    answered = slice(window - 1, None)
    delay, waited = delay[answered], (delay - urgent)[answered] > 0
    return {
        "engine": engine.label,
        "settings": engine.settings,
        "within": {str(limit): float(np.mean(delay <= limit * 1000)) for limit in LIMITS},
        "delay_us": delays.percentiles(delay),
        "answer_us": delays.percentiles(urgent[answered]),
        "catch_up_us": delays.percentiles(afterwards[answered]),
        "waited": float(np.mean(waited)),
        "by_burst": [asdict(burst) for burst in delays.by_burst(arrival[answered], delay)],
    }


def _show(facts: dict[str, Any]) -> None:
    counts, machine = facts["counts"], facts["machine"]
    dropped = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n and name not in KEPT)
    print(
        f"{clean(facts['recording'])}: {counts['ticks']:,} ticks and {counts['trades']:,} trades "
        f"in {facts['seconds']:.0f} s" + (f"; {dropped}" if dropped else "")
    )
    print(f"{clean(facts['model'])}: window {tuple(facts['window'])}; {facts['answers']:,} answers")
    print(f"{machine['processor']}, {machine['platform']}, lstmcore {machine['lstmcore']}\n")
    rows = facts["engines"]
    who = ["engine", "settings"]
    names = [(row["engine"], row["settings"]) for row in rows]
    terminal.table(
        [*who, *(f">{limit} µs" for limit in LIMITS)],
        [(*name, *map(_share, row["within"].values())) for name, row in zip(names, rows, strict=True)],
        "Answered within, queueing included",
    )
    parts = {"delay": "delay_us", "answering": "answer_us", "catching up": "catch_up_us"}
    terminal.table(
        [*who, "", *(f">{name}, µs" for name in delays.PERCENTILES)],
        [
            (*name, part, *(f"{us:,.1f}" for us in row[key].values()))
            for name, row in zip(names, rows, strict=True)
            for part, key in parts.items()
            if any(row[key].values())
        ],
    )
    terminal.table(
        [">ticks in the last ms", ">ticks", *(f">{row['engine']} {p}" for row in rows for p in ("p50", "p99"))],
        [
            (at["label"], f"{at['ticks']:,}", *(f"{b['delay_us'][p]:,.1f}" for b in each for p in ("p50", "p99")))
            for each in zip(*(row["by_burst"] for row in rows), strict=True)
            for at in each[:1]
        ],
        "Delay in bursts, µs",
    )
    for row in rows:
        print(f"{row['engine']}: {row['waited']:.1%} of the ticks waited for an earlier one")
    apart = [f"{part} p50 {us['p50']:.1f}, p99 {us['p99']:.1f} µs" for part, us in
             (("reading a message", facts["parse_us"]), ("its features", facts["features_us"]))]  # fmt: skip
    print(f"Not in the delays: {'; '.join(apart)}")
    if facts["difference"] is not None:
        print(f"Largest difference between the two engines' answers: {facts['difference']:.1e}")


KEPT = ("ticks", "trades", "depth", "other")  # counts of what was not dropped


def _share(share: float) -> str:
    """Not 100 % where one tick is missing."""
    return f"{np.floor(share * 1e4) / 100:.2f} %"
