"""Models that are no chain, and the challenge, as torch modules with random weights: what benchmarks/graphs.py times.

They are not in models.py, because those who read that need no torch. `forward` takes windows (1, T, F) and answers
(1, 1). The modules that are asked tick by tick also have `step`, which takes a tick and the states and returns the
answer and the new states. It is written so that its graph is the fastest: all tensors are (1, 1, size), each layer has
a state of its own, and the next layer reads that state, so the graph has no node that cuts, joins or transposes.
"""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import torch
from torch import nn

import lstmcore

FEATURES, HIDDEN = 10, 64


class ResidualGRU(nn.Module):
    """Two layers, whose outputs are added; the last step."""

    features = FEATURES

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.GRU(FEATURES, HIDDEN, batch_first=True)
        self.second = nn.GRU(HIDDEN, HIDDEN, batch_first=True)
        self.fc = nn.Linear(HIDDEN, 1)

    def forward(self, x: Any) -> Any:
        a, _ = self.first(x)
        b, _ = self.second(a)
        return self.fc((a + b)[:, -1])

    def step(self, x: Any, first: Any, second: Any) -> tuple[Any, ...]:
        _, first = self.first(x, first)
        _, second = self.second(first, second)
        return self.fc(first + second), first, second


class ResidualLSTM(nn.Module):
    """Two layers, whose outputs are added; the last step, normalised.

    The last step is taken before the norm: a runtime that computes every step would normalise them all.
    """

    features = FEATURES

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(FEATURES, HIDDEN, batch_first=True)
        self.second = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.norm = nn.LayerNorm(HIDDEN)
        self.fc = nn.Linear(HIDDEN, 1)

    def forward(self, x: Any) -> Any:
        a, _ = self.first(x)
        b, _ = self.second(a)
        return self.fc(self.norm((a + b)[:, -1]))


class BothLast(nn.Module):
    """Both directions, read at the last tick, where the backward one has taken one step."""

    features = FEATURES

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, HIDDEN, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * HIDDEN, 1)

    def forward(self, x: Any) -> Any:
        out, _ = self.lstm(x)
        return self.fc(out[:, -1])


class BothEnds(BothLast):
    """Both directions, each after all of its steps."""

    def forward(self, x: Any) -> Any:
        _, (h, _) = self.lstm(x)
        return self.fc(torch.cat([h[0], h[1]], 1))


class SideBySide(nn.Module):
    """An LSTM and a GRU that read the same input, their last steps joined."""

    features = FEATURES

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, HIDDEN // 2, batch_first=True)
        self.gru = nn.GRU(FEATURES, HIDDEN // 2, batch_first=True)
        self.fc = nn.Linear(HIDDEN, 1)

    def forward(self, x: Any) -> Any:
        a, _ = self.lstm(x)
        b, _ = self.gru(x)
        return self.fc(torch.cat([a[:, -1], b[:, -1]], 1))


class Challenge(nn.Module):
    """A chain: three GRU layers of 64 over 32 features."""

    features = 32

    def __init__(self) -> None:
        super().__init__()
        sizes = (self.features, HIDDEN, HIDDEN)
        self.layers = nn.ModuleList(nn.GRU(size, HIDDEN, batch_first=True) for size in sizes)
        self.fc = nn.Linear(HIDDEN, 1)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x, _ = layer(x)
        return self.fc(x[:, -1])

    def step(self, x: Any, *states: Any) -> tuple[Any, ...]:
        after = []
        for layer, state in zip(self.layers, states, strict=True):
            _, x = layer(x, state)
            after.append(x)
        return self.fc(x), *after


class Ensemble(nn.Module):
    """Ten of them, and the mean of their answers."""

    features = Challenge.features

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(Challenge() for _ in range(10))

    def forward(self, x: Any) -> Any:
        return torch.cat([member(x) for member in self.members], -1).mean(-1, keepdim=True)

    def step(self, x: Any, *states: Any) -> tuple[Any, ...]:
        each = len(states) // len(self.members)
        found = [member.step(x, *states[n * each : (n + 1) * each]) for n, member in enumerate(self.members)]
        answers = torch.cat([answer for answer, *_ in found], -1)
        return answers.mean(-1, keepdim=True), *(state for _, *after in found for state in after)


class Step(nn.Module):
    """A module's `step` as its forward."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = copy.deepcopy(module)
        self.states = []
        for layer in self.module.modules():
            if isinstance(layer, nn.RNNBase):
                layer.batch_first = False  # which means the same here, and leaves no Transpose in the graph
                self.states.append(torch.zeros(1, 1, layer.hidden_size))

    def forward(self, x: Any, *states: Any) -> Any:
        return self.module.step(x, *states)


def made(kind: type[nn.Module]) -> Any:
    """One with the same random weights in every run; the process's own random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(HIDDEN)
        return kind().eval().requires_grad_(False)


def taken_over(module: nn.Module) -> lstmcore.Model:
    """Its Model; of an ensemble, that of its members' Models."""
    if isinstance(module, Ensemble):
        return lstmcore.ensemble(lstmcore.from_torch(member) for member in module.members)
    return lstmcore.from_torch(module)


def window_onnx(module: Any, steps: int) -> bytes:
    """The module as torch writes it for one window."""
    return _exported(module, (torch.zeros(1, steps, module.features),))


def step_onnx(module: Any) -> bytes:
    """The module's `step` as torch writes it: the first input is the tick, the first output the answer."""
    step = Step(module)
    return _exported(step, (torch.zeros(1, 1, module.features), *step.states))


def _exported(module: nn.Module, inputs: tuple[Any, ...]) -> bytes:
    """By the older exporter, which writes a layer as one node of ONNX."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this is the older one, and that the batch size is fixed
        torch.onnx.export(module, inputs, out, dynamo=False, opset_version=17)
    return out.getvalue()
