"""Damaged and hostile pickles of state dicts: refused by name, soon, and without large allocations."""

from __future__ import annotations

import pickletools
import struct
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_files import (
    EDITS,
    Made,
    Stored,
    edited,
    pickled,
    read_cheaply,
    records,
    refused,
    refused_cheaply,
    storage,
    tensor,
    write,
)

from lstmcore.formats.torch import torch_pickle


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.pt"


class Unclear(dict):  # type: ignore[type-arg]
    """A class that no state_dict has."""


def call(*names: str) -> bytes:
    """A pickle that calls a function with no arguments, as protocol 2 writes it."""
    return b"\x80\x02c" + "\n".join(names).encode() + b"\n)R."


def instruction(name: str, argument: bytes = b"", before: bytes = b"}") -> bytes:
    opcode = next(x for x in pickletools.opcodes if x.name == name)
    return b"\x80\x02" + before + opcode.code.encode("latin-1") + argument + b"."


HOSTILE = [
    (call("os", "system"), "it holds a pickled os.system; save module.state_dict"),
    (call("__builtin__", "eval"), "it holds a pickled __builtin__.eval"),
    (call("torch", "load"), "it holds torch.load; only dense"),
    (
        call("torch", "FloatStorage"),
        r"expected torch.FloatStorage as torch.save writes it for a plain tensor, got it with \(\)",
    ),
    (call("collections", "OrderedDict.fromkeys"), "it holds a pickled collections.OrderedDict.fromkeys"),
    (call("lstmcore\x07", "x"), r"it holds a pickled 'lstmcore\\x07.x'"),
    (call("x" * 5000, "x"), "it holds a pickled 'xxx"),
    (call("o\\s", "x\\q"), r"it holds a pickled o\\s.x\\q; save"),
    (call("torch._utils", " _rebuild_tensor_v2"), "it holds torch._utils. _rebuild_tensor_v2; only dense"),
    (b"\x80\x02cos\n\xff\n)R.", "damaged at byte 2: 'utf-8' codec"),
    (b"\x80\x02cos\nsys", "damaged at byte 2: no end of a name"),
    (b"\x80\x02cos", "damaged at byte 2: no end of a name"),
    (instruction("INST", b"os\nsystem\n", b"("), "got INST"),
    (instruction("OBJ"), "got OBJ"),
    (instruction("NEWOBJ", b"", b"ccollections\nOrderedDict\n)"), "got NEWOBJ"),
    (instruction("NEWOBJ_EX"), "got NEWOBJ_EX"),
    (instruction("STACK_GLOBAL"), "got STACK_GLOBAL"),
    (instruction("EXT1", b"\1"), "got EXT1"),
    (instruction("PERSID", b"0\n"), "got PERSID"),
    (instruction("LONG4", b"\xff\xff\xff\x7f"), "got LONG4"),
    (instruction("INT", b"9" * 10000 + b"\n"), "got INT"),
    (instruction("STRING", b"'\\q'\n"), "got STRING"),
    (instruction("DUP"), "got DUP"),
    (instruction("POP"), "got POP"),
    (instruction("BINBYTES8", b"\xff" * 8), "got BINBYTES8"),
    (instruction("PROTO", b"\2"), "got PROTO"),
    (b"}.", "got EMPTY_DICT"),
    (b"", "data.pkl, byte 0: .*, got ''"),
    (b"\x80\x02}", "data.pkl, byte 3: .*, got ''"),
    (b"\x80\x02\xff.", r"data.pkl, byte 2: .*, got 'ÿ'"),
    (b"\x80\x04}.", "expected pickle protocol 2, torch.save's own, got 4"),
    (b"\x80\x02.", "expected one value and the end of the data"),
    (b"\x80\x02}}.", "expected one value and the end of the data"),
    (b"\x80\x02(}.", "expected one value and the end of the data"),
    (b"\x80\x02}.}", "expected one value and the end of the data"),
    (b"\x80\x02X\xff\xff\xff\xffab.", "damaged at byte 2: expected 4294967295 bytes"),
    (b"\x80\x02X\1\0\0\0\xff.", "damaged at byte 2: 'utf-8' codec"),
    (b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".", "expected an integer of at most 64 bits, got one of 2039"),
    (b"\x80\x02h\7.", "nothing is stored under 7"),
    (b"\x80\x02q\0.", "damaged at byte 2"),
    (b"\x80\x02\x86.", "damaged at byte 2: pop from empty list"),
    (b"\x80\x02K\1(\x85.", "damaged at byte 5: pop from empty list"),
    (b"\x80\x02t.", "damaged at byte 2"),
    (b"\x80\x02}K\1s.", "damaged at byte 5|expected dict"),
    (b"\x80\x02}(K\1u.", "a key without a value"),
    (b"\x80\x02]K\1K\1s.", "expected dict, got list"),
    (b"\x80\x02}K\1a.", "expected list, got dict"),
    (b"\x80\x02}K\1Ns}b]b.", "expected dict, got list"),
    (b"\x80\x02K\1K\1R.", "expected tuple, got int"),
    (b"\x80\x02K\1)R.", "expected Name, got int"),
    (b"\x80\x02}Q.", "expected tuple, got dict"),
    (b"\x80\x02}(X\1\0\0\0aNX\1\0\0\0aNu.", "two values for the key 'a'"),
    (b"\x80\x02}]Ns.", "expected a name or a number as a key, got list"),
    (b"\x80\x02N.", "expected a state_dict, got NoneType"),
    (b"\x80\x02}K\1Ns.", "expected a state_dict with names as keys, got the int 1"),
    (b"\x80\x02}NNs.", "expected a state_dict with names as keys, got the NoneType None"),
]


