"""A backend's answers against exact ones, with what float64 or float32 allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tolerances import FLOAT64, RELATIVE, TIMES_TORCH

import lstmcore
from lstmcore import layers as L


def answer(layers: Sequence[L.Layer], x: Any, *more: Any, backend: str = "numpy") -> Any:
    """What the layers answer, in float64 with the numpy backend if their weights are."""
    return lstmcore.Model(layers, backend=backend)(x, *more)


def close(found: Any, exact: Any, atol: float = FLOAT64) -> None:
    """Fail where two answers differ by more than `atol`, or, where they are large, by as much of their size."""
    assert found.shape == exact.shape
    scale = max(1.0, float(np.nanmax(np.abs(exact), initial=0, where=np.isfinite(exact))))
    np.testing.assert_allclose(found, exact, rtol=0, atol=atol * scale)


def check(backend: str, layers: Sequence[L.Layer], exact: Any, x: Any, *more: Any) -> None:
    """Fail where a backend's answer to `x` (and states, lengths) is not `exact`, for layers of float64 weights."""
    model = lstmcore.Model(layers, backend=backend)
    if model.runner.dtype == np.float64:
        close(model(x, *more), exact)
        return
    # Twice the error that the same equations have in float32, where that is more than usual; and eight times what it
    # does in float64 to round each weight another way, since one run in float32 can be right by luck, and since an
    # activation of the core may be off by four times as much as a weight is, 2 ulp, at every step.
    own = np.abs(lstmcore.Model(layers, backend="numpy").astype(np.float32)(x, *more) - exact)
    moved = [np.abs(answer(rounded(layers, seed), x, *more) - exact) for seed in range(3)]
    allowed = (RELATIVE, TIMES_TORCH * largest(own), 4 * TIMES_TORCH * max(map(largest, moved)))
    close(model(x, *more), exact, max(allowed))


def rounded(layers: Sequence[L.Layer], seed: int) -> list[L.Layer]:
    """The layers with each weight up or down by what float32 does not see."""
    rng = np.random.default_rng(seed)
    step = np.finfo(np.float32).eps / 2
    return [layer.map_weights(lambda w: w * (1 + rng.choice([-step, step], w.shape))) for layer in layers]


def largest(errors: Any) -> float:
    return float(np.nanmax(errors, initial=0))
