"""Stamps with and without time zones: converted once, never mixed, months cut by the zone's calendar."""

from __future__ import annotations

import datetime
import re
import tracemalloc
import warnings
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lstmcore import windows
from lstmcore.windows.stamps import as_stamps
from lstmcore.windows.zones import from_text

COMMON = settings(max_examples=30, deadline=None)
UTC = datetime.timezone.utc
START = datetime.datetime(2020, 1, 1)
HOURS = [START + datetime.timedelta(hours=n) for n in range(24 * 150)]  # January to May, naive or of UTC
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Gaza", "Pacific/Auckland", "+05:30"]


def zone_of(name: str) -> datetime.tzinfo:
    return datetime.timezone(datetime.timedelta(hours=5, minutes=30)) if name == "+05:30" else ZoneInfo(name)


def zoned(moments: list[datetime.datetime], name: str) -> list[datetime.datetime]:
    return [each.replace(tzinfo=UTC).astimezone(zone_of(name)) for each in moments]


def as_column(moments: list[datetime.datetime], make: str) -> Any:
    """The same moments as something else that users have."""
    if make == "list":
        return moments
    if make == "objects":
        return np.array(moments, object)
    if make == "pyarrow":
        lib = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        tz = moments[0].tzinfo
        return lib.chunked_array([lib.array(moments, lib.timestamp("us", "+05:30" if str(tz)[:3] == "UTC" and
                                  tz != UTC and str(tz) != "UTC" else str(tz)))])  # fmt: skip
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    index = pandas.DatetimeIndex(moments)
    return {"index": index, "series": pandas.Series(index), "array": index.array, "stamps": list(index)}[make]


MAKES = ["list", "objects", "index", "series", "array", "stamps", "pyarrow"]


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("name", ZONES)
def test_months_are_cut_in_the_zone_that_is_given(name: str, make: str) -> None:
    """Beside a plain rule: a sample belongs to the month that it has on the zone's calendar. And without a warning."""
    times = zoned(HOURS, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds = windows.walk_forward(as_column(times, make), "1 month", 0, "1 month", horizon=0)
    assert len(folds) >= 3
    months = np.array([each.year * 12 + each.month for each in times])
    for number, fold in enumerate(folds):
        np.testing.assert_array_equal(fold.train, np.flatnonzero(months == months[0] + number))
        np.testing.assert_array_equal(fold.test, np.flatnonzero(months == months[0] + number + 1))
        shown = str(fold.test_bounds[0])
        assert "T" in shown or name == "UTC"
    assert "2020-0" in windows.show_folds(folds)
    local = times[folds[0].test[0]]
    offset = local.isoformat()[-6:]
    assert f"test {local.date()}{offset} to" in str(folds[0])


def test_an_hour_that_is_skipped_at_a_months_first() -> None:
    """In zones that set their clocks at midnight, around the first of a month."""
    for name, year, month in (("Asia/Amman", 2016, 4), ("America/Asuncion", 2017, 10), ("Asia/Beirut", 2020, 3)):
        begin = datetime.datetime(year, month, 1) - datetime.timedelta(days=40)
        times = zoned([begin + datetime.timedelta(minutes=30 * n) for n in range(48 * 90)], name)
        folds = windows.walk_forward(times, "1 month", 0, "1 month", horizon=0)
        months = np.array([each.month for each in times])
        for fold in folds:
            assert set(months[fold.train]) == {months[fold.train[0]]}
            assert set(months[fold.test]) == {months[fold.test[0]]}


@COMMON
@given(st.sampled_from(ZONES), st.sampled_from(ZONES), st.integers(1, 30), st.integers(0, 5), st.data())
def test_zoned_labels_purge_as_naive_ones_of_utc(
    name: str, other: str, ahead: int, embargo: int, draw: st.DataObject
) -> None:
    """The same instants in any two zones give the same rows; and a naive side beside a zoned one is refused."""
    moments = HOURS[: 24 * 20]
    ends = [each + datetime.timedelta(hours=draw.draw(st.integers(0, ahead))) for each in moments[:50]]
    ends += [each + datetime.timedelta(hours=ahead) for each in moments[50:]]
    how: dict[str, Any] = {"embargo": datetime.timedelta(hours=embargo), "window": 3}
    sizes = ("5 days", "2 days", "3 days")
    naive = windows.walk_forward(moments, *sizes, label_end=ends, **how)
    both = windows.walk_forward(zoned(moments, name), *sizes, label_end=zoned(ends, other), **how)
    kfolds = [windows.purged_kfold(*each, label_end=end, **how) for each, end in
              (((moments, 4), ends), ((zoned(moments, name), 4), zoned(ends, other)))]  # fmt: skip
    for plain, same in [*zip(naive, both, strict=True), *zip(*kfolds, strict=True)]:
        for part in ("train", "validation", "test", "purged", "outside"):
            np.testing.assert_array_equal(getattr(plain, part), getattr(same, part))
        windows.check_no_leakage(same, zoned(moments, name), label_end=zoned(ends, other), **how)
    array = np.array(ends, "datetime64[us]")
    for times, label_end in (
        (moments, zoned(ends, other)),
        (zoned(moments, name), ends),
        (zoned(moments, name), array),
    ):
        for split in (windows.walk_forward, windows.purged_kfold):
            arguments = sizes if split is windows.walk_forward else (4,)
            with pytest.raises(ValueError, match=r"label_end: it has .* time zone.* give both a zone, or neither"):
                split(times, *arguments, label_end=label_end, **how)  # type: ignore[operator]


@COMMON
@given(st.lists(st.sampled_from([None, *ZONES]), min_size=2, max_size=20), st.booleans())
def test_several_zones_in_one_list_are_refused(names: list[str | None], as_text: bool) -> None:
    assume(len({None if n is None else str(zone_of(n)) for n in names}) > 1)
    moments = [each if n is None else zoned([each], n)[0] for each, n in zip(HOURS, names, strict=False)]
    if as_text:
        offsets = [each.utcoffset() for each in moments]
        assume(len(set(offsets)) > 1)
        with pytest.raises(ValueError, match=r"times: row \d+ .* convert them to one zone"):
            from_text([each.isoformat() for each in moments], "times")
    else:
        with pytest.raises(ValueError, match=r"times: row \d+ .* convert them to one zone"):
            as_stamps(moments, "times")


@COMMON
@given(st.lists(st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)), min_size=1), st.data())
def test_text_is_what_python_reads(moments: list[datetime.datetime], draw: st.DataObject) -> None:
    minutes = draw.draw(st.none() | st.integers(-14 * 60, 14 * 60))
    zone = None if minutes is None else datetime.timezone(datetime.timedelta(minutes=minutes))
    cells = [each.replace(tzinfo=zone).isoformat() for each in moments]
    if zone == UTC and draw.draw(st.booleans()):
        cells = [cell.replace("+00:00", "Z") for cell in cells]
    found = from_text([*cells, ""], "times")
    expected = [each - (datetime.timedelta(0) if zone is None else zone.utcoffset(None)) for each in moments]
    np.testing.assert_array_equal(found.values[:-1].astype("datetime64[us]"), np.array(expected, "datetime64[us]"))
    assert np.isnat(found.values[-1])
    assert (found.zone is None) == (zone is None)
    if zone is not None:
        assert found.zone == zone


