"""How far back a network can learn: the gradient that reaches a tick, measured, and accuracy by sequence length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from lstmcore import reference_backward
from lstmcore.layers import Array
from lstmcore.plot.canvas import COLORS, GREY, INK, Canvas, canvas_of, legend_beside, lines, whole, whole_numbers
from lstmcore.reference import Weights
from lstmcore.text import plotted

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Network(NamedTuple):
    """What is measured: "RNN", "GRU" or "LSTM", and for an LSTM what its forget gate's bias is at first."""

    kind: str
    forget_bias: float = 0.0

    def __str__(self) -> str:
        return f"LSTM, forget bias {self.forget_bias:g}" if self.kind == "LSTM" else self.kind


NETWORKS = (Network("RNN"), Network("GRU"), *(Network("LSTM", bias) for bias in (0.0, 1.0, 3.0, 5.0)))
#: Of a kind, its step backwards and how many gates it has.
KINDS = {"RNN": (reference_backward.RNN, 1), "GRU": (reference_backward.GRU, 3), "LSTM": (reference_backward.LSTM, 4)}
INPUTS = 4


def gradient_by_tick(network: Network, length: int, *, hidden: int = 32, seeds: Sequence[int] = range(10)) -> Array:
    """How strongly each tick's input bears on the last hidden state, before any training: (length,) float64.

    ‖∂(v·h_T)/∂x_t‖ for a random direction v, over that of the newest tick, the median over the seeds. Weights and
    biases are uniform between -1/√hidden and 1/√hidden, as torch begins; of an LSTM the forget gate's two biases
    become `forget_bias` together. Inputs are 4 features of normal noise. In float64, by `reference_backward.py`.

    S. Hochreiter, "Untersuchungen zu dynamischen neuronalen Netzen", 1991, and Y. Bengio, P. Simard, P. Frasconi,
    "Learning Long-Term Dependencies with Gradient Descent is Difficult", 1994, for why it vanishes;
    R. Jozefowicz, W. Zaremba, I. Sutskever, "An Empirical Exploration of Recurrent Network Architectures", 2015, for
    the forget gate's bias.

    Raises:
        ValueError: A kind that is not "RNN", "GRU" or "LSTM", or a length below 1.
    """
    if network.kind not in KINDS:
        raise ValueError(f"network: expected one of {', '.join(KINDS)}, got {network.kind!r}")
    if length < 1:
        raise ValueError(f"length: expected at least 1, got {length}")
    cell, gates = KINDS[network.kind]
    found = []
    for seed in seeds:
        rng, rows, bound = np.random.default_rng(seed), gates * hidden, hidden**-0.5
        shapes = ((rows, INPUTS), (rows, hidden), (rows,), (rows,))
        weights = Weights(*(rng.uniform(-bound, bound, shape) for shape in shapes))
        if network.kind == "LSTM":
            forget = slice(hidden, 2 * hidden)
            weights.bias_ih[forget], weights.bias_hh[forget] = network.forget_bias, 0
        direction = rng.normal(size=hidden)
        grad_steps = np.zeros((length, hidden))
        grad_steps[-1] = direction
        zero = np.zeros(hidden)
        states = (zero, zero) if network.kind == "LSTM" else (zero,)
        x = rng.normal(size=(length, INPUTS))
        gradient = reference_backward.sequence_backward(cell, x, states, weights, grad_steps).x
        size = np.linalg.norm(gradient, axis=1)
        found.append(size / size[-1])
    median: Array = np.median(found, axis=0)
    return median


