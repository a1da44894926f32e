"""What becomes of every argument of every Keras layer that is read: the one table, for the reader and for the docs.

An argument is honoured, or has no effect at inference, or is taken with one value only. One that is not in the table
is an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

HONOURED = "honoured"
NO_EFFECT = "no effect at inference"


@dataclass(frozen=True)
class Only:
    """An argument that is taken with these values only, and why."""

    values: tuple[Any, ...]
    why: str

    def __str__(self) -> str:
        return f"only {' or '.join(map(repr, self.values))} is supported: {self.why}"


Meaning = str | Only

LAYER: Mapping[str, Meaning] = {
    "name": HONOURED,
    "dtype": HONOURED,  # float32 and float64; the mixed policies' weights are float32, and so is what is computed
    "trainable": NO_EFFECT,
    "activity_regularizer": NO_EFFECT,
    "batch_input_shape": HONOURED,  # Keras 2 writes it on the first layer
}


def _training_of(*weights: str) -> dict[str, Meaning]:
    """The arguments that say how weights begin and what holds them in their place."""
    ends = ("initializer", "regularizer", "constraint")
    return {f"{weight}_{end}": NO_EFFECT for weight in weights for end in ends}


CELL: Mapping[str, Meaning] = {
    "units": HONOURED,
    "activation": HONOURED,
    "use_bias": HONOURED,
    **_training_of("kernel", "recurrent", "bias"),
    "dropout": NO_EFFECT,
    "recurrent_dropout": NO_EFFECT,
    "seed": NO_EFFECT,
    "implementation": NO_EFFECT,
}
GATED: Mapping[str, Meaning] = {"recurrent_activation": HONOURED}
LSTM_CELL: Mapping[str, Meaning] = {**CELL, **GATED, "unit_forget_bias": NO_EFFECT}
GRU_CELL: Mapping[str, Meaning] = {**CELL, **GATED, "reset_after": HONOURED}

SEQUENCE: Mapping[str, Meaning] = {
    "return_sequences": HONOURED,
    "go_backwards": HONOURED,
    "return_state": Only((False,), "a model has one output; without it the layer answers with its last h"),
    "stateful": Only((False,), "every window begins with the same state; to carry states on, use Model.stateful()"),
    "time_major": Only((False,), "windows are (batch, steps, features)"),
    "zero_output_for_mask": HONOURED,
    "unroll": NO_EFFECT,
    "use_cudnn": NO_EFFECT,
}

NORM: Mapping[str, Meaning] = {
    "axis": HONOURED,
    "epsilon": HONOURED,
    "center": HONOURED,
    "scale": HONOURED,
    **_training_of("beta", "gamma"),
}

_NO_QUANTIZATION = Only((None,), "quantised weights are not read")
_NO_LORA = Only((None,), "merge the adapter into the kernel before saving")
_DENSE_INPUT = "inputs are dense tensors"
_INPUT: Mapping[str, Meaning] = {
    "batch_shape": HONOURED,
    "sparse": Only((False,), _DENSE_INPUT),
    "ragged": Only((False,), _DENSE_INPUT),
    "optional": Only((False,), "a model needs its input"),
}
_NO_RENORM = "batch renormalisation is not read"
_RATE: Mapping[str, Meaning] = {"rate": HONOURED, "seed": NO_EFFECT}
_NOISE: Mapping[str, Meaning] = {"rate": NO_EFFECT, "stddev": NO_EFFECT, "seed": NO_EFFECT, "noise_shape": NO_EFFECT}

_OWN: Mapping[str, Mapping[str, Meaning]] = {
    "LSTM": {**SEQUENCE, **LSTM_CELL},
    "GRU": {**SEQUENCE, **GRU_CELL},
    "SimpleRNN": {**SEQUENCE, **CELL},
    "RNN": {**SEQUENCE, "cell": HONOURED},
    "LSTMCell": LSTM_CELL,
    "GRUCell": GRU_CELL,
    "SimpleRNNCell": CELL,
    "Bidirectional": {"layer": HONOURED, "backward_layer": HONOURED, "weights": NO_EFFECT}
    | {"merge_mode": Only(("concat", "sum", "ave", "mul"), "a model has one output")},
    "TimeDistributed": {"layer": HONOURED},
    "Dense": {"units": HONOURED, "activation": HONOURED, "use_bias": HONOURED, **_training_of("kernel", "bias")}
    | {"lora_rank": _NO_LORA, "lora_alpha": _NO_LORA, "quantization_config": _NO_QUANTIZATION},
    "BatchNormalization": {**NORM, **_training_of("moving_mean", "moving_variance")}
    | {"momentum": NO_EFFECT, "synchronized": NO_EFFECT, "fused": NO_EFFECT, "renorm": Only((False,), _NO_RENORM)}
    | {"renorm_clipping": NO_EFFECT, "renorm_momentum": NO_EFFECT}
    | {"virtual_batch_size": Only((None,), "statistics of parts of a batch are not read")},
    "LayerNormalization": {**NORM, "rms_scaling": Only((False,), "it divides by another mean than LayerNorm")},
    "Dropout": {**_RATE, "noise_shape": NO_EFFECT},
    "SpatialDropout1D": {**_RATE, "noise_shape": NO_EFFECT},
    "GaussianNoise": _NOISE,
    "GaussianDropout": _NOISE,
    "AlphaDropout": _NOISE,
    "ActivityRegularization": {"l1": NO_EFFECT, "l2": NO_EFFECT},
    "Identity": {},
    "Masking": {"mask_value": HONOURED},
    "Normalization": {"axis": HONOURED, "mean": HONOURED, "variance": HONOURED, "invert": HONOURED},
    "Rescaling": {"scale": HONOURED, "offset": HONOURED},
    "Activation": {"activation": HONOURED},
    "ReLU": {"max_value": HONOURED, "negative_slope": HONOURED, "threshold": HONOURED},
    "LeakyReLU": {"negative_slope": HONOURED, "alpha": HONOURED},  # alpha: Keras 2
    "ELU": {"alpha": HONOURED},
    "ThresholdedReLU": {"theta": HONOURED},
    "Softmax": {"axis": HONOURED},
    "Flatten": {"data_format": Only(("channels_last",), "windows are (batch, steps, features)")},
    "Add": {},
    "Average": {},
    "Multiply": {},
    "Concatenate": {"axis": HONOURED},
    "InputLayer": _INPUT,
    "Sequential": {"layers": HONOURED, "build_input_shape": HONOURED},
    "Functional": {"layers": HONOURED, "input_layers": HONOURED, "output_layers": HONOURED},
}

#: Class of layer -> argument -> HONOURED, NO_EFFECT, or the values that are taken and why.
ARGUMENTS: Mapping[str, Mapping[str, Meaning]] = MappingProxyType(
    {kind: MappingProxyType({**LAYER, **own}) for kind, own in _OWN.items()}
)

#: Classes that many models have and that cannot be read, and why.
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "Lambda": "it holds Python code, and code in a file is not run",
        "StackedRNNCells": "put RNN layers behind each other instead",
        "PReLU": "its slope differs from feature to feature",
        "Embedding": "windows hold numbers, not indices",
        "CuDNNLSTM": "save it from Keras as LSTM",
        "CuDNNGRU": "save it from Keras as GRU",
        "ConvLSTM1D": "its state is not a vector",
        "TFOpLambda": "use a layer of keras.layers instead of the operation",
    }
)
