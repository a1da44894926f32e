"""Numbers in Keras's files that meet the length of a window: refused, or right for any length and batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from keras_models import SUFFIXES, K, answers, filled, keras, quiet, save
from strategies import SEEDS

import lstmcore

FEATURES = 3
BOUNDS = st.one_of(st.none(), st.integers(-70, 70), st.sampled_from([50, -50, 64, 1000, -1]))
QUIET = settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def sizes(numbers: list[int]) -> list[tuple[int, int]]:
    """Batches and lengths, below, at and beyond these numbers."""
    near = {abs(n) + k for n in numbers for k in (-1, 0, 1) if abs(n) + k > 0}
    return [(1, 1), (1, 7), (3, 1), *((2, t) for t in near), (2, 2 * max(map(abs, numbers), default=5) + 3)]


@quiet()
def check(model: keras.Model, folder: Path, rng: np.random.Generator, numbers: list[int]) -> bool:
    """Refused, or Keras's answer at all these sizes; whether it was loaded."""
    model = filled(model, rng)
    loaded = []
    for suffix in SUFFIXES:
        try:
            found = lstmcore.load(save(model, folder / f"model{suffix}"), backend="numpy")
        except lstmcore.UnsupportedError:
            loaded.append(False)
            continue
        loaded.append(True)
        for n, t in sizes(numbers):
            x = rng.normal(size=(n, t, FEATURES)).astype(np.float32)
            try:
                expected = answers(model, x)
            except Exception:  # Keras itself does not take windows of this length
                continue
            atol = 5e-6 * max(1, np.abs(expected).max(initial=0))
            np.testing.assert_allclose(found(x).reshape(expected.shape), expected, rtol=0, atol=atol, err_msg=f"{n, t}")
    assert len(set(loaded)) == 1
    return loaded[0]


def functional(step: Any, *, behind: bool, steps: int | None = None) -> keras.Model:
    """`step` between the window or a layer's steps and a last GRU."""
    x = given = K.Input((steps, FEATURES))
    if behind:
        x = K.GRU(FEATURES, return_sequences=True)(x)
    return keras.Model(given, K.GRU(4)(step(x)))


@QUIET
@given(BOUNDS, BOUNDS, st.sampled_from([None, 1, 2, -1]), st.booleans(), SEEDS)
@example(-50, None, None, False, 1)
@example(None, 64, None, True, 2)
@example(None, None, None, False, 3)
def test_a_slice_is_refused_or_right(tmp_path, start, stop, step, behind, seed):
    """x[:, start:stop:step]"""
    try:
        model = functional(lambda x: x[:, start:stop:step], behind=behind)
        model(np.zeros((1, 200, FEATURES), np.float32))
    except Exception:  # torch takes no negative steps, and no slice may be empty
        return
    check(model, tmp_path, np.random.default_rng(seed), [n for n in (start, stop) if n])


LAYERS: dict[str, tuple[Any, int | None]] = {
    "Cropping1D": (lambda x: K.Cropping1D((2, 3))(x), None),
    "ZeroPadding1D": (lambda x: K.ZeroPadding1D(2)(x), None),
    "UpSampling1D": (lambda x: K.UpSampling1D(2)(x), None),
    "AveragePooling1D": (lambda x: K.AveragePooling1D(2)(x), None),
    "RepeatVector": (lambda x: K.RepeatVector(20)(K.GRU(3)(x)), None),
    "Reshape": (lambda x: K.Reshape((20, FEATURES))(x), 20),
    "Reshape of free length": (lambda x: K.Reshape((-1, FEATURES))(x), None),
    "Reshape to fewer steps": (lambda x: K.Reshape((-1, 2 * FEATURES))(x), 20),
    "Permute": (lambda x: K.Permute((2, 1))(x), 20),
    "ops.flip": (lambda x: keras.ops.flip(x, 1), None),
    "ops.take": (lambda x: keras.ops.take(x, [0, 1, 2], axis=1), None),
    "ops.roll": (lambda x: keras.ops.roll(x, 3, axis=1), None),
    "TimeDistributed": (lambda x: K.TimeDistributed(K.Dense(FEATURES))(x), None),
    "Masking": (lambda x: K.Masking(0.5)(x), None),
    "a step from the middle": (lambda x: K.Concatenate()([K.Dense(3)(x[:, 5]), K.Dense(3)(x[:, 5])])[:, None], None),
    "fixed length": (lambda x: K.Dense(3)(x), 20),
}


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("name", LAYERS)
@quiet()
def test_what_changes_lengths_is_refused_or_right(tmp_path, name, behind):
    step, steps = LAYERS[name]
    loaded = check(functional(step, behind=behind, steps=steps), tmp_path, np.random.default_rng(3), [20])
    assert loaded == (name in ("TimeDistributed", "Masking", "fixed length"))


@quiet()
def test_code_is_refused(tmp_path):
    model = functional(lambda x: K.Lambda(lambda y: y[:, -50:], output_shape=(None, FEATURES))(x), behind=False)
    assert not check(model, tmp_path, np.random.default_rng(3), [50])


@quiet()
def test_a_flatten_keeps_the_length(tmp_path):
    model = keras.Sequential([K.Input((6, FEATURES)), K.GRU(2, return_sequences=True), K.Flatten(), K.Dense(1)])
    assert check(model, tmp_path, np.random.default_rng(5), [])
    with pytest.raises(ValueError, match="6"):
        lstmcore.load(tmp_path / "model.keras")(np.zeros((7, FEATURES), np.float32))
