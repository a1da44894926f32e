"""lstmcore.windows.walk_forward and purged_kfold: no label that is learned from reaches what is judged."""

from __future__ import annotations

import dataclasses
import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lstmcore import windows
from lstmcore.layers import Array

COMMON = settings(max_examples=80, deadline=None)
PARTS = ("train", "validation", "test", "purged", "outside")
DAYS = np.arange("2000-01-01", "2003-01-01", dtype="datetime64[D]")


@st.composite
def series(draw: st.DrawFn) -> tuple[Array, Array]:
    """Sorted stamps with ties, and label ends, in whole numbers or in seconds."""
    steps = draw(st.lists(st.integers(0, 3), min_size=30, max_size=120))
    ahead = draw(st.lists(st.integers(0, 9), min_size=len(steps), max_size=len(steps)))
    times = np.cumsum(steps)
    ends = times + np.array(ahead)
    if draw(st.booleans()):
        start = np.datetime64("2020-02-28T23:59:30")
        return start + times.astype("timedelta64[s]"), start + ends.astype("timedelta64[s]")
    return times, ends


def length(times: Array, size: int) -> Any:
    return np.timedelta64(size, "s") if times.dtype.kind == "M" else size


def check_partition(fold: windows.Fold, rows: int) -> None:
    together = np.concatenate([getattr(fold, name) for name in PARTS])
    assert sorted(together.tolist()) == list(range(rows))
    for name in PARTS:
        assert np.all(np.diff(getattr(fold, name)) > 0)


def overlaps(fold: windows.Fold, times: Array, ends: Array, embargo: Any, window: int) -> bool:
    """The definition, pair by pair: spans closed, the embargo behind either; features count where they come later."""
    for learned, judged in (("train", "validation"), ("train", "test"), ("validation", "test")):
        for i in getattr(fold, learned):
            for j in getattr(fold, judged):
                before = i < j and ends[i] + embargo < times[j]
                behind = i > j and times[max(i - window + 1, 0)] > ends[j] + embargo
                if not before and not behind:
                    return True
    return False


@COMMON
@given(
    series(),
    st.integers(5, 60),
    st.integers(0, 20),
    st.integers(2, 20),
    st.integers(0, 6),
    st.integers(1, 5),
    st.data(),
)
def test_walk_forward_does_not_leak(
    drawn: tuple[Array, Array], train: int, validation: int, test: int, embargo: int, window: int, data: st.DataObject
) -> None:
    times, ends = drawn
    sizes = [length(times, n) for n in (train, validation, test)]
    gap = length(times, embargo)
    expanding = data.draw(st.booleans())
    step = length(times, data.draw(st.integers(1, 20)))
    try:
        folds = windows.walk_forward(
            times, *sizes, label_end=ends, embargo=gap, window=window, expanding=expanding, step=step
        )
    except ValueError as error:
        if "too short" not in str(error) and "no sample is left" not in str(error):
            raise
        assume(False)
    origin = times[0]
    for n, fold in enumerate(folds):
        check_partition(fold, len(times))
        assert not overlaps(fold, times, ends, gap, window)
        windows.check_no_leakage(fold, times, label_end=ends, embargo=gap, window=window)
        start = origin + n * step
        assert fold.test_bounds == (start + sizes[0] + sizes[1], start + sizes[0] + sizes[1] + sizes[2])
        assert fold.train_bounds == (origin if expanding else start, start + sizes[0])
        for name in ("train", "validation", "test"):
            rows, bounds = getattr(fold, name), getattr(fold, f"{name}_bounds")
            if bounds is not None:
                assert np.all((times[rows] >= bounds[0]) & (times[rows] < bounds[1]))
                assert np.all(rows >= window - 1)
        # Purged for a reason: each of them would reach the next window's start.
        for row in fold.purged:
            in_train = times[row] < fold.train_bounds[1]
            assert ends[row] + gap >= (fold.train_bounds[1] if in_train else fold.test_bounds[0])
        judged = np.flatnonzero((times >= fold.test_bounds[0]) & (times < fold.test_bounds[1]))
        np.testing.assert_array_equal(fold.test, judged[judged >= window - 1])


