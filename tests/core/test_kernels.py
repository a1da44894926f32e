"""Every kernel that runs here gives the same bits, through every door; NEON does so under emulation."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import printed
from strategies import ACTIVATIONS, SEEDS, make, normal, stacks, states

import lstmcore
from lstmcore import layers as L
from lstmcore.backends import c as core

KERNELS = core.kernels_here()


def bits(array: Any) -> Any:
    return np.ascontiguousarray(array, np.float32).view(np.uint32)


def test_there_is_something_to_compare() -> None:
    assert KERNELS[-1] == "scalar"
    assert set(KERNELS) <= set(core.kernels_built())


@given(model=stacks(), seed=SEEDS, special=st.booleans())
@settings(max_examples=60, deadline=None)
def test_kernels_and_doors_give_the_same_bits(model: tuple[list[L.Layer], int], seed: int, special: bool) -> None:
    layers, steps = model
    lstm = next(layer for layer in layers if isinstance(layer, L.LSTM))
    rng = np.random.default_rng(seed)
    x = normal(rng, 3, steps, lstm.input_size)
    if special:
        x[rng.random(x.shape) < 0.05] = rng.choice([np.nan, np.inf, -np.inf, 1e-41, -0.0, 3e38])
    state = states(lstm, rng, 3)
    expected = None
    for kernel in KERNELS:
        run = lstmcore.Model(layers, kernel=kernel)
        assert run.kernel == kernel
        batch = run(x)
        expected = bits(batch) if expected is None else expected
        np.testing.assert_array_equal(bits(batch), expected)
        np.testing.assert_array_equal(bits(np.stack([run(window) for window in x])), expected)
        zero = tuple(np.zeros_like(s) for s in state)
        np.testing.assert_array_equal(bits(run(x, zero)), expected)
        one_by_one = [run(x[n], (state[0][:, n], state[1][:, n])) for n in range(3)]
        np.testing.assert_array_equal(bits(run(x, state)), bits(np.stack(one_by_one)))


def test_a_difference_in_the_last_bit_would_be_seen() -> None:
    one = np.ones(3, np.float32)
    assert (bits(one) != bits(np.nextafter(one, 2))).all()


@pytest.mark.parametrize("steps", [1, 31, 32, 33, 64, 65, 200])
def test_windows_longer_than_a_chunk_equal_the_reference(steps: int) -> None:
    rng = np.random.default_rng(steps)
    layers = [make(L.LSTM, "lstm", rng, input_size=3, hidden_size=18, num_layers=2, return_sequences=True)]
    x = normal(rng, steps, 3)
    exact = lstmcore.Model(layers, backend="numpy").astype(np.float64)(x)
    np.testing.assert_allclose(lstmcore.Model(layers)(x), exact, rtol=0, atol=2e-6)


@pytest.mark.parametrize("cell", [L.LSTM, L.GRU])
@pytest.mark.parametrize("units", [63, 64, 65])
def test_sixty_four_units_whose_weights_have_a_layout_of_their_own(cell: type[L.LSTM | L.GRU], units: int) -> None:
    """Windows of every length: the layout, which AVX-512 has beside a first-level cache of 32 KiB, begins with four
    steps, and a chunk of 32 ends inside a window or with it."""
    rng = np.random.default_rng(units)
    layers = [
        make(cell, "rnn", rng, input_size=5, hidden_size=units, num_layers=2, return_sequences=all_steps)
        for all_steps in (False, True)
    ]
    x = normal(rng, 70, 5)
    state = states(layers[0], rng, 1)
    given = tuple(s[:, 0] for s in state) if cell is L.LSTM else state[0][:, 0]
    for layer in layers:
        models = [lstmcore.Model([layer], kernel=kernel) for kernel in KERNELS]
        for steps in range(1, 71):
            for initial in (None, given):
                first, *others = (bits(model(x[:steps], initial)) for model in models)
                for other in others:
                    np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("cell", [L.LSTM, L.GRU])
@pytest.mark.parametrize("beside", [256, 340])
def test_sixty_four_units_behind_a_wide_layer(cell: type[L.LSTM | L.GRU], beside: int) -> None:
    """Whose rows of gates are as long as the layout's pages, or longer."""
    rng = np.random.default_rng(beside)
    layers = [
        make(cell, "wide", rng, input_size=3, hidden_size=beside, return_sequences=True),
        make(cell, "rnn", rng, input_size=beside, hidden_size=64, return_sequences=True),
    ]
    x = normal(rng, 40, 3)
    models = [lstmcore.Model(layers, kernel=kernel) for kernel in KERNELS]
    for steps in (1, 3, 4, 32, 33, 35, 36, 40):
        first, *others = (bits(model(x[:steps])) for model in models)
        for other in others:
            np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("cell", [L.LSTM, L.GRU])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_sixty_four_units_with_a_weight_that_is_not_finite(cell: type[L.LSTM | L.GRU], value: float) -> None:
    """Then even a state of zeros has a product."""
    rng = np.random.default_rng(64)
    layer = make(cell, "rnn", rng, input_size=3, hidden_size=64, return_sequences=True)
    weights = {key: weight.copy() for key, weight in layer.weights.items()}
    weights["weight_hh_l0"][37, 11] = value
    layer = dataclasses.replace(layer, weights=weights)
    x = normal(rng, 9, 3)
    first, *others = (lstmcore.Model([layer], kernel=kernel)(x) for kernel in KERNELS)
    assert np.isnan(first).any()
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_c_programs_hashes_agree(native_hashes: dict[str, list[str]]) -> None:
    scalar = native_hashes["scalar"]
    assert len(scalar) == 700
    assert len({line.split()[1] for line in scalar}) > 600, "the models' answers must differ for hashes to say anything"
    for kernel, lines in native_hashes.items():
        assert lines == scalar, kernel


