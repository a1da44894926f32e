"""Measure how long a model takes to answer one window, beside the other libraries that are installed.

Same weights, same windows, a new window at every call. Answers are compared with the float64 reference
first: the largest difference stands in every row. Ratios are how many times the first row's time a row
takes; the best setting of each library is marked *. Figures hold for this machine in this hour; run it where
you will trade.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import lstmcore
from lstmcore import bench, commands, peers, terminal
from lstmcore.backends import NAMES
from lstmcore.comparison import steps_of

SUSPECT = 1e-4  # a row further than this from the reference does other work than the rest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.parser`."""
    parser.add_argument("model", help="a .safetensors model file")
    parser.add_argument("--window", type=commands.positive, metavar="T", help="ticks in a window (default 50)")
    parser.add_argument("--seconds", type=_seconds, default=20.0, metavar="S", help="how long to measure (20)")
    parser.add_argument(
        "--peers", metavar="A,B", help=f"which of {','.join(peers.NAMES)}, or none (default: all installed)"
    )
    parser.add_argument("--threads", type=_threads, default="1,default", help="the peers' threads (1,default)")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which takes half a minute")
    parser.add_argument("--seed", type=int, default=0, help="of the windows and the order of the rounds")
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
        commands.check_new(options.json, options.force)
    model = lstmcore.load(options.model, backend=options.backend, kernel=options.kernel)
    steps = steps_of(model, options.window)
    contenders = own(model, everything=options.backend == "auto" and options.kernel is None)
    names = [] if options.peers == "none" else options.peers.split(",") if options.peers else peers.installed()
    missing = [name for name in peers.NAMES if name not in names] if options.peers is None else []
    for name in names:
        built = peers.build(name, model, steps, options.threads, options.compile)
        contenders += [bench.Contender(peer.label, peer.settings, peer, peer.ready) for peer in built]
    pool, compared = bench.compare(contenders, model, steps, options.seed)
    for row in contenders:
        if not row.difference < SUSPECT:
            terminal.note(f"warning: {row.label}, {row.settings}: {row.difference:.2g} from the reference")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    parts = 100
    shares = terminal.progress(
        bench.measure(contenders, pool, options.seconds, options.seed),
        parts,
        "measuring",
        lambda share: share * parts,
    )
    rounds = sum(1 for _ in shares)
    rows = bench.rows(contenders)
    facts = {
        "model": options.model,
        "window": [steps, model.input_size],
        "parameters": sum(w.size for w in model.parameters.values()),
        "seconds": options.seconds,
        "rounds": rounds,
        "seed": options.seed,
        "compared": compared,
        "not_installed": missing,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": load,
        "machine": lstmcore.info(),
        "rows": [asdict(row) for row in rows],
    }
    if options.json == "-":
        terminal.write_json(facts)
        return 0
    _show(facts, rows)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            terminal.write_json(facts, file)
    return 0


def own(model: lstmcore.Model, everything: bool) -> list[bench.Contender]:
    """This project's contenders: `model` as it is, then every other backend and kernel that runs here."""
    models = [model]
    if everything:
        from lstmcore.backends import c

        models += [model.with_backend("c", kernel) for kernel in c.kernels_here() if kernel != model.kernel]
        others = [name for name in NAMES if name not in ("c", model.backend)]
        if importlib.util.find_spec("numba") is None and "numba" in others:
            others.remove("numba")
        models += [model.with_backend(name) for name in others]
    return [bench.Contender(f"lstmcore {m.backend}", m.kernel or "", m) for m in models]


def _show(facts: dict[str, Any], rows: Sequence[bench.Row]) -> None:
    machine = facts["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in machine["packages"].items() if v)
    name, window = terminal.clean(facts["model"]), tuple(facts["window"])
    print(f"{name}: {facts['parameters']:,} parameters, window {window}")
    print(f"{machine['processor']}, {facts['cpus']} CPUs, {machine['platform']}")
    print(f"lstmcore {machine['lstmcore']}, Python {machine['python']}, {versions}")
    if facts["load"] is not None:
        print(f"load average before measuring: {facts['load']:.1f}; above 1, others were at work here too")
    print(f"{facts['rounds']} interleaved rounds, seed {facts['seed']}, one window a call, microseconds;")
    print(f"difference: the largest from the float64 reference over {facts['compared']} windows\n")
    times = (">p50", ">p99", ">p99.9", ">max", ">min")
    terminal.table(
        [">", "who", "settings", ">difference", *times, ">calls", ">ratio", "5-95 %"],
        [
            (
                "*" if row.best else "", row.label, row.settings, f"{row.difference:.1e}",
                *map(_time, (row.p50, row.p99, row.p99_9, row.max, row.min)), f"{row.calls:,}",
                _ratio(row.ratio), f"{_ratio(row.ratio_low)}-{_ratio(row.ratio_high)}",
            )
            for row in rows
        ],
    )  # fmt: skip
    first = f"{rows[0].label} {rows[0].settings}".strip()
    for row in rows:
        if row.best and not row.label.startswith("lstmcore"):
            print(f"{row.label} at its best ({row.settings}) takes {row.ratio:.2f} times as long as {first}")
    for name in facts["not_installed"]:
        print(f'not measured, because not installed: {name}; pip install "lstmcore[peers]" brings it')


def _ratio(times: float) -> str:
    return f"{times:.2f}" if times < 100 else f"{times:,.0f}"


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