@COMMON
@given(series(), st.integers(2, 6), st.integers(0, 6), st.integers(1, 5))
def test_purged_kfold_does_not_leak(drawn: tuple[Array, Array], count: int, embargo: int, window: int) -> None:
    times, ends = drawn
    gap = length(times, embargo)
    try:
        folds = windows.purged_kfold(times, count, label_end=ends, embargo=gap, window=window)
    except ValueError as error:
        if "too short" not in str(error) and "no sample is left" not in str(error):
            raise
        assume(False)
    assert len(folds) == count
    tested = np.concatenate([fold.test for fold in folds])
    np.testing.assert_array_equal(tested, np.arange(window - 1, len(times)))
    for fold in folds:
        check_partition(fold, len(times))
        assert not overlaps(fold, times, ends, gap, window)
        windows.check_no_leakage(fold, times, label_end=ends, embargo=gap, window=window)
        last = ends[fold.test].max()
        behind = fold.train[fold.train > fold.test[-1]]
        assert np.all(times[behind] > last + gap)


@COMMON
@given(series(), st.integers(0, 4), st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_check_is_the_definition(drawn: tuple[Array, Array], embargo: int, window: int, random: Any) -> None:
    """On any split, leaky or not: by chance, of few rows so that some are clean."""
    times, ends = drawn
    rows = sorted(random.sample(range(len(times)), random.randint(2, 9)))
    train, validation, test = ([row for row in rows if random.random() < 0.5] for _ in range(3))
    some = np.arange(0)
    fold = windows.Fold(
        1, *(np.array(part, int) for part in (train, validation, test)), some, some, (0, 1), None, (1, 2)
    )
    gap = length(times, embargo)
    try:
        windows.check_no_leakage(fold, times, label_end=ends, embargo=gap, window=window)
        caught = False
    except windows.LeakageError:
        caught = True
    assert caught == overlaps(fold, times, ends, gap, window)


def test_a_planted_leak_is_caught() -> None:
    times = np.arange(1000)
    (fold,) = windows.walk_forward(times, 600, 200, 200, horizon=20, step=1000)
    windows.check_no_leakage(fold, times, horizon=20)
    assert fold.purged.tolist() == [*range(580, 600), *range(780, 800)]

    unpurged = dataclasses.replace(fold, train=np.arange(600))
    with pytest.raises(
        windows.LeakageError, match=r"20 train samples overlap the validation.*row 580.* to 600, and row 600"
    ):
        windows.check_no_leakage(unpurged, times, horizon=20)
    windows.check_no_leakage(unpurged, times, horizon=0)  # a label that is known at once reaches nothing

    one_short = dataclasses.replace(fold, validation=np.append(fold.validation, 780))
    with pytest.raises(windows.LeakageError, match="1 validation samples overlap the test"):
        windows.check_no_leakage(one_short, times, horizon=20)

    shuffled = np.random.default_rng(0).permutation(1000)
    random_split = dataclasses.replace(
        fold, train=np.sort(shuffled[:800]), validation=fold.train[:0], test=np.sort(shuffled[800:])
    )
    with pytest.raises(windows.LeakageError, match="train samples overlap the test"):
        windows.check_no_leakage(random_split, times, horizon=20)

    (kfold, *_) = windows.purged_kfold(times, 5, horizon=20, embargo=10)
    with pytest.raises(windows.LeakageError):
        windows.check_no_leakage(kfold, times, horizon=20, embargo=11)


def test_months_of_the_calendar() -> None:
    folds = windows.walk_forward(
        DAYS, np.timedelta64(12, "M"), np.timedelta64(3, "M"), np.timedelta64(3, "M"), horizon=0
    )
    bounds = [tuple(map(str, (f.train_bounds[0], f.validation_bounds[0], *f.test_bounds))) for f in folds]  # type: ignore[index]
    assert bounds[:2] == [("2000-01", "2001-01", "2001-04", "2001-07"), ("2000-04", "2001-04", "2001-07", "2001-10")]
    assert bounds[-1] == ("2001-07", "2002-07", "2002-10", "2003-01")
    assert [len(f.test) for f in folds[:2]] == [91, 92]
    assert [len(f.train) for f in folds[:2]] == [366, 365]  # 2000 was a leap year
    later = windows.walk_forward(DAYS, "1 year", "1 month", "1 month", horizon=0, start="2001-02", step="1 month")
    assert str(later[0].train_bounds[0]) == "2001-02"
    assert len(later) == 10
    same = windows.walk_forward(DAYS[20:].astype("datetime64[ns]"), "12 months", "3 months", "3 months", horizon=0)
    assert [str(f.test_bounds[0]) for f in same] == [str(f.test_bounds[0]) for f in folds]  # the month's first


def test_other_sizes_and_stamps() -> None:
    days = windows.walk_forward(DAYS, datetime.timedelta(days=300), 0, "30 days", horizon="12 hours")
    assert str(days[0]) == "fold 1: train 2000-01-01 to 2000-10-27 (300), test 2000-10-27 to 2000-11-26 (30), purged 0"
    assert all(fold.validation_bounds is None and len(fold.validation) == 0 for fold in days)
    objects = windows.walk_forward(DAYS.astype(object).tolist(), "300 days", 0, "30 days", horizon=0)
    np.testing.assert_array_equal(objects[3].train, days[3].train)
    seconds = windows.walk_forward(np.arange(100) * 0.5, 20.0, 5, 10.0, horizon=1.0, expanding=True)
    assert [len(fold.train) for fold in seconds] == [38, 58, 78]
    assert windows.show_folds(seconds).splitlines()[1].split() == ["1", "0", "38", "20", "8", "25", "35", "20", "4"]


def test_a_last_window_that_is_cut_off() -> None:
    times = np.arange(65)
    assert [len(f.test) for f in windows.walk_forward(times, 20, 10, 20, horizon=0)] == [20, 15]
    assert [len(f.test) for f in windows.walk_forward(times, 20, 10, 20, horizon=0, min_coverage=0.8)] == [20]


def test_label_ends() -> None:
    np.testing.assert_array_equal(windows.label_ends([1, 4, 9, 16], 2), [9, 16, np.nan, np.nan])
    np.testing.assert_array_equal(windows.label_ends([1, 4], 5), [np.nan, np.nan])
    np.testing.assert_array_equal(windows.label_ends([1, 4], 0), [1, 4])
    np.testing.assert_array_equal(windows.label_ends(DAYS[:3], 2), np.array([DAYS[2], "NaT", "NaT"], DAYS.dtype))
    with pytest.raises(ValueError, match="rows: expected at least 0"):
        windows.label_ends([1, 2], -1)


DAILY = {"train": "300 days", "validation": 0, "test": "30 days"}
NUMBERS = {"times": np.arange(100), "train": 50, "validation": 0, "test": 5, "horizon": 1}
STEPS = r"step: .* more than 100,000 folds of (1,096|100|99) samples"


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"times": DAYS[::-1]}, ValueError, r"times: row 1 \(2002-12-30\) is before row 0 \(2002-12-31\); sort"),
        ({"times": np.append(DAYS, np.datetime64("NaT"))}, ValueError, "times: row 1096 is NaT"),
        ({"times": [0.0, np.nan], "train": 1, "validation": 0, "test": 1}, ValueError, "times: row 1 is nan"),
        ({"times": []}, ValueError, "at least one stamp"),
        ({"times": np.zeros((3, 2))}, ValueError, r"shape \(3, 2\)"),
        ({"times": ["a", "b"]}, TypeError, "expected datetime64 or numbers"),
        ({"times": DAYS[:300]}, ValueError, "too short for one fold, which would reach from 2000-01-01 to 2001-07-01"),
        ({"label_end": DAYS - np.timedelta64(1, "D")}, ValueError, "label_end: row 0 ends at 1999-12-31, before its"),
        ({"label_end": DAYS[:5]}, ValueError, "one for each of the 1096 samples"),
        ({"label_end": np.arange(1096)}, TypeError, r"label_end: expected datetime64\[D\]"),
        ({"label_end": DAYS, "horizon": "1 day"}, ValueError, "give one of the two"),
        ({"horizon": None}, ValueError, "give one of the two, how far a label reads ahead"),
        ({"horizon": 5}, TypeError, r'text such as "10 days", got 5; .*: label_end=label_ends\(times, rows\)'),
        ({"horizon": "1 month"}, ValueError, "horizon: 1 months has no fixed length"),
        ({"horizon": "-1 days"}, ValueError, "horizon: expected text such as"),
        ({"embargo": np.timedelta64(-1, "D")}, ValueError, "embargo: expected a length of time of at least 0"),
        ({"train": "12 moons"}, ValueError, "train: expected text such as .*got '12 moons'"),
        ({"train": "0 months"}, ValueError, "train: expected a length of time above 0"),
        ({"train": "300 days"}, ValueError, "do not mix"),
        ({"train": np.timedelta64("NaT", "M")}, ValueError, "train: expected a length"),
        ({"start": "2000-01-05"}, ValueError, "start: expected the first of a month"),
        ({"min_coverage": 0}, ValueError, "min_coverage"),
        ({"expanding": "no"}, TypeError, "expanding: expected True or False, got 'no'"),
        ({"min_coverage": np.nan}, ValueError, "min_coverage"),
        ({"min_coverage": "a"}, TypeError, "min_coverage: expected a number, got 'a'"),
        ({"min_coverage": np.ones(2)}, TypeError, "min_coverage: expected a number"),
        ({"times": np.arange(9).astype("datetime64[as]")}, ValueError, "times: in units of as; the finest"),
        ({"train": np.timedelta64(1, "ps")}, ValueError, "train: in units of ps"),
        ({"window": 2**70}, ValueError, "fold 1: no sample is left for train"),
        ({**NUMBERS, "start": np.nan}, ValueError, "start: nan is beyond"),
        ({**NUMBERS, "start": -(2**70)}, ValueError, r"start: -\d+ is beyond"),
        ({"window": 0}, ValueError, "window: expected at least 1"),
        ({"start": "2000-01-05" + "x" * 10**5}, ValueError, r"start: row 0: expected an ISO date .{99,200}$"),
        ({"step": np.timedelta64(1, "ns"), **DAILY}, ValueError, STEPS),
        ({"step": "1 nanoseconds", **DAILY}, ValueError, STEPS),
        ({"step": 1e-10, **NUMBERS}, ValueError, STEPS),
        ({"step": 5e-324, **NUMBERS, "times": np.arange(2**53 - 99, 2**53)}, ValueError, STEPS),
        ({**NUMBERS, "test": 1e-7, "min_coverage": 1e-9}, ValueError, STEPS),
        ({**NUMBERS, "train": 10**30}, ValueError, r"train: 1000\d* is too long for stamps of int64"),
        ({**NUMBERS, "train": 10**400}, ValueError, r"train: 1000\d*…\d* is too long for stamps of int64"),
        ({**NUMBERS, "horizon": -(10**400)}, ValueError, r"horizon: expected a length of time of at least 0, got -1"),
        ({**NUMBERS, "times": np.arange(9.0), "train": 10**400}, ValueError, "train: 1000.* for stamps of float64"),
        (
            {"window": 600},
            ValueError,
            "fold 1: no sample is left for train, 2000-01-01 to 2001-01-01: 0 are purged, and .*window",
        ),
        ({"horizon": "400 days"}, ValueError, "no sample is left for train.*456 are purged"),
    ],
)
def test_bad_input(change: dict[str, Any], error: type[Exception], text: str) -> None:
    given = {"times": DAYS, "train": "12 months", "validation": "3 months", "test": "3 months"} | change
    if "label_end" not in given:
        given = {"horizon": 0} | given
    with pytest.raises(error, match=text):
        windows.walk_forward(**given)