FORM = "expected an ISO date or time such as 2020-01-31 or 2020-01-31T09:30, got "


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        (["2020-01-01", "today"], f"times: row 1: {FORM}'today'"),
        (["now"], f"times: row 0: {FORM}'now'"),
        (["NaT"], f"times: row 0: {FORM}'NaT'"),
        (["20200101"], f"times: row 0: {FORM}'20200101'"),  # numpy: the year 20,200,101
        (["-2020-01-01"], f"times: row 0: {FORM}'-2020-01-01'"),
        (["2020-01-01T00:00:00.123456789012"], "times: row 0: expected an ISO date"),  # numpy: 1969
        (["2020-01-01", "2020-01-01T00:00:00.1234567890123"], "times: row 1: expected an ISO date"),
        (["2020-01-01", "2020-02-30"], f"times: row 1: {FORM}'2020-02-30'"),
        (["2020-01-01T25:00"], "times: row 0: expected an ISO date"),
        (["0000-01-01"], "times: row 0: expected an ISO date"),
        (["2020-01-01T00:00+99:99"], f"times: row 0: {FORM}'2020-01-01T00:00+99:99'"),
        (["2020-01-01", "1500-01-01T00:00:00.123456789"], "times: row 1 is 1500-01-01T00:00:00.123456789, beyond what"),
        (["2020-01-01T00:00:00.1234567", "2500-01-01"], "times: row 1 is 2500-01-01, beyond what datetime64[ns] holds"),
        (["1677-09-21T00:12:44+09:00", "2020-01-01T00:00:00.1234567+09:00"], "times: row 0 is 1677-09-21T00:12:44+09"),
        (["0001-01-01T00:00+14:00"], "times: row 0 is 0000-12-31T10:00:00.000000, beyond the years 1 to 9999 in UTC"),
        (["2020-01-01", "\x1b[2J\n" + "9" * 100_000], "times: row 1: expected an ISO date"),
    ],
)
def test_text_that_is_no_date_or_would_wrap_around(cells: list[str], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        as_stamps(from_text(cells, "times"), "times")
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("start", ["today", "now", "", "20200101"])
def test_a_start_is_no_word(start: str) -> None:
    with pytest.raises(ValueError, match="start: row 0"):
        windows.walk_forward(HOURS, "9 days", 0, "9 days", horizon=0, start=start)


def test_a_long_cell_takes_no_memory_for_the_others() -> None:
    """numpy keeps every text as long as the longest one."""
    cells = ["2020-01-01"] * 10_000 + ["2020-01-01" + " " * 5000]
    tracemalloc.start()
    with pytest.raises(ValueError, match="row 10000"):
        from_text(cells, "times")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize("name", ["America", "x" * 300, "+99:99", "No/Such", "../etc", "a\0b"])
def test_a_columns_zone_that_is_none(name: str) -> None:
    """A folder of zones, and a name that is too long for a file, are errors of the system where they are opened."""
    lib = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    column = lib.array([1, 2], lib.timestamp("us", name))
    with pytest.raises(ValueError, match=r"times: the time zone '.*' is not known on this machine"):
        as_stamps(column, "times")


@pytest.mark.parametrize("moment", [datetime.datetime.min, datetime.datetime.max])
def test_datetimes_beyond_the_calendar_in_utc(moment: datetime.datetime) -> None:
    hours = 14 if moment.year == 1 else -12
    zone = datetime.timezone(datetime.timedelta(hours=hours))
    with pytest.raises(ValueError, match=r"times: row 1 is .*, beyond the years 1 to 9999 in UTC"):
        as_stamps([datetime.datetime(2020, 1, 1, tzinfo=zone), moment.replace(tzinfo=zone)], "times")


def test_objects_that_their_finest_unit_cannot_hold() -> None:
    fine = np.datetime64("2020-01-01T00:00:00.000000001")
    with pytest.raises(ValueError, match=r"times: row 1 is 3000-01-01.*, beyond what datetime64\[ns\] holds"):
        as_stamps([fine, datetime.datetime(3000, 1, 1)], "times")


def test_what_is_shown_of_zones_is_bounded() -> None:
    class Zone(datetime.tzinfo):
        def utcoffset(self, moment: datetime.datetime | None) -> datetime.timedelta:
            return datetime.timedelta(0)

        def dst(self, moment: datetime.datetime | None) -> None:
            return None

        def tzname(self, moment: datetime.datetime | None) -> None:
            return None

        def __str__(self) -> str:
            return "x\n" * 1000

    with pytest.raises(ValueError, match=r"row 1 .* convert them to one zone") as caught:
        as_stamps([START, START.replace(tzinfo=Zone())], "times")
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_some_of_the_stamps() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    index = pd.date_range("2024-03-30", periods=60, freq="h", tz="Europe/Berlin")
    ends = windows.label_ends(index, 3)
    some = np.arange(len(ends)) % 2 == 0
    assert ends[some].zone == ends.zone
    np.testing.assert_array_equal(ends[some].values, ends.values[some])
    assert len(ends[5:]) == len(ends) - 5


def test_label_ends_keep_zone_and_nanoseconds() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    index = pandas.date_range("2020-01-01", periods=50, freq="7h3ns", tz="Europe/Berlin").as_unit("ns")
    ends = windows.label_ends(index, 3)
    assert isinstance(ends, windows.Stamps)
    np.testing.assert_array_equal(ends.values[:-3], index.tz_convert(None).to_numpy()[3:])
    assert np.isnat(ends.values[-3:]).all()
    zoned_folds = windows.purged_kfold(index, 3, label_end=ends)
    naive = index.tz_convert(None)
    for a, b in zip(zoned_folds, windows.purged_kfold(naive, 3, label_end=windows.label_ends(naive, 3)), strict=True):
        np.testing.assert_array_equal(a.train, b.train)
    assert np.array_equal(as_stamps(list(index), "times").values, naive.to_numpy())
    with pytest.raises(ValueError, match="label_end"):
        windows.purged_kfold(naive, 3, label_end=ends)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin"])
def test_start_has_a_zone_where_times_have_one(name: str) -> None:
    times = zoned(HOURS, name)
    begin = datetime.datetime(2020, 2, 1, tzinfo=zone_of(name))
    folds = windows.walk_forward(times, "1 month", 0, "1 month", horizon=0, start=begin)
    assert times[folds[0].train[0]] == begin
    assert windows.walk_forward(times, "9 days", 0, "9 days", horizon=0, start=begin)[0].train[0] == folds[0].train[0]
    with pytest.raises(ValueError, match="start: expected the first of a month"):
        windows.walk_forward(times, "1 month", 0, "1 month", horizon=0, start=begin + datetime.timedelta(hours=1))
    for start in ("2020-02", np.datetime64("2020-02"), datetime.datetime(2020, 2, 1)):
        with pytest.raises(ValueError, match=r"start: it has no time zone, and times have the time zone "):
            windows.walk_forward(times, "1 month", 0, "1 month", horizon=0, start=start)
    with pytest.raises(ValueError, match=r"start: it has the time zone .*, and times have no time zone"):
        windows.walk_forward(HOURS, "1 month", 0, "1 month", horizon=0, start=begin)


NS = np.array(HOURS, "datetime64[ns]")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"horizon": "300000 days"}, "horizon: 300000 days is too long for stamps of datetime64.ns."),
        ({"horizon": "90000 days"}, "horizon: 90000 days after the last stamp is too large for datetime64.ns."),
        ({"horizon": "999999999999999 days"}, "horizon"),
        ({"horizon": datetime.timedelta(days=10**9 - 1)}, "horizon"),
        ({"horizon": 0, "embargo": "90000 days"}, "embargo"),
        ({"horizon": 0, "test": "300 years"}, "times"),
        ({"label_end": np.full(len(HOURS), "3000-01-01", "datetime64[D]")}, "label_end: row 0 is 3000-01-01, beyond"),
    ],
)
def test_what_numpy_would_wrap_around_is_refused(arguments: dict[str, Any], text: str) -> None:
    """300,000 days after 2020 were in 2256, in nanoseconds, and a label that ends sooner than it does leaks."""
    given = {"train": "1 month", "validation": "1 month", "test": "1 month"} | arguments
    with pytest.raises(ValueError, match=text):
        windows.walk_forward(NS, **given)


