"""lstmcore.data: numbers from .npy, .csv and .parquet files come in as they are, or an error names the file."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmcore import data
from lstmcore.data import csv_file

COMMON = settings(max_examples=100, deadline=None)
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"


def refused(path: Path, content: bytes | str, columns: list[str] | None = None) -> str:
    """What is said of a file that must be refused, in one line that names it."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        data.read(str(path), columns)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert len(text) < 500 + len(str(path))
    return text.removeprefix(str(path))


def read_or_error(path: Path, content: bytes) -> Any:
    """What is read, or the error's text; any other error is the test's."""
    path.write_bytes(content)
    try:
        return data.read(str(path)).values
    except ValueError as error:
        return str(error)


# --- .csv -------------------------------------------------------------------------------------------------------

numbers = st.floats(width=64) | st.integers(-(2**53), 2**53).map(float)
names = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=8).map(str.strip)


@COMMON
@given(st.data(), st.integers(1, 4), st.integers(1, 30))
def test_what_csv_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject, columns: int, rows: int
) -> None:
    """Any names that are no numbers, any numbers to the last bit, empty cells; quotes, line ends, a byte order mark."""
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    header = draw.draw(st.lists(names.filter(lambda n: n and not csv_file.is_number(n)), min_size=columns,
                                max_size=columns, unique=True))  # fmt: skip
    body = draw.draw(st.lists(st.lists(numbers | st.none(), min_size=columns, max_size=columns), min_size=rows,
                              max_size=rows))  # fmt: skip
    text = io.StringIO()
    quoting = draw.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(text, lineterminator=draw.draw(st.sampled_from(["\n", "\r\n", "\r"])), quoting=quoting)
    spelled = [["" if x is None else draw.draw(st.sampled_from([repr(x), f" {x!r} "])) for x in row] for row in body]
    writer.writerows([header, *spelled])
    end = draw.draw(st.sampled_from(["", "\n", "\r\n\r\n"]))
    mark = draw.draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    if columns == 1 and quoting == csv.QUOTE_MINIMAL:  # writes an empty cell alone as ""
        body, spelled = [[0.5]], [["0.5"]]
        text = io.StringIO()
        csv.writer(text).writerows([header, *spelled])
    path.write_bytes(mark + text.getvalue().encode() + end.encode())
    read = data.read(str(path))
    assert read.names == header
    expected = np.array([[np.nan if x is None else x for x in row] for row in body])
    np.testing.assert_array_equal(read.values, expected)
    order = draw.draw(st.permutations(header))
    np.testing.assert_array_equal(data.read(str(path), order).values, expected[:, [header.index(n) for n in order]])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text("a1,;.\"'\n\r _-e\t", max_size=200).map(str.encode))
