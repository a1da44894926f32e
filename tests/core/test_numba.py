"""The numba backend: sizes around its vectors, special values, sessions, and when it compiles."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategies import ACTIVATIONS, make, normal, states
from tolerances import FLOAT32, WRONG

import lstmcore
from lstmcore import layers as L

program = pytest.importorskip("lstmcore.backends.numba.program", reason="numba is not installed")

ROOT = Path(__file__).parents[2]
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1e-30, -1e-30, 87, -87, 89, -89, 3e38, -3e38], np.float32)


def both(layers: list[L.Layer], x: Any, state: Any = None) -> tuple[Any, Any]:
    """The answer, and the reference's in float64."""
    exact = lstmcore.Model(layers, backend="numpy").astype(np.float64)(x.astype(np.float64), state)
    return lstmcore.Model(layers, backend="numba")(x, state), exact


@pytest.mark.parametrize("hidden", [1, program.LANES - 1, program.LANES, program.LANES + 1, 2 * program.LANES + 1])
@pytest.mark.parametrize("steps", [1, program.CHUNK - 1, program.CHUNK, program.CHUNK + 1, 3 * program.CHUNK])
def test_lstms_around_a_vector_and_a_chunk(hidden: int, steps: int) -> None:
    rng = np.random.default_rng([hidden, steps])
    lstm = make(L.LSTM, "lstm", rng, input_size=3, hidden_size=hidden, num_layers=2, return_sequences=True)
    answer, exact = both([lstm], normal(rng, steps, 3), states(lstm, rng))
    np.testing.assert_allclose(answer, exact, rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("outputs", [1, program.TILE - 1, program.TILE, program.TILE + 1])
def test_linears_around_a_tile(outputs: int) -> None:
    rng = np.random.default_rng(outputs)
    layers = [
        make(L.Linear, "wide", rng, in_features=7, out_features=outputs),
        make(L.BatchNorm1d, "norm", rng, num_features=outputs),
        L.Tanh("tanh"),
        make(L.Linear, "narrow", rng, in_features=outputs, out_features=3),
        L.Softmax("softmax"),
    ]
    answer, exact = both(layers, normal(rng, 5, 7))
    np.testing.assert_allclose(answer, exact, rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("width", [1, program.LANES + 1, program.TILE + 1])
def test_norms_that_cannot_be_folded(width: int) -> None:
    """Behind a Linear, rows are longer than the norm's padded weights."""
    rng = np.random.default_rng(width)
    layers = [
        make(L.BatchNorm1d, "first", rng, num_features=width),
        L.ReLU("relu"),
        make(L.Linear, "fc", rng, in_features=width, out_features=width),
        L.LeakyReLU("leaky", 0.2),
        make(L.BatchNorm1d, "last", rng, num_features=width),
    ]
    answer, exact = both(layers, normal(rng, 6, width))
    np.testing.assert_allclose(answer, exact, rtol=0, atol=FLOAT32)


def test_what_may_stand_first_and_last() -> None:
    """Windows are padded for some layers and not for others; a squeezed sequence is one row."""
    rng = np.random.default_rng(0)
    fc = make(L.Linear, "fc", rng, in_features=3, out_features=1)
    flat = make(L.Linear, "flat", rng, in_features=21, out_features=2)
    for layers in (
        [make(L.Scaler, "scaler", rng, num_features=3)],
        [make(L.BatchNorm1d, "norm", rng, num_features=3), L.GELU("gelu"), fc],
        [L.Flatten("flatten", 7), flat],
        [L.Softmax("softmax"), L.Flatten("flatten", 7), flat],
        [fc, L.Squeeze("squeeze"), L.Sigmoid("sigmoid")],
    ):
        answer, exact = both(layers, normal(rng, 4, 7, 3))
        np.testing.assert_allclose(answer, exact, rtol=0, atol=FLOAT32, err_msg=str(layers))


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_activations_of_small_large_and_special_values(activation: L.Layer) -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate([SPECIAL, normal(rng, 500), 30 * normal(rng, 500)])
    # Softmax is over features, so that it gets several of them, and the special values one row each.
    x = x[:, np.newaxis] if activation.name != "softmax" else np.column_stack([x, 10 * normal(rng, len(x))])
    same = make(L.Scaler, "same", rng, num_features=x.shape[1])
    same = same.replace(weights={"mean": np.zeros(x.shape[1], "f4"), "scale": np.ones(x.shape[1], "f4")})
    answer, exact = both([same, activation], x)
    np.testing.assert_allclose(answer, exact, rtol=5e-7, atol=2e-7)


def test_limits_are_exact() -> None:
    x = np.array([[np.inf], [-np.inf], [np.nan]], np.float32)
    same = L.Scaler("same", 1, weights={"mean": np.zeros(1, "f4"), "scale": np.ones(1, "f4")})
    for activation, limits in ((L.Sigmoid("s"), [1, 0]), (L.Tanh("t"), [1, -1]), (L.ELU("e", 0.5), [np.inf, -0.5])):
        answer = lstmcore.Model([same, activation], backend="numba")(x)[:, 0]
        np.testing.assert_array_equal(answer, [*limits, np.nan])


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_special_values_touch_no_other_window_step_or_unit(special: float) -> None:
    rng = np.random.default_rng(5)
    lstm = make(L.LSTM, "lstm", rng, input_size=4, hidden_size=21, return_sequences=True)
    weights = dict(lstm.weights)
    weights["weight_ih_l0"] = weights["weight_ih_l0"].copy()
    weights["weight_ih_l0"][:, 2] = 0
    weights["weight_ih_l0"][[20, 41, 62, 83], 2] = 1  # the gates of the last unit
    weights["weight_hh_l0"] = np.zeros_like(weights["weight_hh_l0"])  # no unit sees another
    x = normal(rng, 2, 40, 4)
    x[0, 35, 2] = special
    with np.errstate(invalid="ignore"):
        answer, exact = both([lstm.replace(weights=weights)], x)
    np.testing.assert_allclose(answer, exact, rtol=0, atol=FLOAT32)
    assert np.isfinite(answer[1]).all()
    assert np.isfinite(answer[0, :35]).all()


def test_a_nan_weight_is_told() -> None:
    rng = np.random.default_rng(6)
    lstm = make(L.LSTM, "lstm", rng, input_size=2, hidden_size=5)
    weights = {**lstm.weights, "weight_hh_l0": lstm.weights["weight_hh_l0"].copy()}
    weights["weight_hh_l0"][3, 1] = np.nan
    answer, exact = both([lstm.replace(weights=weights)], normal(rng, 1, 2))
    np.testing.assert_array_equal(np.isnan(answer), np.isnan(exact))
    assert np.isnan(answer).any()


def test_doors_and_lengths_give_the_same_bits() -> None:
    """A window alone, again, in a batch, with states of zeros, and after windows of other lengths and states."""
    rng = np.random.default_rng(7)
    lstm = make(L.LSTM, "lstm", rng, input_size=3, hidden_size=18, num_layers=2, return_sequences=True)
    layers = [lstm, make(L.Linear, "fc", rng, in_features=18, out_features=2)]
    model = lstmcore.Model(layers, backend="numba")
    windows = {steps: normal(rng, 2, steps, 3) for steps in (50, 1, 33, 200)}
    expected = {steps: lstmcore.Model(layers, backend="numba")(x) for steps, x in windows.items()}
    zero = tuple(np.zeros((2, 2, 18), np.float32) for _ in "hc")
    for steps in (50, 50, 1, 200, 33, 33, 50):
        x = windows[steps]
        assert np.abs(model(x, states(lstm, rng, 2)) - expected[steps]).max() > WRONG, "states are used"
        for n in range(2):
            np.testing.assert_array_equal(model(x[n]), expected[steps][n])
            np.testing.assert_array_equal(model(x[n]), expected[steps][n])
            np.testing.assert_array_equal(model(np.asfortranarray(x[n])), expected[steps][n])
        np.testing.assert_array_equal(model(x, zero), expected[steps])
    for steps in (1, 50, 33, 200, 1):
        np.testing.assert_array_equal(model(windows[steps][0]), expected[steps][0])


def test_answers_are_the_callers_own() -> None:
    rng = np.random.default_rng(8)
    fc = make(L.Linear, "fc", rng, in_features=3, out_features=1)
    vector, number = ([fc], [L.Flatten("flat", 1), fc, L.Squeeze("squeeze")])
    for layers in (vector, number):
        model = lstmcore.Model(layers, backend="numba")
        x, y = normal(rng, 2, 1, 3)
        model(x)
        first = model(x)
        kept = np.array(first)
        assert model(y) != first
        np.testing.assert_array_equal(first, kept)


def test_threads_meet_at_the_first_window() -> None:
    """None of them finds a session; each makes its own, some for windows of one length."""
    rng = np.random.default_rng(9)
    layers = [make(L.LSTM, "lstm", rng, input_size=3, hidden_size=64, return_sequences=True)]
    windows = [normal(rng, 100 + n % 3, 3) for n in range(6)]
    expected = [lstmcore.Model(layers, backend="numba")(window) for window in windows]
    model = lstmcore.Model(layers, backend="numba")
    barrier = threading.Barrier(len(windows), timeout=60)
    right = [0] * len(windows)

    def work(n: int) -> None:
        barrier.wait()
        for _ in range(100):
            right[n] += np.array_equal(model(windows[n]), expected[n])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(windows))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [100] * len(windows)


# Compiling, in processes of their own.

PROCESS = """
import json, sys
from numba.core import event
import lstmcore
from lstmcore import layers as L
import numpy as np

said = []
with event.install_recorder("numba:compile") as at_warmup:
    seconds = lstmcore.warmup(said.append)
with event.install_recorder("numba:compile") as later:
    again = lstmcore.warmup()
    model = lstmcore.load(sys.argv[1])
    run = model.with_backend("numba")
    answers = [run(np.sin(np.arange(3.0 * steps)).reshape(steps, 3)).tolist() for steps in (1, 40)]
from lstmcore.backends.numba import kernels
stats = kernels.run.stats
print(json.dumps({
    "seconds": seconds, "again": again, "said": said, "answers": answers, "backend": model.backend,
    "at_warmup": len(at_warmup.buffer), "later": len(later.buffer),
    "hits": sum(stats.cache_hits.values()), "misses": sum(stats.cache_misses.values()),
}))
"""


def process(code: str, *arguments: str, package: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=package,
        env=os.environ | {"PYTHONPATH": str(package), **environment},
    )


def model_of_every_kind() -> lstmcore.Model:
    rng = np.random.default_rng(10)
    lstm = make(L.LSTM, "lstm", rng, input_size=3, hidden_size=20, return_sequences=True)
    return lstmcore.Model([lstm, *ACTIVATIONS, make(L.Linear, "fc", rng, in_features=20, out_features=4)])


def exact_answer(model: lstmcore.Model, steps: int) -> Any:
    """What `PROCESS` asks, answered by the reference in float64."""
    return model.with_backend("numpy").astype(np.float64)(np.sin(np.arange(3.0 * steps)).reshape(steps, 3))


def test_the_sources_alone_compile_once(tmp_path: Path) -> None:
    """On a machine without a C compiler: no core, and what the first process compiled, the second finds."""
    shutil.copytree(ROOT / "lstmcore", tmp_path / "lstmcore", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    file = tmp_path / "model.safetensors"
    model = model_of_every_kind()
    model.save(file)
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    # An editable installation would find the core wherever the sources are.
    without = "import sys; sys.modules['lstmcore._core'] = None\n"
    done = [process(without + PROCESS, str(file), package=tmp_path, **environment) for _ in range(2)]
    assert [d.returncode for d in done] == [0, 0], done[0].stderr + done[1].stderr
    assert "backend c is passed over" in done[0].stderr
    first, second = (json.loads(d.stdout) for d in done)
    assert (first["hits"], first["misses"]) == (0, 1)
    assert (second["hits"], second["misses"]) == (1, 0)
    assert first["at_warmup"] > 0, "compiling would be seen"
    assert second["at_warmup"] == 0
    for told in (first, second):
        assert told["backend"] == "numba"
        assert told["later"] == 0, "nothing is left to compile behind a warmup"
        assert told["again"] < told["seconds"]
        for steps, answer in zip((1, 40), told["answers"], strict=True):
            np.testing.assert_allclose(answer, exact_answer(model, steps), rtol=0, atol=FLOAT32)
    assert len(first["said"]) == len(second["said"]) == 2
    assert "compiled and kept in" in first["said"][1]
    assert "loaded from" in second["said"][1]


def test_no_change_of_a_kernel_is_missed(tmp_path: Path) -> None:
    """numba's cache looks at the file of the function that is cached, and the kernels are in several."""
    shutil.copytree(ROOT / "lstmcore", tmp_path / "lstmcore", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "model.safetensors"
    model_of_every_kind().save(file)
    # An editable installation would find the package where it was installed from.
    this_copy = "import sys; sys.meta_path = [f for f in sys.meta_path if 'Redirecting' not in type(f).__name__]\n"
    found = []
    for n in range(2):
        done = process(this_copy + PROCESS, str(file), package=tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
        if n == 0:
            activations = tmp_path / "lstmcore" / "backends" / "numba" / "activations.py"
            text = activations.read_text()
            changed = text.replace("return ONE / (ONE + exp(ZERO - x))", "return ONE / (TWO + exp(ZERO - x))")
            assert changed != text
            activations.write_text(changed)
    assert [told["misses"] for told in found] == [1, 1]
    assert np.abs(np.subtract(found[0]["answers"][1], found[1]["answers"][1])).max() > 10 * FLOAT32


def test_a_processor_of_the_plainest_kind(tmp_path: Path) -> None:
    """LLVM's "generic": short registers, and on x86 no fused multiply-add."""
    file = tmp_path / "model.safetensors"
    model = model_of_every_kind()
    model.save(file)
    done = process(PROCESS, str(file), NUMBA_CACHE_DIR=str(tmp_path / "cache"), NUMBA_CPU_NAME="generic")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)["answers"][1]
    np.testing.assert_allclose(answer, exact_answer(model, 40), rtol=0, atol=FLOAT32)


@pytest.mark.parametrize(
    ("before", "environment", "told"),
    [
        ("import sys; sys.modules['numba'] = None", {}, 'pip install "lstmcore[numba]" brings it'),
        ("", {"NUMBA_DISABLE_JIT": "1"}, "NUMBA_DISABLE_JIT is set"),
    ],
)
def test_warmup_without_a_numba_that_works(before: str, environment: dict[str, str], told: str) -> None:
    done = process(f"{before}\nimport lstmcore\nlstmcore.warmup()", **environment)
    assert "lstmcore.errors.BackendError: backend 'numba' cannot be imported here" in done.stderr
    assert told in done.stderr


def test_a_layer_that_numba_lacks_goes_to_numpy(tmp_path: Path) -> None:
    """Where the core is missing, and "auto" has to choose."""
    code = """
import sys
sys.modules["lstmcore._core"] = None
import numpy as np
from lstmcore import Model
from lstmcore.layers import LayerNorm
norm = LayerNorm("norm", 2, weights={"weight": np.ones(2, "f4"), "bias": np.zeros(2, "f4")})
print(Model([norm]).backend)
"""
    done = process(code)
    assert done.stdout == "numpy\n", done.stderr
    assert "backend c is passed over: backend 'c' cannot be imported here" in done.stderr
    assert "backend numba is passed over: norm (LayerNorm): the numba backend does not have this layer" in done.stderr


def test_without_a_folder_for_the_cache_a_warning_says_so(tmp_path: Path) -> None:
    code = """
import lstmcore
from lstmcore.backends.numba import kernels

def refuse():
    raise RuntimeError("no locator available")

kernels.run.enable_caching = refuse
lstmcore.warmup(print)
"""
    done = process(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "RuntimeWarning: every process compiles the numba backend anew" in done.stderr
    assert "NUMBA_CACHE_DIR" in done.stderr
    assert "compiled, and not kept" in done.stdout
