"""Modules as users write them, with random weights, and what all tests of from_torch ask."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from tolerances import TIMES_TORCH
from torch import nn

import lstmcore

torch.set_num_threads(1)


class ExitModel(nn.Module):
    """Two stacked layers, last step, classifier, as a user wrote it."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 64, num_layers=2, dropout=0.3, batch_first=True)
        self.classifier = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 1), nn.Sigmoid())

    def forward(self, x):
        out, _ = self.lstm(x)
        last = out[:, -1, :]
        return self.classifier(last).squeeze(-1)


class QuantModel(nn.Module):
    """One layer, batch norm behind the last step, as a user wrote it."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(10, 64, batch_first=True)
        self.bn = nn.BatchNorm1d(64)
        self.dropout1 = nn.Dropout(0.3)
        self.fc1 = nn.Linear(64, 32)
        self.relu = nn.ReLU()
        self.dropout2 = nn.Dropout(0.2)
        self.fc2 = nn.Linear(32, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        lstm_out, _ = self.lstm(x)
        x = self.dropout1(self.bn(lstm_out[:, -1, :]))
        x = self.dropout2(self.relu(self.fc1(x)))
        return self.sigmoid(self.fc2(x))


class Forward(nn.Module):
    """An LSTM(5, 6) named lstm, the given members, and a forward that is a function of the module and x."""

    def __init__(self, function, lstm=None, **members):
        super().__init__()
        self.input_size = (5,)  # means nothing to from_torch
        self.lstm = nn.LSTM(5, 6, batch_first=True) if lstm is None else lstm
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, x):
        return self.function(self, x)


class Only(nn.Module):
    """The given members, and a forward that is a function of the module and x."""

    def __init__(self, function, **members):
        super().__init__()
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, x):
        return self.function(self, x)


def trained(module, seed=0, scale=1.0):
    """In eval mode with random weights and running statistics, as training leaves them."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor):
        return torch.randn(tensor.shape, generator=generator).to(tensor.dtype)

    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(normal(parameter) * scale / max(1, parameter.shape[-1]) ** 0.5)
        for m in module.modules():
            if isinstance(m, nn.BatchNorm1d) and m.running_mean is not None:
                m.running_mean.copy_(normal(m.running_mean) / 2)
                m.running_var.copy_(normal(m.running_var).square() + 0.1)
    return module.eval()


def read(module, **options):
    return lstmcore.from_torch(module, backend="numpy", **options)


def windows(n: int, t: int, f: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, t, f)).astype(dtype)


def answers(module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy()


def assert_same(module, model, features, time_major=False, lengths=(1, 2, 17)):
    """The same answers for several lengths: in float64 to the last digits, in float32 to its rounding or to torch's."""
    double, wide = copy.deepcopy(module).double(), model.astype(np.float64)
    for t in lengths if model.steps is None else (model.steps,):
        x = windows(4, t, features, seed=t)
        given = x.swapaxes(0, 1).copy() if time_major else x
        exact, own = answers(double, given.astype(np.float64)), answers(module, given)
        for mine, tolerance in ((wide, 1e-12), (model, 5e-6)):
            got = mine(x.astype(mine.dtype))
            assert got.shape == exact.shape
            largest = tolerance * max(1, np.abs(exact).max())
            if mine.dtype == np.float32:
                largest = max(largest, TIMES_TORCH * np.abs(own - exact).max())
            assert np.abs(got - exact).max() <= largest
