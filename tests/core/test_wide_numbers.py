"""Numbers with more digits than float32: a scaler subtracts its mean before they are rounded, whatever the door."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers import close
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, make, normal
from streams import same_bits
from tolerances import FLOAT32

import lstmcore
from lstmcore import layers as L
from lstmcore.backends import NAMES
from lstmcore.backends.c.adding import ADD, Builder
from lstmcore.backends.c.binding import check, ffi, inputs, lib, outputs
from lstmcore.backends.program import lower
from lstmcore.commands import cli
from lstmcore.folding import fold
from lstmcore.layers.wiring import wire

FEATURES, STEPS = 3, 6
#: What float32 does not hold: the mean, and how far from it the numbers are.
PRICES, UNIX_TIMES = (61_800.03, 0.05), (1_723_161_256.5, 2.0)


def chain(rng: np.random.Generator, *first: L.Layer, **settings: Any) -> list[L.Layer]:
    lstm = make(L.LSTM, "lstm", rng, gain=1.0, input_size=FEATURES, hidden_size=5, **settings)
    return [*first, lstm, make(L.Linear, "fc", rng, in_features=5, out_features=2)]


#: Models by what reads the scaled features: of a chain, of a graph, and what folding can take a scale into or not.
MODELS: dict[str, Callable[[np.random.Generator], list[L.Layer]]] = {
    "an LSTM": chain,
    "an LSTM that answers every step": lambda rng: chain(rng, return_sequences=True),
    "a Linear": lambda rng: chain(rng, make(L.Linear, "in", rng, in_features=FEATURES, out_features=FEATURES)),
    "a Tanh": lambda rng: chain(rng, L.Tanh("tanh")),
    "a GRU in both directions": lambda rng: [
        make(L.GRU, "gru", rng, input_size=FEATURES, hidden_size=4, bidirectional=True)
    ],
    "a Flatten": lambda rng: [
        L.Flatten("flatten", STEPS),
        make(L.Linear, "fc", rng, in_features=STEPS * FEATURES, out_features=1),
        L.Squeeze("squeeze"),
    ],
    "two branches": lambda rng: [
        make(L.LSTM, "a", rng, input_size=FEATURES, hidden_size=FEATURES, return_sequences=True),
        L.Add("sum", inputs=("a", "input")),
        make(L.RNN, "b", rng, input_size=FEATURES, hidden_size=4),
    ],
}

#: Ways to hand over numbers: the dtype they have, and what is handed over.
FORMS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "float64": (np.float64, lambda x: x),
    "float64, strided": (np.float64, lambda x: np.repeat(x, 2, axis=-2)[..., ::2, :] if x.ndim > 1 else x),
    "float64, in the other byte order": (np.float64, lambda x: x.astype(x.dtype.newbyteorder())),
    "longdouble": (np.longdouble, lambda x: x),
    "int64": (np.int64, lambda x: x),
    "uint32": (np.uint32, lambda x: x),
    "lists": (np.float64, lambda x: x.tolist()),
    "lists of integers": (np.int64, lambda x: x.tolist()),
    "float32": (np.float32, lambda x: x),
}


def doors(model: lstmcore.Model, window: Any, form: Callable[[Any], Any]) -> dict[str, Any]:
    """The answer to one window, (T, F), by every door that the model has."""
    asked = form(window)
    both = form(np.stack([window, window]))
    found = {
        "a window": model(asked),
        "the same again": model(asked),
        "a batch": model(both)[1],
        "a series": model.predict_windows(form(np.concatenate([window, window])), STEPS, STEPS, threads=2)[1],
    }
    sliding, many = model.sliding(STEPS), model.sliding(STEPS)
    pool = lstmcore.SlidingPool(model, STEPS, ["a", "b"])
    for tick in window:
        found["sliding.push"] = sliding.push(form(tick))
        found["pool.push"] = pool.push("a", form(tick))
        found["pool.push_many"] = pool.push_many(["b"], form(tick[np.newaxis]))[0]
    found["sliding.push_many"] = many.push_many(asked)[-1]
    if model.steps is None:
        found["lengths"] = model(both, lengths=[STEPS, 1])[0]
        zeros = {x.name: np.zeros((x.states, x.state_width)) for x in model.recurrent_layers}
        cells = {x.name: np.zeros((x.states, x.cell_width)) for x in model.recurrent_layers if x.cell_width}
        found["state"] = model(asked, state={n: (h, cells[n]) if n in cells else h for n, h in zeros.items()})
    return {name: np.reshape(answer, model(asked).shape) for name, answer in found.items()}


@pytest.mark.parametrize("backend", NAMES)
@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(sorted(MODELS)),
    form=st.sampled_from(sorted(FORMS)),
    far=st.sampled_from([PRICES, UNIX_TIMES, (0.0, 1.0), (-3.25, 0.5)]),
    seed=SEEDS,
)
def test_every_door_subtracts_before_it_rounds(
    backend: str, name: str, form: str, far: tuple[float, float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    dtype, hand = FORMS[form]
    layers = MODELS[name](rng)
    plain = lstmcore.Model(layers, backend="numpy").astype(np.float64)
    mean = far[0] + far[1] * rng.normal(size=FEATURES)
    scale = far[1] * (0.5 + rng.random(FEATURES))
    window: Any = mean + scale * rng.normal(size=(STEPS, FEATURES))
    if np.dtype(dtype).kind in "iu":
        window = np.abs(np.rint(window))
    window = window.astype(dtype)
    model = lstmcore.Model(layers, backend=backend).with_scaler(mean, scale)
    exact = plain((window.astype(np.float64) - mean) / model.layers[0].weights["scale"])
    found = doors(model, window, hand)
    for door, answer in found.items():
        close(answer.astype(np.float64), exact, 2 * FLOAT32)
        if backend == "c":
            np.testing.assert_array_equal(answer, found["a window"], err_msg=door)


@pytest.mark.parametrize("backend", NAMES)
@pytest.mark.parametrize(("mean", "deviation"), [PRICES, UNIX_TIMES])
def test_prices_and_times_that_float32_does_not_hold(backend: str, mean: float, deviation: float) -> None:
    """With the mean off by half of float32's steps, or the numbers, the answers were wrong in the second digit."""
    rng = np.random.default_rng(3)
    model = lstmcore.Model(chain(rng), backend=backend).with_scaler(
        np.full(FEATURES, mean), np.full(FEATURES, deviation)
    )
    z = rng.normal(size=(STEPS, FEATURES))
    window = mean + deviation * z
    exact = lstmcore.Model(model.layers[1:], backend="numpy").astype(np.float64)((window - mean) / deviation)
    close(model(window).astype(np.float64), exact, FLOAT32)
    assert np.abs(model(window.astype(np.float32)) - exact).max() > 100 * FLOAT32  # the test can tell


