"""The task, the network and its training: say at the last tick what the sign of the first one was."""

from __future__ import annotations

import torch
from torch import nn

from lstmcore.plot.lengths import Network

UNITS = 16
BATCH = 32
LEARNING_RATE = 5e-3
LEARNED = 0.02  # a loss; after five batches in a row below it, training stops
TEST = 1000  # windows


class Recall(nn.Module):
    """(N, T, 2) -> (N, 1): the probability that the first tick was positive."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.memory = getattr(nn, network.kind)(2, UNITS, batch_first=True)
        self.fc = nn.Linear(UNITS, 1)
        if network.kind == "LSTM":
            forget = slice(UNITS, 2 * UNITS)  # torch stacks i, f, g, o
            with torch.no_grad():
                self.memory.bias_ih_l0[forget] = network.forget_bias
                self.memory.bias_hh_l0[forget] = 0

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """What `forward` gives to the sigmoid."""
        steps, _ = self.memory(x)
        answer: torch.Tensor = self.fc(steps[:, -1])
        return answer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.logits(x))


def windows(count: int, ticks: int, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows (N, T, 2) and their labels (N, 1).

    The first feature is -1 or 1 at the first tick and normal noise of the same size at all others; the second is 1 at
    the first tick and 0 at all others. The label is 1 where the first tick is positive.
    """
    x = torch.zeros(count, ticks, 2)
    x[..., 0] = torch.randn(count, ticks, generator=random)
    x[:, 0, 0] = torch.where(x[:, 0, 0] > 0, 1.0, -1.0)
    x[:, 0, 1] = 1
    return x, (x[:, :1, 0] > 0).float()


def train(network: Network, ticks: int, seed: int, batches: int) -> Recall:
    """A network trained on fresh windows, until it has learned the task or has seen so many batches."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(1000 + seed)
    module = Recall(network)
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)
    good = 0
    for _ in range(batches):
        x, y = windows(BATCH, ticks, random)
        loss = nn.functional.binary_cross_entropy_with_logits(module.logits(x), y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        good = good + 1 if loss.item() < LEARNED else 0
        if good == 5:
            break
    return module.eval()


def accuracy(module: Recall, ticks: int, seed: int) -> float:
    """The share of right answers on windows that training has not seen."""
    x, y = windows(TEST, ticks, torch.Generator().manual_seed(10**6 + seed))
    with torch.inference_mode():
        return float(((module(x) > 0.5) == (y > 0.5)).float().mean())
