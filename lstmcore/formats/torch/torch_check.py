"""The traced layers, compared with what the module itself answers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from lstmcore.errors import UnsupportedError
from lstmcore.formats.guard.trials import ENDLESS, sizes
from lstmcore.formats.torch.torch_copy import own_copy, with_weights
from lstmcore.formats.torch.torch_hidden import Hidden
from lstmcore.formats.torch.torch_numbers import numbers_of
from lstmcore.formats.torch.torch_sizes import Watch
from lstmcore.formats.torch.torch_trace import Traced
from lstmcore.formats.torch.torch_value import T
from lstmcore.layers import Array, Recurrent, Scaler
from lstmcore.model import Model

#: How far right answers may differ, relative to the largest answer, by the precision the module runs in.
#: Where the forward does something else than the layers, the first digits differ.
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4}

#: The work of a trial, in products of a weight and a number; a step of a layer costs some whatever its size.
STEP = 20_000
MOST_WORK = 5e8  # at one size, for a number that the forward does compare a size with: a second or two
#: Of all trials for numbers that only happen to be in the code: half a second, or some hundred steps of large layers.
ALL_WORK, ALL_STEPS = 1.2e8, 800

ROWS = 4  # windows of a batch that the Model answers, which answers each for itself
ROUNDS = 8  # in each, the forward may show numbers that it did not show before


class Found(NamedTuple):
    """What a forward was traced to be."""

    traced: Traced
    shape: tuple[int, int, int]  # (N, T, F), with which it was traced
    time_major: bool  # it takes (T, N, F)
    hidden: Hidden | None  # what it takes behind its windows


def check_answers(module: nn.Module, model: Model, found: Found) -> None:
    """Raise UnsupportedError where `model` and `module` disagree on random windows, from random states.

    They are compared on several batches, one window and one step among them; on the first batch once more at the end,
    by the same copy of the module, so that a state it keeps from call to call is seen; and with sizes below, at and
    beyond every number that the forward compares a size with or has in its code. A size at which the module itself
    fails is left out: the Model answers there, too.

    Args:
        module: The module.
        model: The layers that were traced, in float64.
        found: The trace.
    """
    trials = _Trials(module, model, found)
    windows, steps, _ = found.shape
    lengths = [steps, 2 * steps + 1, 2] if model.steps is None else [steps]
    for length in lengths:
        trials.compare(windows, length)
    trials.compare(windows, steps, ", the second time that it is given them,")
    for length in lengths[:2]:
        trials.compare(1, length)
    if model.steps is None:
        trials.compare(windows, 1)
        trials.compare(1, 1)
    if found.hidden is not None:
        without = _Trials(module, model, found._replace(hidden=None))
        without.compare(windows, steps, ", given without states,", given=False)
    _try_numbers(trials, module)


def _try_numbers(trials: _Trials, module: nn.Module) -> None:
    """Compare at sizes around all numbers that may make a difference."""
    tried: set[float] = set()
    _try_seen(trials, tried)
    written, held = numbers_of(module)
    left = max(ALL_WORK, ALL_STEPS * trials.step)
    found = sizes({*held, *written} - tried)
    found = dict(sorted(found.items(), key=lambda item: abs(item[0] - item[1]) > 1))  # the numbers before their sums
    for size, number in found.items():
        where = written.get(number) or held[number]
        if trials.work(size) <= left:
            left -= trials.work(size)
            trials.around(size, number, where)
        elif number in written and trials.watch.counts and abs(size - number) <= 1 and number == int(number):
            trials.refuse(
                f"{where}: has the number {_shown(number)}, and {trials.watch.counts} takes a tensor apart, perhaps "
                f"into as many; windows as long cannot be tried. {DO}; or write {float(number)!r} if it is no size"
            )
    for size in found:
        if trials.work(size, trials.far) <= left:
            left -= trials.work(size, trials.far)
            trials.together(size)
    _try_seen(trials, tried)


def _try_seen(trials: _Trials, tried: set[float]) -> None:
    """Compare at sizes around what the forward compared sizes with, until it shows nothing new."""
    for _ in range(ROUNDS):
        new = {number: where for number, where in trials.watch.numbers.items() if number not in tried}
        tried |= new.keys()
        found = _beside(new)
        for size, number in found.items():
            if trials.work(size) <= MOST_WORK:
                trials.around(size, number, new[number])
            elif size <= 2 * number:
                trials.refuse(
                    f"{new[number]}: the answer may change at {_shown(number)} steps or windows, which are too many to "
                    f"be tried. {DO}"
                )
        for size in found:
            if trials.work(size, trials.far) <= MOST_WORK:
                trials.together(size)


def _beside(numbers: Iterable[float]) -> dict[int, float]:
    """Sizes below, at and beyond each number, and one far beyond all, each with the number."""
    own = {math.floor(n) + step: n for n in sorted(numbers) if n < ENDLESS for step in (-1, 0, 1, 2)}
    return {size: n for size, n in [*own.items(), *((2 * size + 1, n) for size, n in [*own.items()][-1:])] if size > 1}


#: What to do about it.
DO = (
    "Let the forward treat windows of every number and length alike: take the last step as out[:, -1], and cut the "
    "windows before the Model's call"
)


def _shown(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"


class _Trials:
    """A runnable copy of the module and the layers, side by side."""

    def __init__(self, module: nn.Module, model: Model, found: Found) -> None:
        self.kind, self.axes, self.shape = type(module).__name__, found.traced.axes, found.shape
        self.model, self.found = model, found
        self.twin, self.tolerance = _runnable(module, np.zeros(found.shape), found)
        self.watch = Watch(*found.shape[:2])
        recurrent = sum(isinstance(layer, Recurrent) and layer.num_layers for layer in model.layers)
        self.parameters = sum(array.size for array in model.parameters.values())
        self.far = 2  # the largest size that was tried
        self.step = recurrent * STEP + self.parameters

    def work(self, size: int, far: int = 0) -> float:
        """What `around` costs, or `together`: many windows at once, of which the Model answers a few, are cheaper."""
        return ROWS * (size + far) * self.step + size * far * self.parameters / 2

    def around(self, size: int, number: float, where: str) -> None:
        """Compare with `size` steps and with `size` windows."""
        self.far = max(self.far, size)
        why = f", a size drawn from the number {_shown(number)} in {where},"
        if self.model.steps is None:
            self.compare(2, size, why, forgotten=True)
            self.compare(1, size, why)
        self.compare(size, self.model.steps or 2, why)

    def together(self, size: int) -> None:
        """Compare with `size` steps of many windows, and with `size` windows of many steps."""
        if self.model.steps is None:
            self.compare(self.far, size, forgotten=True)
            self.compare(size, self.far, forgotten=size > 1)

    def compare(self, windows: int, steps: int, why: str = "", *, forgotten: bool = False, given: bool = True) -> None:
        """Raise UnsupportedError where the answers differ; `why` says what led to these sizes.

        With `forgotten`, the second window's first tick is NaN, so that it is seen whether it is read, also where a
        recurrent layer soon forgets it. Without `given`, no states are, where the forward allows that.
        """
        random = np.random.default_rng(steps)
        batch = self._as_given(2 * random.standard_normal((windows, steps, self.shape[2])))
        states = self.found.traced.states
        units = random.standard_normal((windows, states.width)) if states and given else None
        if forgotten:
            batch[1, 0] = np.nan
        self.watch.sizes = windows, steps
        try:
            with self.watch:
                returned = _answer(self.twin, batch, self.found, units)
        except Exception as error:
            if batch.shape != self.shape or not given:
                return
            self.refuse(f"forward raises {type(error).__name__}: {error}")
        results = pytree.tree_leaves(returned)
        if not isinstance(returned, torch.Tensor) and (states is None or len(results) == 1):
            self.refuse(f"forward returns a {type(returned).__name__}; return only the prediction, a tensor")
        expected = results[self.found.traced.answer]
        rows = np.unique([0, 1 % windows, -2 % windows, windows - 1]) if windows > ROWS else np.arange(windows)
        own = self._answer_rows(batch[rows], None if units is None else units[rows], results, rows)
        answers = self._as_answers(expected, (windows, *own.shape[1:]))
        theirs = None if answers is None or len(answers) != windows else answers[rows]
        difference = _difference(own, theirs)
        if difference <= self.tolerance:
            return
        how = f"by {difference:.2g} of the largest"
        if theirs is None or theirs.shape != own.shape:
            how = "in shape"
        elif not np.isfinite(difference):
            how = "in whether they depend on a window's first tick" if forgotten else "in which are NaN"
        self.refuse(
            f"the forward does something that its trace does not show: its answers to windows {batch.shape}{why} "
            f"differ from those of the layers that were traced with {self.shape} {how}. {DO}"
        )

    def _answer_rows(self, batch: Array, units: Array | None, results: Sequence[torch.Tensor], rows: Array) -> Array:
        """The Model's answers to some windows; its states are compared with those among the module's results."""
        states = self.found.traced.states
        if states is None or units is None:
            return self.model(batch)
        layers = self.model.recurrent_layers
        state = states.as_state(layers, units) if states.flow.inputs else None
        answers, ends = self.model(batch, state, return_state=True)
        for port in states.flow.outputs:
            own = port.gather(states.as_units(layers, ends))
            theirs = results[int(port.name)].double().cpu().numpy()
            theirs = theirs.take(rows, port.windows_axis) if theirs.ndim == own.ndim else theirs
            difference = _difference(own, theirs.reshape(own.shape) if theirs.size == own.size else theirs)
            if difference > self.tolerance:
                self.refuse(
                    f"the forward does something that its trace does not show: the state at result {port.name} "
                    f"differs, for windows {batch.shape}, from that of the layers that were traced by {difference:.2g} "
                    f"of the largest. {DO}"
                )
        return np.asarray(answers)

    def _as_given(self, batch: Array) -> Array:
        """Numbers as the twin will have them; where a scaler stands first, about its mean and as wide as its scale."""
        first = self.model.layers[0]
        if isinstance(first, Scaler):
            mean, scale = first.weights["mean"], first.weights["scale"]
            if np.isfinite(mean).all() and np.isfinite(scale).all():
                batch = mean + scale * batch
        given: Array = as_input(self.twin, batch, False).double().cpu().numpy()
        return given

    def refuse(self, why: str) -> NoReturn:
        """Raise an error that names the module."""
        raise UnsupportedError(f"{self.kind}: {why}")

    def _as_answers(self, tensor: torch.Tensor, shape: tuple[int, ...]) -> Array | None:
        """A Model's answers, of `shape`: windows first, without axes of size 1 that stand for nothing.

        With one window or one step, a forward may leave out their axes: a squeeze() does.
        """
        answers: Array = tensor.double().cpu().numpy()
        if tensor.ndim == len(self.axes):
            kept = [(n, axis) for n, axis in zip(tensor.shape, self.axes, strict=True) if axis]
            if math.prod(n for n, _ in kept) != answers.size:
                return None
            answers = answers.reshape([n for n, _ in kept])
            return answers.swapaxes(0, 1) if kept[0][1] == T else answers
        alike = [n for n in answers.shape if n > 1] == [n for n in shape if n > 1]
        return answers.reshape(shape) if alike and 1 in self.watch.sizes else None


def as_input(module: nn.Module, windows: Array, time_major: bool) -> torch.Tensor:
    """Windows (N, T, F) as `module` takes them: in its dtype, on its device."""
    tensors = [*module.parameters(), *module.buffers(), torch.empty(0)]
    like = next(t for t in tensors if t.is_floating_point())
    return torch.as_tensor(windows.swapaxes(0, 1) if time_major else windows).to(like)


def _answer(module: nn.Module, windows: Array, found: Found, units: Array | None = None) -> Any:
    """What the module returns, from zero states or those of `units`."""
    given = as_input(module, windows, found.time_major)
    states, hidden = found.traced.states, found.hidden
    arrays = [port.gather(units) for port in states.flow.inputs] if states and units is not None else None
    arguments = hidden.arguments(len(windows), given, arrays) if hidden else ()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN", UserWarning)
        return module(given, *arguments)


def _runnable(module: nn.Module, batch: Array, found: Found) -> tuple[nn.Module, float]:
    """A copy in float64 where the forward runs in it, else as the module is; and its tolerance.

    In float64, rounding can neither hide nor feign a difference. A forward that names a dtype may not run so.
    """
    try:
        module = with_weights(module)  # as they were traced: in float64 they would come out otherwise
        _answer(own_copy(module).double(), batch, found)
        twin = own_copy(module).double()
    except Exception:
        twin = own_copy(module)
    return twin, TOLERANCES[as_input(twin, batch, found.time_major).dtype]


def _difference(answers: Array, expected: Array | None) -> float:
    """The largest difference, relative to the largest expected answer; NaN and infinity equal themselves."""
    if expected is None or answers.shape != expected.shape:
        return np.inf
    with np.errstate(invalid="ignore", divide="ignore"):
        same = (answers == expected) | (np.isnan(answers) & np.isnan(expected))
        largest = np.max(np.abs(expected), initial=0, where=np.isfinite(expected))
        return float(np.max(np.where(same, 0, np.abs(answers - expected) / largest)))
