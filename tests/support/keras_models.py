"""Random Keras models, their files, and what all tests of the reader ask. Architectures are data, so that one can be
built in float32 and in float64."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import h5py
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from keras import layers as K
from tolerances import FLOAT32, TIMES_TORCH

import lstmcore
from lstmcore.formats.keras.keras import read

logging.getLogger("absl").setLevel(logging.ERROR)  # Keras says of every .h5 file that the format is an old one

SUFFIXES = (".keras", ".h5")

#: Of answers in float64 of size one. Keras's torch backend rounds on the way, whatever the dtype: where ticks are
#: masked, and the numbers among a layer's arguments. A model of it with a tick masked differs by 1e-8 from the same
#: model without that tick, ours by 1e-16.
FLOAT64 = 1e-6

#: A layer as its class and arguments; layers inside are described the same way.
Described = tuple[str, dict[str, Any]]

GATES = ("sigmoid", "hard_sigmoid")
CANDIDATES = ("tanh", "relu", "softsign", "elu", "linear", "sigmoid", "gelu")
FUNCTIONS = (*CANDIDATES, "leaky_relu", "relu6", "silu", "selu", "softplus", "hard_tanh", "hard_silu", "mish", None)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keras warns of input_shape on a first layer, of masks that end, and numpy of how torch hands over arrays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """What Keras makes and computes inside is float64."""
    policy = keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy(policy)


def made(layer: Described) -> keras.layers.Layer:
    kind, arguments = layer
    return getattr(K, kind)(**{k: made(v) if _is_layer(v) else v for k, v in arguments.items()})


def _is_layer(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], dict)


@quiet()
def sequential(shape: Sequence[int | None], layers: Sequence[Described]) -> keras.Model:
    return keras.Sequential([K.Input(shape), *map(made, layers)])


def filled(model: keras.Model, rng: np.random.Generator) -> keras.Model:
    """The model with random weights, none of them constant."""
    values = []
    for weight in model.weights:
        name, value = weight.path.rpartition("/")[2], rng.normal(size=weight.shape)
        if name == "count":
            value = np.array(7)
        elif "variance" in name:
            value = 0.4 + rng.random(weight.shape)
        elif "kernel" in name:
            value *= 0.7 / np.sqrt(weight.shape[0])
        values.append(np.asarray(value).astype(np.int32 if name == "count" else np.float32))
    return with_weights(model, values)


@quiet()
def with_weights(model: keras.Model, weights: Sequence[np.ndarray] | keras.Model) -> keras.Model:
    """The model with these weights, or another model's."""
    model.set_weights(weights.get_weights() if isinstance(weights, keras.Model) else weights)
    for layer in model._flatten_layers():
        if isinstance(layer, K.Normalization):
            layer.finalize_state()
    return model


