"""Model: what it takes, what it refuses, what it shows; immutable, comparable, shared by threads."""

from __future__ import annotations

import copy
import pickle
import re
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import SEEDS, make, normal, stacks, states
from tolerances import FLOAT32, RELATIVE, WRONG

import lstmcore
from lstmcore import layers as L

BACKENDS = ("c", "numba", "numpy")


def small(**settings: Any) -> list[L.Layer]:
    rng = np.random.default_rng(7)
    lstm = make(L.LSTM, "lstm", rng, input_size=3, hidden_size=6, **settings)
    return [lstm, L.Dropout("drop", 0.3), make(L.Linear, "fc", rng, in_features=6, out_features=2)]


@pytest.fixture(params=BACKENDS)
def model(request: pytest.FixtureRequest) -> lstmcore.Model:
    return lstmcore.Model(small(), backend=request.param)


WINDOW = normal(np.random.default_rng(1), 5, 3)


@pytest.mark.parametrize(
    "given_as",
    [
        WINDOW.astype(np.float64),
        WINDOW.tolist(),
        tuple(map(tuple, WINDOW.tolist())),
        np.asfortranarray(WINDOW),
        np.repeat(WINDOW, 2, axis=0)[::2],
        np.repeat(WINDOW, 3, axis=1)[:, ::3],
        WINDOW[::-1][::-1],
        WINDOW.astype(">f4"),
        np.ma.masked_array(WINDOW),
    ],
    ids=[
        "float64",
        "list",
        "tuple",
        "fortran",
        "strided",
        "column-strided",
        "reversed",
        "big-endian",
        "masked",
    ],
)
def test_forms_of_a_window_that_numpy_users_expect(model: lstmcore.Model, given_as: Any) -> None:
    np.testing.assert_array_equal(model(given_as), model(WINDOW))


def test_read_only_and_integer_and_bool_windows(model: lstmcore.Model) -> None:
    frozen = WINDOW.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(model(frozen), model(WINDOW))
    whole = np.arange(15).reshape(5, 3) % 4
    np.testing.assert_array_equal(model(whole), model(whole.astype(np.float32)))
    np.testing.assert_array_equal(model(whole > 1), model((whole > 1).astype(np.float32)))
    assert frozen.tolist() == WINDOW.tolist()


def test_an_answer_is_the_callers_own(model: lstmcore.Model) -> None:
    first = model(WINDOW)
    kept = first.copy()
    first[...] = 9
    second = model(WINDOW)
    model(WINDOW + 1)
    np.testing.assert_array_equal(second, kept)