def test_numbers_that_would_wrap_around() -> None:
    for times in (np.array([1, 2, 2**63], np.uint64), np.array([1, 2, 2**62 + 1]), np.array([-(2**62) - 1, 0, 1])):
        row = 0 if times[0] < 0 else 2
        with pytest.raises(ValueError, match=rf"times: row {row} is {times[row]}; expected numbers from -2\*\*62 to"):
            windows.purged_kfold(times, 2, horizon=0)
    most = 2**62 - 1
    for fold in windows.purged_kfold(np.array([-most, 0, most]), 3, horizon=5):
        assert len(fold.train) + len(fold.purged) == 2
    with pytest.raises(ValueError, match=f"embargo: {most} after the last stamp is too large for int64"):
        windows.purged_kfold(np.array([1, 2, most]), 2, horizon=most, embargo=most)
    with pytest.raises(ValueError, match=r"horizon: .* is too long for stamps of int64"):
        windows.purged_kfold(np.array([1, 2, 3]), 2, horizon=2**62)
    with pytest.raises(ValueError, match="which would reach from 0 to"):  # without a warning of numpy's
        windows.walk_forward(np.arange(9), np.int64(most), np.int64(most), np.int64(most), horizon=0)


def test_a_csv_with_offsets(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("pytorch_lightning", reason="pytorch-lightning is not installed")
    from lstmcore.train.config import DataSection
    from lstmcore.train.table import read_table

    section = DataSection(path="x.csv", features=["a"], window=2, horizon=1, timestamp="at", target="y")
    path = tmp_path / "x.csv"

    def stamps(*cells: str) -> windows.Stamps:
        path.write_text("".join(["at,a,y\n", *(f"{cell},1,0\n" for cell in cells)]))
        return read_table(section, tmp_path).stamps

    found = stamps("2020-01-01T00:30+02:00", "2020-01-01T01:00+02:00")
    assert found.values.tolist() == [datetime.datetime(2019, 12, 31, 22, 30), datetime.datetime(2019, 12, 31, 23)]
    assert str(found.zone) == "UTC+02:00"
    assert stamps("2020-01-01", "2020-01-02").zone is None
    assert stamps("1577836800000000001", "1577836800000000003").values.tolist() == [
        1577836800000000001,
        1577836800000000003,
    ]
    for cells in (("2020-01-01T00:30Z", "2020-01-01T01:00"), ("2020-01-01T00:30+01:00", "2020-01-01T01:00+02:00")):
        with pytest.raises(ValueError, match=r"x.csv: column 'at': row 1 .* convert them to one zone"):
            stamps(*cells)
    for cells in (("1_000", "2_000"), ("2020-01-01", "soon")):
        with pytest.raises(ValueError, match=r"x.csv: column 'at': row [01]: expected an ISO date"):
            stamps(*cells)
