"""Models that Keras saved, read without it: answers beside Keras's own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras_models import (
    SUFFIXES,
    Described,
    K,
    answers,
    check,
    filled,
    keras,
    layers_in,
    load,
    made,
    recurrent,
    refused,
    rewritten,
    save,
    sequential,
    stacks,
    windows,
    with_weights,
)
from strategies import SEEDS
from tolerances import FLOAT32, WRONG

import lstmcore
from lstmcore import layers as L
from lstmcore.formats import gates
from lstmcore.formats.keras.keras import read
from lstmcore.formats.keras.keras_graph import snake_case

FEW = settings(
    max_examples=18, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@FEW
@given(stack=stacks(), seed=SEEDS)
def test_random_sequential_models(stack: tuple[list[Described], int, int | None], seed: int, tmp_path: Path) -> None:
    layers, features, steps = stack
    check(lambda: sequential((steps, features), layers), tmp_path, np.random.default_rng(seed))


@FEW
@given(data=st.data(), seed=SEEDS)
def test_random_graphs(data: st.DataObject, seed: int, tmp_path: Path) -> None:
    features = data.draw(st.integers(1, 4))
    count = data.draw(st.integers(1, 4))
    kinds = ("recurrent", "dense", "add", "average", "multiply", "concatenate", "plus", "times")
    steps = [
        (data.draw(st.sampled_from(kinds)), data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9)))
        for _ in range(count)
    ]
    layers = [data.draw(recurrent(True, False)) for _ in range(count)]
    last = data.draw(st.sampled_from(("x[:, -1]", "x[:, -1, :]", "LSTM")))

    def build() -> Any:
        x = K.Input((None, features))
        tensors = [K.LSTM(4, return_sequences=True)(x), K.Dense(4)(x)]
        for (kind, first, second), layer in zip(steps, layers, strict=True):
            a, b = tensors[first % len(tensors)], tensors[second % len(tensors)]
            if kind == "recurrent":
                made_of = K.Dense(4)(made(layer)(a))
            elif kind == "dense":
                made_of = K.Dense(4, activation="tanh")(a)
            elif kind in ("plus", "times"):
                made_of = a + b if kind == "plus" else a * b
            elif kind == "concatenate":
                made_of = K.Dense(4)(K.Concatenate()([a, b]))
            else:
                made_of = getattr(K, kind.capitalize())()([a, b])
            tensors.append(made_of)
        y = K.Add()(tensors)
        y = {"x[:, -1]": lambda: y[:, -1], "x[:, -1, :]": lambda: y[:, -1, :], "LSTM": lambda: K.LSTM(3)(y)}[last]()
        return keras.Model(x, K.Dense(2)(y))

    check(build, tmp_path, np.random.default_rng(seed))


def test_as_users_write_it(tmp_path: Path) -> None:
    def build() -> Any:
        return keras.Sequential(
            [
                K.LSTM(64, input_shape=(50, 10)),
                K.BatchNormalization(),
                K.Dropout(0.3),
                K.Dense(32, activation="relu"),
                K.Dropout(0.2),
                K.Dense(1, activation="sigmoid"),
            ]
        )

    check(build, tmp_path, np.random.default_rng(1))
    model = load(tmp_path / "model.keras")
    names = [re.sub(r"_\d+", "", layer.name) for layer in model.layers]  # Keras counts in a process
    norm = "batch_normalization"
    assert names == ["lstm", norm, "dropout", "dense", "dense_relu", "dropout", "dense", "dense_sigmoid"]
    assert model.steps is None  # of any length, though Keras's model says 50
    assert model(np.zeros((7, 10))).shape == (1,)


def test_a_compiled_and_trained_model(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    norm = K.Normalization()
    norm.adapt(rng.normal(size=(32, 6, 3)).astype("f4") * 5 + 2)
    model = keras.Sequential([K.Input((6, 3)), norm, K.LSTM(4, dropout=0.2, recurrent_dropout=0.1), K.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    x = rng.normal(size=(8, 6, 3)).astype("f4")
    model.fit(x, x[:, 0, :1], epochs=2, verbose=0)
    for suffix in SUFFIXES:
        found = load(save(model, tmp_path / f"m{suffix}"))
        assert isinstance(found.layers[0], L.Scaler)
        np.testing.assert_allclose(found(x), answers(model, x), atol=FLOAT32)


def test_models_in_models(tmp_path: Path) -> None:
    def build() -> Any:
        x = K.Input((5, 3))
        inner = keras.Sequential([K.BatchNormalization(), K.Dense(4), K.BatchNormalization()], name="inner")
        y = inner(K.LSTM(4, return_sequences=True)(x))
        z = K.Input((5, 4))
        deep = keras.Sequential([K.Dense(3, activation="tanh"), K.LayerNormalization()], name="deep")
        graph = keras.Model(z, K.Add()([deep(z), K.Dense(3)(z)]), name="graph")
        return keras.Model(x, keras.Sequential([K.GRU(3), K.Dense(2)])(graph(y)))

    check(build, tmp_path, np.random.default_rng(3))


def test_a_layer_that_is_used_twice(tmp_path: Path) -> None:
    def build() -> Any:
        x = K.Input((5, 3))
        lstm, inner = K.LSTM(3, return_sequences=True), keras.Sequential([K.Dense(3), K.BatchNormalization()])
        return keras.Model(x, K.LSTM(2)(K.Concatenate()([inner(lstm(lstm(x))), inner(x)])))

    check(build, tmp_path, np.random.default_rng(4))


def test_frozen_layers_keep_their_order(tmp_path: Path) -> None:
    """An .h5 file lists what is trained before what is not."""

    def build() -> Any:
        inner = keras.Sequential([K.Dense(3), K.BatchNormalization(), K.Dense(3)], name="inner")
        inner.layers[0].trainable = False
        both = K.Bidirectional(K.LSTM(3, return_sequences=True))
        both.forward_layer.trainable = False
        return keras.Sequential([K.Input((5, 3)), both, inner, K.LSTM(2, trainable=False)])

    check(build, tmp_path, np.random.default_rng(5))


def test_masks_in_a_graph(tmp_path: Path) -> None:
    def build() -> Any:
        x = K.Input((None, 3))
        m = K.Masking()(x)
        a, b = K.LSTM(4, return_sequences=True)(m), K.Dense(4)(m)
        y = K.Concatenate()([K.Add()([a, b]), a])
        return keras.Model(x, K.Bidirectional(K.GRU(3))(y))

    check(build, tmp_path, np.random.default_rng(6))


def test_a_mask_of_another_value_zeroes_what_it_hides(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    model = filled(
        sequential((4, 2), [("Masking", {"mask_value": 5.0}), ("Dense", {"units": 3}), ("Flatten", {})]), rng
    )
    x = windows(model, rng)
    x[:, 1] = 5
    found = load(save(model, tmp_path / "m.keras"))
    np.testing.assert_allclose(found(x), answers(model, x), atol=FLOAT32)


def test_several_windows_of_weights_names(tmp_path: Path) -> None:
    """Where names fill more than 64 KiB, an .h5 file has them in several attributes."""
    inner = keras.Sequential([K.Dense(2, name="d" * 150 + str(n)) for n in range(220)], name="i" * 100)
    model = filled(keras.Sequential([K.Input((2, 2)), inner, K.LSTM(2)]), np.random.default_rng(8))
    found = load(save(model, tmp_path / "m.h5"))
    x = windows(model, np.random.default_rng(9))
    np.testing.assert_allclose(found(x), answers(model, x), atol=FLOAT32)


def test_a_scaler_where_nothing_else_reads_the_input(tmp_path: Path) -> None:
    """A Normalization at the front is a Scaler, which has to be alone there, also in a model inside."""

    def side_by_side(x: Any) -> Any:
        return K.Concatenate()([K.Normalization()(x), x])

    def build(inside: bool) -> Any:
        x, y = K.Input((5, 3)), K.Input((5, 3))
        return keras.Model(x, K.LSTM(2)(keras.Model(y, side_by_side(y))(x) if inside else side_by_side(x)))

    for inside in (False, True):
        check(lambda inside=inside: build(inside), tmp_path, np.random.default_rng(20))


@pytest.mark.parametrize("argument", ["scale", "offset"])
def test_numbers_for_each_step_are_not_those_for_each_feature(argument: str, tmp_path: Path) -> None:
    arguments = {"scale": 1.0, argument: [[1.0], [2.0], [3.0]]}
    path = save(sequential((3, 3), [("Rescaling", arguments), ("LSTM", {"units": 2})]), tmp_path / "m.keras")
    refused(path, f"argument {argument}: expected a finite number, or 3 of them, one for", lstmcore.ModelFormatError)
    check(
        lambda: sequential(
            (3, 3), [("Rescaling", {"scale": 0.5, "offset": [[[1.0, 2.0, 3.0]]]}), ("LSTM", {"units": 2})]
        ),
        tmp_path,
        np.random.default_rng(21),
    )


@pytest.mark.parametrize(
    ("kind", "cls", "wrong"), [("LSTM", L.LSTM, "fico"), ("LSTM", L.LSTM, "igfo"), ("GRU", L.GRU, "rzn")]
)
def test_swapped_gates_are_seen(
    kind: str, cls: type[L.Layer], wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(10)
    model = filled(sequential((5, 3), [(kind, {"units": 4})]), rng)
    x, path = windows(model, rng), save(model, tmp_path / "m.keras")
    assert np.abs(load(path)(x) - answers(model, x)).max() < FLOAT32
    letters = wrong.replace("c", "g")
    kinds = {**gates.ORDERS, cls.__name__: {**gates.ORDERS[cls.__name__], "keras": letters}}
    monkeypatch.setattr(gates, "ORDERS", kinds)
    assert np.abs(load(path)(x) - answers(model, x)).max() > WRONG


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_policies_are_computed_in_float32(policy: str, tmp_path: Path) -> None:
    layers = [("LSTM", {"units": 4, "dtype": policy}), ("Dense", {"units": 2, "dtype": policy})]
    model = filled(sequential((5, 3), layers), np.random.default_rng(11))
    exact = sequential((5, 3), [("LSTM", {"units": 4}), ("Dense", {"units": 2})])
    with_weights(exact, model)
    x = windows(model, np.random.default_rng(12))
    for suffix in SUFFIXES:
        found = load(save(model, tmp_path / f"m{suffix}"))(x)
        np.testing.assert_allclose(found, answers(exact, x), atol=FLOAT32)
        np.testing.assert_allclose(found, answers(model, x), atol=0.05)


CALLED = {
    "initial_state": (lambda x: K.LSTM(3)(x, initial_state=[x[:, 0, :], x[:, 1, :]]), "initial_state|GetItem"),
    "training": (lambda x: K.LSTM(3)(K.Dropout(0.5)(x, training=True)), "training = True"),
    "step": (lambda x: K.LSTM(3, return_sequences=True)(x)[:, 0], "supported is the last step"),
    "operation": (lambda x: keras.ops.sin(K.LSTM(3)(x)), "Sin.*this operation is not read; those that are: x \\+ y"),
    "scalar": (lambda x: K.LSTM(3)(x) * 2.0, "expected two tensors"),
    "shapes": (lambda x: K.LSTM(3)(K.Add()([K.LSTM(1, return_sequences=True)(x), x])), "inputs of shapes"),
    "no sequence": (lambda x: K.LSTM(3)(K.Reshape((3, 1))(K.LSTM(3)(x))), "'reshape.*Reshape.*not read"),
    "state": (lambda x: K.LSTM(3, return_state=True)(x)[1], "output 1 of layer|return_state is True"),
    "flatten": (lambda x: K.Flatten()(K.LSTM(2, return_sequences=True)(x)), "fixed length"),
    "nothing": (lambda x: K.GaussianNoise(0.1)(x), "expected a layer that does something"),
}


@pytest.mark.parametrize("name", CALLED)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_calls_that_are_refused(name: str, suffix: str, tmp_path: Path) -> None:
    function, text = CALLED[name]
    x = K.Input((None if name == "flatten" else 5, 3))
    refused(save(keras.Model(x, function(x)), tmp_path / f"m{suffix}"), text)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_several_inputs_or_outputs_are_refused(suffix: str, tmp_path: Path) -> None:
    x, y = K.Input((5, 3), name="left"), K.Input((5, 3), name="right")
    two = keras.Model([x, y], K.LSTM(2)(K.Add()([x, y])))
    refused(save(two, tmp_path / f"two{suffix}"), "expected one input, got 2: 'left', 'right'")
    fork = keras.Model(x, [K.LSTM(2, name="a")(x), K.LSTM(2, name="b")(x)])
    refused(save(fork, tmp_path / f"fork{suffix}"), "expected one output, got 2: 'a', 'b'")
    flat = keras.Sequential([K.Input((5,)), K.Dense(2)])
    refused(save(flat, tmp_path / f"flat{suffix}"), r"expected \(batch, steps, features\)")


@keras.saving.register_keras_serializable("mine")
class Doubled(K.Layer):
    def call(self, x: Any) -> Any:
        return x * 2


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (lambda: K.Lambda(lambda x: x, output_shape=(3,)), r"Lambda\).*code in a file is not run"),
        (lambda: Doubled(), r"Doubled"),
        (lambda: K.Conv1D(2, 2), r"'conv1d.*Conv1D\): layers of this class are not read: docs/formats.md lists those"),
        (lambda: K.UnitNormalization(), r"docs/formats.md lists those that are; perhaps 'Normalization'"),
        (lambda: K.Permute((2, 1)), r"Permute\): layers of this class"),
        (lambda: K.RNN([K.LSTMCell(2), K.LSTMCell(2)], return_sequences=True), "StackedRNNCells"),
        (lambda: K.TimeDistributed(K.Reshape((3, 1))), "Reshape"),
        (lambda: K.PReLU(shared_axes=[1]), "PReLU"),
        (lambda: K.Dense(2, activation="log_softmax"), "activation is 'log_softmax'"),
        (lambda: K.Dense(2, activation=keras.activations.celu), "activation is 'celu'"),
        (lambda: K.LSTM(2, activation="softmax", return_sequences=True), "no equation for a gate"),
        (lambda: K.Subtract(), "Subtract"),
    ],
)
def test_layers_that_are_refused(layer: Any, text: str, suffix: str, tmp_path: Path) -> None:
    x = K.Input((5, 3))
    made_of = layer()
    y = made_of([x, x]) if isinstance(made_of, K.Subtract) else made_of(x)
    refused(save(keras.Model(x, K.Flatten()(y)), tmp_path / f"m{suffix}"), text)


def test_a_function_of_another_module_is_refused(tmp_path: Path) -> None:
    path = save(sequential((5, 3), [("LSTM", {"units": 2})]), tmp_path / "m.keras")

    def change(config: dict[str, Any]) -> None:
        lstm = next(layer for layer in layers_in(config) if layer["class_name"] == "LSTM")
        lstm["config"]["activation"] = {"module": "os", "class_name": "function", "config": "tanh"}

    refused(rewritten(path, change), "argument activation is .*'os'")


def test_one_dtype_for_all_layers(tmp_path: Path) -> None:
    layers = [("LSTM", {"units": 2, "dtype": "float64"}), ("Dense", {"units": 2, "dtype": "float32"})]
    refused(save(sequential((5, 3), layers), tmp_path / "m.keras"), "dtype is float32, and that of 'lstm.*float64")


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(sequential((5, 3), [("LSTM", {"units": 2})]), tmp_path / "m.keras")
    monkeypatch.setitem(sys.modules, "h5py", None)
    refused(path, r"needs h5py.*lstmcore\[keras\]")


def test_neither_keras_nor_a_framework_is_imported(tmp_path: Path) -> None:
    path = save(sequential((5, 3), [("LSTM", {"units": 2})]), tmp_path / "m.keras")
    code = f"import sys; from lstmcore.formats.keras.keras import read; read({str(path)!r}); print(sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"keras", "torch", "tensorflow", "jax"} & set(json.loads(found.replace("'", '"')))


def test_paths_are_named_as_keras_names_them() -> None:
    from keras.src.utils.naming import to_snake_case

    classes = [name for name in dir(K) if isinstance(getattr(K, name), type)]
    assert len(classes) > 100
    assert [snake_case(name) for name in classes] == [to_snake_case(name) for name in classes]


def test_other_suffixes_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(lstmcore.ModelFormatError, match=r"expected a file of Keras"):
        read(str(tmp_path / "m.pb"))
    for suffix in SUFFIXES:
        with pytest.raises(FileNotFoundError):
            read(str(tmp_path / f"none{suffix}"))


def test_a_deflated_archive_is_read(tmp_path: Path) -> None:
    path = save(sequential((5, 3), [("LSTM", {"units": 2})]), tmp_path / "m.keras")
    plain = read(str(path))
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    assert read(str(path)) == plain
