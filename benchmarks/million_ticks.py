"""A million ticks through streams that are never reset, and answers from all over them compared in bits.

    python benchmarks/million_ticks.py [--ticks N] [--shape NAME | --graph NAME] [--samples N]

The sliding window is compared with model(window) of the same ticks, the stateful stream with one run of the model over
all ticks so far, where that is not too long, and both with `predict_windows` and a stream restored half way.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

import numpy as np
from models import SHAPES

from lstmcore import Model, terminal
from lstmcore.layers import Array
from lstmcore.streaming import Stream

PIECE = 10_000  # ticks of one call
GRAPHS = ("ResidualGRU", "ResidualLSTM", "BothLast", "SideBySide", "Challenge", "Ensemble")  # those that slide
LONGEST = 20_000  # ticks of the run that a stateful answer is compared with


def pushed(stream: Stream, series: Array, what: str) -> Array:
    """The answers to all ticks, the second half from a stream restored from the first one's state; with a bar."""
    answers = []
    starts = range(0, len(series), PIECE)

    def pieces() -> Iterator[int]:
        taking = stream
        for start in starts:
            if start >= len(series) // 2 and taking is stream:
                taking = stream.copy()  # type: ignore[attr-defined]  # both kinds have one
                taking.reset()
                taking.restore(stream.state())
            answers.append(taking.push_many(series[start : start + PIECE]))
            yield start + PIECE

    for _ in terminal.progress(pieces(), len(series), what, float):
        pass
    return np.concatenate(answers)


def same(ours: Array, theirs: Array) -> bool:
    return np.ravel(ours).view(np.uint32).tolist() == np.ravel(theirs).view(np.uint32).tolist()


def check(model: Model, window: int, series: Array, samples: int) -> Iterator[tuple[str, str, str]]:
    """What was done, how many microseconds a tick it took, and what came out. Raises AssertionError."""
    rng = np.random.default_rng(1)
    start = time.perf_counter()
    answers = pushed(model.sliding(window), series, "sliding")
    taken = time.perf_counter() - start
    if not np.isnan(answers[: window - 1]).all():
        raise AssertionError("an answer before there was a window")
    chosen = np.unique([window - 1, len(series) - 1, *rng.integers(window, len(series), samples)])
    wrong = [n for n in chosen if not same(answers[n], model(series[n - window + 1 : n + 1]))]
    if wrong:
        raise AssertionError(f"other bits than the whole window's, first at tick {wrong[0]}")
    yield "sliding", f"{taken / len(series) * 1e6:.2f}", f"{len(chosen):,} answers equal model(window) in every bit"

    start = time.perf_counter()
    if not same(model.predict_windows(series, window), answers[window - 1 :]):
        raise AssertionError("predict_windows answers otherwise")
    taken = time.perf_counter() - start
    yield "predict_windows", f"{taken / len(series) * 1e6:.2f}", "all answers equal the stream's in every bit"

    start = time.perf_counter()
    answers = pushed(model.stateful(), series, "stateful")
    taken = time.perf_counter() - start
    ends = np.unique(rng.integers(1, min(LONGEST, len(series)), max(1, samples // 50)))
    if not all(same(answers[n - 1], model(series[:n])) for n in ends):
        raise AssertionError("other bits than one run's over all ticks")
    if not np.isfinite(answers).all():
        raise AssertionError("an answer that is no number")
    yield "stateful", f"{taken / len(series) * 1e6:.2f}", f"{len(ends):,} answers equal one run over all ticks so far"


def built(shape: str, graph: str | None) -> tuple[str, int, Model]:
    """What the model is called, the ticks of its windows, and itself."""
    if graph is None:
        return SHAPES[shape].title, SHAPES[shape].steps, SHAPES[shape].build()
    import graph_models

    return graph, 50, graph_models.taken_over(graph_models.made(getattr(graph_models, graph)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticks", type=int, default=1_000_000, help="how many (1,000,000)")
    parser.add_argument("--shape", choices=SHAPES, default="quant", help="of models.py (quant)")
    parser.add_argument("--graph", choices=GRAPHS, help="of graph_models.py, which needs torch, instead of a shape")
    parser.add_argument("--samples", type=int, default=2000, help="how many answers are compared (2000)")
    options = parser.parse_args()
    title, steps, model = built(options.shape, options.graph)
    series = np.random.default_rng(0).standard_normal((options.ticks, model.input_size)).astype(np.float32)
    print(f"{title}, {model.backend} {model.kernel or ''}: {options.ticks:,} ticks, windows of {steps}")
    rows = list(check(model, steps, series, options.samples))
    terminal.table(["what", ">µs a tick", "result"], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
