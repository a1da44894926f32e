"""What streams refuse: settings and ticks. The stream is afterwards as it was before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from strategies import normal
from streams import same_bits, small

import lstmcore


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"window": 0}, ValueError, "window: expected at least 1, got 0"),
        ({"window": -1}, ValueError, "window: expected at least 1, got -1"),
        ({"window": 1.5}, TypeError, "window: expected an integer, got float 1.5"),
        ({"window": "50"}, TypeError, "window: expected an integer, got str '50'"),
        ({"window": None}, TypeError, "window: expected an integer, got NoneType"),
        ({"window": 10**6}, ValueError, r"window: at most 65,536 ticks, got 1,000,000, .*\(0.1 GB of states\)"),
        ({"catch_up": "never"}, ValueError, r"catch_up: expected one of \('push', 'thread'\), got 'never'"),
        ({"spin": True}, ValueError, "spin and cpu are the helper thread's: they need catch_up='thread'"),
        ({"cpu": 0}, ValueError, "spin and cpu are the helper thread's"),
        ({"catch_up": "thread", "cpu": -1}, ValueError, "cpu: expected at least 0, got -1"),
        ({"catch_up": "thread", "cpu": 0.0}, TypeError, "cpu: expected an integer, got float 0.0"),
        ({"catch_up": "thread", "cpu": 4000}, ValueError, "cpu: there is no processor 4000"),
        ({"catch_up": "thread", "cpu": 10**12}, ValueError, "cpu: there is no processor 1000000000000"),
        ({"catch_up": np.ones(2)}, ValueError, r"catch_up: expected one of .*, got array"),
        ({"catch_up": "thread", "spin": "no"}, TypeError, "spin: expected True or False, got 'no'"),
        ({"spin": np.ones(2)}, TypeError, "spin: expected True or False, got array"),
        ({"on_nan": np.ones(2)}, ValueError, r"on_nan: expected one of .*, got array"),
        ({"on_nan": "ignore"}, ValueError, r"on_nan: expected one of .*propagate.*, got 'ignore'"),
    ],
)
def test_settings_that_are_refused(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        small().sliding(**({"window": 5} | arguments))


@pytest.mark.parametrize("name", ["model", "window"])
def test_what_a_stream_is_of_stays(name: str) -> None:
    for stream in (small().sliding(5), lstmcore.SlidingPool(small(), 5, 2)):
        with pytest.raises(AttributeError, match=name):
            setattr(stream, name, 3)


def test_tensors_that_numpy_does_not_take() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    ticks, model = torch.zeros(5, 3, requires_grad=True), small()
    stream, pool = model.sliding(3), lstmcore.SlidingPool(model, 3, 1)
    calls: dict[str, Callable[[], object]] = {
        "window": lambda: model(ticks),
        "tick": lambda: stream.push(ticks[0]),
        "ticks": lambda: stream.push_many(ticks),
        "series": lambda: model.predict_windows(ticks, 3),
        "mean": lambda: model.with_scaler(ticks[0], np.ones(3)),
    }
    for name, call in [*calls.items(), ("tick", lambda: pool.push(0, ticks[0]))]:
        with pytest.raises(TypeError, match=rf"^{name}: numpy makes no array of Tensor \(.*requires grad"):
            call()


@pytest.mark.parametrize("name", ["sliding", "stateful"])
@pytest.mark.parametrize("backend", ["c", "numpy"])
@pytest.mark.parametrize(
    ("tick", "error", "text"),
    [
        (np.zeros(4), ValueError, r"tick: expected shape \(3,\), got \(4,\)"),
        (np.zeros(0, "f4"), ValueError, r"tick: expected shape \(3,\), got \(0,\)"),
        (np.zeros((1, 3), "f4"), ValueError, r"tick: expected shape \(3,\), got \(1, 3\)"),
        (1.0, ValueError, r"tick: expected shape \(3,\), got \(\)"),
        ("abc", TypeError, "tick: expected real numbers, got str"),
        (["a", "b", "c"], TypeError, "tick: expected real numbers, got list"),
        (None, TypeError, "tick: expected real numbers, got NoneType"),
        (np.zeros(3, complex), TypeError, "tick: expected real numbers"),
        ([1, [2, 3], 4], ValueError, "tick: not a regular array"),
        (np.ma.masked_equal([1.0, 0.0, 1.0], 0), ValueError, "tick: a masked array"),
        (np.ma.masked_equal(np.array([1, 0, 1], "f4"), 0), ValueError, "tick: a masked array"),
    ],
)
def test_ticks_that_are_refused(name: str, backend: str, tick: Any, error: type[Exception], text: str) -> None:
    model = small().with_backend(backend)
    stream = model.sliding(3) if name == "sliding" else model.stateful()
    stream.push_many(np.ones((4, 3)))
    before = stream.state()
    with pytest.raises(error, match=text):
        stream.push(tick)
    with pytest.raises(error, match=r"^ticks: "):
        stream.push_many(tick[np.newaxis] if isinstance(tick, np.ndarray) else tick)
    after = stream.state()
    for part, value in before.items():
        np.testing.assert_array_equal(after[part], value)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_ticks_that_are_no_numbers_can_be_refused(special: float, backend: str) -> None:
    model = small().with_backend(backend)
    x = normal(np.random.default_rng(2), 12, 3)
    for stream, other in (
        (model.sliding(4, on_nan="raise"), model.sliding(4)),
        (model.stateful(on_nan="raise"), model.stateful()),
    ):
        same_bits(stream.push_many(x[:6]), other.push_many(x[:6]))
        bad = x[6:].copy()
        bad[4, 2] = special
        with pytest.raises(ValueError, match=f"feature 2 is {special}, and on_nan is 'raise'; .* not changed"):
            stream.push(bad[4])
        with pytest.raises(ValueError, match=f"feature 2 of tick 4 is {special}"):
            stream.push_many(bad)
        assert stream.ticks == 6
        same_bits(stream.push(x[6]), other.push(x[6]))
        with pytest.raises(ValueError, match="feature 2 is"):
            stream.copy().push(bad[4])


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_numbers_too_large_are_infinite_without_a_warning(backend: str) -> None:
    """Warnings are errors here."""
    model = small().with_backend(backend)
    x = np.ones((4, 3))
    x[2, 1] = -1e300
    infinite = np.where(x < 0, -np.inf, x)
    same_bits(model.sliding(2).push_many(x), model.sliding(2).push_many(infinite))
    stream, other = model.stateful(), model.stateful()
    same_bits([stream.push(tick) for tick in x], [other.push(tick.tolist()) for tick in infinite])
    same_bits(model.predict_windows(x, 2), model.predict_windows(infinite, 2))
    same_bits(model(x), model(infinite))
    for stream in (model.sliding(2, on_nan="raise"), model.stateful(on_nan="raise")):
        with pytest.raises(ValueError, match=r"feature 1 is -1e\+300, too large for float32, and on_nan is 'raise'"):
            stream.push(x[2].tolist())
        with pytest.raises(ValueError, match=r"feature 1 of tick 2 is -1e\+300, too large for float32"):
            stream.push_many(x)
        assert stream.ticks == 0
