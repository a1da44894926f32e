"""GRU, RNN and both directions in the numba backend: against the reference in float64, and torch's own error."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from answers import answer, largest, rounded
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import GAINS, SEEDS, make, normal, start
from tolerances import FLOAT32, TIMES_TORCH, WRONG

import lstmcore
from lstmcore import layers as L

program = pytest.importorskip("lstmcore.backends.numba.program", reason="numba is not installed")

#: Every loop that the kernels have.
KINDS: list[tuple[type[L.Recurrent], dict[str, Any]]] = [
    (L.LSTM, {}), (L.GRU, {}), (L.GRU, {"reset_after": False}), (L.RNN, {}), (L.RNN, {"activations": "relu"}),
]  # fmt: skip
NEW = KINDS[1:]


def wide(layer: L.Layer) -> Any:
    """With float64 weights."""
    return layer.map_weights(lambda w: w.astype(np.float64))


def exact_answer(layers: list[L.Layer], x: Any, *state: Any) -> Any:
    """The reference's, in float64."""
    return answer([wide(layer) for layer in layers], x.astype(np.float64), *state)


@st.composite
def recurrent(draw: st.DrawFn) -> Any:
    """A layer of sizes on both sides of a vector, a tile and two, in float32."""
    kind, more = draw(st.sampled_from(KINDS))
    sizes = {
        "input_size": draw(st.integers(1, 40)),
        "hidden_size": draw(st.integers(1, 130)),
        "num_layers": draw(st.integers(1, 3)),
    }
    forms = {name: draw(st.booleans()) for name in ("bias", "return_sequences", "bidirectional")}
    gain = draw(GAINS if kind is not L.RNN or not more else st.sampled_from([0.1, 0.5]))  # relu has no bound
    return make(kind, "layer", np.random.default_rng(draw(SEEDS)), gain=gain, **sizes, **forms, **more)


def float32_answer(layer: L.Recurrent, x: Any, state: tuple[Any, ...] | None) -> Any:
    """torch's, or the reference's where torch has no such layer."""
    torch = pytest.importorskip("torch", reason="torch is not installed; parity with it cannot be tested")
    if isinstance(layer, L.GRU) and not layer.reset_after:
        return answer([layer], x, *(state or ()))
    more = {"nonlinearity": layer.activations} if isinstance(layer, L.RNN) else {}
    module = getattr(torch.nn, type(layer).__name__)(
        layer.input_size, layer.hidden_size, layer.num_layers, bias=layer.bias, batch_first=True,
        bidirectional=layer.bidirectional, **more,
    ).eval()  # fmt: skip
    module.load_state_dict({key: torch.tensor(w) for key, w in layer.weights.items()})
    parts = [torch.tensor(part, dtype=torch.float32) for part in state or ()]
    with torch.no_grad():
        steps, last = module(torch.tensor(x), None if not parts else tuple(parts) if layer.cell_width else parts[0])
    if layer.return_sequences:
        return steps.numpy()
    final = (last[0] if layer.cell_width else last).numpy()
    return np.concatenate(list(final[-len(layer.suffixes) :]), axis=-1)


def inherent_error(layer: L.Recurrent, x: Any, state: Any, exact: Any) -> float:
    """The largest of other float32 answers: torch's, or the reference's where torch has no such layer, over several
    orders of the units, and twice that of rounding each weight another way. One run may be right by luck."""
    rng = np.random.default_rng(0)
    errors = [2 * (answer(rounded([wide(layer)], n), x.astype(np.float64), state) - exact) for n in range(3)]
    for order in (np.arange(layer.hidden_size), *(rng.permutation(layer.hidden_size) for _ in range(5))):
        columns = np.concatenate([n * layer.hidden_size + order for n in range(len(layer.suffixes))])
        changed = permuted(layer, order, columns)
        start = None if state is None else tuple(part[..., order] for part in (state if layer.cell_width else [state]))
        errors.append(float32_answer(changed, x, start) - exact[..., columns])
    return max(largest(np.abs(error)) for error in errors)


def permuted(layer: L.Recurrent, order: Any, columns: Any) -> L.Recurrent:
    """The layer with its units in another order, which the layers above read in `columns`."""
    rows = np.concatenate([gate * layer.hidden_size + order for gate in range(len(layer.gates))])
    read = {"weight_hh": order, "weight_ih": columns}
    weights = {}
    for key, w in layer.weights.items():
        kind, _, _ = key.rpartition("_l")
        weights[key] = w[rows] if kind.startswith("bias") or key.startswith("weight_ih_l0") else w[rows][:, read[kind]]
    changed: L.Recurrent = layer.replace(weights=weights)
    return changed


