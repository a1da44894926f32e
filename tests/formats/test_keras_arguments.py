"""Every argument of every Keras layer that is read: the table beside Keras's own lists, the effect beside Keras's."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_models import (
    SUFFIXES,
    Described,
    K,
    answers,
    check,
    filled,
    keras,
    load,
    made,
    refused,
    save,
    sequential,
    windows,
    with_argument,
)
from tolerances import FLOAT32, WRONG

from lstmcore.formats.keras.keras_arguments import ARGUMENTS, HONOURED, LAYER, NO_EFFECT, REFUSED, Only
from lstmcore.formats.keras.keras_layers import LAYERS

CELL: dict[str, Any] = {"units": 3}
DENSE = ("Dense", {"units": 3, "activation": "tanh"})

#: What each layer is made with where a test says nothing else.
LEAST: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "LSTMCell", "GRUCell", "SimpleRNNCell", "Dense"), CELL),
    "RNN": {"cell": ("LSTMCell", CELL)},
    "Bidirectional": {"layer": ("LSTM", CELL)},
    "TimeDistributed": {"layer": DENSE},
    **{kind: {"rate": 0.2} for kind in ("Dropout", "SpatialDropout1D", "GaussianDropout", "AlphaDropout")},
    "GaussianNoise": {"stddev": 0.2},
    "Rescaling": {"scale": 0.5},
    "Activation": {"activation": "tanh"},
}

#: Another value than the usual one of an argument that is honoured, for all layers or for one.
HONOURED_VALUES: dict[str, Any] = {
    "name": "mine",
    "units": 5,
    "activation": "relu",
    "recurrent_activation": "hard_sigmoid",
    "use_bias": False,
    "reset_after": False,
    "return_sequences": True,
    "go_backwards": True,
    "zero_output_for_mask": True,
    "cell": ("GRUCell", CELL),
    "layer": ("GRU", CELL),
    "TimeDistributed.layer": ("LeakyReLU", {}),
    "backward_layer": ("LSTM", CELL | {"go_backwards": True, "name": "other"}),
    "merge_mode": "mul",
    "axis": -1,
    "epsilon": 0.3,
    "center": False,
    "scale": False,
    "Rescaling.scale": [0.5, -2.0, 3.0],
    "offset": [1.0, 2.0, 3.0],
    "rate": 0.7,
    "mask_value": 2.0,
    "mean": [0.1, 0.2, 0.3],
    "variance": [1.0, 2.0, 0.0],
    "invert": True,
    "max_value": 0.7,
    "negative_slope": 0.6,
    "threshold": 0.4,
    "alpha": 0.5,
}

#: A value that would show if an argument without effect had one.
IDLE_VALUES: dict[str, Any] = {
    "trainable": False,
    "unit_forget_bias": False,
    "dropout": 0.5,
    "recurrent_dropout": 0.5,
    "seed": 7,
    "unroll": True,
    "momentum": 0.3,
    "synchronized": True,
    "rate": 0.5,
    "stddev": 0.5,
    "noise_shape": [None, 1, 3],
    "l1": 0.3,
    "l2": 0.3,
}

#: Values that are refused.
REFUSED_VALUES: dict[str, Any] = {
    "merge_mode": None,
    "lora_rank": 2,
    "lora_alpha": 2,
    "quantization_config": {},
    "virtual_batch_size": 4,
    "data_format": "channels_first",
    "dtype": "float16",
}

#: Arguments that no Keras 3 layer takes: written into the file. Keras 2 is in test_keras_old.py.
OLD = {"batch_input_shape", "implementation", "time_major", "fused", "virtual_batch_size", "weights", "use_cudnn"}
OLD_ONLY = {("LeakyReLU", "alpha")}
#: What Keras itself cannot make, or not save, with the torch backend.
NOT_MADE = {
    ("BatchNormalization", "synchronized"),
    ("AlphaDropout", "noise_shape"),
    ("ActivityRegularization", "activity_regularizer"),
}
MODELS = ("Sequential", "Functional", "InputLayer")
MERGES = ("Add", "Average", "Multiply", "Concatenate")

#: Those of the table that are tried here: models are part of every test, and what Keras 2 alone writes is in
#: test_keras_old.py.
PAIRS = [
    (kind, argument)
    for kind in ARGUMENTS
    for argument in ARGUMENTS[kind]
    if kind not in (*MODELS, "ThresholdedReLU")
    and not (ARGUMENTS[kind][argument] == HONOURED and (argument in OLD or (kind, argument) in OLD_ONLY))
]


def with_value(kind: str, argument: str, value: Any) -> Described:
    arguments = LEAST.get(kind, {}) | {argument: value}
    if argument in ("mean", "variance", "invert"):
        both = {"mean": HONOURED_VALUES["mean"], "variance": HONOURED_VALUES["variance"]}
        arguments = both | ({"invert": True} if argument == "invert" else {})
    if argument in ("lora_rank", "lora_alpha"):
        arguments = LEAST[kind]
    return kind, arguments


def model_of(layer: Described) -> Any:
    """The layer in a model whose answer depends on it."""
    kind, arguments = layer
    if kind.endswith("Cell"):
        return sequential((5, 3), [("RNN", {"cell": layer})])
    if kind in MERGES:
        x = K.Input((5, 3))
        return keras.Model(x, K.LSTM(3)(made(layer)([K.Dense(3)(x), K.Dense(3)(x)])))
    recurrent = kind in ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional")
    behind: list[Described] = []
    if kind not in ("Flatten",) and (not recurrent or arguments.get("return_sequences", False)):
        behind = [("LSTM", {"units": 3})] if kind == "Masking" else [("Flatten", {})]
    return sequential((5, 3), [layer, *behind, ("Dense", {"units": 2})])


def accepts(kind: str, argument: str) -> bool:
    found = inspect.signature(getattr(K, kind).__init__).parameters
    own = argument in LAYER or (kind in ("LSTM", "GRU", "SimpleRNN") and argument in SEQUENCE)
    return (argument in found or (own and "kwargs" in found)) and (kind, argument) not in NOT_MADE


SEQUENCE = {"return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask"}


@pytest.mark.parametrize(("kind", "argument"), [p for p in PAIRS if ARGUMENTS[p[0]][p[1]] == HONOURED])
def test_honoured(kind: str, argument: str, tmp_path: Path) -> None:
    value = HONOURED_VALUES.get(f"{kind}.{argument}", HONOURED_VALUES.get(argument))
    layer = (kind, LEAST.get(kind, {})) if argument == "dtype" else with_value(kind, argument, value)
    check(lambda: model_of(layer), tmp_path, np.random.default_rng(1))


@pytest.mark.parametrize(("kind", "argument"), [p for p in PAIRS if ARGUMENTS[p[0]][p[1]] == NO_EFFECT])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_effect(kind: str, argument: str, suffix: str, tmp_path: Path) -> None:
    rng, path = np.random.default_rng(2), tmp_path / f"m{suffix}"
    value = IDLE_VALUES.get(argument)
    if argument.endswith(("initializer", "regularizer", "constraint")):
        value = {"initializer": "ones", "regularizer": "l2", "constraint": "non_neg"}[argument.rpartition("_")[2]]
    constructed = value is not None and accepts(kind, argument)
    layer = with_value(kind, argument, value) if constructed else (kind, LEAST.get(kind, {}))
    model = filled(model_of(layer), rng)
    x = windows(model, rng)
    save(model, path)
    if not constructed:
        with_argument(path, kind, **{argument: 1})
    np.testing.assert_allclose(load(path)(x), answers(model, x), atol=FLOAT32)


@pytest.mark.parametrize(("kind", "argument"), [p for p in PAIRS if isinstance(ARGUMENTS[p[0]][p[1]], Only)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_refused(kind: str, argument: str, suffix: str, tmp_path: Path) -> None:
    meaning = ARGUMENTS[kind][argument]
    path = save(filled(model_of((kind, LEAST.get(kind, {}))), np.random.default_rng(3)), tmp_path / f"m{suffix}")
    with_argument(path, kind, **{argument: REFUSED_VALUES.get(argument, True)})
    refused(path, rf"layer '.*' \({kind}\): argument {argument} is .*; {re.escape(str(meaning))}$")


@pytest.mark.parametrize(
    ("argument", "why"), [(a, ARGUMENTS["InputLayer"][a]) for a in ("sparse", "ragged", "optional")]
)
def test_inputs_that_are_refused(argument: str, why: Any, tmp_path: Path) -> None:
    path = save(model_of(("LSTM", CELL)), tmp_path / "m.keras")
    refused(
        with_argument(path, "InputLayer", **{argument: True}), rf"argument {argument} is True; {re.escape(str(why))}"
    )


@pytest.mark.parametrize("kind", ["LSTM", "Dense", "InputLayer", "Sequential", "Bidirectional"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_unknown_arguments_are_refused(kind: str, suffix: str, tmp_path: Path) -> None:
    layers = [("Bidirectional", {"layer": ("LSTM", CELL)}), ("Dense", {"units": 2})]
    path = save(sequential((5, 3), layers), tmp_path / f"m{suffix}")
    refused(with_argument(path, kind, forget=0.5), rf"layer '.*' \({kind}\): argument 'forget' is not known")


@pytest.mark.parametrize("policy", ["float16", "bfloat16", "int8_from_float32", None, 3])
def test_policies_that_are_refused(policy: Any, tmp_path: Path) -> None:
    path = with_argument(save(model_of(("LSTM", CELL)), tmp_path / "m.keras"), "LSTM", dtype=policy)
    refused(path, rf"\(LSTM\): argument dtype is {policy!r}")


@pytest.mark.parametrize(
    "kind", ["BatchNormalization", "LayerNormalization", "Softmax", "Concatenate", "Normalization"]
)
@pytest.mark.parametrize("axis", [1, 2, [2], [1, 2]])
def test_axes(kind: str, axis: Any, tmp_path: Path) -> None:
    path = save(filled(model_of((kind, {})), np.random.default_rng(4)), tmp_path / "m.keras")
    before = load(path).layers
    with_argument(path, kind, axis=axis)
    if axis in (2, [2]):
        assert load(path).layers == before
    else:
        refused(path, rf"\({kind}\): argument axis is .*last axis")


@pytest.mark.parametrize("change", [{"units": 0}, {"units": 1 << 40}, {"units": 2.5}, {"use_bias": 1}, {"units": True}])
def test_values_of_another_type_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = with_argument(save(model_of(("LSTM", CELL)), tmp_path / "m.keras"), "LSTM", **change)
    refused(path, rf"argument {next(iter(change))}: expected", Exception)


def test_the_other_direction_must_be_alike(tmp_path: Path) -> None:
    other = ("LSTM", CELL | {"go_backwards": True, "activation": "relu"})
    path = save(model_of(("Bidirectional", {"layer": ("LSTM", CELL), "backward_layer": other})), tmp_path / "m.keras")
    refused(path, r"argument backward_layer: expected a layer like the forward one, got another activations")


def test_relu_combinations_without_an_equation(tmp_path: Path) -> None:
    path = save(model_of(("ReLU", {"max_value": 2.0, "threshold": 0.5})), tmp_path / "m.keras")
    refused(path, r"\(ReLU\): arguments max_value 2.0, negative_slope 0.0 and threshold 0.5")


def test_hard_sigmoid_is_that_of_the_file(tmp_path: Path) -> None:
    """Keras 2 has 0.2·x + 0.5; Keras 3 x/6 + 0.5."""
    model = filled(model_of(("LSTM", CELL | {"recurrent_activation": "hard_sigmoid"})), np.random.default_rng(5))
    path, x = save(model, tmp_path / "m.h5"), windows(model, np.random.default_rng(6))
    assert np.abs(load(path)(x) - answers(model, x)).max() < FLOAT32
    import h5py

    with h5py.File(path, "a") as opened:
        opened.attrs["keras_version"] = "2.15.0"
    assert np.abs(load(path)(x) - answers(model, x)).max() > WRONG


@pytest.mark.parametrize(
    "kind", [kind for kind in ARGUMENTS if kind not in ("Functional", "Sequential", "ThresholdedReLU")]
)
def test_the_table_has_all_that_keras_has(kind: str) -> None:
    cls = getattr(K, kind)
    taken = set(inspect.signature(cls.__init__).parameters) - {"self", "kwargs"}
    if kind == "InputLayer":
        taken -= {"shape", "batch_size", "input_tensor"}  # they become batch_shape
        layer = K.InputLayer(batch_shape=(None, 5, 3))
    else:
        layer = made((kind, LEAST.get(kind, {})))
    assert (taken | set(layer.get_config())) <= set(ARGUMENTS[kind])


def test_the_tables_are_of_what_is_read() -> None:
    cells = {"LSTMCell", "GRUCell", "SimpleRNNCell"}
    assert set(ARGUMENTS) == set(LAYERS) | cells | set(MODELS)
    assert not set(REFUSED) & set(ARGUMENTS)
    for kind, table in ARGUMENTS.items():
        assert all(meaning in (HONOURED, NO_EFFECT) or isinstance(meaning, Only) for meaning in table.values()), kind
