"""The pickle in a file that torch.save wrote, read by a machine that imports nothing and calls nothing of the file's.

A pickle is a program for a stack machine. This machine has only the instructions that pickle protocol 2 writes for
state_dicts, and for the lists and numbers that checkpoints hold beside them; and it knows a few names. Work and memory
are bounded by the limits below, whatever the program does.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

from lstmcore.errors import ModelFormatError
from lstmcore.formats.torch.torch_names import (
    CALLS,
    INERT,
    QUANTIZED,
    SAVE_FLOAT,
    STORAGES,
    Name,
    Storage,
    kind_of,
    storage,
)
from lstmcore.formats.torch.torch_zip import SAVE_THERE

MAX_PICKLE = 16 << 20  # bytes
MAX_INSTRUCTIONS = 1 << 20  # a tensor takes some 40
#: Bytes that an instruction takes which makes much of little; that of any other is a place on the stack.
COSTS = {"EMPTY_DICT": 72, "EMPTY_LIST": 64, "REDUCE": 80, "BINPERSID": 80, "GLOBAL": 80, "TUPLE1": 56, "TUPLE2": 64,
         "TUPLE3": 72, "TUPLE": 56, "MARK": 64, "BINPUT": 96, "LONG_BINPUT": 96}  # fmt: skip
COST = 8
MAX_INTEGER = 1 << 64  # random seeds come near it; longer ones can be chosen so that a dict takes hours to fill

OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}


def loads(data: bytes, what: str, most: int) -> Any:
    """What the pickle holds: dicts, lists, tuples, str, numbers, None, `StoredTensor` and `Name`.

    Containers may hold themselves, or be nested so deeply that they cannot be hashed, compared or shown.

    Args:
        data: The record `data.pkl`.
        what: The beginning of every error.
        most: How many bytes may be made of it.

    Raises:
        ModelFormatError: Damaged, too large, or with an instruction or a name that no state_dict has.
    """
    if len(data) > MAX_PICKLE:
        raise ModelFormatError(f"{what}: data.pkl has {len(data)} bytes; at most {MAX_PICKLE} are taken")
    machine = _Machine(data, most)
    try:
        return machine.run()
    except _Refused as error:
        raise ModelFormatError(f"{what}: {error}") from None
    except (IndexError, ValueError) as error:  # an empty stack, a truncated argument
        raise ModelFormatError(f"{what}: data.pkl is damaged at byte {machine.at}: {error}") from None


class _Refused(Exception):
    """Says why."""


class _Machine:
    def __init__(self, data: bytes, most: int) -> None:
        self.left = most
        self.stream = io.BytesIO(data)
        self.size = len(data)
        self.at = 0
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def run(self) -> Any:
        for n in range(MAX_INSTRUCTIONS):
            self.at = self.stream.tell()
            code = self.stream.read(1).decode("latin-1")
            opcode = OPCODES.get(code)
            name = opcode.name if opcode else repr(code)
            if opcode is None or name not in INSTRUCTIONS or (name == "PROTO") != (n == 0):
                raise self.refused(f"expected an instruction that a state_dict needs, got {name}")
            self.left -= COSTS.get(name, COST)
            if self.left < 0:
                raise self.refused("it makes too much of too few bytes; save module.state_dict() alone")
            reader = READERS.get(name, opcode.arg.reader if opcode.arg else None)
            INSTRUCTIONS[name](self, reader(self.stream) if reader else None)
            if name == "STOP":
                return self.stack.pop()
        raise _Refused(f"data.pkl has more than {MAX_INSTRUCTIONS} instructions; save module.state_dict() alone")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, kind: type) -> Any:
        value = self.stack.pop()
        if type(value) is not kind:
            raise self.refused(f"expected {kind.__name__}, got {kind_of(value)}")
        return value

    def pop_to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def refused(self, why: str) -> _Refused:
        return _Refused(f"data.pkl, byte {self.at}: {why}")

    def begin(self, version: int) -> None:
        if version != 2:
            raise _Refused(
                f"expected pickle protocol 2, torch.save's own, got {version}; save it without pickle_protocol"
            )

    def end(self, _: None) -> None:
        if self.outer or len(self.stack) != 1 or self.stream.tell() != self.size:
            raise self.refused("expected one value and the end of the data")

    def mark(self, _: None) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def store(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise self.refused(f"nothing is stored under {index}")
        self.push(self.memo[index])

    def integer(self, value: int) -> None:
        if abs(value) >= MAX_INTEGER:
            raise self.refused(f"expected an integer of at most 64 bits, got one of {value.bit_length()}")
        self.push(value)

    def tuple_of(self, count: int) -> None:
        items = [self.stack.pop() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def extend(self, items: list[Any]) -> None:
        target = self.pop(list)
        target += items
        self.push(target)

    def set_items(self, items: list[Any]) -> None:
        target = self.pop(dict)
        if len(items) % 2:
            raise self.refused("a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if key is not None and type(key) not in (str, int, float, bool):  # a tuple's hash can take for ever
                raise self.refused(f"expected a name or a number as a key, got {kind_of(key)}")
            if key in target:
                raise self.refused(f"two values for the key {key!r:.200}")
            target[key] = value
        self.push(target)

    def set_attributes(self, _: None) -> None:
        attributes, target = self.stack.pop(), self.stack.pop()
        # A state_dict has _metadata, the versions of torch's modules, which do not change the weights. Of a name
        # nothing is made, so that it has no attributes.
        for value in (attributes, target) if type(target) is not Name else ():
            if type(value) is not dict:
                raise self.refused(f"expected dict, got {kind_of(value)}")
        self.push(target)

    def name(self, name: str) -> None:
        if name not in CALLS and name not in INERT and name not in STORAGES:
            shown = name if name.isprintable() and len(name) <= 200 else f"{name!r:.200}"
            if any(word in name for word in QUANTIZED):
                raise _Refused(f"it holds {shown}: {SAVE_FLOAT}")
            if name.startswith("torch.") and not name.startswith("torch.nn."):
                raise _Refused(f"it holds {shown}; only dense tensors of real numbers, integers or booleans are read")
            raise _Refused(f"it holds a pickled {shown}; {SAVE_THERE}")
        self.push(Name(name))

    def call(self, _: None) -> None:
        arguments, function = self.pop(tuple), self.pop(Name)
        if function.name in INERT:
            self.push(function)
            return
        made = CALLS[function.name](arguments) if function.name in CALLS else None
        if made is None:
            raise self.odd(function.name, arguments)
        self.push(made)

    def storage(self, _: None) -> None:
        fields = self.pop(tuple)
        made = storage(fields)
        if made is None:
            raise self.odd("a storage", fields)
        if self.storages.setdefault(made.key, made) != made:
            raise self.refused(f"storage {made.key!r:.200} is described in two ways")
        self.push(made)

    def odd(self, what: str, fields: tuple[Any, ...]) -> _Refused:
        kinds = ", ".join(map(kind_of, fields[:10]))
        return self.refused(f"expected {what} as torch.save writes it for a plain tensor, got it with ({kinds})")


def _read_name(stream: io.BytesIO) -> str:
    module, name = stream.readline(), stream.readline()
    if not name.endswith(b"\n"):
        raise ValueError("no end of a name")
    return f"{module[:-1].decode()}.{name[:-1].decode()}"


#: In place of pickletools' own readers: theirs for names resolves escapes, which pickle does not, and warns of them.
READERS: Mapping[str, Callable[[io.BytesIO], Any]] = {"GLOBAL": _read_name}

#: By pickletools' names; what each takes from the stack and from the stream is described there.
INSTRUCTIONS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.begin,
    "STOP": _Machine.end,
    "MARK": _Machine.mark,
    "BINPUT": _Machine.store,
    "LONG_BINPUT": _Machine.store,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "NONE": _Machine.push,
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "BININT": _Machine.integer,
    "BININT1": _Machine.integer,
    "BININT2": _Machine.integer,
    "LONG1": _Machine.integer,
    "BINFLOAT": _Machine.push,
    "BINUNICODE": _Machine.push,
    "EMPTY_TUPLE": lambda machine, _: machine.tuple_of(0),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "APPEND": lambda machine, _: machine.extend([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_to_mark()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "SETITEM": lambda machine, _: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "GLOBAL": _Machine.name,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.set_attributes,
    "BINPERSID": _Machine.storage,
}
