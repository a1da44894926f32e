"""How long can a network remember? RNN, GRU and LSTM trained to recall the first tick of ever longer windows.

    python examples/memory/run.py [--out DIR] [--lengths T,T,...] [--seeds N] [--batches N]

Needs the extra `examples`. Prints a table, and writes into DIR: `accuracy.json`, the table's figures; `accuracy.png`,
the table as curves; `vanishing_gradient.png`, why it is so; `recall.safetensors` and `window.npy`, an LSTM that has
learned the task, and a window; `memory.png`, what that LSTM does with the window.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lstmcore
from lstmcore import files, plot, terminal
from lstmcore.attribution import input_gradient
from lstmcore.plot.lengths import NETWORKS, Network

terminal.ask_or_exit("examples", "torch", "matplotlib")

import torch  # noqa: E402  # behind the question
from recall import TEST, UNITS, accuracy, train, windows  # noqa: E402

LENGTHS = (8, 16, 32, 64)
SHOWN = Network("LSTM", 3.0)  # whose memory is drawn, on windows of the length that is nearest to this one
SHOWN_TICKS = 32


def main(argv: Sequence[str] | None = None) -> int:
    """Train, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/memory"), help="where files go")
    parser.add_argument("--lengths", type=_lengths, default=LENGTHS, help="ticks of the windows, with commas between")
    parser.add_argument("--seeds", type=int, default=5, help="networks of each kind and length (default 5)")
    parser.add_argument("--batches", type=int, default=300, help="batches that a network sees at most (default 300)")
    options = parser.parse_args(argv)
    if options.seeds < 1 or options.batches < 1:
        parser.error("--seeds and --batches: expected at least 1")
    torch.set_num_threads(1)  # sums are formed in the same order on every machine
    options.out.mkdir(parents=True, exist_ok=True)

    cells = [(network, ticks) for network in NETWORKS for ticks in options.lengths]
    measured: dict[str, list[dict[str, Any]]] = {str(network): [] for network in NETWORKS}
    for network, ticks in terminal.progress(cells, len(cells), "training"):
        shares = [accuracy(train(network, ticks, seed, options.batches), ticks, seed) for seed in range(options.seeds)]
        measured[str(network)].append({"ticks": ticks, "accuracy": shares, "mean": interval(shares)})
    files.write_text(options.out / "accuracy.json", json.dumps(measured, indent=2) + "\n")
    title = f"Accuracy on {TEST} new windows, mean of {options.seeds} seeds and its 95 % bootstrap interval"
    terminal.table(["network", *(f">{ticks} ticks" for ticks in options.lengths)], rows(measured), title)

    figures = {name: tuple(zip(*(cell["mean"] for cell in cells), strict=True)) for name, cells in measured.items()}
    heading = f"Recalling the first tick ({UNITS} units, {options.seeds} seeds, 95 % intervals)"
    accuracies = plot.accuracy(options.lengths, figures, chance=0.5, title=heading)
    files.write_figure(options.out / "accuracy.png", accuracies)
    files.write_figure(options.out / "vanishing_gradient.png", plot.vanishing_gradient())
    ticks = min(options.lengths, key=lambda length: abs(length - SHOWN_TICKS))
    print("\n".join(show_memory(options.out, ticks, options.batches)))
    return 0


def interval(shares: Sequence[float]) -> tuple[float, float, float]:
    """The mean, and its 95 % interval: percentiles of the means of 10,000 resamples (Efron 1979)."""
    values = np.asarray(shares)
    means = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def rows(measured: dict[str, list[dict[str, Any]]]) -> list[list[str]]:
    """The table's lines."""
    return [
        [name, *("{:.2f} [{:.2f}, {:.2f}]".format(*cell["mean"]) for cell in cells)] for name, cells in measured.items()
    ]


def show_memory(out: Path, ticks: int, batches: int) -> list[str]:
    """Train the LSTM whose memory is drawn, and draw it; what is to be said of it."""
    module = train(SHOWN, ticks, 0, batches)
    x, _ = windows(TEST, ticks, torch.Generator().manual_seed(0))
    model = lstmcore.from_torch(module)
    model.save(out / "recall.safetensors")
    window = x[0].numpy()
    with files.replacing(out / "window.npy") as file:
        np.save(file, window)
    files.write_figure(out / "memory.png", plot.overview(model, window, features=["value", "first"]))
    with torch.inference_mode():
        difference = float(np.abs(model(x.numpy()) - module(x).numpy()).max())
    other = window.copy()
    other[0, 0] = -other[0, 0]
    answer, turned = model(window)[0], model(other)[0]
    slope = input_gradient(model.trace(window))[0, 0]
    return [
        f"{SHOWN}, {ticks} ticks, saved and answered by lstmcore: largest difference to torch {difference:.1e}.",
        f"Its answer to window.npy is {answer:.3f}; with the first tick's sign turned, {turned:.3f}.",
        f"The gradient of the answer with respect to that tick is {slope:.1e}.",
    ]


def _lengths(text: str) -> tuple[int, ...]:
    lengths = tuple(int(part) if part.isdecimal() else 0 for part in text.split(","))
    if min(lengths) < 2 or sorted(set(lengths)) != list(lengths):
        raise argparse.ArgumentTypeError(f"expected growing numbers of at least 2 with commas between, got {text!r}")
    return lengths


if __name__ == "__main__":
    raise SystemExit(main())
