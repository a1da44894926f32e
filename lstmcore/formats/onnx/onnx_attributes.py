"""Which operators of ONNX are read, and what becomes of each of their inputs, attributes and outputs: ATTRIBUTES.

The table is what the reader goes by, and what the documentation shows: nothing that is not in it is read past.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

HONOURED = "honoured"
#: What makes no difference to the answer at inference.
NO_EFFECT = "no effect on the answer"

#: For each operator: its inputs in order ("X"; "B?" may be absent; "inputs*" is any number), then its attributes by
#: name, then its outputs but for the first; each with HONOURED, NO_EFFECT or the reason why it is refused.
Row = Mapping[str, str]


def _row(inputs: str, attributes: str = "", **others: str) -> Row:
    names = [*(f"input {name}" for name in inputs.split()), *attributes.split()]
    return MappingProxyType(dict.fromkeys(names, HONOURED) | others)


def _recurrent(attributes: str = "", **others: str) -> Row:
    usual = "activations activation_alpha activation_beta clip direction hidden_size layout"
    return _row("X W R B? sequence_lens? initial_h?" + others.pop("more", ""), f"{usual} {attributes}", **others)


_ARITHMETIC = _row("A B")
_ELEMENTWISE = _row("X")
_REDUCED = _row("data axes?", "axes keepdims noop_with_empty_axes")
_AXES = _row("data axes?", "axes")

ATTRIBUTES: Mapping[str, Row] = MappingProxyType(
    {
        # Layers with a state
        "LSTM": _recurrent(
            "input_forget",
            more=" initial_c? P?",
            **{"output Y_h": HONOURED, "output Y_c": "honoured as a state that comes out; the answer is Y or Y_h"},
        ),
        "GRU": _recurrent("linear_before_reset", **{"output Y_h": HONOURED}),
        "RNN": _recurrent(**{"output Y_h": HONOURED}),
        # Other layers
        "Gemm": _row("A B C?", "alpha beta transA transB"),
        "MatMul": _row("A B"),
        "BatchNormalization": _row(
            "X scale B mean var", "epsilon",
            momentum=NO_EFFECT, spatial=NO_EFFECT, training_mode="honoured where 0; export the model for inference",
            **dict.fromkeys(("output 1", "output 2", "output 3", "output 4"), "statistics of a training step"),
        ),
        "LayerNormalization": _row(
            "X Scale B?", "axis epsilon stash_type",
            **dict.fromkeys(("output Mean", "output InvStdDev"), "statistics of the window"),
        ),
        "Dropout": _row(
            "data ratio? training_mode?", "ratio", seed=NO_EFFECT,
            **{"output mask": "the mask of a training step"},
        ),
        "Softmax": _row("input", "axis"),
        # Functions of each element
        "Relu": _ELEMENTWISE,
        "Sigmoid": _ELEMENTWISE,
        "Tanh": _ELEMENTWISE,
        "Softplus": _ELEMENTWISE,
        "Softsign": _ELEMENTWISE,
        "Mish": _ELEMENTWISE,
        "HardSwish": _ELEMENTWISE,
        "LeakyRelu": _row("X", "alpha"),
        "Elu": _row("X", "alpha"),
        "Celu": _row("X", "alpha"),
        "Selu": _row("X", "alpha gamma"),
        "PRelu": _row("X slope"),
        "ThresholdedRelu": _row("X", "alpha"),
        "HardSigmoid": _row("X", "alpha beta"),
        "Gelu": _row("X", "approximate"),
        "Swish": _row("X", "alpha"),
        "Clip": _row("input min? max?"),
        "Erf": _ELEMENTWISE,
        "Exp": _ELEMENTWISE,
        "Log": _ELEMENTWISE,
        "Sqrt": _ELEMENTWISE,
        "Abs": _ELEMENTWISE,
        "Neg": _ELEMENTWISE,
        "Reciprocal": _ELEMENTWISE,
        # Arithmetic
        "Add": _ARITHMETIC,
        "Sub": _ARITHMETIC,
        "Mul": _ARITHMETIC,
        "Div": _ARITHMETIC,
        "Pow": _ARITHMETIC,
        "Sum": _row("inputs*"),
        "Mean": _row("inputs*"),
        "Max": _row("inputs*"),
        "Min": _row("inputs*"),
        "ReduceMean": _REDUCED,
        "ReduceSum": _REDUCED,
        "Greater": _ARITHMETIC,
        "Where": _row("condition X Y"),
        # Axes
        "Transpose": _row("data", "perm"),
        "Reshape": _row("data shape", "allowzero"),
        "Flatten": _row("input", "axis"),
        "Squeeze": _AXES,
        "Unsqueeze": _AXES,
        "Slice": _row("data starts ends axes? steps?"),
        "Gather": _row("data indices", "axis"),
        "Split": _row("input split?", "axis split num_outputs", **{f"output {n}": HONOURED for n in range(1, 64)}),
        "Concat": _row("inputs*", "axis"),
        "ReverseSequence": _row("input sequence_lens", "batch_axis time_axis"),
        "Expand": _row("input shape"),
        # Types and constants
        "Identity": _row("input"),
        "Cast": _row("input", "to", saturate=NO_EFFECT, round_mode=NO_EFFECT),
        "Constant": _row("", "value value_float value_floats value_int value_ints"),
        "ConstantOfShape": _row("input", "value"),
        "Shape": _row("data", "start end"),
        "Size": _row("data"),
        "Range": _row("start limit delta"),
        "Tile": _row("input repeats"),
        "Equal": _ARITHMETIC,
        "Less": _ARITHMETIC,
        "GreaterOrEqual": _ARITHMETIC,
        "LessOrEqual": _ARITHMETIC,
        "Mod": _row("A B", "fmod"),
        "Not": _ELEMENTWISE,
        "And": _ARITHMETIC,
        "Or": _ARITHMETIC,
        "Floor": _ELEMENTWISE,
        "Ceil": _ELEMENTWISE,
        "ReduceProd": _REDUCED,
    }
)  # fmt: skip

#: Operators that many would look for, and why they are not read.
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("If", "Loop", "Scan"), "control flow; export the model with its conditions decided"),
        **dict.fromkeys(
            ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul"),
            "a quantized model; export the float one",
        ),
        "ReduceMax": "pooling over time has no layer",
        "Conv": "convolutions have no layer",
        "Attention": "attention has no layer",
    }
)
