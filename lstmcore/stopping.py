"""Long work in several threads that ends soon after Ctrl-C, of which Python tells its main thread alone.

Who shares work out sets a flag; the work looks at it: what is written in Python by `check`, the C core by itself.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
R = TypeVar("R")

#: Tell compiled code, if there is any, the address of this thread's flag, a C int, or 0: there is none.
listeners: list[Callable[[int], None]] = []

_here = threading.local()


class Stopped(Exception):
    """The work that this thread has a part in is given up; who gave it up has another error to tell."""


def check() -> None:
    """Raise Stopped where this thread's work is given up."""
    flag = getattr(_here, "flag", None)
    if flag is not None and flag[0]:
        raise Stopped


@contextlib.contextmanager
def workers(threads: int) -> Iterator[Callable[[Callable[[T], R], Iterable[T]], Iterator[R]]]:
    """`map`, by so many threads. Where the block ends with an error, so does their work."""
    flag = np.zeros(1, np.intc)

    def started(work: Callable[[T], R], piece: T) -> R:
        check_flag(flag)
        try:
            check()
            return work(piece)
        finally:
            check_flag(None)

    pool = ThreadPoolExecutor(threads)
    try:
        yield lambda work, pieces: pool.map(lambda piece: started(work, piece), pieces)
    except BaseException:
        flag[0] = 1
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def check_flag(flag: Any) -> None:
    """Look at `flag`, an array of one C int, in this thread from now on; None: at none."""
    _here.flag = flag
    for tell in listeners:
        tell(0 if flag is None else flag.__array_interface__["data"][0])
