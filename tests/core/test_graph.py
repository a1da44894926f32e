"""Models with branches, both directions and reversed sequences: their answers, and all that a Model can do."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers import answer, check
from graphs import CASES, FEATURES, FIXED, STEPS, Maker, case, run
from hypothesis import given, settings
from strategies import BACKENDS, SEEDS, make, start
from tolerances import FLOAT32, WRONG

import lstmcore
from lstmcore import layers as L


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
@given(seed=SEEDS)
@settings(max_examples=6, deadline=None)
def test_answers_are_those_of_the_equations(backend: str, name: str, seed: int) -> None:
    layers, direct, _ = case(name, seed)
    x = np.random.default_rng(seed).normal(size=(2, STEPS, FEATURES))
    exact = np.stack([direct(window) for window in x])
    check(backend, layers, exact, x)
    check(backend, layers, exact[1], x[1])


@pytest.mark.parametrize("name", CASES)
def test_every_input_of_a_join_counts(name: str) -> None:
    """The tests above would mean little if a branch did nothing."""
    layers, direct, _ = case(name)
    x = np.random.default_rng(1).normal(size=(STEPS, FEATURES))
    for layer in layers:
        if layer.weights:
            less = [other.map_weights(lambda w: 0.5 * w) if other is layer else other for other in layers]
            assert np.abs(answer(less, x) - direct(x)).max() > WRONG, layer.label


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_files_pickles_and_copies(backend: str, name: str, tmp_path: Path) -> None:
    model = lstmcore.Model(case(name).layers, backend=backend)
    model.save(tmp_path / "model.safetensors")
    again = lstmcore.load(tmp_path / "model.safetensors", backend=backend)
    x = np.random.default_rng(1).normal(size=(STEPS, FEATURES))
    for twin in (
        again,
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        lstmcore.Model(model.layers, backend=backend),
    ):
        assert twin == model
        assert hash(twin) == hash(model)
        assert twin.layers == model.layers
        assert [layer.inputs for layer in twin.layers] == [layer.inputs for layer in model.layers]
        np.testing.assert_array_equal(twin(x), model(x))
    assert model != lstmcore.Model(case(name, seed=1).layers, backend=backend)


@pytest.mark.parametrize("name", CASES)
def test_a_model_prints_what_reads_what(name: str) -> None:
    layers = case(name).layers
    text = repr(lstmcore.Model(layers, backend="numpy"))
    assert text.startswith(f"Model: window ({STEPS if name in FIXED else 'T'}, {FEATURES}) -> ")
    rows = text.splitlines()[1:]
    assert len(rows) == len(layers)
    for layer, row in zip(layers, rows, strict=True):
        assert row.split()[:2] == [layer.name, type(layer).__name__]
        assert ("inputs=" in row) == bool(layer.inputs)
        if layer.inputs:
            assert f"inputs={', '.join(layer.inputs)}" in row


def test_a_row_says_what_is_other_than_usual() -> None:
    rng = np.random.default_rng(0)
    plain = {"input_size": 3, "hidden_size": 2}
    rows = {
        row[0]: row[4]
        for row in lstmcore.Model(
            [
                make(L.LSTM, "usual", rng, return_sequences=True, **plain),
                make(L.LSTM, "other", rng, inputs=("input",), bidirectional=True, merge="sum", clip=2.0, coupled=True,
                     activations="hard_sigmoid tanh tanh", return_sequences=True, **plain),
                L.Add("sum", inputs=("usual", "other")),
            ],
            backend="numpy",
        ).summary()
    }  # fmt: skip
    assert rows["usual"] == "input_size=3, hidden_size=2, num_layers=1, bias=True, return_sequences=True"
    assert rows["other"] == (
        "input_size=3, hidden_size=2, num_layers=1, bias=True, return_sequences=True, bidirectional=True, merge=sum, "
        "activations=hard_sigmoid(0.2,0.5) tanh tanh, clip=2.0, coupled=True, inputs=input"
    )
    assert rows["sum"] == "inputs=usual, other"


def test_models_differ_by_what_reads_what() -> None:
    new = Maker(0)
    a, b = new(L.LSTM, "a", hidden_size=3), new(L.LSTM, "b", hidden_size=3)
    joins = [L.Add("end", inputs=names) for names in (("a", "b"), ("b", "a"))]
    one, two = (lstmcore.Model([a, b.replace(inputs=("a",)), join], backend="numpy") for join in joins)
    assert one != two
    assert lstmcore.Model([a, b.replace(inputs=("input",)), joins[0]], backend="numpy") != one


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [name for name in CASES if name != "scaled"])
def test_a_scaler_before_branches(backend: str, name: str) -> None:
    layers, direct, _ = case(name)
    mean, scale = np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.5, 3.0])
    model = lstmcore.Model(layers, backend=backend).with_scaler(mean, scale)
    x = np.random.default_rng(1).normal(size=(STEPS, FEATURES)) * scale + mean
    check(backend, model.layers, direct((x - mean) / scale), x)
    assert not any("input" in layer.inputs for layer in model.layers)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_second_scaler_is_refused(backend: str) -> None:
    model = lstmcore.Model(case("scaled").layers, backend=backend)
    with pytest.raises(ValueError, match=r"the model has a scaler already: scaler \(Scaler\)"):
        model.with_scaler(np.zeros(3), np.ones(3))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [L.LSTM, L.GRU, L.RNN])
def test_the_final_states_of_both_directions_are_not_the_last_step(backend: str, kind: Any) -> None:
    """torch's h_n against out[:, -1], where the backward direction has seen one tick."""
    a = Maker(0)(kind, "a", bidirectional=True)
    x = np.random.default_rng(1).normal(size=(STEPS, FEATURES))
    steps = run(a, x)
    check(backend, [a, L.Last("last")], steps[-1], x)
    final = np.concatenate([steps[-1, : a.width // 2], steps[0, a.width // 2 :]])
    check(backend, [a.replace(return_sequences=False)], final, x)
    assert np.abs(final - steps[-1]).max() > WRONG


@pytest.mark.parametrize("backend", BACKENDS)
def test_states_of_layers_in_branches(backend: str) -> None:
    """By name, and each in its place whatever the order: h alone, pairs, both directions, a projection."""
    new, rng = Maker(0), np.random.default_rng(1)
    a = new(L.GRU, "a", bidirectional=True, num_layers=2, hidden_size=2)
    b = new(L.LSTM, "b", "input", proj_size=2, num_layers=2)
    c = new(L.LSTM, "c", "input", bidirectional=True, hidden_size=2, merge="sum")
    d = new(L.RNN, "d", input_size=8, return_sequences=False)
    layers = [a, b, c, L.Concat("all", inputs=("a", "b", "c")), d]
    x = rng.normal(size=(2, STEPS, FEATURES))
    states = {layer.name: start(layer, rng, 2) for layer in (d, b, a, c)}
    alone = [answer([layer.replace(inputs=())], x, states[layer.name]) for layer in (a, b, c)]
    exact = answer([d], np.concatenate(alone, axis=2), states["d"])
    check(backend, layers, exact, x, states)
    assert np.abs(exact - answer(layers, x)).max() > WRONG


@pytest.mark.parametrize("backend", ["c", "numba"])
def test_chains_between_the_joins_run_on_every_backend(backend: str) -> None:
    """Both directions of an LSTM, branches, numbers and dropout alone, in what these backends have."""
    new = Maker(3)
    a = new(L.LSTM, "a", bidirectional=True, num_layers=2, hidden_size=2)
    heads = [new(L.Linear, f"head{n}", "sum", in_features=4, out_features=1) for n in range(2)]
    layers = [
        a, new(L.LSTM, "b", "input"), L.Dropout("d", inputs=("b",)), L.Add("sum", inputs=("a", "d", "b")), *heads,
        L.Mean("mean", inputs=("head0", "head1")), L.Squeeze("q"), L.Tanh("t"), L.Mul("m", inputs=("t", "q")),
    ]  # fmt: skip
    x = np.random.default_rng(4).normal(size=(2, STEPS, FEATURES))
    np.testing.assert_allclose(answer(layers, x, backend=backend), answer(layers, x), rtol=0, atol=FLOAT32)
