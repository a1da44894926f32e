"""Layers as a model: its inputs and outputs, who reads whom, that all fit, and what they are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lstmcore.layers.base import INPUT, MAX_SIZE, Layer, Shape
from lstmcore.layers.kinds import KINDS, Concat, Flatten, Scaler
from lstmcore.text import listed, quoted

#: What the one output of a model is called where nobody says.
ANSWER = "answer"
RANKS = ("sequence", "vector")
MAX_PORTS = 1 << 8  # inputs, and outputs


def _is_name(name: Any) -> bool:
    """Whether it is a text that files can hold: half of a surrogate pair has no bytes in UTF-8."""
    return isinstance(name, str) and name != "" and not any("\ud800" <= letter <= "\udfff" for letter in name)


@dataclass(frozen=True)
class Input:
    """What a model takes: a sequence (T, size), the windows' ticks, or a vector (size,) for each window.

    All sequences of a window have the same T. A stream takes a tick (size,) of each sequence, and the vectors that hold
    at that tick.
    """

    name: str
    size: int
    rank: str = "sequence"

    def __post_init__(self) -> None:
        if not _is_name(self.name):
            raise ValueError(f"input: expected a name, got {quoted(self.name)}")
        what = f"input {quoted(self.name)}"
        if not isinstance(self.size, int) or isinstance(self.size, bool) or not 1 <= self.size <= MAX_SIZE:
            raise ValueError(f"{what}: size: expected an integer from 1 to {MAX_SIZE}, got {quoted(self.size)}")
        if self.rank not in RANKS:
            raise ValueError(f"{what}: rank: expected one of {RANKS}, got {quoted(self.rank)}")

    @property
    def shape(self) -> Shape:
        """Of what comes in for one window."""
        return ("T", self.size) if self.rank == "sequence" else (self.size,)


@dataclass(frozen=True)
class Wiring:
    """Layers, what they read, and what the model takes and answers with. Values: the inputs, then what layers make."""

    layers: tuple[Layer, ...]
    inputs: tuple[Input, ...]
    named: tuple[tuple[str, str], ...]  # the outputs, and the layer that each one is what comes out of
    reads: tuple[tuple[int, ...], ...] = field(compare=False)  # the values that each layer reads
    shapes: tuple[Shape, ...] = field(compare=False)  # of the values

    @property
    def outputs(self) -> dict[str, str]:
        """The layers that the outputs are what comes out of, by the outputs' names."""
        return dict(self.named)

    @property
    def answers(self) -> dict[str, Shape]:
        """The outputs' shapes, for one window."""
        made = dict(zip((layer.name for layer in self.layers), self.shapes[len(self.inputs) :], strict=True))
        return {name: made[layer] for name, layer in self.named}

    @property
    def ends(self) -> list[int]:
        """The values that the outputs are."""
        made = {layer.name: n for n, layer in enumerate(self.layers, len(self.inputs))}
        return [made[layer] for _, layer in self.named]


def wire(layers: Iterable[Layer], inputs: Iterable[Input] | None = None, outputs: Any = None) -> Wiring:
    """Layers that fit, as a model.

    Args:
        layers: Each after those that it reads.
        inputs: What they read by name; None: one sequence, "input", of as many features as the first layer says.
        outputs: Names of layers, or a mapping from the outputs' own names to these; None: the last layer.

    Raises:
        TypeError: Something that is none of lstmcore's layers, no Input, or no names.
        ValueError: No layers, a name used twice, dtypes mixed, a layer that does not fit, or one that nobody reads;
            named in the text.
    """
    layers = tuple(layers)
    if not layers:
        raise ValueError("a model needs at least one layer")
    for layer in layers:
        if type(layer) not in KINDS.values():
            raise TypeError(f"{quoted(layer)}: expected one of lstmcore's layers, {', '.join(KINDS)}")
    taken = _inputs(inputs)
    _check_names(layers, [INPUT] if taken is None else [one.name for one in taken])
    typed = {str(layer.dtype): layer.label for layer in reversed(layers) if layer.dtype is not None}
    if len(typed) > 1:
        raise ValueError(f"layers of several dtypes: {', '.join(f'{label} has {d}' for d, label in typed.items())}")
    reads = sources(layers, [INPUT] if taken is None else [one.name for one in taken])
    taken = (Input(INPUT, _input_size(layers, reads)),) if taken is None else taken
    answers = _outputs(outputs, layers)
    _check_readers(layers, taken, reads, answers)
    shapes = [one.shape for one in taken]
    for layer, read in zip(layers, reads, strict=True):
        shapes.append(layer.output_of([shapes[n] for n in read]))
    lengths = {layer.steps for layer in layers if isinstance(layer, Flatten)}
    if len(lengths) > 1:
        raise ValueError(f"Flatten layers for windows of several lengths: {sorted(lengths)}")
    return Wiring(layers, taken, tuple(answers.items()), tuple(reads), tuple(shapes))


