"""The LSTM's variations as one equation: what `reference.lstm_step` is with everything that has been added to it.

Sources
-------
- F. A. Gers, J. Schmidhuber, "Recurrent Nets that Time and Count", IJCNN 2000: peepholes.
- K. Greff et al., "LSTM: A Search Space Odyssey", 2017: coupled input and forget gates (there f = 1 - i, as in ONNX).
- H. Sak, A. Senior, F. Beaufays, "Long Short-Term Memory Based Recurrent Neural Network Architectures", 2014:
  the projection of h.
- J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", 2016, equations 20 to 22: the layer-normalised LSTM.
- ONNX's LSTM operator, for functions in the place of sigmoid and tanh and for `clip`, which ONNX Runtime and OpenVINO
  apply to what goes into the gates and the candidate, not to the cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcore.reference import Function, layer_norm, sigmoid

Array = npt.NDArray[Any]


def same(x: Array) -> Array:
    """x."""
    return x


@dataclass(frozen=True)
class Variation:
    """One layer's weights in torch's layout, gates i f g o, and what is other than usual; None: it is as usual."""

    weight_ih: Array  # (4*H, I)
    weight_hh: Array  # (4*H, H), or (4*H, P) with a projection
    bias: Array  # (4*H,)
    weight_hr: Array | None = None  # (P, H)
    peephole: Array | None = None  # (3*H,), of i, f, o
    coupled: bool = False
    norms: tuple[Array, Array, Array, Array] | None = None  # gains (4*H,), (4*H,) and (H,), bias (H,)
    eps: float = 1e-5
    gate: Function = sigmoid
    candidate: Function = np.tanh
    output: Function = np.tanh
    clip: float = 0.0  # 0: none


def lstm_variation_step(x: Array, h: Array, c: Array, v: Variation) -> tuple[Array, Array]:
    """One step: (I,), (P,) or (H,), (H,) -> the new h and c."""
    cut = same if v.clip == 0 else (lambda a: np.clip(a, -a.dtype.type(v.clip), a.dtype.type(v.clip)))
    wx, rh = v.weight_ih @ x, v.weight_hh @ h
    if v.norms is not None:
        wx, rh = layer_norm(wx, v.norms[0], 0 * wx, v.eps), layer_norm(rh, v.norms[1], 0 * rh, v.eps)
    a_i, a_f, a_g, a_o = np.split(wx + v.bias + rh, 4)
    p_i, p_f, p_o = np.zeros((3, 1), x.dtype) if v.peephole is None else np.split(v.peephole, 3)
    i = v.gate(cut(a_i + p_i * c))
    f = 1 - i if v.coupled else v.gate(cut(a_f + p_f * c))
    g = v.candidate(cut(a_g))
    c = f * c + i * g
    o = v.gate(cut(a_o + p_o * c))  # the output gate's peephole sees the new cell state
    shown = c if v.norms is None else layer_norm(c, v.norms[2], v.norms[3], v.eps)
    h = o * v.output(shown)
    return (h if v.weight_hr is None else v.weight_hr @ h), c
