"""Architectures as users write them beside a state_dict: read, and completed from the shapes of its arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from lstmcore.errors import ModelFormatError
from lstmcore.formats.near import near
from lstmcore.formats.torch.torch_arguments import ARGUMENTS, WITHOUT_EFFECT
from lstmcore.formats.weights import Spec
from lstmcore.layers import (
    GRU,
    KINDS,
    LSTM,
    RNN,
    Activation,
    BatchNorm1d,
    Flatten,
    Last,
    Layer,
    LayerNorm,
    Linear,
    Recurrent,
    Reverse,
    Scaler,
)

Shapes = Mapping[str, tuple[int, ...]]

#: torch's activations that are functions of `Activation`, by torch's names.
FUNCTIONS = {
    "Hardsigmoid": f"hard_sigmoid({1 / 6!r},0.5)",
    "Hardswish": "hard_silu",
    "Hardtanh": "hard_tanh",
    "Mish": "mish",
    "ReLU6": "relu6",
    "SELU": "selu",
    "SiLU": "silu",
    "Softplus": "softplus",
    "Softsign": "softsign",
}

EXPECTED = 'expected ("name", "Kind"), ("name", "Kind", settings) or, for a layer without weights, "Kind"'


class Entry(NamedTuple):
    """One layer as the user gave it. Without a name, its keys in the state_dict have no prefix."""

    at: str
    name: str
    kind: type[Layer]
    settings: dict[str, Any]
    inputs: tuple[str, ...]


def parse(layers: Any) -> list[Entry]:
    """What the user gave as `layers`. Raises ValueError and TypeError that name the place in it."""
    if isinstance(layers, str) or not isinstance(layers, Sequence):
        raise TypeError(f"layers: expected a list of layers, got {type(layers).__name__}; {EXPECTED}")
    entries = [_parse_one(f"layers[{n}]", layer) for n, layer in enumerate(layers)]
    names = [entry.name for entry in entries if entry.name]
    for entry in entries:
        if names.count(entry.name) > 1:
            raise ValueError(f"{entry.at}: two layers have the name {entry.name!r}")
    return entries


def _parse_one(at: str, given: Any) -> Entry:
    settings: Mapping[str, Any] = {}
    match given:
        case str() | type() as kind:
            name = ""
        case (str(name), str() | type() as kind):
            pass
        case (str(name), str() | type() as kind, Mapping() as settings):
            pass
        case (str() | type() as kind, Mapping() as settings):
            name = ""
        case _:
            raise ValueError(f"{at}: {EXPECTED}, got {given!r:.200}")
    settings = dict(settings)
    word = kind if isinstance(kind, str) else kind.__name__
    if word in FUNCTIONS:
        settings["function"], word = FUNCTIONS[word], Activation.__name__
    if word not in KINDS:
        known_kinds = [*KINDS, *FUNCTIONS]
        raise ValueError(
            f"{at}: unknown kind {word!r:.200}{near(word, known_kinds)}; known are {', '.join(known_kinds)}"
        )
    cls, inputs = KINDS[word], settings.pop("inputs", ())
    if issubclass(cls, Recurrent):
        settings = _from_torch(at, cls, settings)
    known = {f.name for f in dataclasses.fields(cls)} - {"name", "weights", "inputs"}
    for key in settings.keys() - known:
        hint = near(str(key), known)
        raise ValueError(f"{at} ({word}): unknown setting {key!r:.200}{hint}; known are {', '.join(sorted(known))}")
    if isinstance(inputs, str) or not all(isinstance(other, str) for other in inputs):
        raise ValueError(f"{at} ({word}): inputs: expected a list of layers' names, got {inputs!r:.200}")
    return Entry(at, name, cls, settings, tuple(inputs))


def _from_torch(at: str, cls: type[Layer], settings: dict[str, Any]) -> dict[str, Any]:
    """With torch's arguments as lstmcore's settings."""
    torch_only = {key: settings.pop(key) for key in [*settings] if key in (*WITHOUT_EFFECT, "nonlinearity")}
    for key in torch_only.keys() - ARGUMENTS[cls.__name__].keys():
        raise ValueError(f"{at} ({cls.__name__}): unknown setting {key!r}")
    if "nonlinearity" in torch_only:
        settings["activations"] = torch_only["nonlinearity"]
    return settings


def complete(
    entries: Sequence[Entry], shapes: Callable[[Entry], Shapes], what: str, paths: Collection[str]
) -> list[Spec]:
    """The layers with all their settings.

    Args:
        entries: What the user gave.
        shapes: The shapes of an entry's arrays, by the names of its weights.
        what: The beginning of errors about the state_dict.
        paths: The names of all layers that the state_dict has.

    Raises:
        ModelFormatError: A layer of which the state_dict has nothing, or settings that are wrong or missing.
        ValueError: A bidirectional layer of which it is not said what is taken from it.
    """
    names = _names(entries)
    specs = []
    for n, (entry, name) in enumerate(zip(entries, names, strict=True)):
        own = shapes(entry)
        found: dict[str, Any] = {}
        if entry.kind is LayerNorm and not own and "num_features" in entry.settings:
            found = {"affine": False, "bias": False}
        elif entry.kind in INFERRED:
            infer, needed = INFERRED[entry.kind]
            for key, axes in needed.items():
                full = f"{entry.name}.{key}".removeprefix(".")
                if key not in own:
                    hint = "" if own else near(entry.name, paths)
                    raise ModelFormatError(f"{what}: {full}: missing; {name!r} as {entry.kind.__name__} needs it{hint}")
                if len(own[key]) != axes:
                    raise ModelFormatError(f"{what}: {full}: expected {axes} axes, got shape {own[key]}")
            found = infer(entry.kind, own)
        settings = {**_defaults(entry.kind), **found, **entry.settings}
        if issubclass(entry.kind, Recurrent) and "return_sequences" not in entry.settings:
            if settings["bidirectional"] and not _needs_sequence(entries, names, n):
                _refuse_ambiguous(entry, name)
            settings["return_sequences"] = _needs_sequence(entries, names, n)
        try:
            specs.append(Spec(name, entry.kind, entry.kind.check_settings(settings), entry.inputs))
        except ValueError as error:
            raise ModelFormatError(f"{what}: {entry.at}, {name!r}: {error}") from None
    return specs


def _refuse_ambiguous(entry: Entry, name: str) -> NoReturn:
    raise ValueError(
        f"{entry.at}, {name!r}: bidirectional: say what the forward takes: return_sequences=False for h_n of both "
        f'directions, or return_sequences=True and a "Last" behind it for out[:, -1]'
    )


def _names(entries: Sequence[Entry]) -> list[str]:
    """A name for each; what has none is called after its kind."""
    taken = {entry.name for entry in entries}
    names = []
    for entry in entries:
        base = entry.kind.__name__.lower()
        candidates = [base, *(f"{base}_{n}" for n in range(1, len(entries) + 1))]
        names.append(entry.name or next(c for c in candidates if c not in taken))
        taken.add(names[-1])
    return names


def _defaults(cls: type[Layer]) -> dict[str, Any]:
    fields = [f for f in dataclasses.fields(cls) if f.name not in ("name", "weights", "inputs")]
    return {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}


def _needs_sequence(entries: Sequence[Entry], names: Sequence[str], at: int) -> bool:
    """Whether a layer that reads this one, perhaps through others that take each step for itself, needs all steps."""
    for n in range(at + 1, len(entries)):
        if names[at] in (entries[n].inputs or (names[n - 1],)):
            if issubclass(entries[n].kind, Recurrent | Last | Reverse | Flatten):
                return True
            if _needs_sequence(entries, names, n):
                return True
    return False


def _recurrent(cls: Any, own: Shapes) -> dict[str, Any]:
    (rows, input_size), (_, state) = own["weight_ih_l0"], own["weight_hh_l0"]
    found = {
        "input_size": input_size,
        "hidden_size": rows // len(cls.gates) if "weight_hr_l0" in own else state,
        "num_layers": sum(f"weight_ih_l{k}" in own for k in range(len(own))),
        "bias": "bias_ih_l0" in own,
        "bidirectional": "weight_ih_l0_reverse" in own,
        "learned_state": "h_0_l0" in own,
    }
    if cls is LSTM:
        found["proj_size"] = state if "weight_hr_l0" in own else 0
        found["peepholes"], found["layer_norm"] = "weight_peephole_l0" in own, "norm_ih_l0" in own
    return found


def _linear(cls: Any, own: Shapes) -> dict[str, Any]:
    out_features, in_features = own["weight"]
    return {"in_features": in_features, "out_features": out_features, "bias": "bias" in own}


def _batch_norm(cls: Any, own: Shapes) -> dict[str, Any]:
    return {"num_features": own["running_mean"][0], "affine": "weight" in own}


def _layer_norm(cls: Any, own: Shapes) -> dict[str, Any]:
    return {"num_features": own["weight"][0], "bias": "bias" in own}


def _scaler(cls: Any, own: Shapes) -> dict[str, Any]:
    return {"num_features": own["mean"][0]}


MATRICES = {"weight_ih_l0": 2, "weight_hh_l0": 2}

#: What the shapes say of each kind that has weights, and of which weights they are needed, with how many axes.
INFERRED: Mapping[type[Layer], tuple[Callable[[Any, Shapes], dict[str, Any]], Mapping[str, int]]] = {
    LSTM: (_recurrent, MATRICES),
    GRU: (_recurrent, MATRICES),
    RNN: (_recurrent, MATRICES),
    Linear: (_linear, {"weight": 2}),
    BatchNorm1d: (_batch_norm, {"running_mean": 1}),
    LayerNorm: (_layer_norm, {"weight": 1}),
    Scaler: (_scaler, {"mean": 1}),
}
