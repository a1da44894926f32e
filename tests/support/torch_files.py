"""Files as torch.save writes them, made by hand, and what all tests of their reader ask."""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

import lstmcore
from lstmcore.formats.torch.torch_file import read_checkpoint


def as_numpy(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    halves = (torch.float16, torch.bfloat16)
    return {key: (x.float() if x.dtype in halves else x).detach().numpy() for key, x in state.items()}


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    """The same keys in the same order, with the same bits."""
    return list(found) == list(expected) and all(
        (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())
        for x, y in zip(found.values(), expected.values(), strict=True)
    )


class Made:
    """Pickled as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Stored:
    """Pickled as torch pickles a storage."""

    def __init__(self, *fields: Any) -> None:
        self.fields = fields


def storage(key: str = "0", elements: Any = 6, kind: Any = torch.FloatStorage, location: str = "cpu") -> Stored:
    return Stored("storage", kind, key, location, elements)


def tensor(
    shape: Any = (2, 3), strides: Any = (3, 1), offset: Any = 0, stored: Any = None, *more: Any, hooks: Any = None
) -> Made:
    hooks = OrderedDict() if hooks is None else hooks
    return Made(torch._utils._rebuild_tensor_v2, stored or storage(), offset, shape, strides, False, hooks, *more)


def pickled(content: Any) -> bytes:
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return obj.fields if isinstance(obj, Stored) else None

    out = io.BytesIO()
    Pickler(out, protocol=2).dump(content)
    return out.getvalue()


SIX = np.arange(1, 7, dtype=np.float32)


def records(content: Any = None, **others: bytes | None) -> dict[str, bytes]:
    """An archive's records around `content`, pickled or the pickle itself; None leaves one out."""
    content = {"w": tensor()} if content is None else content
    data = content if isinstance(content, bytes) else pickled(content)
    found = {"data.pkl": data, "byteorder": b"little", "data/0": SIX.tobytes(), "version": b"3\n"} | others
    return {name: data for name, data in found.items() if data is not None}


def write(path: Path, parts: dict[str, bytes], folder: str = "archive/", **how: Any) -> None:
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, data in parts.items():
            archive.writestr(folder + name, data)


def refused(path: Path, text: str, function: Callable[[Path], Any] = read_checkpoint) -> None:
    """That the file is, with one line that begins with its path and has the pattern `text` behind it."""
    with pytest.raises(lstmcore.ModelFormatError) as caught:
        function(path)
    found = str(caught.value)
    assert found.startswith(f"{path}: ")
    assert found.isprintable()
    assert len(found) < 1000
    assert re.search(text, found.removeprefix(str(path))), found


def refused_cheaply(path: Path, text: str) -> None:
    """As `refused`, and without more than two MiB allocated."""
    with small_allocations(2):
        refused(path, text)


@contextlib.contextmanager
def small_allocations(limit: int) -> Iterator[None]:
    """That what goes on inside allocates less than `limit` MiB at any time."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit << 20


EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 10_000), st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("insert"), st.integers(0, 10_000), st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("delete"), st.integers(0, 10_000), st.integers(1, 64)),
        st.tuples(st.just("repeat"), st.integers(0, 10_000), st.integers(1, 64)),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, edits: list[tuple[str, int, Any]]) -> bytes:
    for what, place, value in edits:
        at = place % (len(data) + 1)
        if what == "set":
            data = data[:at] + value + data[at + len(value) :]
        elif what == "insert":
            data = data[:at] + value + data[at:]
        elif what == "delete":
            data = data[:at] + data[at + value :]
        else:
            data = data[: at + value] + data[at:]
    return data


def read_cheaply(path: Path) -> dict[str, np.ndarray] | None:
    """What is read, or None if the file is refused; another error or a large allocation fails."""
    with small_allocations(4):
        try:
            return read_checkpoint(path)
        except lstmcore.ModelFormatError as error:
            text = str(error)
    if not (text.startswith(f"{path}: ") and text.isprintable()):
        raise AssertionError(text)
    return None
