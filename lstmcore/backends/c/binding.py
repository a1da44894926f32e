"""The compiled core as cffi binds it, and its errors as Python's."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from lstmcore import stopping
from lstmcore.backends.sliders import Busy
from lstmcore.errors import BackendError
from lstmcore.layers import Array

try:
    from lstmcore._bound import Bound
    from lstmcore._core import ffi, lib
    from lstmcore._stop import ADDRESS, raise_kept, set_flag, set_main
except ImportError as error:
    raise ImportError(
        f"{error}; the C core is built when the package is installed (pip install .), and what is imported here "
        f"is {Path(__file__).parents[2]}"
    ) from error

__all__ = [
    "STOP",
    "Bound",
    "address",
    "check",
    "ffi",
    "floats",
    "function",
    "inputs",
    "kernel_name",
    "kernels_here",
    "lib",
    "outputs",
    "plan_of",
]

NO_MEMORY, BAD_ARGUMENT, NO_SUCH_KERNEL, CANNOT_RUN, BUSY, STOPPED = 1, 2, 3, 4, 6, 7

#: What `watch` functions of the core are given, so that Ctrl-C ends long calls.
STOP = ffi.cast("int (*)(void *)", ADDRESS)
stopping.listeners.append(set_flag)
set_main(threading.main_thread().ident or 0)
os.register_at_fork(after_in_child=lambda: set_main(threading.get_ident()))


def kernel_name(k: int) -> str:
    """The name of the k-th kernel of `kernels.def`."""
    return str(ffi.string(lib.lstmcore_kernel_name(k)).decode())


def kernels_here() -> list[str]:
    """The kernels that this processor and operating system can run, best first."""
    return [kernel_name(k) for k in range(lib.lstmcore_kernel_count()) if lib.lstmcore_kernel_runs(k)]


def check(code: int, what: str) -> None:
    """Raise what the core's code means: BackendError, MemoryError, ValueError or RuntimeError.

    Of a call that was stopped, what stopped it: KeyboardInterrupt, or whatever else the handler of a signal raised.
    """
    if code == 0:
        return
    if code == STOPPED:
        raise_kept()
        raise stopping.Stopped(what)
    if code == BUSY:
        raise Busy
    text = f"{what}: {ffi.string(lib.lstmcore_error(code)).decode()}"
    if code in (NO_SUCH_KERNEL, CANNOT_RUN):
        raise BackendError(f"{text}; kernels that run here: {', '.join(kernels_here())}")
    raise {NO_MEMORY: MemoryError, BAD_ARGUMENT: ValueError}.get(code, RuntimeError)(text)


def address(pointer: Any) -> int:
    """Where a pointer points."""
    return int(ffi.cast("uintptr_t", pointer))


def function(name: str) -> int:
    """Where a function of the core begins."""
    return address(ffi.addressof(lib, name))


def plan_of(model: Any, layer: int) -> Any:
    """How a layer of a sealed model runs: csrc/lstmcore.h's lstmcore_layer."""
    found = ffi.new("lstmcore_layer *")
    check(lib.lstmcore_model_layer(model, layer, found), "layer")
    return found


def inputs(*given: Array) -> Any:
    """Pointers to arrays, as the core takes its inputs."""
    return ffi.new("void *[]", [ffi.from_buffer(array) for array in given])


def outputs(*given: Array) -> Any:
    """Pointers to float32 arrays, as the core takes its outputs."""
    return ffi.new("float *[]", [ffi.from_buffer("float[]", array) for array in given])


def floats(array: Array | None) -> Any:
    """A pointer to the array's float32 numbers; NULL for None."""
    return ffi.NULL if array is None else ffi.from_buffer("float[]", array)
