"""A module's own copy, whatever it holds: what is done with the copy is not seen in the module."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode

from lstmcore.errors import UnsupportedError

#: What a hook may keep answers in.
CONTAINERS = (list, dict, set)


def own_copy(module: nn.Module) -> nn.Module:
    """A deep copy; unlike copy.deepcopy alone, of modules too that hold tensors computed from others, and with hooks
    that keep what they see in containers of their own."""
    memo: dict[int, Any] = {}
    with _Detached():
        try:
            twin = copy.deepcopy(module, memo)
        except TypeError as error:
            raise UnsupportedError(
                f"{_what_stays(module)}: {error}; from_torch works on a copy: take it away"
            ) from error
        for m in twin.modules():
            for name, hooks in vars(m).items():
                if name.endswith("_hooks") and isinstance(hooks, dict):
                    hooks.update({key: _own_hook(hook, memo) for key, hook in hooks.items()})
    return twin


def with_weights(module: nn.Module) -> nn.Module:
    """An own copy that holds its weights, where `module` computes some from others (weight and spectral norm)."""
    twin = own_copy(module)
    with torch.no_grad():
        for m in twin.modules():
            if parametrize.is_parametrized(m):  # remove_parametrizations would change the class, `module`'s too
                names = list(cast("nn.ModuleDict", m.parametrizations))
                values = {name: getattr(m, name).detach().clone() for name in names}
                del m.parametrizations
                m.__class__ = type(m).__bases__[0]
                for name, value in values.items():
                    setattr(m, name, nn.Parameter(value))
            for hook in list(m._forward_pre_hooks.values()):
                if isinstance(hook, WeightNorm):
                    remove_weight_norm(m, hook.name)
                elif isinstance(hook, SpectralNorm):
                    remove_spectral_norm(m, hook.name)
    return twin


def _what_stays(module: nn.Module) -> str:
    """What cannot be copied, by name: "encoder.lock, a lock"."""
    for path, m in module.named_modules():
        for name, value in vars(m).items():
            if name not in ("_modules", "_parameters", "_buffers"):
                try:
                    copy.deepcopy(value)
                except TypeError:
                    return f"{path}.{name}, a {type(value).__name__}".removeprefix(".")
    return type(module).__name__


class _Detached(TorchFunctionMode):
    """Copies tensors with a history, which torch refuses to copy, without it."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            return memo.setdefault(id(tensor), tensor.detach().clone())
        return function(*args, **(kwargs or {}))


def _own_hook(hook: Callable[..., Any], memo: dict[int, Any]) -> Callable[..., Any]:
    """The function with copies of the containers and modules that it reaches by name: copy.deepcopy has it as it is."""
    if not isinstance(hook, types.FunctionType):
        return hook

    def own(value: Any) -> Any:
        return copy.deepcopy(value, memo) if isinstance(value, (*CONTAINERS, nn.Module)) else value

    cells = tuple(types.CellType(own(cell.cell_contents)) if filled(cell) else cell for cell in hook.__closure__ or ())
    named = {name: own(hook.__globals__[name]) for name in hook.__code__.co_names if name in hook.__globals__}
    twin = types.FunctionType(
        hook.__code__, {**hook.__globals__, **named}, hook.__name__, own(hook.__defaults__), cells
    )
    twin.__kwdefaults__ = own(hook.__kwdefaults__)
    return twin


def filled(cell: types.CellType) -> bool:
    """Whether an enclosing variable has a value yet."""
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False