def test_a_step_beyond_the_last_moment_is_one_fold() -> None:
    """The next would begin 250 years later, which nanoseconds of 64 bits do not hold."""
    times = DAYS.astype("datetime64[ns]")
    folds = windows.walk_forward(times, "300 days", 0, "300 days", step="90000 days", horizon=0)
    assert [len(fold.test) for fold in folds] == [300]


@pytest.mark.parametrize("unit", ["Y", "M", "W", "30D", "s", "25s", "ns"])
def test_stamps_of_any_unit_are_split_as_those_of_days(unit: str) -> None:
    """numpy itself does not bring months together with days, nor weeks with months."""
    times = np.arange(np.datetime64("1990", "D"), np.datetime64("2020", "D"), 20).astype(f"datetime64[{unit}]")
    ends = times.astype("datetime64[s]")
    for sizes in (["60 months", "12 months", "2 years"], ["1500 days", "0 days", "900 days"]):
        for how in ({"horizon": "5 days"}, {"label_end": ends}, {"horizon": 0, "embargo": "3 weeks"}):
            given, same = (windows.walk_forward(x, *sizes, **how) for x in (times, ends))
            assert len(given) == len(same) > 3
            for a, b in zip(given, same, strict=True):
                np.testing.assert_array_equal(a.train, b.train)
                np.testing.assert_array_equal(a.test, b.test)
                assert a.test_bounds == b.test_bounds
    folds = windows.purged_kfold(times, 3, horizon="40 days", embargo="9 weeks")
    for a, b in zip(folds, windows.purged_kfold(ends, 3, horizon="40 days", embargo="9 weeks"), strict=True):
        np.testing.assert_array_equal(a.train, b.train)