def test_no_bytes_are_another_error(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    for name in ("x.csv", "x.npy"):
        path = tmp_path_factory.mktemp("junk") / name
        for content in (junk, b"a,b\n1,2\n" + junk, b"\x93NUMPY\x01\x00v\x00" + junk):
            found = read_or_error(path, content)
            assert found.startswith(str(path)) if isinstance(found, str) else found.ndim in (2, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,1_000\n2,3\n", "line 2, column 'b': not a number: '1_000'"),
        ("a,b\n1,2\n3,0x10\n", "line 3, column 'b': not a number: '0x10'"),
        ("a,b\n1,\N{FULLWIDTH DIGIT ONE}\n2,3\n", "line 2, column 'b': not a number"),
        ('a,b\n1,"1,5"\n2,3\n', "line 2, column 'b': not a number: '1,5'; expected a decimal point"),
        ('a,b\n1,"1"2\n', "not a .csv file"),
        ('a,b\n1,"2\n3,4\n', "not a .csv file: unexpected end of data"),
        ("a;b;c\n1;2;3\n", "its rows have semicolons between their cells, such as '1;2;3'; expected commas"),
        ("a;b\n1,5;2,5\n", "its rows have semicolons between their cells, such as '1,5;2,5'"),
        ("a\tb\n1\t2\n", "its rows have tabs"),
        ("a|b\n1|2\n", "its rows have bars"),
        ("a b\n1 2\n", "its rows have spaces"),
        ("a,b\n1,2\n\n3,4\n", "line 3: 0 cells; the header has 2"),
        ("\n\n", "empty"),
        ("\n\na,b\n1,2\n1,x\n2,3\n", "line 5, column 'b': not a number: 'x'"),
        ("\n\na,b\n1,2\n1\n", "line 5: 1 cells; the header has 2"),
        ('\n"a\nz",b\n"1\n",2\n1,x\n2,3\n', "line 6, column 'b': not a number: 'x'"),
        (LFS, "a Git LFS pointer, not the file itself"),
        (b"\xff\xfea\x00,\x00b\x00", "not a .csv file: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_what_a_csv_may_not_be(text: str | bytes, said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path / "x.csv", text)


def test_a_number_that_is_none_is_found_behind_many(tmp_path: Path) -> None:
    """In a later piece, and in a column that was taken for text until then."""
    rows = ["1.5,x"] * (2 * csv_file.ROWS_AT_ONCE)
    path = tmp_path / "x.csv"
    at = 2 * csv_file.ROWS_AT_ONCE + 2
    assert f"line {at}, column 'a': not a number: '1_5'" in refused(path, "\n".join(["a,b", *rows, "1_5,y", "1,z"]))
    assert "line 2, column 'b': not a number: 'x'" in refused(path, "\n".join(["a,b", *rows, "1.5,7"]))
    path.write_text("\n".join(["a,b", *rows]))
    read = data.read(str(path))
    assert read.values.shape == (len(rows), 1)
    assert read.notes == [f"{path}: left out, not numbers: b"]


def test_the_time_of_a_wide_header_does_not_take_the_square(tmp_path: Path) -> None:
    names = [f"c{n}" for n in range(20_000)]
    numbers = ",".join(["1"] * len(names))
    begin = time.process_time()
    assert "two columns have the name 'c19999'" in refused(tmp_path / "x.csv", ",".join([*names, names[-1]]) + "\n")
    (tmp_path / "y.csv").write_text(",".join(names) + f"\n{numbers}\n")
    assert data.read(str(tmp_path / "y.csv"), names[::-1]).names == names[::-1]
    assert time.process_time() - begin < 1.5


def test_a_csv_takes_a_few_times_its_size(tmp_path: Path) -> None:
    """38 times it was. Two arrays of eight bytes a cell are left, for cells of seven, and a piece of text."""
    path = tmp_path / "x.csv"
    rng = np.random.default_rng(0)
    np.savetxt(path, rng.uniform(0, 9, (60_000, 6)), delimiter=",", header="a,b,c,d,e,f", comments="", fmt="%.4f")
    tracemalloc.start()
    try:
        read = data.read(str(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read.values.shape == (60_000, 6)
    assert peak < 5 * path.stat().st_size


# --- .npy -------------------------------------------------------------------------------------------------------


def npy(header: str, body: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    packed = header.encode()
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(packed)) + packed + body


def head(shape: str = "(3, 2)", descr: str = "'<f8'", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


BODY = np.arange(6.0).tobytes()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("descr", ["<f8", ">f4", "<i2", "|u1", "|b1", "<f2"])
def test_every_form_of_npy(version: tuple[int, int], fortran: bool, descr: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    values = np.random.default_rng(0).integers(0, 2, (4, 3)).astype(descr)
    body = values.tobytes("F" if fortran else "C")
    path.write_bytes(npy(head("(4, 3)", repr(descr), str(fortran)), body, version))
    read = data.read(str(path)).values
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, values)
    np.testing.assert_array_equal(np.load(path), values)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ""),
        (npy("((((("), ""),
        (npy("{'descr': '''"), ""),
        (npy("(" * 1000), ""),
        (npy("-" * 1000 + "1"), ""),
        (npy("[" + "1," * 4000), "a header of 8001 bytes; at most 1024 are taken"),
        (npy("[" * 150 + "]" * 150), ""),
        (npy("['# , nan'O''1 ' ', :11[4), } '!" + " " * 980 + "("), ""),  # seconds, were it three times as long
        (npy(head("(10000000000000, 2)"), BODY), "more than the 48 bytes"),
        (npy(head(f"({'9' * 450}, {'9' * 450})"), BODY), "a shape with a size of 2**63 or more"),
        (npy(head(f"(0x{'F' * 950}, 2)"), BODY), "a shape with a size of 2**63 or more"),
        (npy(head(f"(-0x{'F' * 950}, 2)"), BODY), "a shape with a size below 0"),
        (npy(head("(-3, -2)"), BODY), "a shape with a size below 0"),
        (npy(head("(3,)"), BODY), "shape (3,)"),
        (npy(head("(0, 9999999999999999)"), BODY), ": no rows of numbers"),
        (npy(head("('3', 2)"), BODY), ""),
        (npy(head("(3, 2)"), BODY + b"x"), "less than the 49 bytes"),
        (npy(head("(3, 2)"), BODY[:-1]), "more than the 47 bytes"),
        (npy(head(descr="'|O'"), BODY), "got object"),
        (npy(head(descr="[('a', '<f8')]"), BODY), "got [('a'"),
        (npy(head(descr=str([(f"a{n}", "<f8") for n in range(50)])), BODY), "got [('a0'"),
        (npy(head(descr="'<c16'"), BODY), "got complex128"),
        (npy(head(descr="'<M8[s]'"), BODY), "got datetime64[s]"),
        (npy(head(descr="'<U2'"), BODY), "got <U2"),
        (npy(head(descr="'<Q9'"), BODY), ""),
        (npy(head(), BODY, (9, 0)), "version 9.0 of the format is not known"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "a header of 4294967295 bytes; at most 1024 are taken"),
        (b"PK\x03\x04 an archive", ""),
        (LFS, "a Git LFS pointer"),
    ],
    ids=range(29),
)
def test_npy_files_that_are_refused(content: bytes | str, said: str, tmp_path: Path) -> None:
    text = refused(tmp_path / "x.npy", content)
    assert said in text
    assert content == LFS or ": not a .npy file of numbers" in text or ": no rows" in text


@settings(max_examples=400, deadline=None)
@given(
    st.integers(0, 70),
    st.binary(min_size=1, max_size=20),
    st.text("{}()[]'\":,<f8 0123TrueFalsdcpoh_\n\\#-", max_size=90),
)
def test_no_header_is_another_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, noise: bytes, header: str
) -> None:
    path = tmp_path_factory.mktemp("npy") / "x.npy"
    sound = npy(head(), BODY)
    for content in (sound[:at] + noise + sound[at + len(noise) :], npy(header, BODY), npy(header, BODY, (3, 0))):
        found = read_or_error(path, content)
        assert found.startswith(str(path)) if isinstance(found, str) else found.nbytes <= len(BODY)


# --- all --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.csv", "x.npy", "x.parquet"])
def test_what_is_no_plain_file_is_not_waited_for(name: str, tmp_path: Path) -> None:
    if name == "x.parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(ValueError, match=f"{name}: expected a file, got a named pipe"):
        data.read(str(path))
    path.unlink()
    assert "a Git LFS pointer" in refused(path, LFS)


def test_parquet_columns_of_every_type(tmp_path: Path) -> None:
    lib = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from decimal import Decimal

    from pyarrow import parquet

    columns: dict[str, Any] = {
        "i64": lib.array([1, None], lib.int64()),
        "u8": lib.array([1, 255], lib.uint8()),
        "f16": lib.array(np.array([1.5, -2], np.float16)),
        "f32": lib.array([0.1, None], lib.float32()),
        "flag": lib.array([True, None]),
        "money": lib.array([Decimal("1.25"), Decimal("-3.50")]),
        "text": lib.array(["1", "2"]),
        "kind": lib.array(["a", "b"]).dictionary_encode(),
        "day": lib.array([0, 1], lib.date32()),
        "at": lib.array([0, 1], lib.timestamp("ns", "UTC")),
        "span": lib.array([0, 1], lib.duration("s")),
        "none": lib.nulls(2),
        "list": lib.array([[1.0], [2.0]]),
    }
    path = tmp_path / "x.parquet"
    parquet.write_table(lib.table(columns), path)
    read = data.read(str(path))
    assert read.names == ["i64", "u8", "f16", "f32", "flag", "money"]
    nan = math.nan
    expected = [[1, 1, 1.5, np.float32(0.1), 1, 1.25], [nan, 255, -2, nan, nan, -3.5]]
    np.testing.assert_array_equal(read.values, expected)
    assert read.notes[0].endswith("left out, not numbers: text, kind, day, at, span, none, list")
    assert read.notes[1].endswith("3 empty cells are read as NaN")
    for name in read.notes[0].partition("numbers: ")[2].split(", "):
        with pytest.raises(ValueError, match=f"x.parquet: column '{name}': expected numbers, got "):
            data.read(str(path), ["i64", name])
    parquet.write_table(lib.Table.from_arrays([columns["u8"], columns["u8"]], names=["a", "a"]), path)
    with pytest.raises(ValueError, match=r"x.parquet: two columns have the name 'a'"):
        data.read(str(path))


def test_only_the_columns_asked_for_are_read_of_a_parquet_file(tmp_path: Path) -> None:
    """A text that is there once and repeated in each row is long in memory, and never asked for."""
    lib = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    path, rows = tmp_path / "x.parquet", 5000
    x = np.random.default_rng(0).normal(size=rows)
    text = lib.DictionaryArray.from_arrays(lib.array(np.zeros(rows, np.int32)), lib.array(["t" * 20_000]))
    parquet.write_table(lib.table({"text": text.cast(lib.string()), "x": x, "zero": np.zeros(rows)}), path)
    usual, pool = lib.default_memory_pool(), lib.system_memory_pool()
    lib.set_memory_pool(pool)
    try:
        for columns in (None, ["x"], ["zero", "x", "zero"]):
            read = data.read(str(path), columns)
            expected = np.stack([x * (name == "x") for name in columns or ["x", "zero"]], 1)
            np.testing.assert_array_equal(read.values, expected)
        assert data.read_parquet_table(str(path), ["x"]).column_names == ["x"]
        assert pool.max_memory() < 1 << 20
    finally:
        lib.set_memory_pool(usual)
    with pytest.raises(ValueError, match=r"x.parquet: no column 'y'; there are text, x, zero"):
        data.read_parquet_table(str(path), ["y"])


def test_parquet_files_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lib = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    path = tmp_path / "x.parquet"
    parquet.write_table(lib.table({"name": [1.0, 2.0]}), path)
    assert ": not a .parquet file: 'utf-8' codec" in refused(path, path.read_bytes().replace(b"name", b"na\xffe"))
    assert ": not a .parquet file: " in refused(path, b"PAR1" + b"x" * 100 + b"PAR1")
    wide = lib.array([{f"field{n}": 1.0 for n in range(900)}])
    parquet.write_table(lib.table({"many": wide}), path)
    assert ": column 'many': expected numbers, got struct<field0" in refused(path, path.read_bytes(), ["many"])
    rows = 1 << 20
    parquet.write_table(lib.table({"a": np.zeros(rows), "b": np.zeros(rows), "text": ["x"] * rows}), path)
    monkeypatch.setattr(data, "MAX_CELLS", rows)
    assert path.stat().st_size * data.CELLS_A_BYTE < rows
    assert data.read(str(path), ["b"]).values.shape == (rows, 1)
    assert f": {rows} rows of 2 columns to read; at most " in refused(path, path.read_bytes())
