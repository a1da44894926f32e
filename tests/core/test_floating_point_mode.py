"""Subnormal numbers do not slow a call down or change its caller's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import make, normal

import lstmcore
from lstmcore import layers as L
from lstmcore.backends import c as core

TINY = np.float32(1e-42)


def model(kernel: str) -> lstmcore.Model:
    rng = np.random.default_rng(0)
    layers = [make(L.LSTM, "lstm", rng, input_size=4, hidden_size=20, num_layers=2, return_sequences=True)]
    return lstmcore.Model(layers, kernel=kernel)


@pytest.mark.parametrize("kernel", core.kernels_here())
def test_subnormal_inputs_and_states_count_as_zero(kernel: str) -> None:
    run = model(kernel)
    zeros = np.zeros((10, 4), np.float32)
    tiny_state = (np.full((2, 20), TINY), np.full((2, 20), TINY))
    np.testing.assert_array_equal(run(np.full((10, 4), TINY), tiny_state), run(zeros))


@pytest.mark.parametrize("kernel", core.kernels_here())
def test_the_callers_arithmetic_is_as_before(kernel: str) -> None:
    run = model(kernel)
    x = normal(np.random.default_rng(1), 10, 4)
    half = np.full(64, 2 * TINY) / np.float32(2)
    run(x)
    assert (np.full(64, 2 * TINY) / np.float32(2) == half).all()
    assert half.all(), "subnormal numbers must still be numbers after a call"