def test_no_validation_in_days_beside_months() -> None:
    same = (windows.walk_forward(DAYS, "12 months", none, "3 months", horizon=0) for none in ("0 days", 0, "0 months"))
    assert len({str([*map(str, folds)]) for folds in same}) == 1


@given(
    begin=st.floats(0.01, 3),
    train=st.integers(2, 30),
    validation=st.sampled_from([0, 2, 3, 5]),
    test=st.integers(2, 5),
    apart=st.sampled_from([0.1, 1 / 3, 0.7, 1e-3]),
)
@settings(max_examples=60, deadline=None)
def test_tests_in_floats_leave_no_row_out_and_take_none_twice(
    begin: float, train: int, validation: int, test: int, apart: float
) -> None:
    """Where one ends the next begins, to the last bit, however sums of floats are rounded."""
    times = begin + np.arange(150) * apart
    folds = windows.walk_forward(times, train * apart, validation * apart * 1.0001, test * apart, horizon=0)
    for one, other in pairwise(folds):
        assert one.test_bounds[1] == other.test_bounds[0]
    rows = np.concatenate([fold.test for fold in folds])
    np.testing.assert_array_equal(rows, np.arange(rows[0], rows[-1] + 1))


def test_masked_samples_are_refused() -> None:
    times = np.arange(100)
    hidden = np.ma.array(times, mask=times >= 50)
    for given_, name in (({"times": hidden, "horizon": 2}, "times"), ({"label_end": hidden + 2}, "label_end")):
        with pytest.raises(ValueError, match=f"{name}: a masked array with masked values"):
            windows.walk_forward(**{"times": times, "train": 30, "validation": 10, "test": 10} | given_)
    fold = windows.purged_kfold(times, 4, horizon=2)[0]
    with pytest.raises(ValueError, match=r"fold.train: a masked array"):
        windows.check_no_leakage(dataclasses.replace(fold, train=hidden), times, horizon=2)


