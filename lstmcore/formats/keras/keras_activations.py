"""Keras's activations as the functions of `layers.activations`: those that a layer names, and layers of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from lstmcore import layers
from lstmcore.errors import UnsupportedError
from lstmcore.formats.keras.keras_spec import Spec

#: Keras's names. Numbers are those that Keras takes where only the name is given.
NAMES: Mapping[str, str] = MappingProxyType(
    {name: name for name in ("linear", "relu", "sigmoid", "tanh", "softmax", "elu", "selu", "gelu", "silu", "softplus")}
    | {name: name for name in ("softsign", "exponential", "relu6", "mish", "hard_silu", "hard_tanh")}
    | {"swish": "silu", "hard_swish": "hard_silu"}
    | {"leaky_relu": "leaky_relu(0.2)", "hard_sigmoid": f"hard_sigmoid({1 / 6!r},0.5)"}
)
#: What meant something else in Keras 2.
OLD_NAMES: Mapping[str, str] = MappingProxyType({"hard_sigmoid": "hard_sigmoid(0.2,0.5)"})

#: The functions that have a layer of their own.
LAYERS: Mapping[str, Callable[..., tuple[type[layers.Layer], dict[str, Any]]]] = MappingProxyType(
    {
        "relu": lambda: (layers.ReLU, {}),
        "sigmoid": lambda: (layers.Sigmoid, {}),
        "tanh": lambda: (layers.Tanh, {}),
        "softmax": lambda: (layers.Softmax, {}),
        "gelu": lambda: (layers.GELU, {}),
        "leaky_relu": lambda slope: (layers.LeakyReLU, {"negative_slope": slope}),
        "elu": lambda alpha=1.0: (layers.ELU, {"alpha": alpha}),
    }
)


def layer_of(function: str) -> tuple[type[layers.Layer], dict[str, Any]]:
    """The kind of layer that computes a function, and its settings."""
    name, _, numbers = function.partition("(")
    if name in LAYERS:
        return LAYERS[name](*(float(n) for n in numbers.rstrip(")").split(",") if n))
    return layers.Activation, {"function": function}


def functions_of(spec: Spec, key: str) -> list[str]:
    """What an argument names, as one or more functions to be called one after the other; [] where it does nothing.

    Raises:
        UnsupportedError: A function that is none of Keras's, or that has no equation here.
    """
    value = spec[key]
    if isinstance(value, dict) and value.get("class_name") == "function":
        value = value.get("config") if value.get("module") in (None, "builtins", "keras.activations") else value
    elif isinstance(value, dict):
        inner = Spec(value, spec.file, spec.version)
        if inner.kind not in OF_LAYERS:
            raise UnsupportedError(
                f"{spec.what}: argument {key} is a layer {inner.kind!r:.100}, which is not supported"
            )
        return of_layer(inner, 2)
    if value is None:
        return []
    names = {**NAMES, **OLD_NAMES} if spec.version < 3 else NAMES
    if not isinstance(value, str) or value not in names:
        raise UnsupportedError(f"{spec.what}: argument {key} is {value!r:.200}; known are {', '.join(names)}")
    return [] if value == "linear" else [names[value]]


def gate_function(spec: Spec, key: str) -> str:
    """What an argument names, as one function for a gate. Raises UnsupportedError where it is none."""
    functions = functions_of(spec, key)
    if len(functions) > 1 or "softmax" in functions:
        raise UnsupportedError(f"{spec.what}: argument {key} is {spec[key]!r:.200}, which has no equation for a gate")
    return functions[0] if functions else "linear"


def of_layer(spec: Spec, rank: int) -> list[str]:
    """The functions of a layer that is one of OF_LAYERS, whose input has `rank` axes, the batch's among them."""
    spec.check_arguments()
    spec.dtype()
    return OF_LAYERS[spec.kind](spec, rank)


def _relu(spec: Spec, rank: int) -> list[str]:
    slope, threshold = spec.number("negative_slope"), spec.number("threshold")
    most = None if spec["max_value"] is None else spec.number("max_value")
    if most is not None and most > 0 and slope == threshold == 0:
        return ["relu6"] if most == 6 else [f"hard_sigmoid({1 / most!r},0.0)", f"affine({most!r},0.0)"]
    if most is None and threshold == 0:
        return [f"leaky_relu({slope!r})"] if slope else ["relu"]
    if most is None and slope == 0 and threshold > 0:
        return [f"thresholded_relu({threshold!r})"]
    raise UnsupportedError(
        f"{spec.what}: arguments max_value {most}, negative_slope {slope} and threshold {threshold}: expected a "
        f"positive max_value, a positive threshold, or a negative_slope, without the others"
    )


def _softmax(spec: Spec, rank: int) -> list[str]:
    if not spec.axis_is_last(rank):
        raise UnsupportedError(f"{spec.what}: argument axis is {spec['axis']!r:.100}; only the last axis is supported")
    return ["softmax"]


def _leaky(spec: Spec, rank: int) -> list[str]:
    key = "alpha" if "alpha" in spec.config and spec.version < 3 else "negative_slope"
    return [f"leaky_relu({spec.number(key)!r})"]


#: The layers that are nothing but activations.
OF_LAYERS: Mapping[str, Callable[[Spec, int], list[str]]] = MappingProxyType(
    {
        "Activation": lambda spec, rank: functions_of(spec, "activation"),
        "ReLU": _relu,
        "LeakyReLU": _leaky,
        "ELU": lambda spec, rank: [f"elu({spec.number('alpha')!r})"],
        "ThresholdedReLU": lambda spec, rank: [f"thresholded_relu({spec.number('theta')!r})"],
        "Softmax": _softmax,
    }
)
