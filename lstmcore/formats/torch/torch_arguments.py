"""Every argument of torch's recurrent modules, and what becomes of it here; the documentation has a table of this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Argument(NamedTuple):
    """What becomes of an argument: "honoured", with a remark where one is due, or why it is refused; and a test."""

    verdict: str
    test: str


SIZES = Argument("honoured", "test_torch_recurrent.py::test_random_recurrent_layers_answer_the_same")
DROPOUT = Argument("honoured: nothing is dropped at inference", "test_torch_recurrent.py::test_dropout_between_layers")
BATCH_FIRST = Argument(
    "honoured: the Model takes (N, T, F) in either case, with a warning where the module takes (T, N, F)",
    "test_torch_recurrent.py::test_both_layouts",
)
PROJECTION = Argument(
    "refused by torch itself, which projects in an LSTM alone", "test_torch_recurrent.py::test_proj_size"
)
DEVICE = Argument("honoured: weights are copied from wherever they lie", "test_torch_recurrent.py::test_device")
DTYPE = Argument(
    "honoured: float32 and float64; float16 and bfloat16 are widened to float32; other types are refused",
    "test_torch_recurrent.py::test_dtypes",
)

_ALL = {
    "input_size": SIZES,
    "hidden_size": SIZES,
    "num_layers": SIZES,
    "bias": SIZES,
    "batch_first": BATCH_FIRST,
    "dropout": DROPOUT,
    "bidirectional": SIZES,
    "device": DEVICE,
    "dtype": DTYPE,
}

#: By torch's classes and their arguments.
ARGUMENTS: Mapping[str, Mapping[str, Argument]] = {
    "LSTM": _ALL | {"proj_size": Argument("honoured", "test_torch_recurrent.py::test_proj_size")},
    "GRU": _ALL | {"proj_size": PROJECTION},
    "RNN": _ALL
    | {
        "proj_size": PROJECTION,
        "nonlinearity": Argument('honoured: "tanh" and "relu"', "test_torch_recurrent.py::test_nonlinearity"),
    },
}

#: Of these nothing is left in a model: they say how a module trains, takes its windows, or where it lies.
WITHOUT_EFFECT = ("batch_first", "dropout", "device", "dtype")