@pytest.mark.parametrize(("data", "text"), HOSTILE)
def test_pickles_that_no_state_dict_has(data: bytes, text: str, path: Path) -> None:
    write(path, records(data))
    refused_cheaply(path, text)


LONG = "x" * 1025


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"w": 1.5}, "w: expected a tensor, got float"),
        ({"w": None}, "w: expected a tensor, got NoneType"),
        ({"w": torch.float32}, "w: expected a tensor, got torch.float32"),
        ({"w": torch.Size([3])}, "w: expected a tensor, got torch.Size"),
        (
            {"net": {}},
            "net: expected a tensor, got dict; a state_dict may lie under state_dict, model_state_dict, model",
        ),
        ({"a\nb": 1}, r"'a\\nb': expected a tensor, got int"),
        ({LONG: tensor()}, "'xxx+: expected a key of at most 1024 characters, got 1025"),
        ({"model": [tensor()]}, "model: expected a tensor, got list"),
        ({"w": Unclear()}, f"it holds a pickled {Unclear.__module__}.Unclear"),
        ({"w": tensor((2, 4), (3, 1))}, "w: expected elements among the 6 of its storage, got one at 6"),
        ({"w": tensor((3, 3), (3, 1))}, "w: expected elements among the 6 of its storage, got one at 8"),
        ({"w": tensor((2, 3), (4, 1))}, "got one at 6"),
        ({"w": tensor(offset=1)}, "got one at 6"),
        ({"w": tensor((), (), 6)}, "got one at 6"),
        ({"w": tensor((2**30, 2**30), (0, 0))}, "w: expected a shape of at most 281474976710656 elements"),
        ({"w": tensor((0, 2**63), (1, 1))}, "w: expected a shape of at most 281474976710656 elements"),
        ({"w": tensor((2**27,), (0,))}, "share or repeat 24 bytes: at most 4194496, got 536870912"),
        ({str(n): tensor((2**23,), (0,)) for n in range(3)}, "at most 4194496, got 100663296"),
        ({"a": tensor((2**24,), (0,)), "b": tensor(stored=storage("1", 2**40))}, "b: .* in record 'data/1', got none"),
        ({"w": tensor((2, 3), (3, -1), 5)}, "as torch.save writes it"),
        ({"w": tensor((2, -3), (3, 1))}, "as torch.save writes it"),
        ({"w": tensor(offset=-1)}, "as torch.save writes it"),
        ({"w": tensor((2, 3), (1,))}, "as torch.save writes it"),
        ({"w": tensor((1,) * 33, (1,) * 33)}, "as torch.save writes it"),
        ({"w": tensor((2, 3.0), (3, 1))}, "as torch.save writes it"),
        ({"w": tensor((True, 3), (3, 1))}, "as torch.save writes it"),
        ({"w": tensor([2, 3], (3, 1))}, r"got it with \(Storage, int, list, tuple, bool, dict\)"),
        ({"w": tensor(stored={"a": 1})}, "as torch.save writes it"),
        ({"w": tensor(hooks={"a": 1})}, "as torch.save writes it"),
        ({"w": tensor((2, 3), (3, 1), 0, None, {"neg": True})}, "as torch.save writes it"),
        ({"w": tensor((2, 3), (3, 1), 0, None, None, None)}, "as torch.save writes it"),
        ({"w": Made(torch._utils._rebuild_tensor_v2, 1)}, "as torch.save writes it"),
        ({"w": Made(torch._utils._rebuild_parameter, 1, True, {})}, "as torch.save writes it"),
        ({"w": Made(torch._utils._rebuild_parameter, tensor(), True, {1: 2})}, "as torch.save writes it"),
        (Made(OrderedDict, [("w", 1)]), "expected collections.OrderedDict as torch.save writes it"),
        ({"w": tensor(stored=storage(elements=-1))}, "expected a storage as torch.save writes it"),
        ({"w": tensor(stored=storage(elements=2**63))}, "w: expected 9223372036854775808 elements of float32"),
        ({"w": tensor(stored=storage(elements="6"))}, "expected a storage as torch.save writes it"),
        ({"w": tensor(stored=storage(kind=torch.float32))}, "expected a storage as torch.save writes it"),
        ({"w": tensor(stored=Stored("module", 1, 2))}, "expected a storage as torch.save writes it"),
        ({"w": tensor(stored=storage("../data.pkl"))}, "in record 'data/../data.pkl', got none"),
        ({"w": tensor(stored=storage("0\n"))}, r"in record 'data/0\\n', got none"),
        ({"a": tensor(), "b": tensor(stored=storage(kind=torch.IntStorage))}, "storage '0' is described in two ways"),
        ({"a": tensor(), "b": tensor(stored=storage(elements=5))}, "storage '0' is described in two ways"),
        ({"a": storage()}, "a: expected a tensor, got Storage"),
    ],
)
def test_contents_that_are_no_state_dict(content: Any, text: str, path: Path) -> None:
    write(path, records(content))
    refused_cheaply(path, text)


