"""The numba backend: kernels that numba compiles here, for machines without a C compiler."""

from lstmcore.backends.numba.packing import check_layers
from lstmcore.backends.numba.runner import compile_model

__all__ = ["check_layers", "compile_model"]