@given(layer=recurrent(), steps=st.integers(1, 60), seed=SEEDS, with_state=st.booleans())
@settings(max_examples=60, deadline=None)
def test_against_float64_and_torch(layer: L.Recurrent, steps: int, seed: int, with_state: bool) -> None:
    rng = np.random.default_rng(seed)
    x = normal(rng, 3, steps, layer.input_size)
    state = start(layer, rng, 3) if with_state else None
    exact = exact_answer([layer], x, state)
    inherent = 2 * inherent_error(layer, x, state, exact)  # in chaotic layers nine runs may all be right by luck
    allowed = max(FLOAT32 * max(1.0, largest(np.abs(exact))), TIMES_TORCH * inherent)
    found = lstmcore.Model([layer], backend="numba")(x, state)
    assert found.dtype == np.float32
    assert found.shape == exact.shape
    np.testing.assert_allclose(found, exact, rtol=0, atol=allowed)


@pytest.mark.parametrize(("kind", "more"), NEW)
@pytest.mark.parametrize("hidden", [1, program.LANES - 1, program.LANES + 1, program.TILE, program.TILE + 1])
@pytest.mark.parametrize("steps", [1, program.CHUNK, 2 * program.CHUNK + 1])
def test_around_a_vector_a_tile_and_a_chunk(kind: Any, more: dict[str, Any], hidden: int, steps: int) -> None:
    rng = np.random.default_rng([hidden, steps])
    sizes = {"input_size": 3, "hidden_size": hidden, "num_layers": 2, "return_sequences": True}
    layer = make(kind, "layer", rng, **sizes, **more)
    x, state = normal(rng, steps, 3), start(layer, rng)
    found = lstmcore.Model([layer], backend="numba")(x, state)
    np.testing.assert_allclose(found, exact_answer([layer], x, state), rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("merge", ["concat", "sum", "mean", "mul"])
@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_both_directions_joined(kind: Any, more: dict[str, Any], merge: str) -> None:
    rng = np.random.default_rng(1)
    for sequences in (False, True):
        sizes = {"input_size": 3, "hidden_size": 20, "bidirectional": True, "return_sequences": sequences}
        layer = make(kind, "layer", rng, merge=merge, **sizes, **more)
        x, state = normal(rng, 2, 40, 3), start(layer, rng, 2)
        found = lstmcore.Model([layer], backend="numba")(x, state)
        np.testing.assert_allclose(found, exact_answer([layer], x, state), rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("more", [{}, {"reset_after": False}], ids=["after", "before"])
@pytest.mark.parametrize("pair", list(combinations(range(3), 2)), ids=lambda p: "rzn"[p[0]] + "rzn"[p[1]])
def test_swapped_gates_are_noticed(more: dict[str, Any], pair: tuple[int, int]) -> None:
    """Parity would mean nothing if these tests could not tell one gate from another."""
    rng = np.random.default_rng(2)
    layer = make(L.GRU, "gru", rng, gain=1.0, input_size=5, hidden_size=19, **more)
    order = list(range(3))
    order[pair[0]], order[pair[1]] = order[pair[1]], order[pair[0]]
    x = normal(rng, 20, 5)
    for key in layer.weights:
        swapped = np.concatenate([np.split(layer.weights[key], 3)[gate] for gate in order])
        wrong = layer.replace(weights={**layer.weights, key: swapped})
        difference = np.abs(lstmcore.Model([wrong], backend="numba")(x) - exact_answer([layer], x)).max()
        assert difference > WRONG, key


def test_states_go_to_their_layers() -> None:
    """Kinds with and without c behind each other, their states by name; they are gone at the next window."""
    rng = np.random.default_rng(3)
    sizes = {"return_sequences": True, "num_layers": 2}
    layers: list[L.Layer] = [
        make(L.GRU, "gru", rng, input_size=4, hidden_size=9, **sizes),
        make(L.LSTM, "lstm", rng, input_size=9, hidden_size=17, bidirectional=True, **sizes),
        make(L.RNN, "rnn", rng, input_size=34, hidden_size=5, **sizes),
        make(L.LSTM, "last", rng, input_size=5, hidden_size=6),
        make(L.Linear, "fc", rng, in_features=6, out_features=2),
    ]
    x = normal(rng, 3, 12, 4)
    states = {layer.name: start(layer, rng, 3) for layer in layers if isinstance(layer, L.Recurrent)}
    model = lstmcore.Model(layers, backend="numba")
    plain, exact = model(x), exact_answer(layers, x, states)
    np.testing.assert_allclose(model(x, states), exact, rtol=0, atol=FLOAT32)
    np.testing.assert_array_equal(model(x), plain)
    assert np.abs(exact - plain).max() > WRONG


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_a_learned_state_comes_back(kind: Any, more: dict[str, Any]) -> None:
    """It stands until one is given, and again from the next window on, of any length."""
    rng = np.random.default_rng(4)
    layer = make(kind, "layer", rng, gain=1.0, input_size=3, hidden_size=18, num_layers=2, learned_state=True, **more)
    model = lstmcore.Model([layer], backend="numba")
    for steps in (5, 5, 1):
        x, state = normal(rng, 2, steps, 3), start(layer, rng, 2)
        learned, told = exact_answer([layer], x), exact_answer([layer], x, state)
        assert np.abs(learned - told).max() > WRONG
        np.testing.assert_allclose(model(x), learned, rtol=0, atol=FLOAT32)
        np.testing.assert_allclose(model(x, state), told, rtol=0, atol=FLOAT32)
        np.testing.assert_allclose(model(x[0]), learned[0], rtol=0, atol=FLOAT32)


@pytest.mark.parametrize(("kind", "more"), KINDS)
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_go_where_the_reference_has_them(kind: Any, more: dict[str, Any], special: float) -> None:
    rng = np.random.default_rng(5)
    layer = make(kind, "layer", rng, input_size=4, hidden_size=21, return_sequences=True, **more)
    x = normal(rng, 2, 40, 4)
    x[0, 35, 2] = special
    found, exact = lstmcore.Model([layer], backend="numba")(x), exact_answer([layer], x)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=FLOAT32)
    assert np.isfinite(found[1]).all()
    assert np.isfinite(found[0, :35]).all()


@pytest.mark.parametrize(("kind", "more"), NEW)
def test_doors_and_lengths_give_the_same_bits(kind: Any, more: dict[str, Any]) -> None:
    """A window alone, again, in a batch, with states of zeros, and after windows of other lengths and states."""
    rng = np.random.default_rng(6)
    layer = make(kind, "layer", rng, input_size=3, hidden_size=18, num_layers=2, return_sequences=True, **more)
    model = lstmcore.Model([layer], backend="numba")
    for steps in (50, 1, 33, 33, 50):
        x = normal(rng, 2, steps, 3)
        expected = lstmcore.Model([layer], backend="numba")(x)
        assert np.abs(model(x, start(layer, rng, 2)) - expected).max() > WRONG, "states are used"
        np.testing.assert_array_equal(model(x[1]), expected[1])
        np.testing.assert_array_equal(model(x[0]), expected[0])
        np.testing.assert_array_equal(model(x, np.zeros((2, 2, 18))), expected)


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        ((L.LSTM, {"peepholes": True, "coupled": True}), "with peepholes=True, coupled=True; it has the usual LSTM"),
        ((L.GRU, {"clip": 0.5, "reset_after": False}), "with clip=0.5; it has the usual LSTM"),
        ((L.LSTM, {"bidirectional": True, "clip": 0.5}), "with clip=0.5; it has the usual LSTM"),
        ((L.RNN, {"activations": "softsign"}), "with activations='softsign'; it has the usual LSTM"),
    ],
)
def test_what_it_lacks_is_told(layer: tuple[Any, dict[str, Any]], told: str) -> None:
    kind, more = layer
    made = make(kind, "first", np.random.default_rng(7), input_size=2, hidden_size=3, **more)
    about = re.escape(f"first ({kind.__name__}): the numba backend does not have this layer {told}")
    with pytest.raises(lstmcore.BackendError, match=f"{about}.*; backends c and numpy have them all"):
        lstmcore.Model([made], backend="numba")


def test_another_layer_that_it_lacks_is_told() -> None:
    made = make(L.LayerNorm, "norm", np.random.default_rng(8), num_features=2)
    with pytest.raises(lstmcore.BackendError, match=r"norm \(LayerNorm\): .*; it has LSTM, GRU, RNN, Linear,"):
        lstmcore.Model([made], backend="numba")