def test_containers_nested_too_deeply_to_be_looked_at(path: Path) -> None:
    deep = b"\x80\x02}X\1\0\0\0w" + b")" + b"\x85" * 60_000 + b"s."
    write(path, records(deep))
    refused(path, "w: expected a tensor, got tuple")
    write(path, records(b"\x80\x02}X\1\0\0\0w" + b"](" * 30_000 + b"e" * 30_000 + b"s."))
    refused(path, "w: expected a tensor, got list")
    write(path, records(b"\x80\x02" + b"(" * 60_000 + b"."))
    refused(path, "expected one value")


def test_containers_that_hold_themselves(path: Path) -> None:
    write(path, records(b"\x80\x02}q\0X\5\0\0\0modelh\0s."))
    refused(path, "model: expected a tensor, got dict")
    write(path, records(b"\x80\x02]q\0h\0a."))
    refused(path, "expected a state_dict, got list")


def test_tuples_whose_hash_would_take_for_ever(path: Path) -> None:
    doubled = b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(100))
    write(path, records(b"\x80\x02)q\0" + doubled + b"}hdNs."))
    refused(path, "expected a name or a number as a key, got tuple")


def test_too_many_tensors(path: Path) -> None:
    write(path, records(pickled(dict.fromkeys(map(str, range(16385)), 0))))
    refused(path, "expected at most 16384 tensors, got 16385")


