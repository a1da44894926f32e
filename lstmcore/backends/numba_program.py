"""What a program of the numba backend consists of: a row of integers for each operation, and their columns.

`numba.py` writes programs, `numba_kernels.py` runs them. Offsets and sizes are in floats; an operation uses the fields
that it needs.
"""

from __future__ import annotations

from lstmcore.backends.numba_vectors import LANES

#: What is summed side by side, in four vectors: the gates of 16 units of an LSTM, or 64 outputs of a Linear.
TILE = 4 * LANES
#: Steps whose input products are formed at once, and which stay in the nearest caches until the steps use them.
CHUNK = 32

FIELDS = (
    KIND, ROWS, INPUTS, UNITS, BLOCKS, X, X_ROW, Y, Y_ROW, WEIGHT, RECURRENT, GATES, C, PRODUCT, CANDIDATE, RESET,
) = tuple(range(16))  # fmt: skip

#: The layers with a state come first. `GRU_BEFORE` is the GRU whose reset gate works on h, before the product.
LSTM, GRU, GRU_BEFORE, RNN_TANH, RNN_RELU = range(5)
LINEAR, AFFINE, COPY, SOFTMAX, RELU, LEAKY_RELU, ELU, GELU, GELU_TANH, TANH, SIGMOID = range(5, 16)