def test_neon_gives_the_same_bits_under_emulation(
    native_hashes: dict[str, list[str]], emulated: tuple[str, Path]
) -> None:
    emulator, folder = emulated
    for kernel, every in (("neon", 3), ("scalar", 9)):  # an emulator takes long
        lines = printed(emulator, folder / "kernel_bits", kernel, every=every)
        assert lines == native_hashes["scalar"][::every], kernel


def test_a_kernel_can_be_forced_by_the_environment() -> None:
    for kernel in KERNELS:
        code = "import lstmcore; print(lstmcore.info()['kernel'])"
        environment = os.environ | {"LSTMCORE_KERNEL": kernel}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == kernel


def test_a_forced_kernel_that_cannot_run_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(L.LSTM, "lstm", np.random.default_rng(0), input_size=2, hidden_size=3)
    with pytest.raises(
        lstmcore.BackendError, match=r"kernel 'sse9': no kernel of that name; kernels that run here: .*scalar"
    ):
        lstmcore.Model([layer], kernel="sse9")
    absent = next(name for name in ("neon", "avx2") if name not in KERNELS)
    with pytest.raises(lstmcore.BackendError, match=f"kernel '{absent}': .*cannot run"):
        lstmcore.Model([layer], kernel=absent)
    monkeypatch.setenv("LSTMCORE_KERNEL", absent)
    with pytest.raises(lstmcore.BackendError, match=f"LSTMCORE_KERNEL='{absent}'"):
        lstmcore.Model([layer])
    with pytest.raises(ValueError, match="only the c backend has kernels"):
        lstmcore.Model([layer], backend="numpy", kernel="scalar")


SPECIAL = np.array(
    [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-30,
        -1e-30,
        88.0,
        -88.0,
        88.8,
        -88.8,
        100.0,
        -100.0,
        3e38,
        -3e38,
        9.1,
        -9.1,
    ],
    np.float32,
)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
@pytest.mark.parametrize("kernel", KERNELS)
def test_activations_against_float64(kernel: str, activation: L.Layer) -> None:
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.normal(size=400) * 3, rng.normal(size=200) * 40, rng.normal(size=100) * 1e-4])
    same = L.Scaler("same", 10, weights={"mean": np.zeros(10, "f4"), "scale": np.ones(10, "f4")})
    window = x.astype(np.float32).reshape(-1, 10)
    exact = lstmcore.Model([same, activation], backend="numpy").astype(np.float64)(window)
    answer = lstmcore.Model([same, activation], kernel=kernel)(window)
    np.testing.assert_allclose(answer, exact, rtol=4e-7, atol=1e-7)


@pytest.mark.parametrize("activation", ACTIVATIONS[:-1], ids=lambda a: a.name)
def test_activations_of_special_values(activation: L.Layer) -> None:
    same = L.Scaler("same", 1, weights={"mean": np.zeros(1, "f4"), "scale": np.ones(1, "f4")})
    exact = lstmcore.Model([same, activation], backend="numpy").astype(np.float64)(SPECIAL[:, None])
    ours = lstmcore.Model([same, activation], backend="c")(SPECIAL[:, None])
    # Subnormal answers count as zero, and the far tail of GELU below zero is a difference of two roundings.
    np.testing.assert_allclose(ours, exact, rtol=1e-6, atol=1e-18 if "gelu" in activation.name else 1.2e-38)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
def test_activations_of_special_values_are_torchs(name: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed; its special values cannot be compared")
    activation = next(a for a in ACTIVATIONS if a.name == name)
    same = L.Scaler("same", 1, weights={"mean": np.zeros(1, "f4"), "scale": np.ones(1, "f4")})
    ours = lstmcore.Model([same, activation], backend="c")(SPECIAL[:, None])[:, 0]
    np.testing.assert_allclose(ours, getattr(torch, name)(torch.tensor(SPECIAL)).numpy(), rtol=1e-6, atol=1.2e-38)