def finite(dtype: type[np.floating[Any]]) -> st.SearchStrategy[Any]:
    """Numbers of a dtype by their bits, so of every size."""
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    every = st.integers(0, int(np.iinfo(unsigned).max)).map(lambda n: unsigned.type(n).view(dtype))
    return every.filter(np.isfinite)


@settings(deadline=None)
@given(x=st.lists(finite(np.float32), min_size=1, max_size=8), mean=finite(np.float32), near=st.booleans())
def test_float32_numbers_have_one_difference(x: list[Any], mean: Any, near: bool) -> None:
    """In float32 as before, and in float64 and then rounded: so one window has one answer, in either dtype."""
    window = np.array(x, np.float32)[:, np.newaxis]
    if near:
        window = mean + window % np.float32(1)
    with np.errstate(all="ignore"):
        window = window[np.isfinite(window[:, 0])]
        expected = window - np.float32(mean)
    if not len(window) or not np.any(mean):
        return
    model = lstmcore.Model([make(L.Linear, "same", np.random.default_rng(0), in_features=1, out_features=1)])
    model = model.with_scaler([mean], [1.0])
    for given_ in (window, window.astype(np.float64), window.astype(np.longdouble)):
        same_bits(model.runner.take(given_), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers = [model(window), model(window.astype(np.float64)), model(window.tolist())]
        stream = model.sliding(1)
        ticks = [stream.push(tick) for tick in window], [stream.push(tick.astype(np.float64)) for tick in window]
    for answer in answers:
        same_bits(answer, answers[0])
    same_bits(ticks[0], ticks[1])
    same_bits(ticks[0], answers[0][:, 0])


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, scale=st.booleans())
def test_float32_answers_have_the_bits_of_a_program_that_subtracts(seed: int, scale: bool) -> None:
    """A C program that adds the scaler to its model, in float32, answers as Python does: and as it did before."""
    rng = np.random.default_rng(seed)
    first = [] if scale else [L.Tanh("tanh")]  # the scale goes into the LSTM's weights, or stays
    made = make(L.Scaler, "scaler", rng, num_features=FEATURES)
    scaler = made.replace(weights={**made.weights, "mean": normal(rng, FEATURES) * 100})
    layers = [scaler, *chain(rng, *first)]
    window = (scaler.weights["mean"] + normal(rng, STEPS, FEATURES)).astype(np.float32)
    kept, *others = fold(wire(layers)).layers
    ones, zeros = np.ones(FEATURES, np.float32), np.zeros(FEATURES, np.float32)
    to = Builder(None)
    value = to.add("input", b"window", lib.LSTMCORE_SEQUENCE, FEATURES, lib.LSTMCORE_FLOAT32)
    value = to.affine(value, ones, -kept.weights["mean"])
    if np.any(kept.weights["scale"] != 1):
        value = to.affine(value, (1 / kept.weights["scale"].astype(np.float64)).astype(np.float32), zeros)
    for op in lower(wire(others)).ops:
        value = ADD[type(op.layer)](to, op.layer, value)
    check(lib.lstmcore_model_add_output(to.model, b"answer", value), "output")
    check(lib.lstmcore_model_seal(to.model), "seal")
    session, answer = ffi.new("lstmcore_session **"), np.empty(2, np.float32)
    check(lib.lstmcore_session_new(to.model, 0, session), "session")
    check(lib.lstmcore_run(session[0], inputs(window), STEPS, ffi.NULL, outputs(answer), ffi.NULL), "run")
    lib.lstmcore_session_free(session[0])
    same_bits(lstmcore.Model(layers, backend="c")(window), answer)


