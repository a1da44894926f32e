"""Arrays of numbers from .npy files. numpy reads the header, which is checked before anything is allocated."""

from __future__ import annotations

import io
import math
import os
import tokenize

import numpy as np
from numpy.lib import format as npy

from lstmcore.files import open_plain
from lstmcore.layers import Array
from lstmcore.text import clean

MAX_HEADER = 1024  # bytes; numbers need 128, and what numpy makes of a damaged one takes the cube of its size in time
#: What numpy raises for a header that is none; not all are documented. Memory: of parentheses in parentheses.
DAMAGE = (ValueError, TypeError, EOFError, SyntaxError, tokenize.TokenError, MemoryError, RecursionError, OverflowError)


def read_npy(path: str) -> Array:
    """The array in a file, of its dtype and shape; read-only.

    Raises:
        OSError: A file that cannot be opened.
        ValueError: Something else than one array of real numbers of shape (rows, features) or (N, T, features); none
            of what an array of objects holds is made. The text names the file.
    """
    with open_plain(path, ValueError) as file:
        try:
            shape, fortran, dtype = _header(file)
        except DAMAGE as error:
            text = clean(error, 200) or type(error).__name__
            raise ValueError(f"{path}: not a .npy file of numbers: {text}") from None
        said = f"{clean(dtype, 100)} of shape {clean(shape, 80)}"
        if len(shape) not in (2, 3) or dtype.kind not in "fiub":
            raise ValueError(
                f"{path}: not a .npy file of numbers of shape (rows, features) or (N, T, features): got {said}"
            )
        if 0 in shape:
            raise ValueError(f"{path}: no rows of numbers, shape {clean(shape, 80)}")
        there = os.fstat(file.fileno()).st_size - file.tell()
        size = math.prod(shape) * dtype.itemsize
        if size != there:
            than = "more" if size > there else "less"
            raise ValueError(
                f"{path}: not a .npy file of numbers: its header says {said}, which is {than} than the {there} bytes "
                "after it"
            )
        data = file.read(size)
    if len(data) != size:
        raise ValueError(f"{path}: its size changed while it was read")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _header(file: io.BufferedReader) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, Fortran's order or not, and dtype. Raises one of `DAMAGE`."""
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version[0]}.{version[1]} of the format is not known")
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(file.peek(width)[:width], "little")
    if length > MAX_HEADER:
        raise ValueError(f"a header of {length} bytes; at most {MAX_HEADER} are taken")
    # 3.0 differs from 2.0 only in what a name of a field may hold, and numbers have none
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file, max_header_size=MAX_HEADER)
    for n in shape:
        if not 0 <= n < 1 << 63:  # Python shows no number of more than 4,300 digits
            raise ValueError(f"a shape with a size {'below 0' if n < 0 else 'of 2**63 or more'}")
    return shape, fortran, dtype
