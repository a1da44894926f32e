"""Frames of pandas at the doors of a model: right, or an error that names the column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lstmcore
from lstmcore.layers import Linear
from lstmcore.windows import windows

pandas = pytest.importorskip("pandas", reason="pandas is not installed")
RNG = np.random.default_rng(0)
MODEL = lstmcore.Model(
    [Linear("head", 4, 1, weights={"weight": RNG.standard_normal((1, 4)), "bias": RNG.standard_normal(1)})]
)
DOORS: dict[str, Callable[[Any], Any]] = {
    "window": MODEL,
    "series": lambda frame: windows(frame, 2),
}


def frame(**more: Any) -> Any:
    columns = {
        "a": pandas.array([1, None, 3], "Int64"),
        "b": [True, False, True],
        "c": pandas.array([0.5, None, 2.5], "Float64"),
        "d": pandas.array([True, None, False], "boolean"),
    }
    return pandas.DataFrame(columns | more)


PLAIN = np.array([[1, 1, 0.5, 1], [np.nan, 0, np.nan, np.nan], [3, 1, 2.5, 0]])


@pytest.mark.parametrize("door", DOORS)
def test_nullable_and_boolean_columns_are_numbers(door: str) -> None:
    np.testing.assert_array_equal(DOORS[door](frame()), DOORS[door](PLAIN))
    some = frame()[["c", "a", "b", "d"]]  # in the frame's order, whatever the names
    np.testing.assert_array_equal(DOORS[door](some), DOORS[door](PLAIN[:, [2, 0, 1, 3]]))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        (["1", "2", "3"], "str|string|object"),
        ([1, "x", 2.5], "object"),
        (pandas.Categorical(["x", "y", "x"]), "category"),
        (pandas.date_range("2020-01-01", periods=3), "datetime64"),
        (pandas.date_range("2020-01-01", periods=3, tz="UTC"), "datetime64.*UTC"),
        (pandas.to_timedelta([1, 2, 3], "s"), "timedelta64"),
        ([1j, 2, 3], "complex128"),
    ],
)
def test_other_columns_are_named(door: str, column: Any, dtype: str) -> None:
    with pytest.raises(TypeError, match=f"column 'c': expected real numbers, got dtype ({dtype})"):
        DOORS[door](frame(c=column))
