"""lstmcore.windows against loops that spell out which rows a window holds."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmcore import windows
from lstmcore.layers import Array
from lstmcore.windows import rows

DTYPES = st.sampled_from([np.float32, np.float64])
COMMON = settings(max_examples=60, deadline=None)


def random_series(rows: int, features: int, dtype: Any = np.float64) -> Array:
    series: Array = np.random.default_rng(rows * 31 + features).standard_normal((rows, features)).astype(dtype)
    return series


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """rows, window, horizon, stride that fit each other."""
    window, horizon = draw(st.integers(1, 12)), draw(st.integers(0, 6))
    return window + horizon + draw(st.integers(0, 30)), window, horizon, draw(st.integers(1, 8))


@COMMON
@given(cuts(), st.integers(1, 5), DTYPES)
def test_windows_equal_the_loop(cut: tuple[int, int, int, int], features: int, dtype: Any) -> None:
    rows, window, _, stride = cut
    series = random_series(rows, features, dtype)
    expected = [series[first : first + window] for first in range(0, rows - window + 1, stride)]

    found = windows.windows(series, window, stride)

    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.stack(expected))


@COMMON
@given(cuts(), st.sampled_from([(), (1,), (3,)]))
def test_targets_equal_the_loop(cut: tuple[int, int, int, int], outputs: tuple[int, ...]) -> None:
    rows, window, horizon, stride = cut
    series = random_series(rows, 2)
    targets = np.random.default_rng(0).standard_normal((rows, *outputs))
    x_expected, y_expected = [], []
    for last in range(window - 1, rows, stride):  # the row of the newest tick
        if last + horizon < rows:
            x_expected.append([series[last - back] for back in reversed(range(window))])
            y_expected.append(targets[last + horizon])

    x, y = windows.windows_and_targets(series, targets, window, horizon, stride)

    np.testing.assert_array_equal(x, x_expected)
    np.testing.assert_array_equal(y, y_expected)
    np.testing.assert_array_equal(targets[windows.target_rows(rows, window, horizon, stride)], y)


@COMMON
@given(cuts())
def test_results_are_read_only_views(cut: tuple[int, int, int, int]) -> None:
    rows, window, horizon, stride = cut
    wide = random_series(rows, 6, np.float32)
    series, targets = wide[:, 1::2], wide[:, 0]  # non-contiguous, as the columns of a table are

    x, y = windows.windows_and_targets(series, targets, window, horizon, stride)

    for view in (x, y, windows.windows(series, window, stride)):
        assert np.shares_memory(view, wide)
        assert not view.flags.writeable
    assert wide.flags.writeable
    wide[...] = 7
    assert np.all(x == 7)
    assert np.all(y == 7)


def test_the_last_row_is_not_left_out() -> None:
    series = random_series(7, 1)
    x, y = windows.windows_and_targets(series, series, 3)
    np.testing.assert_array_equal(x[-1, -1], series[-1])
    np.testing.assert_array_equal(y[-1], series[-1])
    assert len(windows.windows(series, 7)) == 1


@pytest.mark.parametrize(
    ("given_dtype", "expected"),
    [
        ("float16", "float32"),
        (">f4", "float32"),
        (">f8", "float64"),
        ("int64", "float64"),
        ("uint8", "float64"),
        ("bool", "float64"),
        ("longdouble", "float64"),
    ],
)
def test_other_dtypes_are_converted_once(given_dtype: str, expected: str) -> None:
    series = (random_series(9, 2) * 3).astype(given_dtype)
    found = windows.windows(series, 4)
    assert found.dtype == np.dtype(expected)
    assert found.base is not None
    assert np.shares_memory(found[0, 1], found[1, 0])  # a view of one converted copy
    np.testing.assert_array_equal(found[2], series[2:6].astype(expected))


def test_lists_and_integer_targets() -> None:
    x, y = windows.windows_and_targets([[1, 2], [3, 4], [5, 6]], np.array([7, 8, 9]), np.int64(2))  # type: ignore[arg-type]
    assert x.tolist() == [[[1, 2], [3, 4]], [[3, 4], [5, 6]]]
    assert y.tolist() == [8, 9]
    assert y.dtype == np.int64


def test_a_data_frame_is_not_copied() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    array = random_series(8, 3, np.float32)
    frame = pandas.DataFrame(array, copy=False)
    assert np.shares_memory(windows.windows(frame, 3), array)


@pytest.mark.parametrize(
    ("series", "arguments", "error", "text"),
    [
        (
            np.zeros(9),
            {},
            ValueError,
            r"series: expected \(rows, features\), got shape \(9,\).*np.newaxis",
        ),
        (np.zeros((9, 2, 2)), {}, ValueError, r"got shape \(9, 2, 2\)$"),
        (np.float64(3), {}, ValueError, r"got shape \(\)"),
        (np.zeros((3, 2)), {}, ValueError, "a window of 4 needs at least 4 rows, got 3"),
        (np.zeros((0, 2)), {}, ValueError, "needs at least 4 rows, got 0"),
        (np.zeros((9, 2)), {"horizon": 6}, ValueError, "a target 6 rows later needs at least 10 rows, got 9"),
        (np.zeros((9, 2)), {"window": 0}, ValueError, "window: expected at least 1, got 0"),
        (np.zeros((9, 2)), {"window": -1}, ValueError, "window: expected at least 1, got -1"),
        (np.zeros((9, 2)), {"stride": 0}, ValueError, "stride: expected at least 1, got 0"),
        (np.zeros((9, 2)), {"horizon": -1}, ValueError, "horizon: expected at least 0, got -1"),
        (np.zeros((9, 2)), {"window": 4.0}, TypeError, "window: expected an integer, got float 4.0"),
        (np.zeros((9, 2)), {"stride": "1"}, TypeError, "stride: expected an integer, got str '1'"),
        (np.zeros((9, 2)), {"horizon": True}, TypeError, "horizon: expected an integer, got True"),
        (np.zeros((9, 2), object), {}, TypeError, "series: expected real numbers.*object"),
        (np.full((9, 2), "1"), {}, TypeError, "series: expected real numbers"),
        (np.zeros((9, 2), complex), {}, TypeError, "series: expected real numbers.*complex128"),
        (np.zeros((9, 2), "datetime64[D]"), {}, TypeError, "series: expected real numbers"),
        ([[1.0], [1.0, 2.0]], {}, ValueError, "series: not a regular array"),
        (np.ma.masked_equal(np.eye(9), 1), {}, ValueError, "series: a masked array"),
    ],
)
def test_what_is_refused(series: Any, arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    arguments = {"window": 4} | arguments
    with pytest.raises(error, match=text):
        windows.windows_and_targets(series, np.zeros(9), **arguments)
    if "horizon" not in arguments:
        with pytest.raises(error, match=text):
            windows.windows(series, **arguments)


@pytest.mark.parametrize(
    ("targets", "error", "text"),
    [
        (np.zeros(8), ValueError, "targets: expected a row for each of the series' 9 rows, got 8"),
        (
            np.zeros((9, 1, 1)),
            ValueError,
            r"targets: expected \(rows,\) or.* got shape \(9, 1, 1\)",
        ),
        (np.float64(1), ValueError, r"targets: .*got shape \(\)"),
        (np.full(9, "up"), TypeError, "targets: expected real numbers"),
    ],
)
def test_targets_that_are_refused(targets: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        windows.windows_and_targets(np.zeros((9, 2)), targets, 4)


def test_target_rows_are_checked() -> None:
    with pytest.raises(ValueError, match="needs at least 8 rows, got 7"):
        windows.target_rows(7, 5, horizon=3)
    with pytest.raises(ValueError, match="rows: expected at least 0, got -1"):
        windows.target_rows(-1, 5)
    with pytest.raises(ValueError, match="stride: expected at least 1, got 0"):
        windows.target_rows(7, 5, stride=0)


def test_doctests() -> None:
    result = doctest.testmod(rows)
    assert result.attempted >= 10
    assert result.failed == 0