def test_a_fold_is_looked_at_in_the_times_that_it_is_of() -> None:
    zoned = [datetime.datetime(2020, 1, 1, n, tzinfo=datetime.timezone.utc) for n in range(20)]
    naive = np.array([each.replace(tzinfo=None) for each in zoned], "datetime64[us]")
    for times, others in ((zoned, naive), (naive, zoned)):
        fold = windows.purged_kfold(times, 4, horizon="1 hour")[0]
        windows.check_no_leakage(fold, times, horizon="1 hour")
        with pytest.raises(ValueError, match=r"times: they have .* time zone.*, and the fold has .*time zone"):
            windows.check_no_leakage(fold, others, horizon="1 hour")
    for no_fold in ([fold], None, {"train": [1]}):
        with pytest.raises(TypeError, match="fold: expected one Fold, got"):
            windows.check_no_leakage(no_fold, naive, horizon=0)  # type: ignore[arg-type]


def test_samples_without_a_label_are_outside() -> None:
    ends = windows.label_ends(DAYS, 10)  # of trading days, or any: in rows
    folds = windows.walk_forward(DAYS, "12 months", "3 months", "9 months", label_end=ends, min_coverage=0.1)
    kfolds = windows.purged_kfold(DAYS, 4, label_end=ends)
    for fold in [*folds, *kfolds]:
        assert set(range(len(DAYS) - 10, len(DAYS))) <= set(fold.outside.tolist())
        windows.check_no_leakage(fold, DAYS, label_end=ends)
    assert kfolds[-1].test[-1] == len(DAYS) - 11
    numbers = np.arange(100)
    one, same = (
        windows.purged_kfold(numbers, 3, **how)
        for how in ({"label_end": windows.label_ends(numbers, 7)}, {"horizon": 7})
    )
    np.testing.assert_array_equal(one[0].train, same[0].train[:-7])


def test_bad_kfold() -> None:
    with pytest.raises(ValueError, match="folds: expected at least 2"):
        windows.purged_kfold(np.arange(10), 1, horizon=0)
    with pytest.raises(ValueError, match="too short for 5 folds: 10 samples at 2 different times"):
        windows.purged_kfold([0] * 5 + [1] * 5, 5, horizon=0)
    with pytest.raises(ValueError, match="fold 1: no sample is left for train"):
        windows.purged_kfold(np.arange(10), 2, horizon=20)
    with pytest.raises(ValueError, match="fold 1: no sample is left for train"):
        windows.purged_kfold(np.arange(10), 2, horizon=0, window=2**70)
    with pytest.raises(ValueError, match="too short for 1000000000000 folds: 10 samples"):
        windows.purged_kfold(np.arange(10), 10**12, horizon=0)


@pytest.mark.parametrize("rows", [[-7, 2], [5000], [1.5], [True, False], np.array(5), None, {3}, slice(3)])
def test_leakage_is_not_looked_for_in_rows_that_are_none(rows: list[Any]) -> None:
    fold = next(iter(windows.purged_kfold(np.arange(100), 4, horizon=2)))
    strange = dataclasses.replace(fold, test=np.array(rows))
    with pytest.raises(ValueError, match=r"fold\.test: expected row numbers from 0 to 99"):
        windows.check_no_leakage(strange, np.arange(100), horizon=2)