def test_integers_are_too_short_to_collide(path: Path) -> None:
    """Python's hash of an integer is its remainder by 2**61 - 1."""
    assert 16 * sys.hash_info.modulus > torch_pickle.MAX_INTEGER


@pytest.mark.parametrize("piece", ["}", "]", "(", "N\x85", "N\x85q\0", "memo"])
def test_a_pickle_that_makes_much_of_little(piece: str, path: Path) -> None:
    many = piece.encode("latin-1") * 300_000
    if piece == "memo":
        many = b"N" + b"".join(b"r" + struct.pack("<I", 7 * n) for n in range(150_000))
    write(path, records(b"\x80\x02" + many))
    tracemalloc.start()
    try:
        refused(path, "it makes too much of too few bytes; save module.state_dict")
        assert tracemalloc.get_traced_memory()[1] < (4 << 20) + 10 * path.stat().st_size
    finally:
        tracemalloc.stop()


def test_a_pickle_of_too_many_instructions_or_bytes(path: Path) -> None:
    write(path, records(b"\x80\x02" + b"N" * torch_pickle.MAX_INSTRUCTIONS))
    refused(path, "has more than 1048576 instructions; save module.state_dict")
    write(path, records(b"\x80\x02X" + struct.pack("<I", 17 << 20) + bytes(17 << 20) + b"."))
    refused_cheaply(path, "record 'data.pkl': expected at most 16777216 bytes, got 178")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("torch_file")


@pytest.fixture(scope="module")
def sound(folder: Path) -> dict[str, bytes]:
    """The records of a file that torch wrote."""
    torch.save({"epoch": 3, "state_dict": torch.nn.LSTM(3, 4, num_layers=2).state_dict()}, folder / "sound.pt")
    with zipfile.ZipFile(folder / "sound.pt") as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


@given(edits=EDITS)
@settings(max_examples=400, deadline=None)
def test_a_damaged_pickle_in_a_sound_archive(folder: Path, sound: Any, edits: list[Any]) -> None:
    write(folder / "pickle.pt", sound | {"data.pkl": edited(sound["data.pkl"], edits)})
    found = read_cheaply(folder / "pickle.pt")
    assert found is None or all(isinstance(x, np.ndarray) for x in found.values())


INSTRUCTIONS = [x for x in pickletools.opcodes if x.name in torch_pickle.INSTRUCTIONS and x.name != "GLOBAL"]
PIECES = st.one_of(
    st.tuples(st.sampled_from(INSTRUCTIONS), st.binary(max_size=5)).map(lambda x: x[0].code.encode("latin-1") + x[1]),
    st.sampled_from(INSTRUCTIONS).map(lambda x: x.code.encode("latin-1")),
    st.sampled_from(
        [b"ccollections\nOrderedDict\n)R", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n"]
    ),
    st.sampled_from(
        [b"X\5\0\0\0model", b"X\7\0\0\0storage", b"X\1\0\0\0" + b"0", b"K\3", b"K\1K\2\x86", b"q\0", b"h\0"]
    ),
    st.just(pickled({"w": tensor()})[2:-1]),
)


@given(pieces=st.lists(PIECES, max_size=30))
@settings(max_examples=400, deadline=None)
def test_any_program_of_known_instructions(folder: Path, pieces: list[bytes]) -> None:
    write(folder / "program.pt", records(b"\x80\x02" + b"".join(pieces) + b"."))
    found = read_cheaply(folder / "program.pt")
    assert found is None or all(isinstance(x, np.ndarray) for x in found.values())
