"""The two kinds of files that Keras writes, down to the architecture as parsed JSON and the open file of weights.

A .keras file is a zip archive of config.json, metadata.json and model.weights.h5. An .h5 file is one HDF5 file with
the architecture in an attribute. Both are read as if an enemy had written them.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from lstmcore.errors import LstmcoreError, ModelFormatError, UnsupportedError
from lstmcore.files import open_plain, read_whole
from lstmcore.formats.guard.json_text import parse
from lstmcore.formats.guard.limits import allowed
from lstmcore.formats.keras.hdf5 import Hdf5
from lstmcore.formats.keras.keras_spec import Spec
from lstmcore.formats.keras.keras_weights import OldWeights, Weights

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"

MAX_CONFIG = 4 << 20  # bytes; the architecture of a thousand layers needs under three MiB
MAX_METADATA = 1 << 16
MAX_WEIGHTS = 4 << 30
MAX_MEMBERS = 1 << 10


class Opened(NamedTuple):
    """The outermost model of a file, and its weights."""

    model: Spec
    weights: Weights


@contextlib.contextmanager
def open_zip(file: str) -> Iterator[Opened]:
    """A .keras file. Raises FileNotFoundError and ModelFormatError."""
    with open_plain(file) as stream:
        most = allowed(os.fstat(stream.fileno()).st_size)
        try:
            with zipfile.ZipFile(stream) as archive:
                members = _members(archive, file)
                config = _read(archive, members, CONFIG, min(most, MAX_CONFIG), file)
                metadata = _read(archive, members, METADATA, min(most, MAX_METADATA), file)
                weights = _read(archive, members, WEIGHTS, min(most, MAX_WEIGHTS), file)
        except LstmcoreError:
            raise
        except (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, RuntimeError) as error:
            raise ModelFormatError(f"{file}: not a .keras file, or a damaged one: {_line(error)}") from None
    version = parse(metadata, f"{file}: {METADATA}", most).get("keras_version")
    model = Spec(parse(config, f"{file}: {CONFIG}", most, finite=False), file, _major(version, file))
    with Hdf5(weights, f"{file}: {WEIGHTS}", most) as opened:
        yield Opened(model, Weights(opened, f"{file}: {WEIGHTS}"))


@contextlib.contextmanager
def open_h5(file: str) -> Iterator[Opened]:
    """An .h5 file with a whole model. Raises FileNotFoundError and ModelFormatError."""
    data = read_whole(file, MAX_WEIGHTS)
    with Hdf5(data, file) as opened:
        config = opened.texts("", "model_config")
        if config is None:
            raise ModelFormatError(
                f"{file}: no attribute 'model_config': weights alone, or no file of Keras; save the whole model with "
                f"model.save"
            )
        version = next(iter(opened.texts("", "keras_version") or []), None)
        if len(config) != 1 or len(config[0]) > MAX_CONFIG:
            raise ModelFormatError(f"{file}: attribute 'model_config': expected one text of at most {MAX_CONFIG} bytes")
        parsed = parse(config[0].encode(), f"{file}: attribute 'model_config'", allowed(len(data)), finite=False)
        model = Spec(parsed, file, _major(version, file))
        yield Opened(model, OldWeights(opened, file))


def _members(archive: zipfile.ZipFile, file: str) -> dict[str, zipfile.ZipInfo]:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(entries) > MAX_MEMBERS or len(set(names)) != len(names):
        raise ModelFormatError(f"{file}: {len(names)} members, of which {len(set(names))} have names of their own")
    for name in names:
        if name not in (CONFIG, METADATA, WEIGHTS) and not re.fullmatch(r"assets/[\w./-]*", name):
            raise UnsupportedError(f"{file}: unknown member {name!r:.200}; expected {CONFIG}, {METADATA} and {WEIGHTS}")
        if ".." in name:
            raise ModelFormatError(f"{file}: a member with a path out of the archive: {name!r:.200}")
    return dict(zip(names, entries, strict=True))


def _read(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str, limit: int, file: str) -> bytes:
    """A member's bytes, once its size has been found to be possible."""
    what = f"{file}: {name}"
    if name not in members:
        raise ModelFormatError(f"{what} is missing")
    entry, size = members[name], os.fstat(archive.fp.fileno()).st_size  # type: ignore[union-attr]
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
        raise ModelFormatError(f"{what}: expected it stored or deflated, and not encrypted")
    stored = entry.compress_type == zipfile.ZIP_STORED
    if entry.file_size > limit or entry.compress_size > size or (stored and entry.file_size != entry.compress_size):
        raise ModelFormatError(f"{what}: {entry.file_size} bytes in {entry.compress_size}; at most {limit} are taken")
    with archive.open(entry) as stream:
        data = stream.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise ModelFormatError(f"{what}: expected {entry.file_size} bytes, got {len(data)}")
    return data


def _major(version: Any, file: str) -> int:
    """Keras's major version: 2 or 3."""
    match = re.match(r"([23])\.\d", version) if isinstance(version, str) else None
    if match is None:
        raise UnsupportedError(f"{file}: written by Keras {version!r:.100}; read are files of Keras 2 and 3")
    return int(match[1])


def _line(error: Exception) -> str:
    return f"{' '.join(str(error).split())!r:.200}"