def vanishing_gradient(
    lengths: Sequence[int] = (25, 50, 100, 200),
    networks: Sequence[Network] = NETWORKS,
    *,
    hidden: int = 32,
    seeds: Sequence[int] = range(10),
    into: Canvas | None = None,
) -> Figure:
    """The gradient that reaches each tick of sequences of several lengths, measured by `gradient_by_tick`.

    A panel for each length, a line for each network. At its default size it takes some seconds.

    Raises:
        ValueError: No lengths, no networks or more than 7, and what `gradient_by_tick` raises.
        TypeError: `into` is neither a Figure nor a SubFigure.
        ImportError: matplotlib is not installed.
    """
    if not lengths or not 1 <= len(networks) <= len(COLORS):
        given = f"{len(lengths)} and {len(networks)}"
        raise ValueError(
            f"lengths, networks: expected at least one length and 1 to {len(COLORS)} networks, got {given}"
        )
    canvas = canvas_of(into, max(6.0, 3.2 * len(lengths)), 4.4)
    panels = canvas.subplots(1, len(lengths), sharey=True, squeeze=False)[0]
    for axes, length in zip(panels, lengths, strict=True):
        ticks = np.arange(length - 1, -1, -1)  # before the newest
        for network, color in zip(networks, COLORS, strict=False):
            size = gradient_by_tick(network, length, hidden=hidden, seeds=seeds)
            axes.plot(ticks, size, color=color, linewidth=1.6, label=str(network))
        axes.set_yscale("log")
        axes.set_ylim(1e-12, 30)
        axes.set_xlim(length, -0.02 * length)
        axes.xaxis.set_major_locator(whole_numbers(5, prune="upper"))  # its number would touch the next panel's
        lines(axes, f"{length} ticks", "ticks before the newest", "")
    panels[0].set_ylabel("gradient at the tick / at the newest tick")
    handles, labels = panels[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=len(networks), frameon=False, fontsize=9)
    title = f"How much of the gradient comes back, before training ({hidden} units, median of {len(seeds)} seeds)"
    canvas.suptitle(title, fontsize=12, fontweight="bold", color=INK)
    return whole(canvas)


def accuracy(
    lengths: npt.ArrayLike,
    scores: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]],
    *,
    chance: float | None = None,
    title: str = "Accuracy by sequence length",
    into: Canvas | None = None,
) -> Figure:
    """Accuracy over sequence length, a line with its interval for each model.

    Args:
        lengths: (K,), ticks.
        scores: For each model, by the name to show, the accuracies and their intervals' lower and upper ends: (K,)
            each, shares of 1.
        chance: What guessing attains; drawn as a dotted line.
        title: What was measured.
        into: A figure, or a part of one, to draw into; None makes one.

    Raises:
        ValueError: No models, more than 7, or figures of another length than `lengths`.
        TypeError: `into` is neither a Figure nor a SubFigure.
        ImportError: matplotlib is not installed.
    """
    at = np.asarray(lengths, np.float64)
    if not 1 <= len(scores) <= len(COLORS):
        raise ValueError(f"scores: expected 1 to {len(COLORS)} models, got {len(scores)}")
    for name, figures in scores.items():
        for values in figures:
            if np.shape(values) != at.shape:
                raise ValueError(f"scores of {name!r}: expected {at.size} figures, got shape {np.shape(values)}")
    canvas = canvas_of(into, 8, 4.6)
    axes = canvas.subplots()
    for n, ((name, figures), color) in enumerate(zip(scores.items(), COLORS, strict=False)):
        middle, low, high = (np.asarray(values, np.float64) for values in figures)
        x = at * 1.015 ** (n - (len(scores) - 1) / 2)  # side by side, so that intervals do not cover each other
        bars = (np.maximum(middle - low, 0), np.maximum(high - middle, 0))
        axes.errorbar(
            x, middle, bars, color=color, linewidth=1.6, marker="o", markersize=4, capsize=3, label=plotted(name)
        )
    if chance is not None:
        axes.axhline(chance, color=GREY, linestyle=":", linewidth=1.2, label="chance")
    axes.set_xscale("log", base=2)
    axes.set_xticks(at, [f"{length:g}" for length in at])
    axes.minorticks_off()
    lines(axes, "", "ticks in the sequence, logarithmic", "accuracy (share of 1)")
    legend_beside(axes)
    canvas.suptitle(title, fontsize=12, fontweight="bold", color=INK)
    return whole(canvas)
