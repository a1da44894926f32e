"""Windows of which only the first ticks count, and states in every form: against slices, ONNX Runtime and torch."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from answers import answer, check
from graphs import CASES, FEATURES, FIXED, STEPS, Maker, case
from hypothesis import given, settings
from hypothesis import strategies as st
from operators import onnxruntime_answer
from strategies import BACKENDS, SEEDS, make, recurrent_layers, start
from tolerances import FLOAT32

import lstmcore
from lstmcore import layers as L

ANY_LENGTH = [name for name in CASES if name not in FIXED]


def sliced(model: lstmcore.Model, x: Any, lengths: Any, state: Any = None) -> Any:
    """Each window cut to its length; where every step answers, zeros behind it."""
    answers = []
    for n, (window, length) in enumerate(zip(x, lengths, strict=True)):
        own = None if state is None else tuple(s[:, n] for s in state) if isinstance(state, tuple) else state[:, n]
        found = model(window[:length], own)
        if "T" in model.output_shape:
            found = np.concatenate([found, np.zeros((len(window) - length, *found.shape[1:]))])
        answers.append(found)
    return np.stack(answers)


@pytest.mark.parametrize("backend", BACKENDS)
@given(layer=recurrent_layers(), steps=st.integers(1, 12), seed=SEEDS, with_state=st.booleans())
@settings(max_examples=50, deadline=None)
def test_against_slices(backend: str, layer: L.Recurrent, steps: int, seed: int, with_state: bool) -> None:
    rng = np.random.default_rng(seed)
    x, lengths = rng.normal(size=(5, steps, layer.input_size)), rng.integers(1, steps + 1, 5)
    state = start(layer, rng, 5) if with_state else None
    model = lstmcore.Model([layer], backend=backend)
    expected = sliced(model, x, lengths, state)
    np.testing.assert_array_equal(model(x, state, lengths), expected)
    check(backend, [layer], sliced(lstmcore.Model([layer], backend="numpy"), x, lengths, state), x, state, lengths)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ANY_LENGTH)
def test_models_that_branch(backend: str, name: str) -> None:
    """What is reversed is what counts, as with ONNX's sequence_lens."""
    model = lstmcore.Model(case(name).layers, backend=backend)
    x = np.random.default_rng(0).normal(size=(4, STEPS, FEATURES))
    np.testing.assert_array_equal(model(x, lengths=[6, 1, 3, 3]), sliced(model, x, [6, 1, 3, 3]))


