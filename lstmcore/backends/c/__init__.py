"""The C backend: the core in `csrc/`, bound with cffi."""

from lstmcore.backends.c.plan import PlannedOp, plan
from lstmcore.backends.c.runner import compile_model, default_kernel, kernels_built, kernels_here

__all__ = ["PlannedOp", "compile_model", "default_kernel", "kernels_built", "kernels_here", "plan"]
