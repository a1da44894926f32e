"""The quant and the exit model as torch modules, with an LSTM, a GRU or an RNN in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from lstmcore.inputs import as_integer
from lstmcore.text import quoted

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
HEAD = 32  # units between the recurrent layer's and the answer


class Classifier(nn.Module):
    """Scaled windows (N, T, F) -> (N,): the probability of a 1.

    `logits` is the answer before its sigmoid, which training takes the loss of: log(sigmoid(x)) from x keeps
    its gradient where the sigmoid has rounded to 0 or 1. The exported module is `forward`, with the sigmoid in it.
    """

    def __init__(self, recurrent: nn.RNNBase, head: nn.Sequential, name: str) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.head = head
        self.name = name

    @property
    def features(self) -> int:
        """Features of a tick, F."""
        return self.recurrent.input_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, T, F) -> (N,), between 0 and 1: the answer after the last tick."""
        return torch.sigmoid(self.logits(x))

    def logits(self, x: torch.Tensor, answered: torch.Tensor | None = None) -> torch.Tensor:
        """The same before the sigmoid, (N, T, F) -> (N,); or the answers after chosen ticks.

        Args:
            x: Scaled features.
            answered: (N, T) bool: the ticks that are answered -> (answered,), window by window. A recurrent layer
                reads nothing behind a tick, so what is padded behind the last one changes no answer.
        """
        out, _ = self.recurrent(x)
        last = out[:, -1] if answered is None else out[answered]
        answer: torch.Tensor = self.head(last).squeeze(-1)
        return answer


def quant_model(
    features: int = 10,
    *,
    cell: str = "lstm",
    hidden: int = 64,
    layers: int = 1,
    dropout: float = 0.3,
    head_dropout: float = 0.2,
    seed: int = 0,
) -> Classifier:
    """LSTM(10 -> 64) -> BatchNorm -> Dropout 0.3 -> Linear(64, 32) -> ReLU -> Dropout 0.2 -> Linear(32, 1) -> Sigmoid.

    Args:
        features: F.
        cell: "lstm", "gru" or "rnn".
        hidden: Units of the recurrent layer.
        layers: Stacked recurrent layers, with `dropout` between them.
        dropout: The chance that a number is dropped in front of the head.
        head_dropout: The same in the head.
        seed: Of the weights. torch's own generator is left as it is.

    Raises:
        ValueError: A size or a chance out of range, or another cell.
    """
    with _seeded(seed):
        recurrent = _recurrent(cell, features, hidden, layers, dropout)
        head = nn.Sequential(nn.BatchNorm1d(hidden), nn.Dropout(_chance(dropout, "dropout")))
        head.extend(_head(hidden, head_dropout))
    return Classifier(recurrent, head, f"quant ({cell}, {layers} x {hidden})")


def exit_model(
    features: int = 8,
    *,
    cell: str = "lstm",
    hidden: int = 64,
    layers: int = 2,
    dropout: float = 0.3,
    head_dropout: float = 0.2,
    seed: int = 0,
) -> Classifier:
    """LSTM(8 -> 64, 2 layers, dropout 0.3) -> Linear(64, 32) -> ReLU -> Dropout 0.2 -> Linear(32, 1) -> Sigmoid.

    Args and Raises: as of `quant_model`; `dropout` is between the recurrent layers.
    """
    with _seeded(seed):
        recurrent = _recurrent(cell, features, hidden, layers, dropout)
        return Classifier(recurrent, _head(hidden, head_dropout), f"exit ({cell}, {layers} x {hidden})")


MODELS = {"quant": quant_model, "exit": exit_model}


def _recurrent(cell: str, features: int, hidden: int, layers: int, dropout: float) -> nn.RNNBase:
    if cell not in CELLS:
        raise ValueError(f"cell: expected one of {', '.join(CELLS)}, got {quoted(cell)}")
    sizes = (
        as_integer(size, name, 1) for name, size in (("features", features), ("hidden", hidden), ("layers", layers))
    )
    between = _chance(dropout, "dropout") if layers > 1 else 0.0  # torch warns where there is no between
    return CELLS[cell](*sizes, batch_first=True, dropout=between)


def _head(hidden: int, dropout: float) -> nn.Sequential:
    drop = nn.Dropout(_chance(dropout, "head_dropout"))
    return nn.Sequential(nn.Linear(hidden, HEAD), nn.ReLU(), drop, nn.Linear(HEAD, 1))


def _chance(value: float, what: str) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"{what}: expected a chance of at least 0 and below 1, got {quoted(value)}")
    return float(value)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torch's random numbers on the CPU from a seed, and afterwards as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(as_integer(seed, "seed", 0))
        yield
