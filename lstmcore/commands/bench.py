"""Measure how long a model takes to answer one window, beside the other libraries that are installed.

Same weights, same windows, a new window at every call. Answers are compared with the float64 reference
first: the largest difference stands in every row. Ratios are how many times the first row's time a row
takes, "of p99s" how many times its p99; the best setting of each library is marked *. Figures hold for this
machine in this hour; run it where you will trade.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import lstmcore
from lstmcore import commands, files, summary, terminal
from lstmcore.errors import BackendError
from lstmcore.measure import bench, peers
from lstmcore.measure.comparison import steps_of
from lstmcore.text import clean

SUSPECT = 1e-4  # a row further than this from the reference does other work than the rest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.parser`."""
    commands.add_model(parser)
    parser.add_argument("--window", type=commands.positive, metavar="T", help="ticks in a window (default 50)")
    parser.add_argument("--seconds", type=_seconds, default=20.0, metavar="S", help="how long to measure (20)")
    parser.add_argument(
        "--peers", metavar="A,B", help=f"which of {','.join(peers.NAMES)}, or none (default: all installed)"
    )
    parser.add_argument("--threads", type=_threads, default="1,default", help="the peers' threads (1,default)")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which takes half a minute")
    parser.add_argument("--seed", type=commands.counted, default=0, help="of the windows and the order of the rounds")
    commands.add_backend(parser, "of this project's, only this backend (default: all, the best kernel first)")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write JSON on stdout, or in FILE beside the table",
    )
    parser.add_argument("--force", action="store_true", help="overwrite FILE where it exists")


def run(options: argparse.Namespace) -> int:
    """See `cli.main`."""
    if options.json not in (None, "-"):
        commands.check_new(options.json, options.force, options.model)
    names = [] if options.peers == "none" else options.peers.split(",") if options.peers else peers.installed()
    peers.ask(names)
    model = commands.load(options, backend=options.backend, kernel=options.kernel)
    summary.check_single(model, options.model)
    steps = steps_of(model, options.window)
    contenders = own(model, everything=options.backend == "auto" and options.kernel is None)
    contenders += others(names, model, steps, options.threads, options.compile)
    pool, compared = bench.compare(contenders, model, steps, options.seed)
    facts = {
        "model": options.model,
        "window": [steps, model.input_size],
        "parameters": sum(w.size for w in model.parameters.values()),
        "compared": compared,
        "not_installed": [name for name in peers.NAMES if name not in names] if options.peers is None else [],
        **timed(contenders, pool, options.seconds, options.seed),
    }
    if options.json == "-":
        terminal.write_json(facts)
        return 0
    show(facts)
    if options.json:
        files.write_json(options.json, facts)
    return 0


def own(model: lstmcore.Model, everything: bool) -> list[bench.Contender]:
    """This project's contenders: `model` as it is, then every other backend and kernel that runs it here."""
    models = [model]
    for run in bench.runs_here() if everything else []:
        if run != (model.backend, model.kernel):
            with contextlib.suppress(BackendError):  # numba does not have every layer
                models.append(model.with_backend(*run))
    return [bench.Contender(f"lstmcore {m.backend}", m.kernel or "", m) for m in models]


def others(
    names: Sequence[str], model: lstmcore.Model, steps: int, threads: Sequence[int | None], compiled: bool
) -> list[bench.Contender]:
    """The peers' contenders. Raises as `peers.build` does."""
    built = (peer for name in names for peer in peers.build(name, model, steps, threads, compiled))
    return [bench.Contender(peer.label, peer.settings, peer, peer.ready, peer.threads) for peer in built]


def timed(
    contenders: Sequence[bench.Contender],
    pool: Sequence[Any],
    seconds: float,
    seed: int,
    turn: bench.Turn = bench.in_bursts,
) -> dict[str, Any]:
    """Measure compared contenders, with a progress bar: how, on which machine, and the rows, ready for JSON."""
    for each in contenders:
        if not each.difference < SUSPECT:
            terminal.note(f"warning: {each.label}, {each.settings}: {each.difference:.2g} from the reference")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    parts = 100
    shares = bench.measure(contenders, pool, seconds, seed, turn)
    rounds = sum(1 for _ in terminal.progress(shares, parts, "measuring", lambda share: share * parts))
    return {
        "seconds": seconds,
        "rounds": rounds,
        "seed": seed,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": load,
        "machine": lstmcore.info(),
        "rows": [asdict(row) for row in bench.rows(contenders)],
    }


def show(facts: dict[str, Any]) -> None:
    """Print what was measured as a table."""
    machine, rows = facts["machine"], [bench.Row(**row) for row in facts["rows"]]
    versions = ", ".join(f"{k} {v}" for k, v in machine["packages"].items() if v)
    name, window = clean(facts["model"]), tuple(facts["window"])
    print(f"{name}: {facts['parameters']:,} parameters, window {window}")
    print(f"{machine['processor']}, {facts['cpus']} CPUs, {machine['platform']}")
    print(f"lstmcore {machine['lstmcore']}, Python {machine['python']}, {versions}")
    if facts["load"] is not None:
        print(f"load average before measuring: {facts['load']:.1f}; above 1, others were at work here too")
    print(f"{facts['rounds']} interleaved rounds, seed {facts['seed']}, one window a call, microseconds;")
    print(f"difference: the largest from the float64 reference over {facts['compared']} windows\n")
    times = (">p50", ">p99", ">p99.9", ">max", ">min")
    terminal.table(
        [">", "who", "settings", ">difference", *times, ">calls", ">ratio", "5-95 %", ">of p99s"],
        [
            (
                "*" if row.best else "", row.label, row.settings, f"{row.difference:.1e}",
                *map(_time, (row.p50, row.p99, row.p99_9, row.max, row.min)), f"{row.calls:,}",
                _ratio(row.ratio), f"{_ratio(row.ratio_low)}-{_ratio(row.ratio_high)}", _ratio(row.ratio_p99),
            )
            for row in rows
        ],
    )  # fmt: skip
    first = f"{rows[0].label} {rows[0].settings}".strip()
    for row in rows:
        if not row.label.startswith("lstmcore") and (row.best or row.best_one_thread):
            how = "at its best" if row.best else "at its best with one thread"
            print(f"{row.label} {how} ({row.settings}) takes {row.ratio:.2f} times as long as {first}")
    for name in facts["not_installed"]:
        print(f'not measured, because not installed: {name}; pip install "lstmcore[peers]" brings it')


def _ratio(times: float | None) -> str:
    return "-" if times is None else f"{times:.2f}" if times < 100 else f"{times:,.0f}"


def _time(us: float | None) -> str:
    return "-" if us is None else f"{us:.1f}" if us < 1000 else f"{us:,.0f}"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text!r}")
    return seconds


def _threads(text: str) -> list[int | None]:
    return [None if word == "default" else commands.positive(word) for word in text.split(",")]
