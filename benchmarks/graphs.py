"""Models that branch, and the challenge, beside ONNX Runtime at the best of its settings with one thread.

    python benchmarks/graphs.py [--only NAME ...] [--seconds S] [--json FILE]

Each case is an interleaved run of its own: the same weights, the same inputs, the answers compared with the float64
reference first. ONNX Runtime has the graph of torch's exporter and, for windows, that of lstmcore's too; it is called
by `run`, with its buffers bound, and bound without its arena; the best of these is shown. A case is asked in one of
three ways:

- window: both answer a whole window.
- carried step: both take one tick and go on from their states. ONNX Runtime's graph is one step with states in and out;
  where they are bound, what one call writes the next one reads, and nothing is copied.
- sliding push: every tick is answered over the last T. lstmcore's stream catches up between two ticks, outside the
  time; ONNX Runtime answers the whole window.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import carried
import graph_models
import numpy as np
import results
import sliding
import steps

from lstmcore import Model, terminal
from lstmcore.commands import bench as command
from lstmcore.layers import Array
from lstmcore.measure import bench, peers

SEED = 0
THREADS = 1
#: Who is timed, this project's first, their `difference` set; and what they are asked.
Compared = tuple[Sequence[bench.Contender], Sequence[Array]]


@dataclass(frozen=True)
class Case:
    """A model, and the way in which it is asked."""

    title: str
    module: type[Any]  # of graph_models
    way: str  # of WAYS
    steps: int = 50  # of a window


CASES = {
    "residual-gru-step": Case("residual GRU 2 x 64", graph_models.ResidualGRU, "carried step"),
    "residual-lstm": Case("residual LSTM 2 x 64, LayerNorm", graph_models.ResidualLSTM, "window"),
    "both-last": Case("bidirectional LSTM 64, out[:, -1]", graph_models.BothLast, "window"),
    "both-last-push": Case("bidirectional LSTM 64, out[:, -1]", graph_models.BothLast, "sliding push"),
    "both-ends": Case("bidirectional LSTM 64, h_n joined", graph_models.BothEnds, "window"),
    "side-by-side": Case("LSTM 32 and GRU 32, joined", graph_models.SideBySide, "window"),
    "challenge": Case("challenge: 100 x 32, GRU 3 x 64", graph_models.Challenge, "window", 100),
    "challenge-step": Case("challenge: GRU 3 x 64", graph_models.Challenge, "carried step"),
    "challenge-push": Case("challenge: 100 x 32, GRU 3 x 64", graph_models.Challenge, "sliding push", 100),
    "ensemble-step": Case("ensemble of ten challenges", graph_models.Ensemble, "carried step"),
}


def ask_windows(module: Any, model: Model, length: int) -> Compared:
    contenders = [bench.Contender(_label(model), "model(window)", model), *_of_windows(module, model, length)]
    pool, _ = bench.compare(contenders, model, length, SEED)
    return contenders, pool


def ask_steps(module: Any, model: Model, _: int) -> Compared:
    stream, others = model.stateful(), carried.onnxruntime(graph_models.step_onnx(module), THREADS)
    contenders = [bench.Contender(_label(model), "push", stream.push), *map(_contender, others)]
    ticks, _ = steps.compare(contenders, model, SEED)
    return contenders, ticks


def push(module: Any, model: Model, length: int) -> Compared:
    stream = model.sliding(length)
    own = [sliding.Ticks(_label(model), "push, caught up", stream.push, between=stream.catch_up)]
    others = _of_windows(module, model, length)
    rng = np.random.default_rng(SEED)
    series = rng.standard_normal((length + bench.POOL - 1, model.input_size)).astype(np.float32)
    pool = sliding.compare(own, others, model, series)
    return [*own, *others], pool


WAYS = {"window": ask_windows, "carried step": ask_steps, "sliding push": push}


def _of_windows(module: Any, model: Model, length: int) -> list[bench.Contender]:
    """ONNX Runtime, which answers whole windows."""
    graphs = {"torch's": graph_models.window_onnx(module, length), "lstmcore's": peers.fixed_onnx(model, length)}
    shape = (1, length, model.input_size)
    return [
        _contender(peer, f"{whose} graph, ")
        for whose, onnx in graphs.items()
        for peer in peers.onnxruntime(onnx, THREADS, shape)
    ]


def _contender(peer: peers.Peer, graph: str = "") -> bench.Contender:
    return bench.Contender(peer.label, graph + peer.settings, peer, peer.ready, peer.threads)


def _label(model: Model) -> str:
    return f"lstmcore {model.backend}"


def measure(case: Case, seconds: float) -> dict[str, Any]:
    """Everything about one case, ready for JSON."""
    module = graph_models.made(case.module)
    model = graph_models.taken_over(module)
    contenders, pool = WAYS[case.way](module, model, case.steps)
    return {
        "model": case.title,
        "way": case.way,
        "window": [1 if case.way == "carried step" else case.steps, model.input_size],
        **command.timed(contenders, pool, seconds, SEED),
    }


def show(facts: dict[str, Any]) -> None:
    rows = facts["rows"]
    print(f"{facts['model']}, {facts['way']}: {facts['rounds']} rounds; load {facts['load']}; µs, × of the first row")
    number, times = (lambda x, digits=digits: "-" if x is None else f"{x:.{digits}f}" for digits in (2, 1))
    terminal.table(
        [">", "who", "how", ">p50", ">p99", ">p99.9", ">max", ">ratio", "5-95 %", ">of p99s", ">difference"],
        [
            (
                "*" if row["best"] else "", row["label"], row["settings"],
                *(times(row[key]) for key in ("p50", "p99", "p99_9", "max")), number(row["ratio"]),
                f"{number(row['ratio_low'])}-{number(row['ratio_high'])}", number(row["ratio_p99"]),
                f"{row['difference']:.1e}",
            )
            for row in rows
        ],
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="NAME", help=f"of {', '.join(CASES)}")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long to measure each case (15)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(argv)
    cases = {}
    for name in options.only or CASES:
        cases[name] = measure(CASES[name], options.seconds)
        show(cases[name])
    if options.json:
        results.write(options.json, {"cases": cases})
    return 0


if __name__ == "__main__":
    sys.exit(main())
