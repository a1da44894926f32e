"""The traced layers, compared with what the module itself answers."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from lstmcore.errors import UnsupportedError
from lstmcore.formats.torch_value import Axis, T
from lstmcore.layers import Array
from lstmcore.model import Model

#: How far right answers may differ, relative to the largest answer, by the precision the module runs in.
#: Where the forward does something else than the layers, the first digits differ.
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4}


def check_answers(
    module: nn.Module, model: Model, axes: Sequence[Axis], shape: tuple[int, int, int], time_major: bool
) -> None:
    """Raise UnsupportedError where `model` and `module` disagree on random windows.

    One copy of the module answers all batches, so that a state it keeps from call to call is seen. Their
    lengths differ, so that a step taken by its number is seen; a module that fails at another length is taken
    to be made for one length.

    Args:
        module: The module, which takes (N, T, F), or (T, N, F) if `time_major`.
        model: The layers that were traced.
        axes: The axes of what the module returns.
        shape: (N, T, F), with which it was traced.
        time_major: See `module`.
    """
    random = np.random.default_rng(0)
    windows, steps, features = shape
    lengths = [steps, 2 * steps + 1, 2, steps] if model.steps is None else [steps, steps]
    batches = [2 * random.standard_normal((windows, length, features)) for length in lengths]
    kind = type(module).__name__
    model = model.astype(np.float64)
    twin, tolerance = _runnable(module, batches[0], time_major)
    for batch in batches:
        try:
            expected = _answer(twin, batch, time_major)
        except Exception as error:
            if batch.shape[1] != steps:
                continue
            raise UnsupportedError(f"{kind}: forward raises {type(error).__name__}: {error}") from error
        if not isinstance(expected, torch.Tensor):
            what = type(expected).__name__
            raise UnsupportedError(f"{kind}: forward returns a {what}; return only the prediction, a tensor")
        difference = _difference(model(batch), _as_answers(expected, axes))
        if not difference <= tolerance:
            raise UnsupportedError(
                f"{kind}: the forward does something that its trace does not show, such as taking a step by "
                f"its number or keeping a state from call to call: the answers to windows {batch.shape} "
                f"differ from those of the traced layers by {difference:.2g} of the largest"
            )


def own_copy(module: nn.Module) -> nn.Module:
    """A deep copy; unlike copy.deepcopy alone, of modules too that hold tensors computed from others."""
    held = [t for m in module.modules() for t in vars(m).values() if isinstance(t, torch.Tensor)]
    memo: dict[int, Any] = {id(t): t.detach().clone() for t in held if not t.is_leaf}
    return copy.deepcopy(module, memo)


def as_input(module: nn.Module, windows: Array, time_major: bool) -> torch.Tensor:
    """Windows (N, T, F) as `module` takes them: in its dtype, on its device."""
    tensors = [*module.parameters(), *module.buffers(), torch.empty(0)]
    like = next(t for t in tensors if t.is_floating_point())
    return torch.as_tensor(windows.swapaxes(0, 1) if time_major else windows).to(like)


def _answer(module: nn.Module, windows: Array, time_major: bool) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN", UserWarning)
        return module(as_input(module, windows, time_major))


def _runnable(module: nn.Module, batch: Array, time_major: bool) -> tuple[nn.Module, float]:
    """A copy in float64 where the forward runs in it, else as the module is; and its tolerance.

    In float64, rounding can neither hide nor feign a difference. A forward that names a dtype may not run so.
    """
    try:
        twin = own_copy(module).double()
        _answer(twin, batch, time_major)
    except Exception:
        twin = own_copy(module)
    return twin, TOLERANCES[as_input(twin, batch, time_major).dtype]


def _as_answers(tensor: torch.Tensor, axes: Sequence[Axis]) -> Array | None:
    """A Model's answers: windows first, without axes of size 1 that stand for nothing."""
    if tensor.ndim != len(axes):
        return None
    kept = [(n, axis) for n, axis in zip(tensor.shape, axes, strict=True) if axis]
    answers: Array = tensor.double().cpu().numpy().reshape([n for n, _ in kept])
    return answers.swapaxes(0, 1) if kept[0][1] == T else answers


def _difference(answers: Array, expected: Array | None) -> float:
    """The largest difference, relative to the largest expected answer; NaN and infinity equal themselves."""
    if expected is None or answers.shape != expected.shape:
        return np.inf
    with np.errstate(invalid="ignore", divide="ignore"):
        same = (answers == expected) | (np.isnan(answers) & np.isnan(expected))
        largest = np.max(np.abs(expected), initial=0, where=np.isfinite(expected))
        return float(np.max(np.where(same, 0, np.abs(answers - expected) / largest)))