@pytest.mark.parametrize("backend", NAMES)
@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, forms=st.lists(st.sampled_from(["f4", "f8", "list", "input"]), min_size=STEPS, max_size=STEPS))
def test_a_stream_takes_ticks_of_any_dtype_in_turn(backend: str, seed: int, forms: list[str]) -> None:
    rng = np.random.default_rng(seed)
    mean, deviation = PRICES
    model = lstmcore.Model(chain(rng), backend=backend).with_scaler(
        np.full(FEATURES, mean), np.full(FEATURES, deviation)
    )
    window = mean + deviation * rng.normal(size=(STEPS, FEATURES))
    stream, carried = model.sliding(STEPS, on_nan="raise"), model.stateful()
    for n, form in enumerate(forms):
        if form in ("f4", "input"):
            window[n] = window[n].astype(np.float32)
        tick = {"f4": window[n].astype(np.float32), "list": window[n].tolist()}.get(form, window[n])
        answers = []
        for each in (stream, carried):
            if form == "input":
                each.input[...] = tick
                answers.append(each.push_bound())
            else:
                answers.append(each.push(tick))
                np.testing.assert_array_equal(each.input, np.asarray(tick, each.input.dtype))
    if backend == "c":
        same_bits(answers, [model(window)] * 2)
    else:
        np.testing.assert_allclose(answers, [model(window)] * 2, rtol=0, atol=FLOAT32)


def wide_model(**settings: Any) -> lstmcore.Model:
    """Whose second feature's mean float32 holds, and others' it does not."""
    plain = lstmcore.Model(chain(np.random.default_rng(0)), **settings)
    return plain.with_scaler([61_800.03, 2.5, 0.1], [0.05, 1 / 3, 1.0])


def test_a_mean_stays_float64_where_float32_does_not_hold_it(tmp_path: Path) -> None:
    model = wide_model()
    mean, scale = (model.parameters[f"scaler.{key}"] for key in ("mean", "scale"))
    assert (mean.dtype, scale.dtype, model.dtype) == (np.float64, np.float32, np.float32)
    np.testing.assert_array_equal(mean, [61_800.03, 2.5, 0.1])
    assert model.astype(np.float32) == model
    assert model.astype(np.float64).astype(np.float32) == model
    model.save(tmp_path / "m.safetensors")
    found = {"pickled": pickle.loads(pickle.dumps(model)), "saved": lstmcore.load(tmp_path / "m.safetensors")}
    kinds = [("scaler", "Scaler"), ("lstm", "LSTM"), ("fc", "Linear")]
    found["a state_dict"] = lstmcore.from_state_dict(dict(model.parameters), kinds)
    for name, other in found.items():
        assert other.astype(np.float32) == model, name  # a state_dict of several dtypes becomes float64


