"""Pay for the numba backend's compilation at a time of one's own choosing."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from lstmcore.layers import Linear
from lstmcore.model import Model


def warmup(progress: Callable[[str], object] | None = None) -> float:
    """Compile the kernels of the numba backend for this processor, or load them from numba's cache.

    A process that will use that backend calls this when it starts: the first time takes seconds, later processes find
    the compiled code in the cache, and no model or window after it compiles anything. Without this call, the first
    model made with the backend does the same. The other backends need no such thing.

    Args:
        progress: Called with a line of text before and after, `print` for instance.

    Returns:
        The seconds that it took; next to none where it was done before in this process.

    Raises:
        BackendError: numba is not installed or does not work here; the text says what would bring it.

    Warns:
        RuntimeWarning: There is no folder that the cache can be written to, so that every process will compile.
    """
    start = time.perf_counter()
    if progress is not None:
        progress("numba backend: loading from the cache, or compiling, which takes some seconds")
    one = np.ones((1, 1), np.float32)
    layer = Linear("one", 1, 1, bias=False, weights={"weight": one})
    Model([layer], backend="numba")(one)
    seconds = time.perf_counter() - start
    if progress is not None:
        from lstmcore.backends.numba.runner import origin

        progress(f"numba backend: ready after {seconds:.1f} s, {origin()}")
    return seconds
