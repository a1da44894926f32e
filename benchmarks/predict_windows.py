"""Windows per second over a long series, as a backtest asks for them: `predict_windows` beside batches of others.

    python benchmarks/predict_windows.py [--ticks N] [--seconds S] [--json FILE]

A series in memory becomes an answer for each of its windows, with everything that this takes: the others copy their
windows out of the series, as many at a time as is best for them, which is searched for first, on part of the series.
They have one thread; this project stands here with one and with two. Each round is one pass of each of them over the
whole series, in a new order.
"""

from __future__ import annotations

import abc
import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import results
from models import SHAPES

import lstmcore
from lstmcore import terminal
from lstmcore.commands import bench as command
from lstmcore.layers import Array
from lstmcore.measure import bench, peers
from lstmcore.measure.comparison import largest_difference
from lstmcore.windows import windows

BATCHES = (1, 8, 32, 128, 512, 2048)
SEARCHED = 1 << 12  # windows over which the best batch is searched for
SEED = 0


class Batched(peers.Peer):
    """Someone who answers `batch` windows at a time; the last ones as they come."""

    threads = 1

    def __init__(self, label: str, batch: int, window: int) -> None:
        self.label, self.batch, self.window = label, batch, window
        self.settings = f"batches of {batch}, 1 thread"

    def __call__(self, series: Array) -> Array:
        """The answers to all windows of a series, (N,)."""
        views = windows(series, self.window)
        out = np.empty(len(views), np.float32)
        for n in range(0, len(views), self.batch):
            some = views[n : n + self.batch]
            out[n : n + len(some)] = self.answer(np.array(some))
        return out

    @abc.abstractmethod
    def answer(self, batch: Array) -> Any:
        """(N, T, F) -> (N,)"""


class OnnxRuntime(Batched):
    """ONNX Runtime's `run`, which takes batches of any size: beside their computation, a bound buffer is no gain."""

    def __init__(self, model: lstmcore.Model, batch: int, window: int) -> None:
        from lstmcore.formats.onnx import onnx

        super().__init__("ONNX Runtime", batch, window)
        self.session = peers.onnxruntime_session(onnx.build(model).SerializeToString(), self.threads)
        self.input = self.session.get_inputs()[0].name

    def answer(self, batch: Array) -> Any:
        return self.session.run(None, {self.input: batch})[0].reshape(-1)


class Torch(Batched):
    """A torch module, eager or traced, under inference_mode."""

    def __init__(self, model: lstmcore.Model, batch: int, window: int, traced: bool) -> None:
        from lstmcore.formats.torch.torch_build import to_module

        super().__init__("torch", batch, window)
        self.settings = f"{'jit' if traced else 'eager'}, {self.settings}"
        self.torch = terminal.need("torch", "torch")
        module = to_module(model)
        example = (self.torch.zeros(batch, window, model.input_size),)
        self.module = peers.script(module, example) if traced else module

    def answer(self, batch: Array) -> Any:
        return self.module(self.torch.from_numpy(batch)).numpy().reshape(-1)

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        before = self.torch.get_num_threads()
        self.torch.set_num_threads(self.threads)
        try:
            with self.torch.inference_mode():
                yield
        finally:
            self.torch.set_num_threads(before)


def ways(model: lstmcore.Model, window: int) -> dict[str, Callable[[int], Batched]]:
    """What is searched, by name: each makes a peer for a size of batch."""
    found: dict[str, Callable[[int], Batched]] = {}
    if "onnxruntime" in peers.installed():
        found["ONNX Runtime"] = lambda batch: OnnxRuntime(model, batch, window)
    if "torch" in peers.installed():
        found["torch eager"] = lambda batch: Torch(model, batch, window, False)
        found["torch jit"] = lambda batch: Torch(model, batch, window, True)
    return found


def search(make: Callable[[int], Batched], part: Array, batches: Sequence[int]) -> tuple[Batched, dict[str, float]]:
    """The fastest of the batches, and windows per second with each: the best of three passes."""
    found: dict[int, tuple[float, Batched]] = {}
    for batch in batches:
        peer = make(batch)
        with peer.ready():
            peer(part[: len(part) // 4])
            passes = [timed(peer, part)[0] for _ in range(3)]
        found[batch] = min(passes), peer
    count = len(part) - peer.window + 1
    best = min(found.values(), key=lambda pair: pair[0])[1]
    return best, {str(batch): count / seconds for batch, (seconds, _) in found.items()}


def timed(answer: Callable[[Array], Any], series: Array) -> tuple[float, Any]:
    start = time.perf_counter()
    answers = answer(series)
    return time.perf_counter() - start, answers


def one_pass(contender: bench.Contender, serieses: Iterator[Array]) -> None:
    """A turn for `bench.measure`."""
    with contender.ready():
        seconds, _ = timed(contender.answer, next(serieses))
    contender.rounds.append(np.array([seconds * 1e9]))


def measure(ticks: int, seconds: float, batches: Sequence[int] = BATCHES) -> dict[str, Any]:
    """Everything, ready for JSON."""
    shape = SHAPES["quant"]
    model, window = shape.build(), shape.steps
    series = np.random.default_rng(SEED).standard_normal((ticks, model.input_size)).astype(np.float32)
    part = series[: min(SEARCHED + window - 1, ticks)]
    own = [
        bench.Contender(
            f"lstmcore {model.backend}",
            f"{model.kernel}, {peers.count_of(threads)}",
            lambda x, threads=threads: model.predict_windows(x, window, threads=threads),
            threads=threads,
        )
        for threads in (1, 2)
    ]
    searched, best = {}, []
    every = ways(model, window)
    for name in terminal.progress(every, len(every), "searching the best batches"):
        peer, searched[name] = search(every[name], part, batches)
        best.append(bench.Contender(peer.label, peer.settings, peer, peer.ready, peer.threads))
    expected = model.with_backend("numpy").astype(np.float64).predict_windows(part[: 100 + window - 1], window)
    for each in (*own, *best):
        with each.ready():
            answers = np.asarray(each.answer(part[: 100 + window - 1])).reshape(expected.shape)
        each.difference = largest_difference(answers, expected).value
    facts = command.timed([*own, *best], [series], seconds, SEED, one_pass)
    count = ticks - window + 1
    for row in facts["rows"]:
        row["windows_per_second"] = count / (row["p50"] / 1e6)
    return {"model": shape.title, "ticks": ticks, "window": window, "searched": searched, **facts}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticks", type=int, default=100_000, help="how long the series is (100,000)")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long to measure, beside the search (120)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    facts = measure(options.ticks, options.seconds)
    print(f"{facts['model']}, {facts['ticks']:,} ticks, windows of {facts['window']}: {facts['rounds']} rounds")
    terminal.table(
        ["who", "settings", ">windows/s", ">ratio", "5-95 %", ">difference"],
        [
            (
                row["label"], row["settings"], f"{row['windows_per_second']:,.0f}", f"{row['ratio']:.2f}",
                f"{row['ratio_low']:.2f}-{row['ratio_high']:.2f}", f"{row['difference']:.1e}",
            )
            for row in facts["rows"]
        ],
    )  # fmt: skip
    for name, found in facts["searched"].items():
        print(f"{name}, windows/s by batch:", ", ".join(f"{batch}: {rate:,.0f}" for batch, rate in found.items()))
    if options.json:
        results.write(options.json, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
