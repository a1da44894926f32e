"""What a forward compares the number of its windows and steps with, seen while it runs."""

from __future__ import annotations

import contextlib
import operator
import os
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

TORCH = Path(torch.__file__).parent

#: Calls that cut a tensor by numbers that are among their arguments.
CUTS = ("split", "unsafe_split", "tensor_split", "narrow", "split_with_sizes")
#: Calls whose results Python can count, or take one by one.
COUNTABLE = ("__iter__", "__len__", "unbind", "chunk", "split", "unsafe_split", "unsafe_chunk")


class Watch(TorchFunctionMode):
    """Watches the forward of a module that answers `windows` windows of `steps` steps.

    `numbers` are those that it compares a size with or that cut further than a tensor reaches, each with the line;
    `counts`, the line where it took a tensor apart in Python, where it is not seen what it is compared with.
    """

    def __init__(self, windows: int, steps: int) -> None:
        super().__init__()
        self.sizes = (windows, steps)
        self.numbers: dict[float, str] = {}
        self.counts = ""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        if name == "__getitem__":
            self._note_clipped(*args)
        elif name in CUTS:
            self._note(*(n for arg in args for n in (arg if isinstance(arg, list | tuple) else [arg])))
        if name in COUNTABLE:
            self.counts = self.counts or _line()
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Size):
            return torch.Size([self._watched(n) for n in result])
        return self._watched(result) if name == "size" else result

    def _watched(self, size: Any) -> Any:
        return _Size(size, self) if size in self.sizes else size

    def _note_clipped(self, tensor: torch.Tensor, index: Any) -> None:
        """The bounds of slices that do not cut yet."""
        items = index if isinstance(index, tuple) else (index,)
        at = 0
        for n, item in enumerate(items):
            if item is Ellipsis:
                at = tensor.ndim - sum(other is not None for other in items[n + 1 :])
            elif item is not None:
                if isinstance(item, slice) and at < tensor.ndim:
                    bounds = (b for b in (item.start, item.stop) if isinstance(b, int))
                    self._note(*(b for b in bounds if abs(b) > tensor.shape[at]))
                at += 1

    def _note(self, *numbers: Any) -> None:
        for number in numbers:
            if isinstance(number, int) and not isinstance(number, _Size | bool):
                self.numbers.setdefault(abs(number), _line())

    def compared(self, number: float) -> None:
        """A size was compared with something, which it is equal to when it is `number`."""
        self.numbers.setdefault(abs(number), _line())


class _Size(int):
    """A number of windows or steps S, or factor·S + offset. It tells the watch what it is compared with."""

    watch: Watch
    factor: Fraction
    offset: Fraction

    def __new__(cls, value: int, watch: Watch, factor: Any = 1, offset: Any = 0) -> _Size:
        size = super().__new__(cls, value)
        size.watch, size.factor, size.offset = watch, Fraction(factor), Fraction(offset)
        return size

    def _with(self, value: int, factor: Fraction, offset: Fraction) -> _Size:
        return _Size(value, self.watch, factor, offset)

    def __add__(self, other: int) -> int:
        other = _as_python(other)
        if not isinstance(other, int) or isinstance(other, _Size):
            return int.__add__(self, other)
        return self._with(int(self) + other, self.factor, self.offset + other)

    __radd__ = __add__

    def __neg__(self) -> int:
        return self._with(-int(self), -self.factor, -self.offset)

    def __sub__(self, other: int) -> int:
        other = _as_python(other)
        return self + -other if type(other) is int else int.__sub__(self, other)

    def __rsub__(self, other: int) -> int:
        return -self + other

    def __mul__(self, other: int) -> int:
        other = _as_python(other)
        if type(other) is not int:
            return int.__mul__(self, other)
        return self._with(int(self) * other, self.factor * other, self.offset * other)

    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> int:
        other = _as_python(other)
        if type(other) is not int or other == 0:
            return int.__floordiv__(self, other)
        return self._with(int(self) // other, self.factor / other, self.offset / other)

    __hash__ = int.__hash__


def _as_python(number: Any) -> Any:
    """numpy's numbers, which may be no int and no float, as Python's; anything else as it is."""
    return number.item() if isinstance(number, np.generic | np.ndarray) and number.ndim == 0 else number


def _comparison(compare: Callable[[Any, Any], Any]) -> Callable[[_Size, Any], Any]:
    def method(self: _Size, other: Any) -> Any:
        other = _as_python(other)
        if isinstance(other, int | float) and not isinstance(other, _Size) and self.factor:
            if not _own(sys._getframe(1)):  # torch compares sizes with its own
                return compare(int(self), other)
            with contextlib.suppress(OverflowError, ValueError):  # infinity, NaN
                self.watch.compared(float((Fraction(other) - self.offset) / self.factor))
        return compare(int(self), other) if isinstance(other, int | float) else NotImplemented

    return method


for _name in ("__lt__", "__le__", "__eq__", "__ne__", "__gt__", "__ge__"):
    setattr(_Size, _name, _comparison(getattr(operator, _name)))


def _own(frame: FrameType) -> bool:
    """Whether it is the user's code."""
    return frame.f_code.co_filename != __file__ and TORCH not in Path(frame.f_code.co_filename).parents


def _line() -> str:
    """Where the user's code is: "models.py:12"."""
    frame: FrameType | None = sys._getframe(1)
    while frame and not _own(frame):
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}" if frame else "the forward"