def test_a_mean_that_float32_holds_is_kept_in_it() -> None:
    """So files are as they were, for the models of which there were right answers."""
    model = lstmcore.Model(chain(np.random.default_rng(0))).with_scaler([61_800, 2.5, 0], [50, 1, 1])
    assert {w.dtype for w in model.parameters.values()} == {np.dtype(np.float32)}
    assert lstmcore.Model(model.layers[1:]).with_scaler([0.1, 0, 0], [1, 1, 1]).layers[1:] == model.layers[1:]


def test_a_mean_that_was_read_with_fewer_digits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The windows that a module is compared on are those that its scaler is for."""
    pytest.importorskip("torch", reason="torch is not installed")
    from lstmcore.formats.torch import torch as reader
    from lstmcore.formats.torch.torch_build import to_module

    module, traced = to_module(wide_model(backend="numpy")), reader._trace_widened

    def rounded(*arguments: Any) -> Any:
        found = traced(*arguments)
        scaler, *layers = found.traced.layers
        mean = scaler.weights["mean"].astype(np.float32).astype(np.float64)
        assert (mean != scaler.weights["mean"]).any()
        layers = [scaler.replace(weights={**scaler.weights, "mean": mean}), *layers]
        return found._replace(traced=found.traced._replace(layers=layers))

    assert lstmcore.from_torch(module)
    monkeypatch.setattr(reader, "_trace_widened", rounded)
    with pytest.raises(lstmcore.UnsupportedError, match="differ from those of the layers that were traced"):
        lstmcore.from_torch(module)


def test_a_wide_mean_goes_to_torch_and_back() -> None:
    torch = pytest.importorskip("torch")
    from lstmcore.formats.torch.torch_build import to_module

    model = wide_model(backend="numpy")
    window = model.parameters["scaler.mean"] + 0.05 * np.random.default_rng(1).normal(size=(STEPS, FEATURES))
    module = to_module(model)
    with torch.inference_mode():
        close(module(torch.tensor(window[np.newaxis])).numpy()[0].astype(np.float64), model(window), FLOAT32)
    assert lstmcore.from_torch(module).astype(np.float32) == model


def test_a_wide_mean_goes_to_onnx_and_back(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    model = wide_model()
    model.export_onnx(tmp_path / "m.onnx")
    back = lstmcore.load(tmp_path / "m.onnx")
    np.testing.assert_array_equal(back.parameters["scaler.mean"], model.parameters["scaler.mean"])
    window = model.parameters["scaler.mean"] + 0.05 * np.random.default_rng(1).normal(size=(STEPS, FEATURES))
    close(back(window).astype(np.float64), model(window).astype(np.float64), FLOAT32)
    runtime = pytest.importorskip("onnxruntime")
    narrow = window.astype(np.float32)
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    close(session.run(None, {"window": narrow[np.newaxis]})[0][0], model(narrow), FLOAT32)


def test_a_frame_is_subtracted_from_as_it_is() -> None:
    pandas = pytest.importorskip("pandas")
    model = wide_model()
    window = model.parameters["scaler.mean"] + 0.05 * np.random.default_rng(1).normal(size=(STEPS, FEATURES))
    same_bits(model(pandas.DataFrame(window)), model(window))


def test_a_picture_of_the_score_is_of_the_answers() -> None:
    pytest.importorskip("matplotlib")
    from lstmcore.plot.memory import growing_answers

    model = wide_model()
    window = model.parameters["scaler.mean"] + 0.05 * np.random.default_rng(1).normal(size=(STEPS, FEATURES))
    np.testing.assert_array_equal(growing_answers(model, window)[-1], model(window))
    trace = model.trace(window)
    close(model(window).astype(np.float64), trace.answer, FLOAT32)


def test_what_is_not_finite_is_refused_as_it_was_given() -> None:
    stream = (
        lstmcore.Model(chain(np.random.default_rng(0))).with_scaler([1e30, 0, 0], [1, 1, 1]).sliding(1, on_nan="raise")
    )
    for tick, text in (
        ([0.0, 1e39, 0.0], r"feature 1 is 1e\+39, too large for float32"),
        ([0.0, 0.0, np.nan], "feature 2 is nan"),
        (np.array([-3.4028e38, 0, 0], np.float64), None),
    ):
        if text is None:
            assert np.isfinite(stream.push(tick)).all()
            continue
        for form in (list, np.array, lambda x: np.array([x])[0]):
            with pytest.raises(ValueError, match=text):
                stream.push(form(tick))


def test_the_last_ticks_of_a_model_with_a_mean_are_no_other_ones() -> None:
    """A state holds them less the mean, so it has another name for them than a model without a mean has."""
    model = wide_model(backend="numpy")
    assert "history_less_mean" in model.sliding(3).state()
    stream = model.sliding(3)
    state = stream.state()
    state["history"] = state.pop("history_less_mean")
    with pytest.raises(ValueError, match="expected the parts"):
        stream.restore(state)


@pytest.mark.parametrize("backend", NAMES)
def test_an_input_is_float32(backend: str) -> None:
    """`stream.input` rounds what is written into it, as its dtype says; `push` does not."""
    model = wide_model(backend=backend)
    tick = np.array([61_800.0335, 2.5, 0.1])
    stream = model.sliding(1)
    assert stream.input.dtype == np.float32
    stream.input[...] = tick
    np.testing.assert_array_equal(stream.push_bound(), stream.push(tick.astype(np.float32)))
    assert np.abs(stream.push(tick) - stream.push(tick.astype(np.float32))).max() > 100 * FLOAT32


def test_commands_answer_the_numbers_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = wide_model()
    window = model.parameters["scaler.mean"] + 0.05 * np.random.default_rng(1).normal(size=(STEPS, FEATURES))
    file, series = str(tmp_path / "m.safetensors"), str(tmp_path / "x.csv")
    model.save(file)
    np.savetxt(series, window, delimiter=",", header="a,b,c", comments="", fmt="%.17g")
    out = str(tmp_path / "y.npy")
    assert cli.main(["predict", file, series, "--out", out]) == 0
    np.testing.assert_array_equal(np.load(out)[0, 1:], model(window))
    capsys.readouterr()
    assert cli.main(["verify", file, "--against", "numpy", "--inputs", series, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["inputs"][-1]
    assert row["model"] == model(window)[row["at_output"][0]]


@pytest.mark.parametrize(
    ("weights", "shift"),
    [
        ([[np.inf, -np.inf]], [1.0, 1.0]),  # as many infinities of both signs: NaN
        ([[np.inf, 2.0]], [1.0, 1.0]),
        ([[np.nan, 2.0]], [1.0, 1.0]),
        ([[1e10, 1e10]], [1e298, 1e298]),  # the sum is beyond float64
        ([[3e38, 3e38]], [1.0, 1.0]),  # beyond float32
    ],
)
def test_a_batch_norm_is_folded_whatever_its_numbers_are(weights: Any, shift: Any) -> None:
    """What cannot be summed exactly is summed as the numpy backend does: as IEEE 754 says."""
    two = {name: np.ones(2) for name in ("running_var", "weight")} | {"running_mean": np.zeros(2)}
    norm = L.BatchNorm1d("norm", weights=two | {"bias": np.array(shift)}, num_features=2, eps=0.0)
    linear = L.Linear("head", weights={"weight": np.array(weights), "bias": np.zeros(1)}, in_features=2, out_features=1)
    x = np.array([[0.5, 0.25]], np.float32)
    with np.errstate(all="ignore"):
        expected = (x.astype(float) + shift) @ np.array(weights).T
        answers = [lstmcore.Model([norm, linear], backend=backend)(x) for backend in ("numpy", "c")]
        for answer in answers:
            np.testing.assert_array_equal(np.ravel(answer).astype(np.float32), np.ravel(expected).astype(np.float32))


def test_masked_values_in_a_list_are_refused() -> None:
    """numpy takes what is hidden for a number there."""
    from lstmcore.inputs import as_real

    rows = np.ma.masked_array([[1.0, 2.0], [9e9, 4.0]], mask=[[0, 0], [1, 0]])
    for window in (rows, list(rows), [rows], (rows,)):
        with pytest.raises(ValueError, match="masked values"):
            as_real(window, "window")
    np.testing.assert_array_equal(as_real(list(np.ma.masked_array([[1.0, 2.0]])), "window"), [[1.0, 2.0]])
