"""Keras's layers without a state, each as one or more of ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from lstmcore import layers
from lstmcore.errors import UnsupportedError
from lstmcore.formats.keras.keras_activations import OF_LAYERS, functions_of, of_layer
from lstmcore.formats.keras.keras_build import Builder, Tensor
from lstmcore.formats.keras.keras_recurrent import bidirectional, recurrent
from lstmcore.formats.keras.keras_spec import Spec
from lstmcore.formats.keras.keras_weights import Place
from lstmcore.layers import Array, show

EPSILON = 1e-7  # keras.backend.epsilon(): the least standard deviation that Normalization divides by

#: A function that adds one of Keras's layers behind the tensors that it reads, its weights being at a place.
Add = Callable[[Builder, Spec, list[Tensor], Place], Tensor]


def _dense(build: Builder, spec: Spec, tensors: list[Tensor], place: Place) -> Tensor:
    read, units, bias = build.one(spec, tensors), spec.size("units"), spec.flag("use_bias")
    functions = functions_of(spec, "activation")
    wanted = [("kernel", (read.features, units)), ("bias", (units,))]
    kernel, *biases = build.take(spec, place, *wanted[: 1 + bias])
    weights = {"weight": kernel.T} | dict(zip(("bias",), biases, strict=False))
    made = build.add(layers.Linear, spec, read, weights, in_features=read.features, out_features=units, bias=bias)
    return build.activate(spec, made, functions)


def _gain_and_bias(build: Builder, spec: Spec, place: Place, size: int, *more: str) -> tuple[dict[str, Array], Any]:
    """Gain and bias of a normalisation, ones and zeros where it has but one of them; and what else it has."""
    scale, center = spec.flag("scale"), spec.flag("center")
    names = [*["gamma"] * scale, *["beta"] * center, *more]
    found = dict(zip(names, build.take(spec, place, *((name, (size,)) for name in names)), strict=True))
    if not scale and not center:
        return {}, found
    dtype = build.dtype(spec)
    gain, bias = found.get("gamma", np.ones(size, dtype)), found.get("beta", np.zeros(size, dtype))
    return {"weight": gain, "bias": bias}, found


def _need_last_axis(spec: Spec, read: Tensor) -> None:
    if not spec.axis_is_last(read.rank):
        raise UnsupportedError(f"{spec.what}: argument axis is {spec['axis']!r:.100}; only the last axis is supported")


def _batch_norm(build: Builder, spec: Spec, tensors: list[Tensor], place: Place) -> Tensor:
    read = build.one(spec, tensors)
    _need_last_axis(spec, read)
    statistics = ("moving_mean", "moving_variance")
    weights, found = _gain_and_bias(build, spec, place, read.features, *statistics)
    affine = bool(weights)
    weights |= {"running_mean": found["moving_mean"], "running_var": found["moving_variance"]}
    settings: dict[str, Any] = {"eps": spec.number("epsilon"), "affine": affine}
    return build.add(layers.BatchNorm1d, spec, read, weights, num_features=read.features, **settings)


def _layer_norm(build: Builder, spec: Spec, tensors: list[Tensor], place: Place) -> Tensor:
    read = build.one(spec, tensors)
    _need_last_axis(spec, read)
    weights, _ = _gain_and_bias(build, spec, place, read.features)
    settings: dict[str, Any] = {"eps": spec.number("epsilon"), "affine": bool(weights)}
    return build.add(layers.LayerNorm, spec, read, weights, num_features=read.features, **settings)


def _affine(build: Builder, spec: Spec, read: Tensor, **weights: Array) -> Tensor:
    """(x - running_mean) / sqrt(running_var)·weight + bias, each feature; what is not given does nothing."""
    size, dtype = read.features, build.dtype(spec)
    usual = {"running_mean": 0, "running_var": 1, "weight": 1, "bias": 0}
    full = {key: np.array(np.broadcast_to(weights.get(key, value), size), dtype) for key, value in usual.items()}
    return build.add(layers.BatchNorm1d, spec, read, full, num_features=size, eps=0.0, affine=True)


def _numbers(build: Builder, spec: Spec, key: str, size: int) -> Array:
    """An argument that is a number, or one for each feature, in the last axis; in float64."""
    try:
        values = np.array(spec[key], np.float64)
    except (ValueError, TypeError, OverflowError):
        values = np.array(np.nan)
    if values.size != math.prod(values.shape[-1:]) or values.size not in (1, size) or not np.all(np.isfinite(values)):
        raise spec.wrong(key, f"a finite number, or {size} of them, one for each feature", spec[key])
    return np.broadcast_to(values.reshape(-1), size)


def _normalization(build: Builder, spec: Spec, tensors: list[Tensor], place: Place) -> Tensor:
    read, axis = build.one(spec, tensors), spec["axis"]
    whole = axis in (None, [], ())
    if not whole and not spec.axis_is_last(read.rank):
        raise UnsupportedError(f"{spec.what}: argument axis is {axis!r:.100}; expected the last axis, or none")
    if spec["mean"] is None:
        shape = () if whole else (read.features,)
        mean, variance = build.take(spec, place, ("mean", shape), ("variance", shape), ("count", None))
    else:
        mean, variance = (_numbers(build, spec, key, read.features) for key in ("mean", "variance"))
    dtype = build.dtype(spec)
    mean, variance = (np.array(np.broadcast_to(w, read.features), dtype) for w in (mean, variance))
    with np.errstate(invalid="ignore"):
        deviation = np.maximum(np.sqrt(variance), np.array(EPSILON, dtype))
    if spec.flag("invert", False):
        return _affine(build, spec, read, weight=deviation, bias=mean)
    if build.input_is_read_once and not build.layers:
        return build.add(layers.Scaler, spec, read, {"mean": mean, "scale": deviation}, num_features=read.features)
    return _affine(build, spec, read, running_mean=mean, running_var=np.maximum(variance, EPSILON**2))


def _rescaling(build: Builder, spec: Spec, tensors: list[Tensor], place: Place) -> Tensor:
    read = build.one(spec, tensors)
    scale, offset = (_numbers(build, spec, key, read.features) for key in ("scale", "offset"))
    return _affine(build, spec, read, weight=scale, bias=offset)


def _dropout(build: Builder, spec: Spec, tensors: list[Tensor], place: Place) -> Tensor:
    return build.add(layers.Dropout, spec, build.one(spec, tensors), p=spec.number("rate"))


def _identity(build: Builder, spec: Spec, tensors: list[Tensor], place: Place) -> Tensor:
    return build.one(spec, tensors)


def _function(build: Builder, spec: Spec, tensors: list[Tensor], place: Place) -> Tensor:
    read = build.one(spec, tensors)
    if spec.kind == "Softmax" and read.mask is not None:
        raise UnsupportedError(f"{spec.what}: a Softmax layer behind a Masking is not supported")
    return build.activate(spec, read, of_layer(spec, read.rank), own=True)


def _masking(build: Builder, spec: Spec, tensors: list[Tensor], place: Place) -> Tensor:
    read, value = build.one(spec, tensors), spec.number("mask_value", finite=False)
    build.need_sequence(spec, read)
    if math.isnan(value):  # nothing equals it, so that every tick counts
        return read._replace(mask=None, skips=None)
    mask = frozenset({(read.name, value)})  # in place of one before it
    return build.add(layers.Masking, spec, read, mask_value=value)._replace(mask=mask, skips=mask)


def _flatten(build: Builder, spec: Spec, tensors: list[Tensor], place: Place) -> Tensor:
    read = build.one(spec, tensors)
    if len(read.shape) == 1:
        return read
    if read.steps is None:
        raise UnsupportedError(f"{spec.what}: needs windows of a fixed length, and the model takes any (None)")
    return build.add(layers.Flatten, spec, read, steps=read.steps).without_steps()


def merge(build: Builder, spec: Spec, tensors: list[Tensor], place: Place) -> Tensor:
    """Add, Average, Multiply or Concatenate."""
    if len(tensors) < 2:
        raise UnsupportedError(f"{spec.what}: expected two inputs or more, got {len(tensors)}")
    kinds = {"Add": layers.Add, "Average": layers.Mean, "Multiply": layers.Mul, "Concatenate": layers.Concat}
    first = tensors[0]
    for tensor in tensors[1:]:
        same = tensor.shape[:-1] == first.shape[:-1] if spec.kind == "Concatenate" else tensor.shape == first.shape
        if not same:
            raise UnsupportedError(f"{spec.what}: inputs of shapes {show(first.shape)} and {show(tensor.shape)}")
    if spec.version < 3 and any(tensor.mask != first.mask for tensor in tensors):
        raise UnsupportedError(
            f"{spec.what}: its inputs stand behind different Masking layers, or some behind none; of them Keras 2 and 3"
            f" make different masks"
        )
    if spec.kind == "Multiply" and spec.version >= 3 and any(tensor.mask for tensor in tensors):
        raise UnsupportedError(
            f"{spec.what}: behind a Masking it is not supported: at ticks that are skipped, versions of Keras 3 differ"
        )
    if spec.kind == "Concatenate":
        _need_last_axis(spec, first)
    return build.add(kinds[spec.kind], spec, tensors)


#: What TimeDistributed may stand around: layers that work on each step alone.
POINTWISE = ("Dense", "BatchNormalization", "LayerNormalization", "Dropout", "Rescaling", *OF_LAYERS)


def _time_distributed(build: Builder, spec: Spec, tensors: list[Tensor], place: Place) -> Tensor:
    read, inner = build.one(spec, tensors), spec.inner("layer")
    build.need_sequence(spec, read)
    if inner.kind not in POINTWISE:
        known = ", ".join(POINTWISE)
        raise UnsupportedError(f"{spec.what}: around {inner.kind!r:.100} is not supported; around these it is: {known}")
    inner.check_arguments()
    step = read._replace(shape=read.shape[1:])
    made = LAYERS[inner.kind](build, inner, [step], place.attribute("layer"))
    return made._replace(shape=(read.shape[0], *made.shape))


LAYERS: Mapping[str, Add] = MappingProxyType(
    {
        **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "RNN"), recurrent),
        **dict.fromkeys(OF_LAYERS, _function),
        **dict.fromkeys(("Dropout", "SpatialDropout1D"), _dropout),
        **dict.fromkeys(("GaussianNoise", "GaussianDropout", "AlphaDropout"), _identity),
        **dict.fromkeys(("ActivityRegularization", "Identity"), _identity),
        **dict.fromkeys(("Add", "Average", "Multiply", "Concatenate"), merge),
        "Bidirectional": bidirectional,
        "TimeDistributed": _time_distributed,
        "Dense": _dense,
        "BatchNormalization": _batch_norm,
        "LayerNormalization": _layer_norm,
        "Masking": _masking,
        "Normalization": _normalization,
        "Rescaling": _rescaling,
        "Flatten": _flatten,
    }
)
