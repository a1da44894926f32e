"""Files that are damaged within a part of them, whose lengths and checksums are made right again.

So a reader gets beyond what it checks first: the CRC-32 of a zip's member, the length of a header, the SHA-256 of a
stream's state. Keras writes HDF5 files of the first version, which have no checksums; their JSON is damaged in its
place. Whatever damages bytes is handed in as `spoil`.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import pickletools
import random
import re
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import safetensors.numpy

from lstmcore.streaming import files

Spoil = Callable[[bytes], bytes]

MOST = 1 << 22  # bytes that a packed file may become here
LONGEST = 5000  # bytes of a word that is repeated: repeated words are words for the next round
ODD = (
    None, True, False, 0, 1, -1, 2, 7, 64, 2**31, 2**62, -(2**63), 10**400, 0.5, -0.0, 1e308, "", "x", "\0", "\n",
    "\x1b[2J", "é" * 300, [], {}, [[]], [0], ["x"],
)  # fmt: skip
WORDS = (
    b"", b"0", b"-1", b"1e400", b"nan", b"inf", b"1_000", b"0x10", b"1" * 5000, b"true", b'"', b"'", b",", b";", b"\n",
    b"\r", b"\0", b"\xff", b"[", b"]", b"{", b"}", b"=", b".", b"#", b"9" * 19, b"a.b.c", b"'''", b'"""', b"\xff\xfe",
    b"\xef\xbb\xbf", b"2024-01-01", b"[[", b"(", b")", b"(4, 3)", b"'O'", b"'<f8'", b"|V8",
)  # fmt: skip
SIZES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U8": 1, "BOOL": 1}


def damaged(reader: str, data: bytes, draw: random.Random, spoil: Spoil) -> bytes:
    """A copy that is damaged in its bytes or, three times in four, within a part."""
    if draw.random() < 0.75:
        try:
            return WITHIN[reader](data, draw, spoil)
        except Exception:  # no longer of its format, after some rounds of damage
            pass
    return spoil(data)


def _in_json(text: bytes, draw: random.Random, spoil: Spoil) -> bytes:
    """JSON with something odd in one place of it, or in the JSON that a text of it holds."""
    document = json.loads(text)
    places = list(_places(document))
    where, key = draw.choice(places)
    other, other_key = draw.choice(places)
    value, kind = where[key], draw.randrange(8)
    if isinstance(value, str) and value.startswith("{"):
        where[key] = _in_json(value.encode(), draw, spoil).decode()
    elif kind == 0:
        del where[key]
    elif kind == 1 and isinstance(where, dict):
        where[draw.choice((f"{key}_", "", other_key if isinstance(other_key, str) else "x"))] = where.pop(key)
    elif kind == 2 and isinstance(where, list):
        where.insert(key, other[other_key])
    elif kind <= 4:
        where[key] = draw.choice(ODD)
    elif kind == 5 or isinstance(value, dict | list):
        where[key] = json.loads(json.dumps(other[other_key]))
    elif isinstance(value, int | float):
        where[key] = draw.choice((value + 1, value - 1, -value, value * 2, value / 2, str(value), [value]))
    elif isinstance(value, str):
        where[key] = spoil(value.encode()).decode(errors="replace")
    return json.dumps(document).encode()