@pytest.mark.parametrize(
    ("window", "error", "text"),
    [
        (np.zeros((5, 4)), ValueError, "expected (T, 3) or (N, T, 3), got 4 features, shape (5, 4)"),
        (np.zeros(3), ValueError, "got 1 dimensions, shape (3,)"),
        (np.zeros((1, 2, 5, 3)), ValueError, "got 4 dimensions"),
        (1.5, ValueError, "got 0 dimensions"),
        (np.zeros((0, 3)), ValueError, "at least one time step, got shape (0, 3)"),
        (np.zeros((2, 0, 3)), ValueError, "at least one time step, got shape (2, 0, 3)"),
        ([[1, 2, 3], [1, 2]], ValueError, "not a regular array"),
        ("price", TypeError, "expected real numbers, got str"),
        ([["a", "b", "c"]], TypeError, "expected real numbers, got list of dtype <U1"),
        (np.array([[1, 2, None]]), TypeError, "dtype object"),
        (np.zeros((5, 3), complex), TypeError, "dtype complex128"),
        (np.zeros((5, 3), "datetime64[s]"), TypeError, "dtype datetime64"),
        (None, TypeError, "NoneType"),
        (np.ma.masked_array(WINDOW, WINDOW > 0), ValueError, "masked values"),
    ],
)
def test_windows_that_are_refused(model: lstmcore.Model, window: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        model(window)


def test_an_empty_batch_gives_an_empty_answer(model: lstmcore.Model) -> None:
    assert model(np.zeros((0, 5, 3), np.float32)).shape == (0, 2)
    steps = lstmcore.Model(small(return_sequences=True), backend=model.backend)
    assert steps(np.zeros((0, 5, 3), np.float32)).shape == (0, 5, 2)


def test_a_batch_without_a_window_is_looked_at_as_others_are(model: lstmcore.Model) -> None:
    none, one, of_none = np.zeros((0, 5, 3), np.float32), np.zeros((1, 6)), np.zeros((1, 0, 6))
    for more in ({"state": (one, one)}, {"state": (of_none, one)}, {"lengths": 3}, {"lengths": np.zeros(0, int)}):
        assert model(none, **more).shape == (0, 2)
    with pytest.raises(ValueError, match=r"state h of lstm: expected shape \(1, 6\) or \(1, 0, 6\), got \(1, 5\)"):
        model(none, (one[:, 1:], one))
    with pytest.raises(ValueError, match=r"lengths: expected 0, one for each window, got shape \(1,\)"):
        model(none, lengths=[3])


def test_batches_equal_single_windows(model: lstmcore.Model) -> None:
    batch = normal(np.random.default_rng(2), 4, 9, 3)
    np.testing.assert_array_equal(model(batch), np.stack([model(window) for window in batch]))


@pytest.mark.parametrize(
    ("state", "error", "text"),
    [
        (
            (np.zeros((2, 6)), np.zeros((1, 6))),
            ValueError,
            "state h of lstm: expected shape (1, 6), got (2, 6)",
        ),
        (
            (np.zeros((1, 6)), np.zeros((1, 5))),
            ValueError,
            "state c of lstm: expected shape (1, 6), got (1, 5)",
        ),
        (
            {"gru": (np.zeros((1, 6)), np.zeros((1, 6)))},
            ValueError,
            "expected the keys ['lstm'], got ['gru']",
        ),
        (3, TypeError, "state of lstm: expected a pair"),
        ((np.zeros((1, 6)),), TypeError, "state of lstm: expected a pair"),
        ((np.zeros((1, 6)), [["a"] * 6]), TypeError, "state c of lstm: expected real numbers"),
    ],
)
def test_states_that_are_refused(model: lstmcore.Model, state: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        model(WINDOW, state)


def test_one_state_serves_a_whole_batch(model: lstmcore.Model) -> None:
    h, c = states(small()[0], np.random.default_rng(3))
    batch = normal(np.random.default_rng(2), 4, 2, 3)
    np.testing.assert_array_equal(model(batch, (h, c)), np.stack([model(window, (h, c)) for window in batch]))
    assert np.abs(model(batch, (h, c)) - model(batch)).max() > WRONG


def test_a_fixed_length_is_enforced() -> None:
    rng = np.random.default_rng(0)
    layers = [
        make(L.LSTM, "lstm", rng, input_size=3, hidden_size=2, return_sequences=True),
        L.Flatten("flatten", 4),
        make(L.Linear, "fc", rng, in_features=8, out_features=1),
        L.Squeeze("squeeze"),
    ]
    for backend in BACKENDS:
        fixed = lstmcore.Model(layers, backend=backend)
        assert fixed.steps == 4
        assert fixed(WINDOW[:4]).shape == ()
        with pytest.raises(ValueError, match=re.escape("expected (4, 3) or (N, 4, 3), got 5 time steps")):
            fixed(WINDOW)


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ([], "at least one layer"),
        ([L.ReLU("relu")], "no layer says how many features"),
        ([*small(), L.Dropout("drop")], "two layers have the name 'drop'"),
        (
            [*small(), small()[0].replace(name="second")],
            "second (LSTM): expected a sequence (T, 3), but what comes in is (2,)",
        ),
        (
            [*small(), small()[2].replace(name="second")],
            "second (Linear): expected 6 features in the last axis, but what comes in is (2,)",
        ),
        ([*small(), L.Squeeze("squeeze")], "squeeze (Squeeze): expected one feature"),
        ([small()[0], small()[2].map_weights(lambda w: w.astype("f8"))], "several dtypes"),
        (
            [small()[0].replace(return_sequences=True), make(L.Linear, "fc", np.random.default_rng(0), in_features=6,
             out_features=1), L.Squeeze("one"), L.Softmax("softmax")],
            "softmax (Softmax): expected a vector of features, but what comes in is (T,)",
        ),
        ([*small(), make(L.Scaler, "late", np.random.default_rng(0), num_features=2)], "expected a Scaler to be"),
    ],
)  # fmt: skip
def test_layers_that_do_not_make_a_model(layers: list[L.Layer], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        lstmcore.Model(layers)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tick_is_as_wide_as_the_first_layer_says(backend: str) -> None:
    """Behind a Flatten, a Linear's inputs are no tick's features."""
    rng = np.random.default_rng(8)
    flat = [L.Flatten("flat", 7), make(L.Linear, "fc", rng, in_features=21, out_features=2)]
    window = normal(rng, 7, 3)
    answers = [lstmcore.Model(flat, backend=name)(window) for name in (backend, "numpy")]
    np.testing.assert_allclose(answers[0], answers[1], atol=FLOAT32)


def test_layers_check_their_weights() -> None:
    good = small()[2]
    with pytest.raises(ValueError, match=re.escape("fc (Linear): weight 'bias' is missing; expected shape (2,)")):
        L.Linear("fc", 6, 2, weights={"weight": good.weights["weight"]})
    with pytest.raises(ValueError, match=re.escape("fc (Linear): unexpected weight 'extra'")):
        good.replace(weights={**good.weights, "extra": np.zeros(1, "f4")})
    with pytest.raises(ValueError, match=re.escape("weight 'bias': expected shape (2,), got (3,)")):
        good.replace(weights={**good.weights, "bias": np.zeros(3, "f4")})
    with pytest.raises(ValueError, match="expected float32 or float64, got int64"):
        good.replace(weights={**good.weights, "bias": np.zeros(2, np.int64)})
    with pytest.raises(ValueError, match="setting 'out_features': expected an integer from 1"):
        L.Linear("fc", 6, 0, weights={})
    with pytest.raises(ValueError, match="scale of feature 1 is 0"):
        L.Scaler("s", 2, weights={"mean": np.zeros(2, "f4"), "scale": np.array([1, 0], "f4")})
    with pytest.raises(ValueError, match="approximate is 'erf'"):
        L.GELU("g", "erf")


def test_models_and_weights_cannot_be_changed() -> None:
    model = lstmcore.Model(small())
    with pytest.raises(AttributeError, match="cannot be changed"):
        model.layers = ()  # type: ignore[misc]
    with pytest.raises(AttributeError, match="cannot be changed"):
        del model.input_size
    with pytest.raises(ValueError, match="read-only"):
        model.parameters["fc.bias"][0] = 1
    with pytest.raises(TypeError):
        model.parameters["fc.bias"] = np.zeros(2)  # type: ignore[index]
    with pytest.raises(AttributeError):
        model.layers[0].name = "other"  # type: ignore[misc]


def test_the_callers_array_stays_the_callers() -> None:
    weights = {"weight": np.ones((2, 6), "f4"), "bias": np.ones(2, "f4")}
    layer = L.Linear("fc", 6, 2, weights=weights)
    weights["bias"][0] = 5
    assert layer.weights["bias"][0] == 1


def test_models_compare_by_layers_and_weights() -> None:
    model = lstmcore.Model(small())
    assert model == lstmcore.Model(small(), backend="numpy")
    assert hash(model) == hash(lstmcore.Model(small(), backend="numpy"))
    changed = [layer.map_weights(lambda w: np.nextafter(w, 2)) for layer in small()]
    assert model != lstmcore.Model(changed)
    assert model != lstmcore.Model(small()[:1])
    assert model != "model"
    assert model != model.astype(np.float64)
    assert model == model.astype(np.float64).astype(np.float32)


def test_copies_and_pickles_are_equal(model: lstmcore.Model) -> None:
    for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin == model
        assert twin.backend == model.backend
        np.testing.assert_array_equal(twin(WINDOW), model(WINDOW))


def test_a_model_prints_its_layers_shapes_and_parameters() -> None:
    text = repr(lstmcore.Model(small(), backend="c", kernel="scalar"))
    assert "window (T, 3) -> (2,)" in text
    assert "278 parameters, float32, backend c (scalar)" in text
    assert re.search(r"lstm\s+LSTM\s+\(6,\)\s+264\s+input_size=3, hidden_size=6", text)
    assert re.search(r"fc\s+Linear\s+\(2,\)\s+14", text)


@given(stack=stacks(), seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_folding_changes_no_answer(stack: tuple[list[L.Layer], int], seed: int) -> None:
    from lstmcore.folding import fold
    from lstmcore.layers.wiring import wire

    layers, steps = stack
    wide = [layer.map_weights(lambda w: w.astype(np.float64)) for layer in layers]
    x = normal(np.random.default_rng(seed), steps, lstmcore.Model(layers).input_size)
    exact = lstmcore.Model(wide, backend="numpy")(x)
    folded = [layer.map_weights(lambda w: w.astype(np.float64)) for layer in fold(wire(wide)).layers]
    assert not any(isinstance(layer, L.Dropout) for layer in folded)
    answer = lstmcore.Model(folded, backend="numpy")(x)  # weights rounded to float32, arithmetic exact
    own = np.abs(lstmcore.Model(layers, backend="numpy")(x) - exact).max()
    np.testing.assert_allclose(answer, exact, rtol=0, atol=max(RELATIVE * max(1, np.abs(exact).max()), 4 * own))


def test_a_scaler_with_a_large_mean_keeps_its_digits() -> None:
    """Prices near 60,000 with a spread of 50: folding the mean into the bias would cost three digits."""
    rng = np.random.default_rng(0)
    model = lstmcore.Model(small()).with_scaler([60000.0, 30000.0, 1e6], [50.0, 20.0, 1000.0])
    prices = (np.array([60000, 30000, 1e6]) + rng.normal(size=(20, 3)) * [50, 20, 1000]).astype(np.float32)
    exact = model.with_backend("numpy").astype(np.float64)(prices)
    for backend in BACKENDS:
        np.testing.assert_allclose(model.with_backend(backend)(prices), exact, rtol=0, atol=FLOAT32)
    with pytest.raises(ValueError, match="has a scaler already"):
        model.with_scaler([0, 0, 0], [1, 1, 1])
    with pytest.raises(ValueError, match=re.escape("'mean': expected shape (3,), got (2,)")):
        lstmcore.Model(small()).with_scaler([0, 0], [1, 1, 1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_share_a_model(backend: str) -> None:
    model = lstmcore.Model(small(), backend=backend)
    windows = normal(np.random.default_rng(4), 8, 30, 3)
    expected = [model(window) for window in windows]
    wrong: list[int] = []

    def work(n: int) -> None:
        for _ in range(200 if backend == "c" else 20):
            if not np.array_equal(model(windows[n][: 30 - n % 2 * 5]), expected_short[n]):
                wrong.append(n)  # noqa: PERF401 - a loop of calls, not of results

    expected_short = [model(w[: 30 - n % 2 * 5]) for n, w in enumerate(windows)]
    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all(np.array_equal(model(w), e) for w, e in zip(windows, expected, strict=True))


def test_backends_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match=r"backend: expected one of \('auto', .*, 'numpy'\), got 'gpu'"):
        lstmcore.Model(small(), backend="gpu")
    with pytest.raises(ValueError, match=r"backend: expected one of .*, got array"):
        lstmcore.Model(small(), backend=np.ones(2))  # type: ignore[arg-type]
    for kernel in (3, b"avx2"):
        with pytest.raises(TypeError, match="kernel: expected a name, such as 'avx2', or None, got"):
            lstmcore.Model(small(), kernel=kernel)  # type: ignore[arg-type]


def test_auto_takes_c() -> None:
    assert lstmcore.Model(small()).backend == "c"


@pytest.mark.parametrize("path", [5, None, b"model.safetensors", "model\0.safetensors"])
def test_names_that_no_file_has(path: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"path: (expected a file's name|a file's name has no NUL)"):
        lstmcore.load(path)
    with pytest.raises((TypeError, ValueError), match=r"state: (expected a file's name|a file's name has no NUL)"):
        lstmcore.Model(small()).sliding(3).restore(path)


def test_lengths_of_no_window_may_be_an_empty_list(model: lstmcore.Model) -> None:
    assert model(np.zeros((0, 5, 3)), lengths=[]).shape == (0, 2)
    with pytest.raises(TypeError, match=r"lengths: expected integers, got dtype float64"):
        model(np.zeros((1, 5, 3)), lengths=[2.0])
