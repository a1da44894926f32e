"""The numbers in a module's Python code: what a forward may compare the length of its windows with, unseen."""

from __future__ import annotations

import dis
import functools
import inspect
import itertools
import os
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import nn

from lstmcore.formats.torch.torch_copy import filled

MOST_CODE = 1000  # functions that are looked at
DEPTH = 4  # of containers in containers
MOST_HELD = 1000  # elements of a container
MOST_NUMBERS = 100_000  # in all that is reached from one variable


def numbers_of(module: nn.Module) -> tuple[dict[float, str], dict[float, str]]:
    """The numbers above 1 in the code of all forwards, hooks and functions that they call; and those in attributes,
    global and enclosing variables whose names are in that code. Each with where it is; torch's own code is left out."""
    reader = _Reader()
    for m in module.modules():
        if not _foreign(type(m).__module__):
            reader.add(m.forward, m)
        for name, hooks in vars(m).items():
            if name.endswith("_hooks") and isinstance(hooks, dict):
                for hook in hooks.values():
                    reader.add(hook, m)
    reader.run()
    return reader.written, reader.held


def _foreign(module: str | None) -> bool:
    return (module or "").partition(".")[0] in ("torch", "numpy", "builtins")


class _Reader:
    def __init__(self) -> None:
        self.left: list[tuple[types.FunctionType, Any]] = []
        self.seen: set[tuple[types.CodeType, int]] = set()
        self.written: dict[float, str] = {}
        self.held: dict[float, str] = {}
        self.names: set[str] = set()  # of attributes and variables, in all code
        self.holders: list[tuple[Any, str]] = []  # what may hold numbers

    def add(self, function: Any, owner: Any) -> None:
        """`function`, called as a method of `owner`."""
        while True:
            if isinstance(function, functools.partial):
                self._hold((function.args, function.keywords), "functools.partial")
                function = function.func
            elif isinstance(function, types.MethodType):
                function, owner = function.__func__, function.__self__
            elif hasattr(function, "__wrapped__"):
                function = function.__wrapped__
            else:
                break
        if isinstance(function, types.FunctionType) and not _foreign(function.__module__):
            self.left.append((function, owner))

    def run(self) -> None:
        while self.left and len(self.seen) < MOST_CODE:
            function, owner = self.left.pop()
            key = (function.__code__, id(owner))
            if key not in self.seen:
                self.seen.add(key)
                self._read(function, owner)
        for value, where in self.holders:
            for number in itertools.islice(_numbers(value, self.names), MOST_NUMBERS):
                self.held.setdefault(number, where)

    def _read(self, function: types.FunctionType, owner: Any) -> None:
        where = f"{os.path.basename(function.__code__.co_filename)}, in {function.__qualname__}"
        names: set[str] = set()
        for code in _codes(function.__code__):
            names.update(code.co_names)
            for instruction in dis.get_instructions(code):
                if instruction.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
                    for number in _numbers(instruction.argval):
                        self.written.setdefault(number, where)
        self.names |= names
        self._hold((function.__defaults__, function.__kwdefaults__), where)
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        enclosing = {name: cell.cell_contents for name, cell in cells if filled(cell)}
        for name, value in {**_named(function.__globals__, names), **enclosing}.items():
            self._use(value, owner, f"{name} in {where}")
        for name in names:
            attribute = inspect.getattr_static(owner, name, None)
            if isinstance(attribute, property) and attribute.fget:
                self.add(attribute.fget, owner)
            elif attribute is not None:
                self._use(attribute, owner, f"{name} of {type(owner).__name__}")

    def _use(self, value: Any, owner: Any, where: str) -> None:
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        if callable(value) and not isinstance(value, nn.Module | type):
            self.add(value, owner)
        else:
            self._hold(value, where)

    def _hold(self, value: Any, where: str) -> None:
        self.holders.append((value, where))


def _named(variables: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: variables[name] for name in names if name in variables}


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _codes(inner)


def _numbers(
    value: Any, names: Iterable[str] = (), depth: int = DEPTH, seen: set[int] | None = None
) -> Iterator[float]:
    """The numbers above 1 in a number, a slice, a container of a few, or in attributes of these names."""
    if isinstance(value, int | float):
        if not isinstance(value, bool) and 1 < abs(value) < float("inf"):
            yield abs(value)
        return
    seen = set() if seen is None else seen
    if not depth or id(value) in seen:
        return
    seen.add(id(value))
    parts: Iterable[Any] = ()
    if isinstance(value, slice):
        parts = value.start, value.stop, value.step
    elif isinstance(value, np.generic | np.ndarray):
        if value.dtype.kind in "iuf" and value.size <= MOST_HELD:
            parts = value.ravel().tolist()
    elif isinstance(value, list | tuple | set | frozenset | dict):
        if len(value) <= MOST_HELD:
            parts = (*value, *value.values()) if isinstance(value, dict) else value
    elif not isinstance(value, nn.Module) and not _foreign(getattr(value, "__module__", None) or _name(value)):
        parts = [_attribute(value, name) for name in names]
    for part in parts:
        yield from _numbers(part, names, depth - 1, seen)


def _name(value: Any) -> str:
    """A Python module's name, or that of a type's or an object's module."""
    return value.__name__ if isinstance(value, types.ModuleType) else type(value).__module__


def _attribute(value: Any, name: str) -> Any:
    """What is held under a name, in the object, its class or a slot; no code of a property or the like is run."""
    found = inspect.getattr_static(value, name, None)
    if isinstance(found, types.MemberDescriptorType):
        return getattr(value, name, None)
    return None if callable(found) and not isinstance(found, type) else found