def sources(layers: Sequence[Layer], inputs: Sequence[str] = (INPUT,)) -> list[tuple[int, ...]]:
    """For each layer the values that it reads: the inputs come first, then what comes out of each layer.

    A layer that names none reads the one before it, and the first one the first input.

    Raises:
        ValueError: A name that neither an input nor an earlier layer has.
    """
    known = {name: n for n, name in enumerate(inputs)}
    found: list[tuple[int, ...]] = []
    for layer in layers:
        for name in layer.inputs:
            if name not in known:
                what = f"{' or '.join(map(quoted, inputs))} or a layer before it"
                raise ValueError(f"{layer.label}: input {quoted(name)}: expected {what}")
        before = 0 if not found else len(known) - 1
        found.append(tuple(known[name] for name in layer.inputs) or (before,))
        known[layer.name] = len(known)
    return found


def unused_name(name: str, names: Iterable[str]) -> str:
    """`name`, or `name_1`, `name_2`, ... where it is among `names`."""
    taken = set(names)
    candidates = [name, *(f"{name}_{n}" for n in range(1, len(taken) + 1))]
    return next(c for c in candidates if c not in taken)


def _inputs(inputs: Iterable[Input] | None) -> tuple[Input, ...] | None:
    if inputs is None:
        return None
    taken = tuple(inputs)
    for one in taken:
        if not isinstance(one, Input):
            raise TypeError(f"inputs: expected lstmcore.layers.Input, got {quoted(one)}")
    if not any(one.rank == "sequence" for one in taken):
        raise ValueError("inputs: expected at least one sequence, the windows' ticks")
    if len(taken) > MAX_PORTS:
        raise ValueError(f"inputs: at most {MAX_PORTS}, got {len(taken)}")
    twice = next((name for name, times in Counter(one.name for one in taken).items() if times > 1), None)
    if twice is not None:
        raise ValueError(f"two inputs have the name {quoted(twice)}")
    return taken


def _outputs(outputs: Any, layers: Sequence[Layer]) -> dict[str, str]:
    if outputs is None:
        return {ANSWER: layers[-1].name}
    if isinstance(outputs, str) or not isinstance(outputs, Iterable):
        raise TypeError(f"outputs: expected names of layers, got {quoted(outputs)}")
    given = list(outputs.items()) if isinstance(outputs, Mapping) else [(name, name) for name in outputs]
    named = {layer.name for layer in layers}
    for name, layer in given:
        if not _is_name(name) or not isinstance(layer, str):
            raise TypeError(f"outputs: expected names of layers, got {quoted(layer)} for {quoted(name)}")
        if layer not in named:
            raise ValueError(f"outputs: {quoted(name)}: there is no layer {quoted(layer)}")
    if not 1 <= len(given) <= MAX_PORTS:
        raise ValueError(f"outputs: expected 1 to {MAX_PORTS}, got {len(given)}")
    twice = next((name for name, times in Counter(name for name, _ in given).items() if times > 1), None)
    if twice is not None:
        raise ValueError(f"two outputs have the name {quoted(twice)}")
    return dict(given)


def _check_names(layers: Sequence[Layer], inputs: Sequence[str]) -> None:
    for n, layer in enumerate(layers):
        if not _is_name(layer.name):
            raise ValueError(f"layer {n} ({type(layer).__name__}): expected a name, got {quoted(layer.name)}")
    for name, times in Counter(layer.name for layer in layers).items():
        if times > 1:
            raise ValueError(f"two layers have the name {quoted(name)}")
        if name in inputs:
            raise ValueError(f"a layer has the name {quoted(name)}, which is the model's own input's")


def _check_readers(
    layers: Sequence[Layer],
    inputs: Sequence[Input],
    reads: Sequence[tuple[int, ...]],
    outputs: Mapping[str, str],
) -> None:
    """Raise ValueError for a value that nobody reads, or a Scaler that is not the only one to read an input."""
    times = Counter(n for read in reads for n in read)
    for layer, read in zip(layers, reads, strict=True):
        if isinstance(layer, Scaler) and (len(read) != 1 or read[0] >= len(inputs) or times[read[0]] > 1):
            raise ValueError(f"{layer.label}: expected a Scaler to be the one layer that reads an input of the model")
    unread = next((one for n, one in enumerate(inputs) if not times[n]), None)
    if unread is not None:
        raise ValueError(f"inputs: no layer reads {quoted(unread.name)}")
    answers = set(outputs.values())
    for n, layer in enumerate(layers, len(inputs)):
        if not times[n] and layer.name not in answers:
            which = "output is" if len(answers) == 1 else "outputs are"
            answer = f"the {which} {listed(map(quoted, sorted(answers)))}"
            raise ValueError(f"{layer.label}: no layer reads what comes out of it, and {answer}")


#: The settings that say how many features come in.
SIZES = ("input_size", "in_features", "num_features")


def _input_size(layers: Sequence[Layer], reads: Sequence[tuple[int, ...]]) -> int:
    """The one input's features, as the first layer says that does not accept any number of them."""
    times = [1]  # of each value: its features, as a multiple of the input's
    for layer, read in zip(layers, reads, strict=True):
        size = next((getattr(layer, name) for name in SIZES if hasattr(layer, name)), None)
        if size is not None:
            return int(size) // times[read[0]]
        joined = sum(times[n] for n in read) if isinstance(layer, Concat) else times[read[0]]
        times.append(joined * layer.steps if isinstance(layer, Flatten) else joined)
    raise ValueError("no layer says how many features a tick has: a model needs an LSTM or a Linear layer")
