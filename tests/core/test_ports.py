"""Several inputs and outputs by name: the float64 equations, torch's answers, and the same bits through every door."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_graphs import ports, windows
from strategies import BACKENDS, SEEDS, make
from tolerances import RELATIVE

import lstmcore
from lstmcore import layers as L
from lstmcore.backends.c import kernels_here
from lstmcore.formats.torch.torch_build import to_module


def model_of(seed: int, vector: bool = True, **more: Any) -> lstmcore.Model:
    return lstmcore.Model(**ports(seed, vector), **more)


def named(model: lstmcore.Model, answer: Any) -> dict[str, Any]:
    """Answers by the outputs' names, of one output too."""
    return answer if len(model.outputs) > 1 else {next(iter(model.outputs)): answer}


def same(a: Any, b: Any) -> None:
    """Answers that are equal in every bit."""
    assert a.keys() == b.keys()
    for name, answer in a.items():
        assert np.asarray(answer).tobytes() == np.asarray(b[name], np.asarray(answer).dtype).tobytes(), name


@given(seed=SEEDS, vector=st.booleans(), steps=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_the_equations(seed: int, vector: bool, steps: int) -> None:
    model = model_of(seed, vector, backend="numpy")
    x = windows(model, seed, 2, steps)
    exact = named(model, model(x))
    narrow = model.astype(np.float32)
    own, found = named(model, narrow(x)), named(model, narrow.with_backend("c")(x))
    for name, answer in exact.items():
        assert found[name].shape == answer.shape
        allowed = RELATIVE * max(1, np.abs(answer).max()) + 16 * np.abs(own[name] - answer).max()
        np.testing.assert_allclose(found[name], answer, rtol=0, atol=allowed)


@given(seed=SEEDS, vector=st.booleans(), steps=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_torch_answers_so(seed: int, vector: bool, steps: int) -> None:
    model = model_of(seed, vector, backend="numpy")
    try:
        module = to_module(model)
    except lstmcore.UnsupportedError:
        assume(False)  # a mask or a variation that torch does not have
    x = windows(model, seed, 3, steps)
    with torch.no_grad():
        answers = module(*(torch.tensor(x[one.name]) for one in model.inputs))
    expected = answers if isinstance(answers, tuple) else (answers,)
    for found, exact in zip(named(model, model(x)).values(), expected, strict=True):
        scale = max(1, float(exact.abs().max()))
        np.testing.assert_allclose(found, exact.numpy(), rtol=0, atol=1e-9 * scale)


@given(seed=SEEDS, vector=st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_bits_of_every_kernel_and_of_batches(seed: int, vector: bool) -> None:
    first, *others = (model_of(seed, vector, backend="c", kernel=kernel) for kernel in kernels_here())
    x, lengths = windows(first, seed, 3, 20), np.array([1, 20, 7])
    answers, short = named(first, first(x)), named(first, first(x, lengths=lengths))
    for model in others:
        same(named(model, model(x)), answers)
    for n, length in enumerate(lengths):
        alone = {one.name: x[one.name][n] for one in first.inputs}
        same({name: y[n] for name, y in answers.items()}, named(first, first(alone)))
        cut = {one.name: alone[one.name][: length if one.rank == "sequence" else None] for one in first.inputs}
        for name, answer in named(first, first(cut)).items():
            rows = short[name][n][: len(answer)] if "T" in first.outputs[name] else short[name][n]
            assert rows.tobytes() == answer.tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
@given(seed=SEEDS, window=st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_streams_and_series(backend: str, seed: int, window: int) -> None:
    """A vector that comes with a tick counts for that tick's answer alone."""
    model = model_of(seed, backend=backend)
    rows, count = window + 6, 7
    x, vectors = windows(model, seed, None, rows), windows(model, seed + 1, rows, 1)
    ticks = {one.name: (x if one.rank == "sequence" else vectors)[one.name] for one in model.inputs}

    def at(end: int, begin: int) -> dict[str, Any]:
        """The window of rows `begin` to `end`, with the vectors that came last."""
        return {
            one.name: ticks[one.name][begin : end + 1] if one.rank == "sequence" else ticks[one.name][end]
            for one in model.inputs
        }

    expected = [named(model, model(at(n + window - 1, n))) for n in range(count)]
    series = {
        one.name: ticks[one.name] if one.rank == "sequence" else ticks[one.name][window - 1 :] for one in model.inputs
    }
    found = named(model, model.predict_windows(series, window))
    stream, bound = model.sliding(window), model.sliding(window)
    pool = lstmcore.SlidingPool(model, window, ["a", "b"])
    many = named(model, stream.push_many(ticks))
    close = {"rtol": 0, "atol": 0 if backend == "c" else 1e-9}
    room = bound.input if isinstance(bound.input, dict) else {model.inputs[0].name: bound.input}
    for n in range(rows):
        tick = {one.name: ticks[one.name][n] for one in model.inputs}
        for name, view in room.items():
            view[...] = tick[name]
        by_bound = named(model, bound.push_bound())
        by_pool = named(model, pool.push("b", tick))
        for name, answer in by_bound.items():
            np.testing.assert_array_equal(np.asarray(answer), many[name][n])
            np.testing.assert_array_equal(np.asarray(by_pool[name]), many[name][n])
        if n >= window - 1:
            for name, answer in expected[n - window + 1].items():
                np.testing.assert_allclose(np.reshape(many[name][n], answer.shape), answer, **close)
                np.testing.assert_allclose(found[name][n - window + 1], answer, **close)
        else:
            assert all(np.isnan(y[n]).all() for y in many.values())


@pytest.mark.parametrize("backend", BACKENDS)
@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_carried_states(backend: str, seed: int) -> None:
    model = model_of(seed, False, backend=backend)
    backwards = any(isinstance(x, L.Reverse) or getattr(x, "bidirectional", False) for x in model.layers)
    if backwards:
        assume(backend == "c")
    try:
        stream = model.stateful()
    except ValueError:
        assert backwards, "refused, though nothing looks ahead"
        return
    x = windows(model, seed, None, 9)
    for n in range(9):
        tick = {one.name: x[one.name][n] if one.rank == "sequence" else x[one.name] for one in model.inputs}
        answers = named(model, stream.push(tick))
        so_far = {one.name: x[one.name][: n + 1] if one.rank == "sequence" else x[one.name] for one in model.inputs}
        for name, whole in named(model, model(so_far)).items():
            newest = whole[-1] if "T" in model.outputs[name] else whole
            np.testing.assert_allclose(
                np.reshape(answers[name], newest.shape), newest, rtol=0, atol=0 if backend == "c" else 1e-9
            )
        if n == 4:
            again = model.stateful()
            again.restore(stream.state())
            stream = again


@given(seed=SEEDS, vector=st.booleans())
@settings(max_examples=20, deadline=None)
def test_files_hold_them(tmp_path_factory: pytest.TempPathFactory, seed: int, vector: bool) -> None:
    model, path = model_of(seed, vector), tmp_path_factory.mktemp("ports") / "model.safetensors"
    model.save(path)
    again = lstmcore.load(path)
    assert again == model
    assert (again.inputs, dict(again.outputs)) == (model.inputs, dict(model.outputs))
    x = windows(model, seed, None, 5)
    same(named(model, again(x)), named(model, model(x)))


def two_heads(backend: str = "auto") -> lstmcore.Model:
    """Book and static go in; a price and, at every tick, two scores come out. The book is scaled first."""
    rng = np.random.default_rng(0)
    mean, scale = np.array([61_800.0, 1.0, -2.0]), np.array([20.0, 1.0, 3.0], "f4")
    layers = [
        make(L.LSTM, "lstm", rng, input_size=3, hidden_size=6, return_sequences=True).replace(inputs=("book",)),
        L.Last("last"),
        L.Concat("both", inputs=("last", "static")),
        make(L.Linear, "price", rng, in_features=8, out_features=1),
        make(L.Linear, "score", rng, in_features=6, out_features=2).replace(inputs=("lstm",)),
    ]
    inputs = [L.Input("static", 2, "vector"), L.Input("book", 3)]
    model = lstmcore.Model(layers, inputs=inputs, outputs={"p": "price", "score": "score"}, backend=backend)
    return model.with_scaler(mean, scale, input="book")


def test_onnx_runtime_answers_so(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    model = two_heads()
    model.export_onnx(tmp_path / "m.onnx")
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    assert [x.name for x in session.get_inputs()] == ["static", "book"]
    assert [y.name for y in session.get_outputs()] == ["p", "score"]
    x = {"static": np.ones((2, 2), "f4"), "book": np.full((2, 9, 3), 61_800.0, "f4")}
    for found, exact in zip(session.run(None, x), model(x).values(), strict=True):
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5)


def test_a_trace_has_all_of_them() -> None:
    model, rng = two_heads(), np.random.default_rng(1)
    x = {"static": rng.normal(size=2), "book": np.array([61_800.0, 0, 0]) + rng.normal(size=(9, 3))}
    trace = model.trace(x)
    for name, exact in model(x).items():
        np.testing.assert_allclose(trace.answer[name], exact, rtol=0, atol=1e-5)
    assert trace.inputs["book"].shape == (9, 3)
    assert repr(trace).startswith("Trace: static (2,), book (9, 3), p [")
    with pytest.raises(lstmcore.UnsupportedError, match=r"several inputs: trace.inputs\[...\], 'static', 'book'"):
        trace.window  # noqa: B018


def test_an_ensemble_of_them() -> None:
    model, x = two_heads(), {"static": np.ones(2), "book": np.full((4, 3), 61_800.0)}
    both = lstmcore.ensemble([model, model], [1, 3])
    for name, exact in model(x).items():
        np.testing.assert_allclose(both(x)[name], exact, rtol=0, atol=1e-5)
    assert both.inputs == model.inputs
    assert sum(isinstance(layer, L.Scaler) for layer in both.layers) == 1


def test_a_difference_is_formed_before_an_input_is_rounded() -> None:
    """The mean is that of one input; the others' numbers are as they came."""
    model = two_heads("c")
    exact = two_heads("numpy").astype(np.float64)
    x = {"static": np.array([0.25, 1.5]), "book": np.full((5, 3), [61_800.0123, 1.5, -2.25])}
    tick = {"static": x["static"], "book": x["book"][0]}
    stream = model.stateful()
    for name, answer in exact(x).items():
        np.testing.assert_allclose(model(x)[name], answer, rtol=0, atol=2e-6)
    for _ in range(5):
        answers = stream.push(tick)
    assert answers["p"] == model(x)["p"][0]
    assert model(x)["p"] != model({**x, "book": x["book"].astype("f4")})["p"]


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (lambda m: m(np.ones((4, 3))), TypeError, "the model has 2 inputs, so give a mapping with the keys ['static',"),
    (lambda m: m({"book": np.ones((4, 3))}), ValueError, "window: expected the keys ['static', 'book'], got ['book']"),
    (
        lambda m: m({"book": np.ones((4, 2)), "static": [1, 2]}),
        ValueError,
        "window 'book': expected (T, 3) or (N, T, 3), got 2 features",
    ),
    (
        lambda m: m({"book": np.ones((2, 4, 3)), "static": [1, 2]}),
        ValueError,
        "window 'static': expected shape (2, 2), got (2,)",
    ),
    (
        lambda m: m({"book": np.ones((4, 3)), "static": "no"}),
        TypeError,
        "window 'static': expected real numbers, got str",
    ),
    (
        lambda m: m.stateful().push({"book": [1, 2], "static": [1, 2]}),
        ValueError,
        "tick 'book': expected shape (3,), got (2,)",
    ),
    (
        lambda m: m.stateful().push_many({"book": np.ones((3, 3)), "static": np.ones((2, 2))}),
        ValueError,
        "ticks 'static': expected shape (3, 2), got (2, 2)",
    ),
    (
        lambda m: m.stateful(on_nan="raise").push({"book": [1, np.nan, 2], "static": [1, 2]}),
        ValueError,
        "'book': feature 1 is nan",
    ),
    (
        lambda m: m.predict_windows({"book": np.ones((9, 3)), "static": np.ones((9, 2))}, 4),
        ValueError,
        "series 'static', a row for each window: expected shape (6, 2), got (9, 2)",
    ),
    (
        lambda m: m.predict_windows({"book": np.ones((9, 3)), "static": np.ones((6, 2))}, 4, out=np.empty(6)),
        ValueError,
        "out: expected a mapping with the keys ['p', 'score'], got ndarray",
    ),
    (lambda m: m.input_size, lstmcore.UnsupportedError, "several inputs, static (2,), book (T, 3); one is expected"),
    (lambda m: m.output_shape, lstmcore.UnsupportedError, "several outputs, p (1,), score (T, 2); one is expected"),
    (lambda m: m.with_scaler([0.0], [1.0]), ValueError, "input: expected the name of one of static (2,), book (T, 3)"),
    (lambda m: m.export_onnx("x.onnx", lengths=True), lstmcore.UnsupportedError, "lengths: expected a model with one"),
]


@pytest.mark.parametrize(("ask", "error", "text"), REFUSED, ids=[text[:40] for *_, text in REFUSED])
def test_what_does_not_fit_is_named(ask: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        ask(two_heads())


A = make(L.Linear, "a", np.random.default_rng(0), in_features=3, out_features=2)
X, V = L.Input("x", 3), L.Input("v", 2, "vector")

NO_MODEL: list[tuple[Any, type[Exception], str]] = [
    ({"inputs": [V]}, ValueError, "inputs: expected at least one sequence"),
    ({"inputs": [X, V]}, ValueError, "inputs: no layer reads 'v'"),
    ({"inputs": [X, X]}, ValueError, "two inputs have the name 'x'"),
    ({"inputs": [L.Input("a", 3)]}, ValueError, "a layer has the name 'a', which is the model's own input's"),
    ({"inputs": ["x"]}, TypeError, "inputs: expected lstmcore.layers.Input, got 'x'"),
    ({"inputs": [L.Input("x", 4)]}, ValueError, "a (Linear): expected 3 features"),
    ({"outputs": "a"}, TypeError, "outputs: expected names of layers, got 'a'"),
    ({"outputs": ["b"]}, ValueError, "outputs: 'b': there is no layer 'b'"),
    ({"outputs": []}, ValueError, "outputs: expected 1 to 256, got 0"),
    ({"outputs": ["a", "a"]}, ValueError, "two outputs have the name 'a'"),
    ({"outputs": {"": "a"}}, TypeError, "outputs: expected names of layers, got 'a' for ''"),
]


@pytest.mark.parametrize(("more", "error", "text"), NO_MODEL, ids=[text[:40] for *_, text in NO_MODEL])
def test_what_is_no_model(more: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        lstmcore.Model([A], **more)


def test_an_unread_layer_beside_the_outputs() -> None:
    with pytest.raises(ValueError, match=r"r \(ReLU\): no layer reads what comes out of it, and the output is 'a'$"):
        lstmcore.Model([A, L.ReLU("r")], outputs=["a"])
    layers = [A, L.ReLU("r", inputs=("a",)), L.Tanh("t", inputs=("a",))]
    with pytest.raises(ValueError, match=r"t \(Tanh\): no layer reads .*, and the outputs are 'a', 'r'"):
        lstmcore.Model(layers, outputs=["a", "r"])
    model = lstmcore.Model(layers, outputs=["t", "a", "r"])
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
    answers = model(x)
    assert list(answers) == ["t", "a", "r"]
    np.testing.assert_array_equal(answers["r"], np.maximum(answers["a"], 0))


@pytest.mark.parametrize("bad", [("", 3), (3, 3), ("x", 0), ("x", True), ("x", 2.0), ("x", 3, "matrix")])
def test_an_input_that_is_none(bad: Any) -> None:
    with pytest.raises(ValueError, match="input"):
        L.Input(*bad)


def test_one_input_may_come_by_its_name() -> None:
    model = lstmcore.Model([A], inputs=[X])
    x = np.ones((4, 3), "f4")
    np.testing.assert_array_equal(model({"x": x}), model(x))
    assert model.stateful().push({"x": x[0]}).shape == (2,)
    with pytest.raises(ValueError, match=re.escape("window: expected the keys ['x'], got ['input']")):
        model({"input": x})


def two_lstms(**more: Any) -> lstmcore.Model:
    rng = np.random.default_rng(4)
    layers = [
        make(L.LSTM, "l", rng, input_size=2, hidden_size=3, **more).replace(inputs=("a",)),
        make(L.LSTM, "k", rng, input_size=2, hidden_size=3, **more).replace(inputs=("a_less_mean",)),
        L.Concat("c", inputs=("l", "k")),
    ]
    return lstmcore.Model(layers, inputs=[L.Input("a", 2), L.Input("a_less_mean", 2)])


@pytest.mark.parametrize("backend", BACKENDS)
def test_histories_have_names_of_their_own(backend: str) -> None:
    model = two_lstms(bidirectional=True).with_scaler([5, 6], [1, 2], input="a").with_backend(backend)
    x = windows(model, 0, None, 3)
    stream = model.sliding(3)
    assert {"history_less_mean of a", "history of a_less_mean"} < set(stream.state())
    for n in range(3):
        answer = stream.push({name: rows[n] for name, rows in x.items()})
    np.testing.assert_allclose(answer, model(x), rtol=0, atol=0 if backend == "c" else 1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_views_of_the_buffers_come_crosswise(backend: str) -> None:
    model = two_lstms().with_backend(backend)
    stream = model.stateful()
    room = stream.input
    room["a"][:], room["a_less_mean"][:] = (1, 2), (3, 4)
    found = stream.push({"a": room["a_less_mean"], "a_less_mean": room["a"]})
    np.testing.assert_array_equal(found, model.stateful().push({"a": [3, 4], "a_less_mean": [1, 2]}))


@pytest.mark.parametrize("backend", ["c", "numba", "numpy"])
def test_dropout_may_be_an_output(backend: str) -> None:
    """It hands on what it reads: the ticks themselves, or what another layer makes."""
    fc = make(L.Linear, "f", np.random.default_rng(0), in_features=2, out_features=1)
    x = np.random.default_rng(1).normal(size=(3, 2)).astype("f4")
    ticks = [L.Input("price", 2)]
    drop = L.Dropout("d", 0.5, inputs=("price",))
    outputs = {"price": "d", "again": "e", "f": "f", "g": "g"}
    layers = [drop, L.Dropout("e", 0.1), fc, L.Dropout("g", 0.3)]
    answers = lstmcore.Model(layers, inputs=ticks, outputs=outputs, backend=backend)(x)
    np.testing.assert_array_equal(answers["price"], x)
    np.testing.assert_array_equal(answers["again"], x)
    np.testing.assert_array_equal(answers["f"], answers["g"])
    np.testing.assert_allclose(answers["f"], x @ fc.weights["weight"].T + fc.weights["bias"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(lstmcore.Model([drop], inputs=ticks, backend=backend)(x), x)


def test_an_ensemble_whose_scaler_is_an_output() -> None:
    rng = np.random.default_rng(0)
    scaler = make(L.Scaler, "sc", rng, num_features=2)
    lstm = make(L.LSTM, "l", rng, input_size=2, hidden_size=2)
    model = lstmcore.Model([scaler, lstm], outputs={"scaled": "sc", "h": "l"})
    x = np.random.default_rng(1).normal(size=(4, 2))
    for count in (1, 2):
        for name, exact in model(x).items():
            np.testing.assert_allclose(lstmcore.ensemble([model] * count)(x)[name], exact, rtol=0, atol=1e-6)


def test_a_learned_state_beside_other_inputs_goes_to_onnx(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    rng = np.random.default_rng(0)
    lstm = make(L.LSTM, "l", rng, input_size=2, hidden_size=3, learned_state=True).replace(inputs=("a",))
    fc = make(L.Linear, "k", rng, in_features=2, out_features=3).replace(inputs=("b",))
    layers = [lstm, fc, L.Add("s", inputs=("l", "k"))]
    model = lstmcore.Model(layers, inputs=[L.Input("a", 2), L.Input("b", 2, "vector")])
    model.export_onnx(tmp_path / "m.onnx")
    x = {key: value.astype("f4") for key, value in windows(model, 0, 3, 5).items()}
    (found,) = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"]).run(None, x)
    np.testing.assert_allclose(found, model(x), rtol=0, atol=1e-6)


def test_nothing_changes_what_a_model_answers_with() -> None:
    model = two_heads()
    model.wiring.outputs["p"] = "lstm"
    with pytest.raises(TypeError):
        model.outputs["p"] = ("T", 3)  # type: ignore[index]
    assert dict(model.outputs) == {"p": (1,), "score": ("T", 2)}


def test_a_vector_of_one_number_in_any_place() -> None:
    lstm = make(L.LSTM, "l", np.random.default_rng(0), input_size=2, hidden_size=1).replace(inputs=("s",))
    layers = [lstm, L.Add("o", inputs=("l", "v"))]
    ports = [L.Input("v", 1, "vector"), L.Input("s", 2)]
    x = {"v": np.ones(5), "s": np.ones((5, 2))}
    first, second = (lstmcore.Model(layers, inputs=order).stateful().push_many(x) for order in (ports, ports[::-1]))
    np.testing.assert_array_equal(first, second)


def test_a_flag_is_one_for_batches_too() -> None:
    for x in (np.ones((3, 4, 3)), np.ones((4, 3))):
        with pytest.raises(TypeError, match="return_state: expected True or False, got 'no'"):
            lstmcore.Model([A])(x, return_state="no")  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["\ud800", "a\udfff"])
def test_a_name_that_no_file_holds(name: str) -> None:
    with pytest.raises(ValueError, match="input: expected a name"):
        L.Input(name, 3)
    with pytest.raises(TypeError, match="outputs: expected names of layers"):
        lstmcore.Model([A], outputs={name: "a"})


@pytest.mark.parametrize("layer", [L.ReLU(""), L.ReLU("\ud800"), L.ReLU(5)])  # type: ignore[arg-type]
def test_a_layer_without_a_name(layer: L.Layer) -> None:
    with pytest.raises(ValueError, match=r"layer 1 \(ReLU\): expected a name, got"):
        lstmcore.Model([A, layer])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["a{b}", "{}", "a{1}", "{:>50000000}"])
def test_a_name_that_looks_like_a_format(backend: str, name: str) -> None:
    lstm = make(L.LSTM, name, np.random.default_rng(0), input_size=2, hidden_size=3)
    model, x = lstmcore.Model([lstm], backend=backend), np.ones((6, 2))
    np.testing.assert_array_equal(model.sliding(4).push_many(x)[-1], model(x[-4:]))
    stream = model.stateful() if backend != "numba" else model.sliding(4)
    stream.push_many(x[:5])
    again = model.stateful() if backend != "numba" else model.sliding(4)
    again.restore(stream.state())
    np.testing.assert_array_equal(again.push(x[5]), stream.push(x[5]))


def test_what_is_wired_is_not_wired_again() -> None:
    model = lstmcore.Model([A])
    for more in ({"outputs": ["a"]}, {"inputs": [L.Input("x", 3)]}):
        with pytest.raises(TypeError, match="inputs, outputs: these layers are wired already"):
            lstmcore.Model(model.wiring, **more)  # type: ignore[arg-type]
    assert lstmcore.Model(model.wiring) == model


def test_room_for_two_outputs_is_apart() -> None:
    layers = [A, L.Last("last"), L.Tanh("t"), L.ReLU("r", inputs=("last",))]
    model, memory = lstmcore.Model(layers, outputs=["t", "r"]), np.ones(18, "f4")
    x, y = memory.reshape(6, 3), np.empty((4, 2), "f4")
    with pytest.raises(ValueError, match="out 'r': it shares memory with out 't'; give each its own"):
        model.predict_windows(x, 3, out={"t": y, "r": y})
    with pytest.raises(ValueError, match="out 't': it shares memory with the series, of which later windows"):
        model.predict_windows(x, 3, out={"t": memory[:8].reshape(4, 2), "r": y})


def test_a_short_series_is_named_not_its_vector() -> None:
    lstm = make(L.LSTM, "l", np.random.default_rng(0), input_size=2, hidden_size=3).replace(inputs=("t",))
    model = lstmcore.Model([lstm, L.Add("sum", inputs=("l", "s"))], inputs=[L.Input("s", 3, "vector"), L.Input("t", 2)])
    with pytest.raises(ValueError, match="series 't': expected at least the window's 50 rows, got 3"):
        model.predict_windows({"s": np.ones((1, 3)), "t": np.ones((3, 2))}, 50)