@pytest.mark.parametrize("backend", ["c", "numba", "numpy"])
def test_every_backend(backend: str) -> None:
    rng = np.random.default_rng(0)
    for sequences in (False, True):
        lstm = make(L.LSTM, "l", rng, input_size=3, hidden_size=4, num_layers=2, return_sequences=sequences)
        model = lstmcore.Model([lstm, make(L.Linear, "fc", rng, in_features=4, out_features=2)], backend=backend)
        x = rng.normal(size=(4, 6, 3)).astype("f4")
        np.testing.assert_array_equal(model(x, lengths=[6, 1, 3, 3]), sliced(model, x, [6, 1, 3, 3]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [L.LSTM, L.GRU, L.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_against_onnxruntime(backend: str, kind: Any, bidirectional: bool) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed; parity cannot be tested")
    rng = np.random.default_rng(1)
    layer = Maker(1)(kind, "a", bidirectional=bidirectional)
    x, lengths, state = rng.normal(size=(4, STEPS, FEATURES)), [6, 1, 4, 2], start(layer, rng, 4)
    attributes = {"linear_before_reset": 1} if kind is L.GRU else {}
    steps, last = onnxruntime_answer(layer, x, attributes, lengths, state)
    for sequences, theirs in ((True, steps), (False, last)):
        ours = answer([layer.replace(return_sequences=sequences)], x, state, lengths, backend=backend)
        np.testing.assert_allclose(ours, np.concatenate(list(theirs), -1), rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_against_torchs_packed_sequences(backend: str, bidirectional: bool) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed; parity with it cannot be tested")
    rng, lengths = np.random.default_rng(2), [2, 6, 5]
    layer = Maker(2)(L.GRU, "a", bidirectional=bidirectional, num_layers=2)
    module = torch.nn.GRU(FEATURES, layer.hidden_size, 2, batch_first=True, bidirectional=bidirectional).double()
    module.load_state_dict({key: torch.tensor(w) for key, w in layer.weights.items()})
    x = rng.normal(size=(3, STEPS, FEATURES))
    packing = torch.nn.utils.rnn
    packed = packing.pack_padded_sequence(torch.tensor(x), torch.tensor(lengths), True, enforce_sorted=False)
    with torch.no_grad():
        steps, last = module(packed)
    check(backend, [layer], packing.pad_packed_sequence(steps, batch_first=True)[0].numpy(), x, None, lengths)
    final = np.concatenate(list(last.numpy()[-2:] if bidirectional else last.numpy()[-1:]), -1)
    check(backend, [layer.replace(return_sequences=False)], final, x, None, lengths)


@pytest.mark.parametrize("backend", BACKENDS)
def test_forms_of_lengths(backend: str) -> None:
    model = lstmcore.Model(case("branches").layers, backend=backend)
    x = np.random.default_rng(3).normal(size=(3, STEPS, FEATURES))
    cut = model(x[:, :4])
    for lengths in (4, np.int32(4), [4, 4, 4], (4, 4, 4), np.array([4, 4, 4], np.uint8)):
        np.testing.assert_array_equal(model(x, lengths=lengths), cut)
    for lengths in (4, [4], np.array([4])):
        np.testing.assert_array_equal(model(x[0], lengths=lengths), cut[0])
    np.testing.assert_array_equal(model(x, lengths=STEPS), model(x))
    x[:, 4:] = np.nan  # which does not count
    np.testing.assert_array_equal(model(x, lengths=4), cut)
    assert model(x[:0], lengths=[]).shape == (0, *cut.shape[1:])


@pytest.mark.parametrize(
    ("lengths", "error", "text"),
    [
        (0, ValueError, "lengths: expected 1 to 6, the windows' ticks, got 0 for window 0"),
        ([6, 7, 2], ValueError, "lengths: expected 1 to 6, the windows' ticks, got 7 for window 1"),
        ([6, 1, -1], ValueError, "lengths: expected 1 to 6, the windows' ticks, got -1 for window 2"),
        ([6, 1], ValueError, "lengths: expected 3, one for each window, got shape (2,)"),
        ([[6, 1, 2]], ValueError, "lengths: expected 3, one for each window, got shape (1, 3)"),
        ([[6], [1, 2]], ValueError, "lengths: not a regular array"),
        ([6.0, 1.0, 2.0], TypeError, "lengths: expected integers, got dtype float64"),
        ([True, True, True], TypeError, "lengths: expected integers, got dtype bool"),
        ("six", TypeError, "lengths: expected real numbers, got str"),
    ],
)
def test_lengths_that_are_refused(lengths: Any, error: type[Exception], text: str) -> None:
    model = lstmcore.Model(case("branches").layers, backend="numpy")
    with pytest.raises(error, match=re.escape(text)):
        model(np.zeros((3, STEPS, FEATURES)), lengths=lengths)


def test_a_model_of_one_window_length_takes_no_shorter_ones() -> None:
    model = lstmcore.Model(case("flattened").layers, backend="numpy")
    with pytest.raises(ValueError, match=r"lengths: the model answers windows of 6 ticks \(Flatten\), no shorter ones"):
        model(np.zeros((3, STEPS, FEATURES)), lengths=[6, 6, 6])


def zeros(*shape: int) -> Any:
    return np.zeros(shape)


STATES: list[tuple[type[L.Recurrent], dict[str, Any], Any, type[Exception], str]] = [
    (L.GRU, {}, (zeros(1, 4), zeros(1, 4)), ValueError,
     "state h of a: expected shape (1, 4), got (2, 1, 4); GRU layers have h alone"),
    (L.RNN, {}, (zeros(1, 4), zeros(1, 4)), ValueError, "got (2, 1, 4); RNN layers have h alone"),
    (L.GRU, {}, zeros(4), ValueError, "state h of a: expected shape (1, 4), got (4,)"),
    (L.GRU, {"num_layers": 2}, zeros(1, 4), ValueError, "state h of a: expected shape (2, 4), got (1, 4)"),
    (L.GRU, {"bidirectional": True}, zeros(1, 4), ValueError,
     "state h of a: expected shape (2, 4), rows being layers times directions, got (1, 4)"),
    (L.LSTM, {"bidirectional": True, "num_layers": 3}, (zeros(3, 4), zeros(3, 4)), ValueError,
     "state c of a: expected shape (6, 4), rows being layers times directions, got (3, 4)"),
    (L.LSTM, {}, zeros(1, 4), TypeError, "state of a: expected a pair (h, c)"),
    (L.LSTM, {"num_layers": 2}, zeros(2, 4), TypeError, "state of a: expected a pair (h, c)"),
    (L.LSTM, {"proj_size": 2}, (zeros(1, 4), zeros(1, 4)), ValueError,
     "state h of a: expected shape (1, 2), got (1, 4)"),
    (L.GRU, {}, {"b": zeros(1, 4)}, ValueError, "state: expected the keys ['a'], got ['b']"),
    (L.GRU, {}, {"a": "zero"}, TypeError, "state h of a: expected real numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "more", "state", "error", "text"), STATES, ids=[row[-1][:60] for row in STATES])
def test_states_that_are_refused(
    kind: type[L.Recurrent], more: dict[str, Any], state: Any, error: type[Exception], text: str
) -> None:
    model = lstmcore.Model([Maker(0)(kind, "a", **more)], backend="numpy")
    with pytest.raises(error, match=re.escape(text)):
        model(zeros(STEPS, FEATURES), state)


def test_states_of_a_batch_that_are_refused() -> None:
    model = lstmcore.Model([Maker(0)(L.GRU, "a", bidirectional=True)], backend="numpy")
    text = "expected shape (2, 4) or (2, 3, 4), rows being layers times directions, got (2, 5, 4)"
    with pytest.raises(ValueError, match=re.escape(text)):
        model(zeros(3, STEPS, FEATURES), zeros(2, 5, 4))


def test_states_of_several_layers_go_by_name() -> None:
    model = lstmcore.Model(case("branches").layers, backend="numpy")
    x = zeros(STEPS, FEATURES)
    with pytest.raises(
        TypeError, match=re.escape("the model has 3 recurrent layers, so give a mapping with the keys ['a', 'b', 'c']")
    ):
        model(x, zeros(1, 4))
    with pytest.raises(ValueError, match=re.escape("state: expected the keys ['a', 'b', 'c'], got ['a']")):
        model(x, {"a": (zeros(2, 4), zeros(2, 4))})
    without = lstmcore.Model(
        [make(L.Linear, "fc", np.random.default_rng(0), in_features=3, out_features=1)], backend="numpy"
    )
    for state in (zeros(1, 4), {}):
        with pytest.raises(ValueError, match="state: the model has no recurrent layer"):
            without(x, state)
