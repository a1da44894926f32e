"""Masking in files of Keras: whatever is behind it, the ticks that Keras skips are skipped, or the file is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras_models import SUFFIXES, K, answers, filled, keras, load, refused, save, with_argument
from strategies import SEEDS
from tolerances import FLOAT32

import lstmcore

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning")

STEPS, FEATURES = 5, 3
KINDS = ("LSTM", "GRU", "SimpleRNN")
BRANCHES = ("one", "other", "none")
STEPS_BETWEEN = ("recurrent", "both", "plus", "times", "Add", "Average", "Multiply", "concat", "masking", "step",
                 "scale")  # fmt: skip
ENDS = ("flatten", "recurrent", "both", "backwards", "last", "every")


def marked(rng: np.random.Generator, count: int = 8) -> np.ndarray:
    """Windows with ticks of zeros and of ones anywhere; one has nothing else."""
    x = rng.normal(size=(count, STEPS, FEATURES)).astype(np.float32)
    kind = rng.integers(0, 4, (count, STEPS))
    kind[0], kind[1] = 0, 1
    x[kind == 0], x[kind == 1] = 0, 1
    return x


def same(model: keras.Model, path: Path, rng: np.random.Generator) -> None:
    """That the file answers as Keras does."""
    x = marked(rng)
    expected = answers(model, x)
    found = load(save(model, path))(x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=FLOAT32 * max(1.0, np.abs(expected).max()))


def between(kind: str, cell: str, a: Any, b: Any) -> Any:
    """What one layer or operation makes of one tensor or two of 4 features."""
    makers: dict[str, Callable[[], Any]] = {
        "recurrent": lambda: getattr(K, cell)(4, return_sequences=True)(a),
        "both": lambda: K.Bidirectional(getattr(K, cell)(2, return_sequences=True))(a),
        "plus": lambda: a + b,
        "times": lambda: a * b,
        "concat": lambda: K.Dense(4)(K.Concatenate()([a, b])),
        "masking": lambda: K.Masking()(K.ReLU()(a)),
        "step": lambda: K.TimeDistributed(K.Dense(4, activation="tanh"))(a),
        "scale": lambda: K.Rescaling(0.5, 0.1)(a),
    }
    return makers[kind]() if kind in makers else getattr(K, kind)()([a, b])


def at_the_end(kind: str, cell: str, x: Any) -> Any:
    layer = getattr(K, cell)
    return {
        "flatten": lambda: K.Flatten()(x),
        "recurrent": lambda: layer(4)(x),
        "both": lambda: K.Bidirectional(layer(2), merge_mode="ave")(x),
        "backwards": lambda: layer(3, go_backwards=True)(x),
        "last": lambda: x[:, -1],
        "every": lambda: x,
    }[kind]()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    branches=st.lists(st.sampled_from(BRANCHES), min_size=1, max_size=3),
    chosen=st.lists(
        st.tuples(st.sampled_from(STEPS_BETWEEN), st.sampled_from(KINDS), st.integers(0, 9), st.integers(0, 9)),
        max_size=4,
    ),
    end=st.sampled_from(ENDS),
    cell=st.sampled_from(KINDS),
    seed=SEEDS,
    suffix=st.sampled_from(SUFFIXES),
)
def test_random_masked_graphs_answer_the_same_or_are_refused(
    branches: list[str], chosen: list[Any], end: str, cell: str, seed: int, suffix: str, tmp_path: Path
) -> None:
    x = K.Input((STEPS, FEATURES))
    inputs = {"one": lambda: K.Masking()(x), "other": lambda: K.Masking(1.0)(x), "none": lambda: x}
    tensors = [K.Dense(4)(inputs[name]()) for name in branches]
    for kind, of, first, second in chosen:
        tensors.append(between(kind, of, tensors[first % len(tensors)], tensors[second % len(tensors)]))
    model = keras.Model(x, K.Dense(2)(at_the_end(end, cell, tensors[-1])))
    rng = np.random.default_rng(seed)
    try:
        same(filled(model, rng), tmp_path / f"m{suffix}", rng)
    except lstmcore.UnsupportedError:
        words = "an operation such as x \\+ y|behind a Masking"
        refused(tmp_path / f"m{suffix}", words)
        assert {"plus", "times", "Multiply"} & {kind for kind, *_ in chosen}


def both_merges(merge: str) -> Callable[[Any], Any]:
    layer = K.Bidirectional(K.RNN(K.LSTMCell(2), return_sequences=True), merge_mode=merge)
    return lambda x: K.Flatten()(layer(K.Masking()(x)))


READ: dict[str, Callable[[Any], Any]] = {
    **{f"both directions, {m}": lambda x, m=m: both_merges(m)(x) for m in ("concat", "sum", "ave", "mul")},
    "a backward layer of its own": lambda x: K.Flatten()(
        K.Bidirectional(
            K.LSTM(2, return_sequences=True),
            backward_layer=K.LSTM(2, return_sequences=True, go_backwards=True, name="other"),
        )(K.Masking()(x))
    ),
    "both directions twice": lambda x: K.Bidirectional(K.LSTM(2))(
        K.Bidirectional(K.GRU(2, return_sequences=True))(K.Masking()(x))
    ),
    "twice": lambda x: K.LSTM(3)(K.Masking(1.0)(K.Masking()(x))),
    "twice, the second behind a layer": lambda x: K.LSTM(3)(
        K.Masking()(K.GRU(3, return_sequences=True)(K.Masking()(x)))
    ),
    "backwards": lambda x: K.GRU(3, go_backwards=True)(K.Masking()(x)),
    "one of two": lambda x: K.LSTM(3)(K.Add()([K.LSTM(3, return_sequences=True)(K.Masking()(x)), x])),
    "one of two, side by side": lambda x: K.LSTM(3)(K.Concatenate()([K.Masking()(x), K.Dense(2)(x)])),
    "two of two": lambda x: K.LSTM(3)(K.Average()([K.Masking()(x), K.Masking(1.0)(x)])),
    "two of two, side by side": lambda x: K.LSTM(3)(K.Concatenate()([K.Masking()(x), K.Masking(1.0)(x)])),
    "a sum with one that has no mask": lambda x: K.LSTM(3)(K.Masking()(x) + x),
    "an operation, and no layer that skips": lambda x: K.Flatten()(K.Masking()(x) + K.Masking(1.0)(x)),
    "unrolled": lambda x: K.Flatten()(K.LSTM(2, unroll=True, return_sequences=True)(K.Masking()(x))),
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_read(name: str, suffix: str, tmp_path: Path) -> None:
    x, rng = K.Input((STEPS, FEATURES)), np.random.default_rng(1)
    same(filled(keras.Model(x, K.Dense(2)(READ[name](x))), rng), tmp_path / f"m{suffix}", rng)


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a sum of masked ones": (lambda x: K.LSTM(3)(K.Masking()(x) + K.Masking()(x)), "an operation such as x \\+ y"),
    "a product of masked ones": (
        lambda x: K.Bidirectional(K.LSTM(3))(K.Dense(2)(K.Masking()(x) * K.Masking()(x))),
        "an operation such as x \\+ y",
    ),
    "a layer's product": (lambda x: K.Flatten()(K.Multiply()([K.Masking()(x), x])), "versions of Keras 3 differ"),
    "all steps backwards": (
        lambda x: K.LSTM(3)(K.GRU(3, go_backwards=True, return_sequences=True)(K.Masking()(x))),
        "go_backwards is True behind a Masking, with return_sequences",
    ),
    "soft": (lambda x: K.LSTM(3)(K.Softmax()(K.Masking()(x))), "Softmax layer behind a Masking"),
    "zeros": (lambda x: K.LSTM(3, zero_output_for_mask=True)(K.Masking()(x)), "zero_output_for_mask.*Masking"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_refused(name: str, suffix: str, tmp_path: Path) -> None:
    function, text = REFUSED[name]
    x = K.Input((STEPS, FEATURES))
    refused(save(keras.Model(x, function(x)), tmp_path / f"m{suffix}"), text)


def of_keras_2(path: Path) -> Path:
    with h5py.File(path, "a") as opened:
        opened.attrs["keras_version"] = "2.15.0"
    return path


@pytest.mark.parametrize("kind", ["Add", "Average", "Multiply", "Concatenate"])
def test_keras_2_skips_what_any_input_skips(kind: str, tmp_path: Path) -> None:
    """And Keras 3 what all skip: of a file of Keras 2, inputs with one mask are read and others are refused."""
    x = K.Input((STEPS, FEATURES))
    m = K.Masking()(x)
    for other, text in ((K.Masking(1.0)(x), "different Masking layers"), (x, "some behind none")):
        model = keras.Model(x, K.LSTM(3)(getattr(K, kind)()([K.Dense(3)(m), K.Dense(3)(other)])))
        refused(of_keras_2(save(model, tmp_path / "m.h5")), text)
    model = filled(
        keras.Model(x, K.LSTM(3)(getattr(K, kind)()([K.Dense(3)(m), K.Dense(3)(m)]))), np.random.default_rng(2)
    )
    windows = marked(np.random.default_rng(3))
    found = load(of_keras_2(save(model, tmp_path / "m.h5")))(windows)
    np.testing.assert_allclose(found, answers(model, windows), rtol=0, atol=FLOAT32)


ODD = (float("nan"), float("inf"), float("-inf"))
BEHIND: dict[str, Callable[[Any], Any]] = {
    "a layer that skips": lambda x: K.LSTM(3)(x),
    "one that does not": lambda x: K.Dense(3)(x),
    "both": lambda x: K.Bidirectional(K.GRU(2, return_sequences=True))(K.Dense(3)(x)),
    "another mask": lambda x: K.LSTM(3)(K.Masking(1.0)(x)),
    "a sum": lambda x: K.LSTM(3)(K.Average()([x, K.Masking()(x)])),
    "an operation": lambda x: K.Flatten()(K.LSTM(3, return_sequences=True)(x + K.Dense(FEATURES)(x))),
}


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("value", ODD)
def test_a_value_that_is_no_number_masks_what_equals_it(tmp_path: Path, value: float, behind: str) -> None:
    """Nothing equals NaN, so that nothing is skipped; infinities are skipped as others are, through every door."""
    given = K.Input((STEPS, FEATURES))
    model = filled(keras.Model(given, BEHIND[behind](K.Masking(value)(given))), np.random.default_rng(6))
    x = marked(np.random.default_rng(7))
    if not np.isnan(value):
        x[x == 0] = value
        x[2, 1, 0] = value  # one of three features: the tick counts, and what comes out is no number
    expected = answers(model, x)
    for suffix in SUFFIXES:
        path = tmp_path / f"model{suffix}"
        save(model, path)
        try:
            found = lstmcore.load(path, backend="numpy")
        except lstmcore.UnsupportedError:
            if behind != "an operation":
                raise
            continue
        found.save(tmp_path / "copy.safetensors")
        copy = lstmcore.load(tmp_path / "copy.safetensors", backend="numpy")
        assert copy.layers == found.layers
        with np.errstate(all="ignore"):
            for door in (found, copy, *(copy.with_backend(name) for name in ("c", "numba"))):
                atol = FLOAT32 * max(1.0, np.abs(expected[np.isfinite(expected)]).max())
                np.testing.assert_allclose(door(x), expected, rtol=0, atol=atol, err_msg=door.backend)
        if any(type(layer).__name__ == "Masking" for layer in found.layers):
            with pytest.raises(lstmcore.UnsupportedError, match="Masking"):
                found.export_onnx(tmp_path / "copy.onnx")


@pytest.mark.parametrize(("kind", "argument"), [
    ("ReLU", "max_value"), ("ReLU", "negative_slope"), ("ReLU", "threshold"), ("LeakyReLU", "negative_slope"),
    ("ELU", "alpha"), ("BatchNormalization", "epsilon"), ("LayerNormalization", "epsilon"), ("Rescaling", "scale"),
    ("Rescaling", "offset"), ("Dropout", "rate"),
])  # fmt: skip
@pytest.mark.parametrize("value", ODD)
def test_other_arguments_that_are_no_numbers_are_refused_by_name(tmp_path, kind, argument, value):
    layer = {"Dropout": K.Dropout(0.1), "Rescaling": K.Rescaling(2.0)}.get(kind) or getattr(K, kind)()
    model = keras.Sequential([K.Input((STEPS, FEATURES)), layer, K.GRU(2)])
    for suffix in SUFFIXES:
        path = with_argument(save(model, tmp_path / f"m{suffix}"), kind, **{argument: value})
        refused(path, rf"\({kind}\): argument {argument}: expected a finite number", lstmcore.ModelFormatError)
