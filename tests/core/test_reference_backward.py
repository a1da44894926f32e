"""The gradients of `reference_backward.py` beside torch's and beside finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS

from lstmcore import reference_backward as backward
from lstmcore.reference import Weights

torch = pytest.importorskip("torch", reason="torch is not installed")

#: The bound on the relative error, in float64: the largest difference over the largest gradient of its kind.
LIMIT = 1e-6

COMMON = settings(max_examples=25, deadline=None)
SIZES = st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(1, 7), st.integers(1, 3))  # T, I, H, L


class Case:
    """A random stack, its input and initial states, and a loss: random numbers times every h and the last states."""

    def __init__(self, name: str, sizes: tuple[int, int, int, int], seed: int, dtype: Any = np.float64) -> None:
        self.name, (steps, inputs, hidden, layers) = name, sizes
        self.cell = getattr(backward, name)
        gates = 4 if name == "LSTM" else 1 if name.startswith("RNN") else 3
        rng = np.random.default_rng(seed)

        def normal(*shape: int, scale: float = 1.0) -> Any:
            return (scale * rng.normal(size=shape)).astype(dtype)

        rows, scale = gates * hidden, hidden**-0.5
        self.x = normal(steps, inputs)
        self.layers = [
            Weights(normal(rows, below, scale=scale), normal(rows, hidden, scale=scale), normal(rows), normal(rows))
            for below in [inputs] + [hidden] * (layers - 1)
        ]
        letters = 2 if name == "LSTM" else 1
        self.states = [tuple(normal(hidden) for _ in range(letters)) for _ in range(layers)]
        self.grad_steps = normal(steps, hidden)
        self.grad_states = [tuple(normal(hidden) for _ in range(letters)) for _ in range(layers)]

    def loss(self) -> float:
        x, total = self.x, 0.0
        for states, weights, grads in zip(self.states, self.layers, self.grad_states, strict=True):
            below, (x, before) = x, backward.sequence(self.cell, x, states, weights)
            last = self.cell.step(below[-1], before[-1], weights)
            total += sum(float(g @ s) for g, s in zip(grads, last, strict=True))
        return total + float(np.sum(self.grad_steps * x))

    def gradients(self) -> list[Any]:
        """Every gradient: of x, then each layer's initial states and weights."""
        found = backward.stack_backward(self.cell, self.x, self.states, self.layers, self.grad_steps, self.grad_states)
        return [found[0].x, *(g for layer in found for g in (*layer.states, *layer.weights))]

    def arguments(self) -> list[Any]:
        """What these are the gradients of, in the same order."""
        pairs = zip(self.states, self.layers, strict=True)
        return [self.x, *(w for states, weights in pairs for w in (*states, *weights))]

    def gradients_of_torch(self) -> list[Any]:
        (_, inputs), (layers, hidden) = self.x.shape, (len(self.layers), len(self.states[0][0]))
        kind = torch.nn.LSTM if self.name == "LSTM" else torch.nn.GRU if self.name == "GRU" else torch.nn.RNN
        more = {"nonlinearity": "relu"} if self.name == "RNN_RELU" else {}
        module = kind(inputs, hidden, num_layers=layers, dtype=torch.float64, **more)
        with torch.no_grad():
            for own, given_ in zip(module.parameters(), [w for layer in self.layers for w in layer], strict=True):
                own.copy_(torch.from_numpy(given_))
        x = torch.from_numpy(self.x).requires_grad_()
        states = [torch.from_numpy(np.stack(s)).requires_grad_() for s in zip(*self.states, strict=True)]
        steps, last = module(x, tuple(states) if len(states) == 2 else states[0])
        loss = (steps * torch.from_numpy(self.grad_steps)).sum()
        for state, grads in zip(last if len(states) == 2 else [last], zip(*self.grad_states, strict=True), strict=True):
            loss = loss + (state * torch.from_numpy(np.stack(grads))).sum()
        loss.backward()
        parameters = [p.grad.numpy() for p in module.parameters()]
        found = [x.grad.numpy()]
        for k in range(layers):
            found += [state.grad.numpy()[k] for state in states] + parameters[4 * k : 4 * k + 4]
        return found

    def gradients_by_differences(self) -> list[Any]:
        """Central differences, each number moved by 1e-5 up and down."""
        found = []
        for array in self.arguments():
            slopes = np.empty_like(array)
            for at in np.ndindex(array.shape):
                kept = array[at]
                ends = []
                for moved in (kept + 1e-5, kept - 1e-5):
                    array[at] = moved
                    ends.append(self.loss())
                array[at] = kept
                slopes[at] = (ends[0] - ends[1]) / 2e-5
            found.append(slopes)
        return found


def error(found: list[Any], expected: list[Any]) -> float:
    """The largest relative error of all gradients."""
    assert [g.shape for g in found] == [g.shape for g in expected]
    return max(
        float(np.max(np.abs(f - e)) / max(np.max(np.abs(e)), 1e-12)) for f, e in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN", "RNN_RELU"])
@COMMON
@given(sizes=SIZES, seed=SEEDS)
def test_torch_has_the_same_gradients(name: str, sizes: tuple[int, int, int, int], seed: int) -> None:
    case = Case(name, sizes, seed)
    assert error(case.gradients(), case.gradients_of_torch()) < LIMIT


@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRU_RESET_BEFORE", "RNN"])  # relu has a corner, differences step over
@settings(max_examples=6, deadline=None)
@given(sizes=st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2)), seed=SEEDS)
def test_finite_differences_say_the_same(name: str, sizes: tuple[int, int, int, int], seed: int) -> None:
    case = Case(name, sizes, seed)
    assert error(case.gradients(), case.gradients_by_differences()) < LIMIT


@pytest.mark.parametrize("swapped", [(0, 1), (0, 3), (1, 3), (0, 2)])
def test_swapped_gates_are_found(swapped: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    gates = backward.lstm_gates

    def wrong(*arguments: Any) -> list[Any]:
        found = gates(*arguments)
        a, b = swapped
        found[a], found[b] = found[b], found[a]
        return found

    case = Case("LSTM", (6, 3, 4, 2), 0)
    monkeypatch.setattr(backward, "lstm_gates", wrong)
    assert error(case.gradients(), case.gradients_of_torch()) > 1000 * LIMIT
    assert error(case.gradients(), case.gradients_by_differences()) > 1000 * LIMIT


def test_a_reset_gate_in_the_other_form_is_found() -> None:
    case = Case("GRU", (6, 3, 4, 1), 0)
    expected = case.gradients_of_torch()
    case.cell = backward.GRU_RESET_BEFORE
    assert error(case.gradients(), expected) > 1000 * LIMIT


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRU_RESET_BEFORE", "RNN", "RNN_RELU"])
def test_the_dtype_is_that_of_what_is_given(name: str, dtype: Any) -> None:
    found = Case(name, (5, 2, 3, 2), 0, dtype).gradients()
    assert {g.dtype for g in found} == {np.dtype(dtype)}
    expected = Case(name, (5, 2, 3, 2), 0).gradients()
    assert error([g.astype(np.float64) for g in found], expected) < 1e-4


def test_without_gradients_of_the_last_states_they_are_zeros() -> None:
    case = Case("LSTM", (5, 2, 3, 2), 0)
    case.grad_states = [(np.zeros(3), np.zeros(3))] * 2
    found = backward.stack_backward(case.cell, case.x, case.states, case.layers, case.grad_steps)
    np.testing.assert_array_equal(found[0].x, case.gradients()[0])
