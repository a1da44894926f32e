"""Follow a simulated market with the shipped model, tick by tick, and show how well and how fast it answers.

No download: the model (trained by examples/train_demo_model) and the market are part of the package.
The summary and, where matplotlib is installed, a picture say what came of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import lstmcore
from lstmcore import commands, terminal
from lstmcore.demo import market, plot
from lstmcore.demo import run as demo
from lstmcore.layers import Array
from lstmcore.text import clean

LINES = 20  # printed while the stream runs, where no live display is
PICTURE = "lstmcore-demo.png"
RIGHT = 2e-6  # a float32 answer differs from the float64 reference by rounding alone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.parser`."""
    parser.add_argument("--ticks", type=commands.positive, default=20_000, help="how many (20000)")
    parser.add_argument("--seed", type=commands.counted, default=demo.SEED, help=f"of the market ({demo.SEED})")
    parser.add_argument("--out", default="out", metavar="DIR", help="where the picture goes (out)")
    parser.add_argument("--plain", action="store_true", help="plain lines even on a terminal")
    parser.add_argument("--no-plot", action="store_true", help="no picture")
    commands.add_backend(parser)
    commands.add_json(parser)


def run(options: argparse.Namespace) -> int:
    """See `cli.main`."""
    least = demo.WINDOW + market.HORIZON
    if options.ticks < least:
        raise ValueError(f"ticks: expected at least {least} (a window and the label's horizon), got {options.ticks}")
    draws = not options.no_plot and _can_draw()
    model = lstmcore.load(demo.MODEL, backend=options.backend, kernel=options.kernel)
    quotes = market.simulate(options.ticks, options.seed)
    features = market.features(quotes)
    runs_on = f"{model.backend} backend" + (f", kernel {model.kernel}" if model.kernel else "")
    if not options.json:
        print(f"{model}\n\n{options.ticks:,} ticks of a simulated market, seed {options.seed}; {runs_on}\n")

    answers = list(_shown(demo.follow(model, features), quotes.mid, options))
    signal = np.array([tick.signal for tick in answers])
    ns = np.array([tick.ns for tick in answers])
    verdicts, rises = demo.judge(quotes, features, signal)
    difference, sample = demo.difference_from_reference(model, features, signal)
    facts: dict[str, Any] = {
        "ticks": options.ticks,
        "seed": options.seed,
        "answers": len(answers),
        "backend": model.backend,
        "kernel": model.kernel,
        "processor": lstmcore.info()["processor"],
        "latency_us": demo.latency(ns),
        "difference": difference,
        "difference_sample": sample,
        "horizon": market.HORIZON,
        "rises": rises,
        "scores": [verdict._asdict() for verdict in verdicts],
        "picture": None,
    }
    if draws:
        title = f"lstmcore demo: {runs_on}, {facts['processor']}"
        facts["picture"] = _draw(options, quotes.mid, signal, ns, title)
    if options.json:
        terminal.write_json(facts)
    else:
        _summary(facts)
    if not difference <= RIGHT:
        terminal.note(f"error: the answers are {difference:.2g} from the reference; rounding explains {RIGHT:.0e}")
        return 1
    return 0


def _shown(ticks: Iterable[demo.Tick], mid: Array, options: argparse.Namespace) -> Iterator[demo.Tick]:
    """The ticks as they come, shown on the way: live on a terminal with rich, else some lines."""
    if options.json:
        yield from ticks
    elif terminal.has_rich(sys.stdout) and not options.plain:
        yield from _live(ticks, mid)
    else:
        every = max(1, len(mid) // LINES)
        print(f"{'tick':>8}  {'mid':>9}  {'signal':>6}  {'':20}  {'µs':>6}")
        for tick in ticks:
            if (tick.n + 1) % every == 0:
                at, bar = tick.n + 1, _bar(tick.signal)
                print(f"{at:8,}  {mid[tick.n]:9.3f}  {tick.signal:6.3f}  {bar}  {tick.ns / 1e3:6.1f}")
            yield tick
        print()


def _live(ticks: Iterable[demo.Tick], mid: Array) -> Iterator[demo.Tick]:
    from rich import progress

    columns = (
        progress.BarColumn(30),
        progress.TextColumn("tick {task.completed:,.0f} of {task.total:,.0f}"),
        progress.TextColumn("mid {task.fields[mid]:.3f}  signal {task.fields[signal]:.3f} {task.fields[bar]}"),
        progress.TextColumn("{task.fields[us]:.1f} µs"),
    )
    every = max(1, len(mid) // 200)
    # Redrawn here and not by a thread, which would run while answers are timed.
    with progress.Progress(*columns, auto_refresh=False) as display:
        task = display.add_task("", total=len(mid), mid=mid[0], signal=0.5, bar=_bar(0.5), us=0.0)
        for tick in ticks:
            if (tick.n + 1) % every == 0 or tick.n + 1 == len(mid):
                display.update(
                    task, completed=tick.n + 1, mid=mid[tick.n], signal=tick.signal,
                    bar=_bar(tick.signal), us=tick.ns / 1e3, refresh=True,
                )  # fmt: skip
            yield tick


def _bar(signal: float, width: int = 20) -> str:
    """A line from 0 to 1 with a mark at the signal and one at the half."""
    cells = ["·"] * width
    cells[width // 2] = "|"
    cells[min(width - 1, max(0, int(signal * width)))] = "#"
    return "".join(cells)


def _can_draw() -> bool:
    """Whether there can be a picture; if not, say so before the ticks are followed."""
    try:
        terminal.ask("plot", "matplotlib")
    except ImportError as error:
        terminal.note(f"no picture: {error}")
        return False
    return True


def _draw(options: argparse.Namespace, mid: Array, signal: Array, ns: Array, title: str) -> str:
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    plot.draw(folder / PICTURE, mid, signal, ns, title)
    return str(folder / PICTURE)


def _summary(facts: dict[str, Any]) -> None:
    us = facts["latency_us"]
    terminal.table([f">{name}, µs" for name in us], [[f"{x:.1f}" for x in us.values()]], "Latency of model(window)")
    print(
        f"Largest difference from the float64 reference: {facts['difference']:.2g}, "
        f"over {facts['difference_sample']} evenly spaced of {facts['answers']:,} windows\n"
    )
    terminal.table(
        ["what foretells it", ">AUC", ">hit rate"],
        [(x["name"], f"{x['auc']:.3f}", f"{x['hit_rate']:.1%}") for x in facts["scores"]],
        f"Is the mid higher {facts['horizon']} ticks later?",
    )
    print(f"It was, at {facts['rises']:.1%} of the ticks. AUC: 0.5 is a coin, 1 is certainty.")
    if facts["picture"]:
        print(clean(f"picture: {facts['picture']}"))
