"""Several models as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_graphs import graph, ticks
from strategies import BACKENDS, make

import lstmcore
from lstmcore import layers as L
from lstmcore.ensemble import ensemble


def model(seed: int, backend: str = "c", **more: Any) -> lstmcore.Model:
    return lstmcore.Model(graph(seed), backend=backend, **more)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5], [1, -1, 3]])
def test_the_weighted_mean(backend: str, weights: Any) -> None:
    models, x = [model(seed, backend) for seed in (1, 2, 3)], ticks(0, 20)
    answers = np.array([m(x).astype(float) for m in models])
    expected = np.average(answers, axis=0, weights=weights)
    both = ensemble(models, weights)
    np.testing.assert_allclose(both(x), expected, rtol=0, atol=1e-6 * np.abs(answers).max() * 3)
    assert both.backend == backend


def test_one_push_answers_as_a_window_does(tmp_path: Path) -> None:
    models = [lstmcore.Model([make(kind, "r", np.random.default_rng(n), input_size=3, hidden_size=9), fc(9)])
              for n, kind in enumerate((L.LSTM, L.GRU, L.LSTM))]  # fmt: skip
    both, x = lstmcore.ensemble(models, [3, 1, 1]), ticks(1, 30)
    both.save(tmp_path / "both.safetensors")
    again = lstmcore.load(tmp_path / "both.safetensors")
    assert again == both
    stream, carried = again.sliding(12), again.stateful()
    assert stream.incremental
    assert stream.push_many(x)[-1] == both(x[-12:])[0]
    assert carried.push_many(x)[-1] == both(x)[0]
    assert {"m0.r.weight_ih_l0", "m2.fc.bias"} < set(both.parameters)


def fc(width: int) -> Any:
    return make(L.Linear, "fc", np.random.default_rng(width), in_features=width, out_features=1)


def test_a_common_scaler_and_others() -> None:
    plain = [lstmcore.Model([make(L.LSTM, "lstm", np.random.default_rng(n), input_size=3, hidden_size=4), fc(4)])
             for n in range(2)]  # fmt: skip
    mean, scale = np.array([61_800.0, 1.0, 0.0]), np.array([20.0, 1.0, 2.0])
    scaled = [m.with_scaler(mean, scale) for m in plain]
    x = ticks(2, 9) * scale + mean
    both = ensemble(scaled)
    np.testing.assert_allclose(both(x), sum(m(x) for m in scaled) / 2, atol=1e-6)
    assert sum(isinstance(layer, L.Scaler) for layer in both.layers) == 1
    for others in ([scaled[0], plain[1]], [plain[0], scaled[1]], [scaled[0], plain[1].with_scaler(mean + 1, scale)]):
        with pytest.raises(ValueError, match="model 1 has another scaler than model 0"):
            ensemble(others)


def test_one_model_is_itself() -> None:
    one, x = model(5), ticks(0, 8)
    np.testing.assert_array_equal(ensemble([one])(x), one(x))
    np.testing.assert_allclose(ensemble([one], [7.0])(x), one(x), rtol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    one = model(1)
    narrow = lstmcore.Model([fc(2), L.Last("last")])
    wide = lstmcore.Model([make(L.LSTM, "lstm", np.random.default_rng(0), input_size=3, hidden_size=3)])
    for models, told in (
        ([], "models: expected at least one"),
        ([one, narrow], r"model 1 takes window \(T, 2\), and model 0 takes window \(T, 3\)"),
        ([one, wide], r"model 1 answers with \(3,\), and model 0 answers with \(2,\)"),
        ([one, one.astype("f4")], "model 1 has weights of float32, and model 0 has weights of float64"),
    ):
        with pytest.raises(ValueError, match=told):
            ensemble(models)
    with pytest.raises(TypeError, match=r"expected Models \(lstmcore.load reads a file\), got 'no' at 1"):
        ensemble([one, "no"])  # type: ignore[list-item]
    for weights, told in (
        ([1.0], r"weights: expected 2, one for each model, got shape \(1,\)"),
        ([1.0, -1.0], "whose sum is not 0"),
        ([1.0, np.inf], "expected finite numbers"),
    ):
        with pytest.raises(ValueError, match=told):
            ensemble([one, one], weights)


def test_scalers_that_name_their_inputs_otherwise() -> None:
    def scaled(order: str, mean: float = 0.0) -> lstmcore.Model:
        rng = np.random.default_rng(0)
        layers = [make(L.Linear, f"l{of}", rng, in_features=2, out_features=1).replace(inputs=(of,)) for of in "ab"]
        found = lstmcore.Model([*layers, L.Add("sum", inputs=("la", "lb"))], inputs=[L.Input("a", 2), L.Input("b", 2)])
        for name in order:
            found = found.with_scaler([1, mean if name == "b" else 2], [2, 3], input=name)
        return found

    models, x = [scaled("ab"), scaled("ba")], {"a": np.ones((3, 2)), "b": np.zeros((3, 2))}
    np.testing.assert_allclose(ensemble(models)(x), models[0](x), rtol=1e-6)
    with pytest.raises(ValueError, match="model 1 has another scaler of input 'b' than model 0"):
        ensemble([scaled("ab"), scaled("ab", 7.0)])


def test_names_that_an_ensemble_would_give() -> None:
    share = make(L.Linear, "share", np.random.default_rng(0), in_features=2, out_features=1).replace(inputs=("mean",))
    last = L.Last("last", inputs=("share",))
    one = lstmcore.Model([share, last], inputs=[L.Input("mean", 2)])
    x = np.ones((3, 2))
    np.testing.assert_allclose(ensemble([one, one], [2, 1])({"mean": x}), one({"mean": x}), rtol=1e-6)


def test_weights_on_numba() -> None:
    one = lstmcore.Model([make(L.LSTM, "lstm", np.random.default_rng(0), input_size=3, hidden_size=3)], backend="numba")
    with pytest.raises(lstmcore.BackendError, match=r"m0\.share"):
        ensemble([one, one], [2, 1])