@quiet()
def answers(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(model(x, training=False).detach().cpu().double().numpy())


@quiet()
def save(model: keras.Model, path: Path) -> Path:
    model.save(path)
    return path


def load(path: Path) -> lstmcore.Model:
    return lstmcore.Model(read(str(path)), backend="numpy")


def windows(model: keras.Model, rng: np.random.Generator, count: int = 3, steps: int = 5) -> np.ndarray:
    """float32 windows that the model takes, with ticks of zeros at the front, in the middle and at the end."""
    _, length, features = model.input_shape
    x = rng.normal(size=(count, length or steps, features)).astype(np.float32)
    for n, at in ((0, 0), (1, x.shape[1] // 2), (2, -1)):
        x[n % count, at] = 0
    return x


@quiet()
def check(build: Callable[[], keras.Model], folder: Path, rng: np.random.Generator) -> None:
    """That files of the model answer as Keras does: in float64 nearly to the bit, in float32 as well as Keras."""
    model = filled(build(), rng)
    x = windows(model, rng)
    with float64():
        wide = with_weights(build(), model)
        reference = answers(wide, x.astype(np.float64))
        save(wide, folder / "wide.keras")
        save(wide, folder / "wide.h5")
    size = max(1.0, float(np.abs(reference).max()))
    keras_error = float(np.abs(answers(model, x) - reference).max())
    for suffix in SUFFIXES:
        found = load(folder / f"wide{suffix}")
        assert found.dtype == np.float64
        np.testing.assert_allclose(found(x), reference, rtol=0, atol=FLOAT64 * size, err_msg=suffix)
        found = load(save(model, folder / f"model{suffix}"))
        assert {w.dtype for layer in found.layers for w in layer.weights.values()} <= {np.dtype(np.float32)}
        bound = max(FLOAT32 * size, TIMES_TORCH * keras_error)
        assert float(np.abs(found(x) - reference).max()) <= bound, suffix


def refused(path: Path, text: str, error: type[Exception] = lstmcore.UnsupportedError) -> None:
    """That the file is, in one line that begins with its path and has the pattern `text` in it."""
    with pytest.raises(error) as caught:
        read(str(path))
    found = str(caught.value)
    assert found.startswith(f"{path}: ")
    assert found.isprintable()
    assert len(found) < 1200
    assert re.search(text, found.removeprefix(str(path))), found


def layers_in(config: Any) -> Iterator[dict[str, Any]]:
    """Every layer's description inside a file's architecture."""
    if isinstance(config, dict):
        if "class_name" in config and isinstance(config.get("config"), dict):
            yield config
        for value in config.values():
            yield from layers_in(value)
    elif isinstance(config, list):
        for value in config:
            yield from layers_in(value)


def rewritten(path: Path, change: Callable[[dict[str, Any]], None], **members: bytes) -> Path:
    """The file with its architecture changed in place."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()} | members
        config = json.loads(parts["config.json"])
        change(config)
        parts["config.json"] = json.dumps(config).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
    else:
        with h5py.File(path, "a") as opened:
            config = json.loads(opened.attrs["model_config"])
            change(config)
            opened.attrs["model_config"] = json.dumps(config)
    return path


def with_argument(path: Path, kind: str, **arguments: Any) -> Path:
    """The file with arguments of the layers of a class changed or added."""

    def change(config: dict[str, Any]) -> None:
        for layer in layers_in(config):
            if layer["class_name"] == kind:
                layer["config"].update(arguments)

    return rewritten(path, change)


@st.composite
def recurrent(draw: st.DrawFn, return_sequences: bool, masked: bool) -> Described:
    """Any recurrent layer that is read."""
    kind = draw(st.sampled_from(("LSTM", "GRU", "SimpleRNN")))
    cell = {
        "units": draw(st.integers(1, 6)),
        "use_bias": draw(st.booleans()),
        "activation": draw(st.sampled_from(CANDIDATES)),
    }
    if kind != "SimpleRNN":
        cell["recurrent_activation"] = draw(st.sampled_from(GATES))
    if kind == "GRU":
        cell["reset_after"] = draw(st.booleans())
    if draw(st.integers(0, 3)) == 0:
        layer = ("RNN", {"cell": (f"{kind}Cell", cell), "return_sequences": return_sequences})
    else:
        layer = (kind, {**cell, "return_sequences": return_sequences})
    if draw(st.booleans()):
        merge = draw(st.sampled_from(("concat", "sum", "ave", "mul")))
        return "Bidirectional", {"layer": layer, "merge_mode": merge}
    if not (masked and return_sequences) and draw(st.integers(0, 3)) == 0:
        layer[1]["go_backwards"] = True
    return layer


PLAIN: tuple[Described, ...] = (
    ("BatchNormalization", {}),
    ("BatchNormalization", {"center": False, "epsilon": 0.01}),
    ("LayerNormalization", {}),
    ("LayerNormalization", {"scale": False}),
    ("Dropout", {"rate": 0.3}),
    ("GaussianNoise", {"stddev": 0.3}),
    ("Rescaling", {"scale": 0.4, "offset": -0.2}),
    ("Normalization", {}),
    ("ReLU", {"max_value": 1.5}),
    ("ReLU", {"negative_slope": 0.2}),
    ("LeakyReLU", {"negative_slope": 0.1}),
    ("ELU", {"alpha": 0.7}),
    *(("Activation", {"activation": name}) for name in FUNCTIONS),
)


@st.composite
def stacks(draw: st.DrawFn) -> tuple[list[Described], int, int | None]:
    """Layers behind each other, features, and the length of windows or None."""
    masked = draw(st.booleans())
    steps = draw(st.integers(2, 6))
    plain = st.lists(st.sampled_from(PLAIN), max_size=2)
    layers: list[Described] = [("Masking", {})] if masked else []
    if not masked:
        layers += draw(plain)
    for _ in range(draw(st.integers(0, 2))):
        layers += [draw(recurrent(True, masked)), *draw(plain)]
        if draw(st.booleans()):
            dense = ("Dense", {"units": draw(st.integers(1, 5)), "activation": draw(st.sampled_from(FUNCTIONS))})
            layers.append(("TimeDistributed", {"layer": dense}) if draw(st.booleans()) else dense)
    flat = len(layers) > masked and draw(st.booleans())
    layers.append(("Flatten", {}) if flat else draw(recurrent(False, masked)))
    layers += draw(plain)
    units, functions = draw(st.integers(1, 4)), (*FUNCTIONS, "softmax", "sigmoid")
    use_bias, activation = draw(st.booleans()), draw(st.sampled_from(functions))
    layers.append(("Dense", {"units": units, "activation": activation, "use_bias": use_bias}))
    return layers, draw(st.integers(1, 4)), steps if flat or draw(st.booleans()) else None
