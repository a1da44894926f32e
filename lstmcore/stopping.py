"""Long work that ends soon after Ctrl-C, of which Python tells its main thread alone, between two operations.

Who shares work out among threads sets a flag; the work looks at it: what is written in Python by `check`, the C core
by itself. Other libraries look at nothing: a program gives them up by `or_else`.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import numpy as np

T = TypeVar("T")
R = TypeVar("R")

#: Tell compiled code, if there is any, the address of this thread's flag, a C int, or 0: there is none.
listeners: list[Callable[[int], None]] = []

PATIENCE = 5.0  # seconds that a block may take to end, once Ctrl-C has raised in it

_here = threading.local()


class Stopped(Exception):
    """The work that this thread has a part in is given up; who gave it up has another error to tell."""


def check() -> None:
    """Raise Stopped where this thread's work is given up."""
    flag = getattr(_here, "flag", None)
    if flag is not None and flag[0]:
        raise Stopped


class Workers:
    """Threads that share work out among them; after `given_up[0] = 1` they end soon.

    They are daemons, so that a process may end while one of its own daemon threads still waits for them. (What
    concurrent.futures has begun is finished first.)
    """

    def __init__(self, threads: int) -> None:
        self.given_up = np.zeros(1, np.intc)
        self._threads = threads
        self._begun: list[threading.Thread] = []

    def map(self, work: Callable[[T], R], pieces: Sequence[T]) -> Iterator[R]:
        """What `work` returns for each piece, in order. Raises what it raised for any of them."""
        todo, taking = iter(enumerate(pieces)), threading.Lock()
        done: queue.SimpleQueue[tuple[int, R | None, BaseException | None]] = queue.SimpleQueue()

        def follow() -> None:
            check_flag(self.given_up)
            while not self.given_up[0]:
                with taking:
                    at, piece = next(todo, (None, None))
                if at is None:
                    return
                try:
                    done.put((at, work(cast("T", piece)), None))
                except BaseException as error:
                    done.put((at, None, error))
                    return

        for _ in range(min(self._threads, len(pieces))):
            self._begun.append(threading.Thread(target=follow, daemon=True))
            self._begun[-1].start()
        early: dict[int, R | None] = {}
        for at in range(len(pieces)):
            while at not in early:
                found, result, error = done.get()
                if error is not None:
                    raise error
                early[found] = result
            yield cast("R", early.pop(at))

    def wait(self) -> None:
        """Until all of them have ended."""
        for thread in self._begun:
            if thread.ident is not None:
                thread.join()


def check_flag(flag: Any) -> None:
    """Look at `flag`, an array of one C int, in this thread from now on; None: at none."""
    _here.flag = flag
    for tell in listeners:
        tell(0 if flag is None else flag.__array_interface__["data"][0])


@contextlib.contextmanager
def or_else(end: Callable[[], object], seconds: float) -> Iterator[None]:
    """Call `end`, in another thread, where Ctrl-C has not raised within so many seconds: a library computes.

    Also where the block goes on for `PATIENCE` seconds after it has: Python drops what is raised while it calls
    something back for itself, and a library may catch it. Of several, the first alone is followed. Does nothing outside
    the main thread, and where Ctrl-C does something else than to raise KeyboardInterrupt.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield
        return
    heard, left = threading.Event(), threading.Event()

    def handler(number: int, frame: Any) -> None:
        heard.set()
        signal.default_int_handler(number, frame)

    def watch() -> None:
        while number := read.recv(1):
            if number[0] == signal.SIGINT:
                if not heard.wait(seconds) or not left.wait(PATIENCE):
                    end()
                return

    with contextlib.ExitStack() as undo:
        read, write = map(undo.enter_context, socket.socketpair())  # Python writes a signal's number into it at once
        write.setblocking(False)
        thread = threading.Thread(target=watch, name="Ctrl-C", daemon=True)
        thread.start()
        undo.callback(thread.join)
        undo.callback(write.shutdown, socket.SHUT_WR)
        undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False))
        undo.callback(lambda: signal.getsignal(signal.SIGINT) is handler and signal.signal(signal.SIGINT, before))
        signal.signal(signal.SIGINT, handler)
        undo.callback(heard.set)  # first: who comes now need not be given up
        undo.callback(left.set)
        yield