def _places(value: Any) -> Any:
    """Every place in a JSON document that holds a value: a container and its key."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def _in_safetensors(data: bytes, draw: random.Random, spoil: Spoil) -> bytes:
    size = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + size], data[8 + size :]
    if draw.random() < 0.2:
        return data[: 8 + size] + spoil(body)
    header = spoil(header) if draw.random() < 0.3 else _in_json(header, draw, spoil)
    if draw.random() < 0.7:
        header, body = _laid_out(header, body)
    return len(header).to_bytes(8, "little") + header + body


def _laid_out(header: bytes, body: bytes) -> tuple[bytes, bytes]:
    """A header whose tensors lie one after the other, and as many bytes of them."""
    document, at = json.loads(header), 0
    for key, tensor in document.items():
        if key != "__metadata__":
            size = SIZES.get(tensor["dtype"], 4) * math.prod(tensor["shape"])
            tensor["data_offsets"] = [at, at + size]
            at += size
    if at > MOST:
        raise ValueError("too large")
    return json.dumps(document).encode(), (body + bytes(at))[:at]


def _in_state(data: bytes, draw: random.Random, spoil: Spoil) -> bytes:
    data = _in_safetensors(data, draw, spoil)
    size = int.from_bytes(data[:8], "little")
    document = json.loads(data[8 : 8 + size])
    document["__metadata__"][files.CHECKSUM] = files.checksum(safetensors.numpy.load(data))
    header = json.dumps(document).encode()
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def _in_zip(data: bytes, draw: random.Random, spoil: Spoil) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if sum(info.file_size for info in infos) > MOST:
            raise ValueError("too large")
        members = [(info.filename, archive.read(info), info.compress_type) for info in infos]
    at, kind = draw.randrange(len(members)), draw.randrange(12)
    name, content, how = members[at]
    if kind == 0:
        del members[at]
    elif kind == 1:
        members.insert(draw.randrange(len(members)), members[at])
    elif kind == 2:
        members[at] = spoil(name.encode()).decode(errors="replace"), content, how
    else:
        members[at] = name, _member(name)(content, draw, spoil), how
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as archive:
        warnings.simplefilter("ignore")  # two members of one name
        for name, content, how in members:
            archive.writestr(name, content, how)
    return out.getvalue()


def _member(name: str) -> Callable[[bytes, random.Random, Spoil], bytes]:
    inner = {"json": _in_json, "h5": _in_hdf5, "pkl": _in_pickle}.get(name.rpartition(".")[2])
    return inner or (lambda content, draw, spoil: spoil(content))


def _in_pickle(data: bytes, draw: random.Random, spoil: Spoil) -> bytes:
    """Instructions that are left out, repeated, moved or spoiled."""
    starts = [at for _, _, at in pickletools.genops(data) if at is not None]
    parts = [data[begin:end] for begin, end in zip(starts, [*starts[1:], len(data)], strict=True)]
    for _ in range(draw.choice((1, 1, 2, 4))):
        at, other, kind = draw.randrange(len(parts)), draw.randrange(len(parts)), draw.randrange(5)
        if kind == 0 and len(parts) > 1:
            del parts[at]
        elif kind == 1:
            parts.insert(at, parts[other])
        elif kind == 2:
            parts[at] = parts[other]
        else:
            parts[at] = parts[at][:1] + spoil(parts[at][1:])
    return b"".join(parts)


def _in_hdf5(data: bytes, draw: random.Random, spoil: Spoil) -> bytes:
    """The JSON in a file of Keras, as long as it was; the bytes of a file without any."""
    found = [match for match in re.finditer(rb'\{"[^\0]*', data) if match.group().rstrip().endswith(b"}")]
    if not found or draw.random() < 0.4:
        return spoil(data)
    match = draw.choice(found)
    text, room = _in_json(match.group(), draw, spoil), len(match.group())
    text = json.dumps(json.loads(text), separators=(",", ":")).encode()  # what it gained may be lost in spaces
    if len(text) > room:
        raise ValueError("no room")
    return data[: match.start()] + text.ljust(room) + data[match.end() :]


def _in_npy(data: bytes, draw: random.Random, spoil: Spoil) -> bytes:
    wide = 2 if data[6] == 1 else 4
    size = int.from_bytes(data[8 : 8 + wide], "little")
    header, body = data[8 + wide :][:size], data[8 + wide :][size:]
    if draw.random() < 0.1:
        body = spoil(body)
    else:
        header = _in_words(header, draw, spoil)
    return data[:8] + len(header).to_bytes(wide, "little") + header + body


def _in_words(data: bytes, draw: random.Random, spoil: Spoil) -> bytes:
    """Text with other words in it, words of its own or odd ones."""
    words = re.findall(rb"[\w.]+|\s+|[^\w\s]", data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        at, kind = draw.randrange(len(words)), draw.randrange(5)
        new = draw.choice((draw.choice(WORDS), draw.choice(words)))
        if kind == 0:
            words[at] = spoil(words[at])
        elif kind == 1:
            words[at] = new[:LONGEST] * draw.choice((1, 1, 2, 60, 1500))
        elif kind == 2:
            words.insert(at, new)
        elif kind == 3 and len(words) > 1:
            del words[at]
        else:
            words[at] = new
    return b"".join(words)


def _in_recording(data: bytes, draw: random.Random, spoil: Spoil) -> bytes:
    if data[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = file.read(MOST)
        return gzip.compress(_in_recording(text, draw, spoil), 1, mtime=0)
    lines = data.split(b"\n")
    at, kind = draw.randrange(len(lines)), draw.randrange(6)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, draw.choice(lines))
    elif kind == 2:
        lines[at] = _in_words(lines[at], draw, spoil)
    else:
        time, space, message = lines[at].partition(b" ")
        lines[at] = time + space + _in_json(message, draw, spoil)
    return b"\n".join(lines)


def _in_frames(data: bytes, draw: random.Random, spoil: Spoil) -> bytes:
    """A WebSocket's frames of the right lengths, some of them others, elsewhere or of another kind."""
    parts, at = [], 0
    while at + 2 <= len(data):
        size, start = data[at + 1] & 127, at + 2
        if size > 125:
            wide = 2 if size == 126 else 8
            size, start = int.from_bytes(data[start : start + wide], "big"), start + wide
        parts.append((data[at], data[start : start + size]))
        at = start + size
    at, kind = draw.randrange(len(parts)), draw.randrange(5)
    first, content = parts[at]
    if kind == 0:
        del parts[at]
    elif kind == 1:
        parts.insert(at, draw.choice(parts))
    elif kind == 2:
        parts[at] = draw.choice((first ^ 0x80, first ^ 1, first & 0x80, 0x88, 0x89, draw.randrange(256))), content
    else:
        parts[at] = first, draw.choice((spoil(content), content[:1], b"", b"\xff", content * 2, b"z" * 126))
    return b"".join(map(_frame, parts))


def _frame(part: tuple[int, bytes]) -> bytes:
    first, content = part
    size = len(content)
    wide = 0 if size < 126 else 2 if size < 1 << 16 else 8
    return bytes((first, {0: size, 2: 126, 8: 127}[wide])) + (size.to_bytes(wide, "big") if wide else b"") + content


def _in_protobuf(data: bytes, draw: random.Random, spoil: Spoil) -> bytes:
    import onnx_mutants

    return onnx_mutants.damaged(data, draw)


WITHIN: dict[str, Callable[[bytes, random.Random, Spoil], bytes]] = {
    "safetensors": _in_safetensors, "state": _in_state, "torch": _in_zip, "keras": _in_zip, "h5": _in_hdf5,
    "onnx": _in_protobuf, "npy": _in_npy, "csv": _in_words, "toml": _in_words, "recording": _in_recording,
    "frames": _in_frames,
}  # fmt: skip
