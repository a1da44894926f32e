"""HDF5 files, read as if an enemy had written them.

What lies in a file is looked at before anything of it is read: groups and datasets under hard links, each once, and
nothing that points out of the file. A dataset is then read into an array of the shape and dtype that the caller
expects, and only if its bytes lie in the file. Compressed chunks are unpacked here, into as many bytes as they must
have, and not by the filters of the HDF5 library, which allocate what the compressed data says. Texts are read by
`hdf5_text.py`.

h5py raises whatever its wrappers happen to raise on damaged files; each becomes a ModelFormatError of one line.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import zlib
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore.errors import ModelFormatError, UnsupportedError
from lstmcore.formats.guard.limits import allowed
from lstmcore.formats.keras.hdf5_text import Heaps, texts_of
from lstmcore.layers import Array

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]

MAX_OBJECTS = 1 << 16  # groups and datasets; a model of a thousand layers with its optimizer has some ten thousand
MAX_DEPTH = 32  # groups in groups
MAX_CHUNKS = 1 << 16

DEFLATE, SHUFFLE = 1, 2  # the library's numbers of its filters


class Hdf5:
    """An HDF5 file that is open for reading, its structure checked.

    Args:
        data: All bytes of the file. The library reads zeros where a file on the disk has become shorter.
        what: The beginning of every error.
        most: How many bytes all arrays together may take that are read from it; None: `allowed` of its size.

    Raises:
        UnsupportedError: h5py is not installed.
        ModelFormatError: No HDF5 file, a damaged one, or one with links that are not hard ones.
    """

    def __init__(self, data: bytes, what: str, most: int | None = None) -> None:
        try:
            import h5py
        except ImportError:
            raise UnsupportedError(
                f"{what}: reading HDF5 needs h5py, which is not installed: pip install 'lstmcore[keras]'"
            ) from None
        self._h5py, self._what, self._data, self._heaps = h5py, what, data, Heaps(data)
        self._datasets: dict[str, h5py.Dataset] = {}
        self._groups: dict[str, h5py.Group] = {}
        self._size = len(data)
        self._left = allowed(self._size) if most is None else most
        with self._guard("not an HDF5 file, or a damaged one"):
            self._file = self._open(data)
        try:
            with self._guard("damaged"):
                self._walk(self._file, "", {}, 0)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Hdf5:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        with self._guard("damaged"):
            self._file.close()

    @property
    def datasets(self) -> list[str]:
        """The paths of all datasets, without a slash before them."""
        return list(self._datasets)

    def has_group(self, path: str) -> bool:
        """Whether there is a group at `path`; "" is the root."""
        return path in self._groups

    def children(self, path: str) -> list[str]:
        """The names of what lies in the group at `path`; [] without it."""
        start = f"{path}/" if path else ""
        names = (p.removeprefix(start) for p in (*self._groups, *self._datasets) if p.startswith(start))
        return [name for name in names if name and "/" not in name]

    def texts(self, group: str, name: str) -> list[str] | None:
        """An attribute that holds one or more texts; None without it."""
        what = f"attribute {name!r} of group {group or '/'!r:.200}"
        if group not in self._groups:
            return None
        if self._file.userblock_size or self._file.id.get_create_plist().get_sizes() != (8, 8):
            raise self._refused(f"{what}: expected offsets of 8 bytes from the file's beginning, as Keras writes them")
        with self._guard(f"{what} is damaged"):
            return texts_of(self._data, self._heaps, self._address(self._groups[group]), name)

    def read(self, path: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """The dataset at `path`, which must be float32 or float64 as `dtype` says and have that shape.

        Raises:
            ModelFormatError: No such dataset, another shape or dtype, bytes that the file does not have, or a filter
                other than gzip and shuffle.
        """
        if path not in self._datasets:
            raise self._refused(f"dataset {path!r:.200} is missing; expected shape {shape}")
        with self._guard(f"dataset {path!r:.200} is damaged"):
            return self._read(self._datasets[path], f"dataset {path!r:.200}", shape, dtype)

    def _open(self, data: bytes) -> h5py.File:
        access = self._h5py.h5p.create(self._h5py.h5p.FILE_ACCESS)
        access.set_fapl_core(backing_store=False)
        access.set_file_image(data)
        opened = self._h5py.h5f.open(b"weights", self._h5py.h5f.ACC_RDONLY, fapl=access)
        return self._h5py.File(opened)

    def _walk(self, group: h5py.Group, path: str, seen: dict[int, str], depth: int) -> None:
        self._once(group, path, seen)
        self._groups[path] = group
        if depth > MAX_DEPTH:
            raise self._refused(f"groups in groups, more than {MAX_DEPTH} deep")
        for name in group:
            inner = f"{path}/{name}" if path else str(name)
            if not isinstance(group.get(name, getlink=True), self._h5py.HardLink):
                raise self._refused(f"{inner!r:.200} is a soft or external link; expected a group or a dataset")
            found = group[name]
            if isinstance(found, self._h5py.Group):
                self._walk(found, inner, seen, depth + 1)
            elif isinstance(found, self._h5py.Dataset):
                self._once(found, inner, seen)
                self._datasets[inner] = found
            else:
                raise self._refused(f"{inner!r:.200}: expected a group or a dataset, got {type(found).__name__}")

    def _once(self, found: h5py.Group | h5py.Dataset, path: str, seen: dict[int, str]) -> None:
        address = self._address(found)
        if address in seen:
            raise self._refused(f"{path!r:.200} and {seen[address]!r:.200} are the same thing under two names")
        seen[address] = path
        if len(seen) > MAX_OBJECTS:
            raise self._refused(f"more than {MAX_OBJECTS} groups and datasets")

    def _address(self, found: h5py.Group | h5py.Dataset) -> int:
        """Where its header is. (h5o.get_info also measures its index, for ever where that is damaged.)"""
        low, high = self._h5py.h5g.get_objinfo(found.id, b".").objno
        return int(low | high << 32)

    def _read(self, found: h5py.Dataset, what: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        h5d, h5t, creation = self._h5py.h5d, self._h5py.h5t, found.id.get_create_plist()
        layout = creation.get_layout()
        if layout == h5d.VIRTUAL or creation.get_external_count():
            raise self._refused(f"{what}: its numbers lie in another file; expected them here")
        if tuple(found.shape or ()) != shape:
            raise self._refused(f"{what}: expected shape {shape}, got {found.shape}")
        kinds = {
            "float32": (h5t.IEEE_F32LE, h5t.IEEE_F32BE),
            "float64": (h5t.IEEE_F64LE, h5t.IEEE_F64BE),
        }[dtype.name]
        stored = found.id.get_type()
        if stored not in kinds:
            raise self._refused(f"{what}: expected {dtype.name}, got another type ({_type_name(found)})")
        size = math.prod(shape) * dtype.itemsize
        if layout == h5d.CHUNKED:
            if size > self._left or found.id.get_num_chunks() > MAX_CHUNKS:
                raise self._too_large(what, shape, dtype)
            self._left -= size
            return self._read_chunks(found, what, dtype.newbyteorder("<" if stored == kinds[0] else ">"))
        offset = found.id.get_offset()  # None: in the dataset's header
        if (
            size > min(self._size, self._left)
            or found.id.get_storage_size() != size
            or (offset is not None and offset + size > self._size)
        ):
            raise self._too_large(what, shape, dtype)
        self._left -= size
        return np.asarray(found[()], dtype)

    def _read_chunks(self, found: h5py.Dataset, what: str, dtype: np.dtype[Any]) -> Array:
        creation, chunk = found.id.get_create_plist(), tuple(int(n) for n in found.chunks)
        filters = [creation.get_filter(n)[0] for n in range(creation.get_nfilters())]
        if filters not in ([], [DEFLATE], [SHUFFLE], [SHUFFLE, DEFLATE]):
            raise self._refused(f"{what}: expected no filters, or gzip and shuffle, got those of the numbers {filters}")
        size = math.prod(chunk) * dtype.itemsize
        if size > self._left:
            raise self._refused(f"{what}: chunks {chunk} of {size} bytes are more than the file can hold")
        starts = itertools.product(*(range(0, n, step) for n, step in zip(found.shape, chunk, strict=True)))
        result = np.empty(found.shape, dtype.newbyteorder("="))
        for start in starts:
            place = found.id.get_chunk_info_by_coord(start)
            if place.byte_offset is None or not 0 < place.size <= 2 * size + 64:
                raise self._refused(f"{what}: the chunk at {start} is missing or of an impossible size")
            mask, data = found.id.read_direct_chunk(start)
            if mask:
                raise self._refused(f"{what}: the chunk at {start} was written past its filters")
            if DEFLATE in filters:
                data = zlib.decompressobj().decompress(data, size + 1)
            if len(data) != size:
                raise self._refused(f"{what}: the chunk at {start} has another size than {size} bytes")
            if SHUFFLE in filters:  # the first byte of every number, then the second of every number, ...
                data = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1).T.tobytes()
            inside = tuple(slice(at, at + step) for at, step in zip(start, chunk, strict=True))
            part = np.frombuffer(data, dtype).reshape(chunk)
            result[inside] = part[tuple(slice(n) for n in result[inside].shape)]
        return result

    def _too_large(self, what: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> ModelFormatError:
        return self._refused(f"{what}: a shape of {shape} in {dtype.name} is more than the file holds of it")

    def _refused(self, why: str) -> ModelFormatError:
        return ModelFormatError(f"{self._what}: {why}")

    @contextlib.contextmanager
    def _guard(self, why: str) -> Iterator[None]:
        """Every error of h5py as one of ours: there is no list of what it raises on a damaged file."""
        try:
            yield
        except ModelFormatError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())
            raise self._refused(f"{why}: {type(error).__name__}: {text!r:.200}") from None


def _type_name(found: h5py.Dataset) -> str:
    try:
        return str(found.dtype)
    except Exception:  # as in _guard; types that numpy does not have
        return "one that numpy does not have"
