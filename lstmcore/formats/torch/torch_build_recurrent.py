"""LSTM, GRU and RNN layers as torch's own modules, where torch has what they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from lstmcore import layers
from lstmcore.errors import UnsupportedError

#: How what comes out of two directions is joined.
MERGES: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "concat": lambda forward, backward: torch.cat([forward, backward], -1),
    "sum": lambda forward, backward: forward + backward,
    "mean": lambda forward, backward: (forward + backward) / 2,
    "mul": lambda forward, backward: forward * backward,
}

#: What torch's modules do; each other setting is refused.
TORCH: Mapping[str, tuple[Any, ...]] = {
    "clip": (0.0,),
    "peepholes": (False,),
    "coupled": (False,),
    "layer_norm": (False,),
    "reset_after": (True,),
}
ACTIVATIONS = {layers.LSTM: ("sigmoid tanh tanh",), layers.GRU: ("sigmoid tanh",), layers.RNN: ("tanh", "relu")}


class _Recurrent(nn.Module):
    """Takes windows (N, T, F) and gives every step's h or the final one, both directions joined."""

    def __init__(self, layer: layers.Recurrent, **more: Any) -> None:
        for setting, allowed in {**TORCH, "activations": ACTIVATIONS[type(layer)]}.items():
            value = getattr(layer, setting, allowed[0])
            if value not in allowed:
                raise UnsupportedError(f"{layer.label}: torch has no {setting}={value!r}")
        super().__init__(
            layer.input_size,
            layer.hidden_size,
            num_layers=layer.num_layers,
            bias=layer.bias,
            batch_first=True,
            bidirectional=layer.bidirectional,
            **more,
        )
        self.return_sequences, self.merge = layer.return_sequences, layer.merge if layer.bidirectional else None
        self.states = "hc" if layer.cell_width else "h"
        cells = [f"l{k}{suffix}" for k in range(layer.num_layers) for suffix in layer.suffixes]
        self.learned = cells if layer.learned_state else []
        for cell in self.learned:
            self.register_parameter(f"h_0_{cell}", nn.Parameter(torch.zeros(layer.state_width)))
            if layer.cell_width:
                self.register_parameter(f"c_0_{cell}", nn.Parameter(torch.zeros(layer.cell_width)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor
        answer, final = super().forward(x, self._initial(len(x)))
        if self.return_sequences:
            return MERGES[self.merge](*answer.chunk(2, -1)) if self.merge else answer
        h_n = final if self.states == "h" else final[0]
        answer = h_n[-1]
        return MERGES[self.merge](h_n[-2], answer) if self.merge else answer

    def _initial(self, windows: int) -> Any:
        """The learned states for a batch, (layers*directions, N, H); None: zeros."""
        if not self.learned:
            return None
        states = [torch.stack([getattr(self, f"{letter}_0_{cell}") for cell in self.learned]) for letter in self.states]
        states = [state.unsqueeze(1).expand(-1, windows, -1).contiguous() for state in states]
        return tuple(states) if len(states) == 2 else states[0]


class LSTM(_Recurrent, nn.LSTM):  # type: ignore[misc]  # forward gives one tensor
    """An LSTM layer."""

    def __init__(self, layer: layers.LSTM) -> None:
        super().__init__(layer, proj_size=layer.proj_size)


class GRU(_Recurrent, nn.GRU):  # type: ignore[misc]
    """A GRU layer."""


class RNN(_Recurrent, nn.RNN):  # type: ignore[misc]
    """An RNN layer."""

    def __init__(self, layer: layers.RNN) -> None:
        super().__init__(layer, nonlinearity=layer.activations)
