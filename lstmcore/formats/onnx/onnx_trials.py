"""With which sizes a graph is read where its input leaves them free, and that all readings give the same layers.

What exporters compute from a shape is numbers in a reading. So a graph is read with several batches and lengths: at
first with some that its own numbers are unlikely to be, and with a single window and a single step. Then with sizes
below, at and beyond every number that these are compared with or cut by: in between, nothing can change.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from lstmcore.errors import ModelFormatError, UnsupportedError
from lstmcore.formats.guard.trials import sizes
from lstmcore.formats.onnx.onnx_source import Found, Reading, Source
from lstmcore.formats.onnx.onnx_value import Tensor
from lstmcore.formats.onnx.onnx_walk import Walk

#: The sizes that any graph is read with: (windows, steps). The first two differ in both.
USUAL = ((5, 11), (1, 13), (5, 1), (11, 11))
SIZES = ("N", "T")
BESIDE = {"N": 3, "T": 2}  # the other size where one is tried, at least

MOST_NODES = 100_000  # read in all trials of sizes that come from the graph's numbers

#: Operators on constants that compare or join their inputs' elements; what they are given beside a size counts.
JOINING = (
    "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Equal", "Less", "Greater", "LessOrEqual",
    "GreaterOrEqual", "Where", "Range",
)  # fmt: skip
#: Operators that take out of their first input by place.
TAKING = ("Slice", "Gather", "Split")
AXES = 3  # the input of Slice that names axes

#: A value in two readings.
Pair = tuple[Any, Any]


def read(source: Source, letters: tuple[str, ...], sizes_given: Mapping[str, int]) -> Found:
    """The layers and states, which are the same for all sizes that the input leaves free.

    Raises:
        TimeAxisError: The axes are others.
        ModelFormatError, UnsupportedError: A node that cannot be read, at any of the sizes; or layers that differ.
    """
    usual: dict[Reading, Walk] = {}
    found: list[Found] = []
    for windows, steps in USUAL:
        reading = _reading(letters, sizes_given, {"N": windows, "T": steps})
        if reading not in usual:
            usual[reading] = Walk(source, reading)
            found.append(usual[reading].read())
    for reading, other in zip(usual, found, strict=True):
        if not _alike(found[0], other, reading):
            raise UnsupportedError(
                f"{source.file}: answers {_show(reading)} otherwise than others, though its input leaves that free: "
                "it holds numbers that fit windows of one length or one batch size only; export it with these sizes "
                "fixed"
            )
    if len(usual) > 1:
        first, second, *_ = usual.values()
        _try_others(source, letters, sizes_given, numbers(first, second), found[0])
    return found[0]


def _try_others(
    source: Source, letters: tuple[str, ...], given: Mapping[str, int], held: Mapping[float, str], found: Found
) -> None:
    """Raise UnsupportedError where a size near a number of the graph makes a difference."""
    free = [letter for letter in SIZES if letter in letters and letter not in given]
    wanted = {(letter, size): n for size, n in sizes(held).items() for letter in free}
    if len(wanted) * len(source.nodes) > MOST_NODES:
        some = ", ".join(map(_number, list(held)[:8]))
        raise UnsupportedError(
            f"{source.file}: the sizes of a window or a batch are compared with {len(held)} numbers, {some}, ...: too "
            "many to be tried; export it with these sizes fixed"
        )
    # The other size is none of the graph's numbers, or what depends on it would look like a constant.
    taken = {given.get("F"), *map(abs, held)}
    beside = {letter: next(n for n in itertools.count(least) if n not in taken) for letter, least in BESIDE.items()}
    for (letter, size), number in wanted.items():
        reading = _reading(letters, given, beside | {letter: size})
        what = f"read with {_show(reading)}, for the {_number(number)} in {held[number]}"
        advice = "cut the windows before they go in, and export the model without it"
        try:
            other = Walk(source, reading).read()
        except (UnsupportedError, ModelFormatError) as error:
            raise UnsupportedError(f"{error} ({what}); {advice}") from None
        if not _alike(found, other, reading):
            raise UnsupportedError(f"{source.file}: {held[number]}: makes another model of it when {what}; {advice}")


def _reading(letters: tuple[str, ...], given: Mapping[str, int], trial: Mapping[str, int]) -> Reading:
    tried = {letter: size for letter, size in trial.items() if letter in letters}
    full = {"N": 1, "T": 1} | tried | dict(given)
    fixed = frozenset(given) | ({"T"} if "T" not in letters else frozenset())
    return Reading(letters, (full["N"], full["T"], full["F"]), fixed)


def _show(reading: Reading) -> str:
    windows, steps, _ = reading.sizes
    return f"{windows} window{'s' * (windows > 1)} of {steps} step{'s' * (steps > 1)}"


def _number(number: float) -> str:
    return str(int(number)) if number.is_integer() else repr(number)


def _alike(first: Found, second: Found, reading: Reading) -> bool:
    """Whether what was read with `reading` is `first`, or, of one window or step, at least has its answers and states.

    The last of one step is the first, and all of them, so that the same answers may be read as other layers.
    """
    found, other = first.layers, second.layers
    if (first.states and first.states.flow) != (second.states and second.states.flow):
        return False
    if found == other:
        return True
    windows, steps, features = reading.sizes
    if windows > 1 and steps > 1:
        return False
    from lstmcore.model import Model

    x = np.random.default_rng(0).standard_normal((3, steps, features))
    a, b = (Model(layers, backend="numpy").astype(np.float64)(x) for layers in (found, other))
    return a.size == b.size and bool(np.allclose(a.reshape(3, -1), b.reshape(3, -1), 1e-9, 1e-12, equal_nan=True))


def numbers(a: Walk, b: Walk) -> dict[float, str]:
    """The numbers that sizes of windows and batches meet in the graph, each with the node that holds it.

    A value that is the same in two readings of different sizes is a number of the graph, wherever it comes from;
    one that differs is made of sizes.
    """
    found: dict[float, str] = {}
    for node in a.source.nodes:
        inputs = [(a.values.get(name), b.values.get(name)) for name in node.input]
        for number in _of_node(node, inputs):
            found.setdefault(number, f"node {node.name or node.output[0]!r:.200} ({node.op_type})")
    return found


def _of_node(node: onnx.NodeProto, inputs: Sequence[Pair]) -> Iterator[float]:
    if node.op_type in JOINING and all(map(_is_array, inputs)):
        yield from _joined(inputs)
    elif node.op_type in TAKING:
        taken, places = inputs[0], [pair for k, pair in enumerate(inputs[1:], 1) if k != AXES and _is_array(pair)]
        if _is_cut_along_sizes(node, inputs):
            yield from _staying(places)
            counts = [given for given in node.attribute if given.name in ("split", "num_outputs")]
            yield from (float(n) for given in counts for n in (*given.ints, given.i))
        if _is_array(taken) and not all(map(_is_same, places)):
            yield from (float(n) for n, other in zip(taken[0].shape, taken[1].shape, strict=False) if n == other)


def _is_cut_along_sizes(node: onnx.NodeProto, inputs: Sequence[Pair]) -> bool:
    """Whether what is taken is taken along windows or steps, or along an axis of numbers whose length they make."""
    if node.op_type == "Slice":
        axes = inputs[AXES][0] if len(inputs) > AXES and inputs[AXES][0] is not None else np.arange(inputs[1][0].size)
    else:
        axes = np.array([next((given.i for given in node.attribute if given.name == "axis"), 0)])
    x, y = inputs[0]
    if isinstance(x, Tensor):
        return any(letter in SIZES for at in axes.reshape(-1) for letter in x.axes[int(at)])
    return x.ndim != y.ndim or any(x.shape[int(at)] != y.shape[int(at)] for at in axes.reshape(-1))


def _is_array(pair: Pair) -> bool:
    return isinstance(pair[0], np.ndarray) and isinstance(pair[1], np.ndarray)


def _is_same(pair: Pair) -> bool:
    return pair[0] is pair[1] or np.array_equal(*pair)


def _staying(arrays: Sequence[Pair]) -> Iterator[float]:
    """The elements that are the same in both readings."""
    for x, y in arrays:
        if x.shape == y.shape:
            yield from map(float, np.unique(x[np.equal(x, y)]))


def _joined(arrays: Sequence[Pair]) -> Iterator[float]:
    """The elements that are the same in both readings, where they stand beside one that differs."""
    if all(map(_is_same, arrays)):
        return
    if any(x.shape != y.shape for x, y in arrays):
        yield from _staying(arrays)
        return
    moving = [np.not_equal(x, y) for x, y in arrays]
    beside = np.logical_or.reduce(np.broadcast_arrays(*moving))
    for (x, _), moves in zip(arrays, moving, strict=True):
        yield from map(float, np.unique(np.broadcast_to(x, beside.shape)[beside & ~moves]))
