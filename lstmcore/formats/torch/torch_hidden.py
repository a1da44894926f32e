"""The arguments of a forward behind its windows: states of its recurrent layers, in the structure that it takes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from lstmcore.errors import UnsupportedError
from lstmcore.layers import Array
from lstmcore.text import quoted


@dataclass(frozen=True)
class Hidden:
    """The arguments of a forward behind its windows: tensors in tuples and lists, None the number of windows."""

    structure: pytree.TreeSpec
    shapes: tuple[tuple[int | None, ...], ...]

    def arguments(self, windows: int, like: torch.Tensor, arrays: Sequence[Array] | None = None) -> tuple[Any, ...]:
        """The arguments for so many windows: these arrays, or zeros."""
        shapes = [[windows if size is None else size for size in shape] for shape in self.shapes]
        given = [np.zeros(shape) for shape in shapes] if arrays is None else arrays
        made: tuple[Any, ...] = pytree.tree_unflatten([torch.as_tensor(a).to(like) for a in given], self.structure)
        return made


def of_example(example: Sequence[Any], windows: int) -> Hidden:
    """The states after the windows of an example.

    Raises:
        ValueError: Their axis of windows is not plain.
        TypeError: Something that is no array.
    """
    leaves, structure = pytree.tree_flatten(tuple(example))
    shapes = []
    for leaf in leaves:
        if not isinstance(leaf, torch.Tensor | np.ndarray):
            raise TypeError(f"example: expected states after the windows, got {quoted(leaf)}; leave out what is none")
        shape = tuple(torch.as_tensor(leaf).shape)
        if shape.count(windows) != 1:
            raise ValueError(
                f"example: a state of shape {shape} with windows (N, T, F) of N = {windows}: expected one axis of that "
                "size; take another N"
            )
        shapes.append(tuple(None if size == windows else int(size) for size in shape))
    return Hidden(structure, tuple(shapes))


def candidates(module: nn.Module) -> list[Hidden | None]:
    """What the forward may take beside its windows, as its recurrent layers have states; None for nothing.

    Raises:
        UnsupportedError: It needs more, and that cannot be states.
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    more = [p for p in inspect.signature(module.forward).parameters.values() if p.kind in kinds][1:]
    needed = sum(p.default is p.empty for p in more)
    may_be = next((n for n, p in enumerate(more) if p.default is not p.empty and p.default is not None), len(more))
    found: list[Hidden | None] = [None] if not needed else []
    found += [hidden for count in range(max(needed, 1), may_be + 1) for hidden in _structures(module, count)]
    if not found:
        names = [p.name for p in inspect.signature(module.forward).parameters.values()][: needed + 1]
        hint = "; `lengths=` can be given at the Model's call" if any("len" in name for name in names) else ""
        raise UnsupportedError(
            f"{type(module).__name__}: forward takes several inputs, {', '.join(names)}; expected windows, and states "
            f"of its recurrent layers, whose structure example=(windows, states) can say{hint}"
        )
    return found


def _structures(module: nn.Module, count: int) -> Iterator[Hidden]:
    """`count` arguments that hold the states of all recurrent layers."""
    states = [state for m in module.modules() if (state := _state_of(m)) is not None]
    leaves = [leaf for state in states for leaf in state]
    own: list[Any] = [state if len(state) > 1 else state[0] for state in states]
    arguments: list[list[Any]] = []
    if len(states) == count:
        arguments.append(own)
    if len(leaves) == count and len(leaves) != len(states):
        arguments.append(leaves)
    if count == 1 and len(states) > 1:
        arguments.append([tuple(own)])
    if count == 2 and len(states) > 1 and all(len(state) == 2 for state in states):
        arguments.append([tuple(state[0] for state in states), tuple(state[1] for state in states)])
    for given in arguments:
        shapes, structure = pytree.tree_flatten(tuple(given))
        yield Hidden(structure, tuple(shape.sizes for shape in shapes))


@dataclass(frozen=True)
class _Shape:
    """A leaf of a structure; a tuple of sizes would be one itself."""

    sizes: tuple[int | None, ...]


def _state_of(module: nn.Module) -> tuple[_Shape, ...] | None:
    """The shapes of h, and of an LSTM c; None for a module without states."""
    if isinstance(module, nn.RNNBase):
        rows = module.num_layers * (2 if module.bidirectional else 1)
        shapes = [(rows, None, module.proj_size or module.hidden_size), (rows, None, module.hidden_size)]
        return tuple(_Shape(shape) for shape in shapes[: 2 if isinstance(module, nn.LSTM) else 1])
    if isinstance(module, nn.RNNCellBase):
        return (_Shape((None, module.hidden_size)),) * (2 if isinstance(module, nn.LSTMCell) else 1)
    return None
