"""The numba backend's vectors: sixteen floats in registers, and what can be done with them.

Vectors are spelled out for LLVM: whether it would make them of loops over floats, and keep sums in registers, is up to
its version and to the processor. Where registers are shorter, it takes several.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numba as nb
from llvmlite import ir  # type: ignore[import-untyped]  # it has no types, and much of numba neither
from numba.core import cgutils, types
from numba.extending import intrinsic, models, overload, register_model

if nb.config.DISABLE_JIT:  # type: ignore[attr-defined]  # made at import
    raise ImportError("NUMBA_DISABLE_JIT is set, and these kernels cannot run uncompiled")

Vector = Any  # what functions of this type take and return

#: Floats in a vector: one register of AVX-512, two of AVX2, four of SSE or NEON.
LANES = 16


class VectorType(types.Type):
    """The type of a vector, as numba's type inference knows it."""

    def __init__(self) -> None:
        super().__init__(name=f"lstmcore.vector{LANES}")


VECTOR = VectorType()
FLOATS, INTS = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(32), LANES)


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """The same as LLVM knows it."""

    def __init__(self, manager: Any, kind: VectorType) -> None:
        super().__init__(manager, kind, FLOATS)  # type: ignore[no-untyped-call]


def in_all_lanes(builder: Any, number: Any) -> Any:
    nothing = ir.Constant(FLOATS, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(INTS, None))


def operation(arguments: int, emit: Callable[..., Any]) -> Callable[..., Any]:
    """A function on vectors, or float32 in place of them; `emit(builder, *values)` writes its instructions."""

    def typed(*kinds: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            pairs = zip(values, kinds, strict=True)
            return emit(builder, *(v if kind is VECTOR else in_all_lanes(builder, v) for v, kind in pairs))

        return (VECTOR(*kinds), generate) if {VECTOR, types.float32}.issuperset(kinds) else None

    # numba reads the number of arguments off the function.
    forms = (lambda _, x: typed(x), lambda _, x, y: typed(x, y), lambda _, x, y, z: typed(x, y, z))
    made: Callable[..., Any] = intrinsic(forms[arguments - 1])
    return made


def llvm(name: str, arguments: int) -> Callable[..., Any]:
    def emit(builder: Any, *values: Any) -> Any:
        kind = ir.FunctionType(FLOATS, [FLOATS] * arguments)
        full_name = f"llvm.{name}.v{LANES}f32"
        function = cgutils.get_or_insert_function(builder.module, kind, full_name)  # type: ignore[no-untyped-call]
        return builder.call(function, values)

    return operation(arguments, emit)


def infix(which: Any, instruction: str) -> None:
    instructed = operation(2, lambda builder, x, y: getattr(builder, instruction)(x, y))
    overload(which)(lambda x, y: (lambda x, y: instructed(x, y)) if VECTOR in (x, y) else None)


def access(emit: Callable[..., Any], *stored: Any) -> Callable[..., Any]:
    """A function on an array, an offset in it, and what is stored there; `emit(builder, pointer, *values)`.

    As everywhere here, the bounds are the program's affair.
    """

    def typed(array: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            proxy = cgutils.create_struct_proxy(array)(context, builder, values[0])  # type: ignore[no-untyped-call]
            loaded = emit(builder, builder.gep(proxy.data, [values[1]]), *values[2:])
            return context.get_dummy_value() if stored else loaded

        return (types.void if stored else VECTOR)(array, types.intp, *stored), generate

    form = (lambda _, array, at, value: typed(array, at)) if stored else (lambda _, array, at: typed(array, at))
    made: Callable[..., Any] = intrinsic(form)
    return made


def to_vector(builder: Any, pointer: Any) -> Any:
    return builder.bitcast(pointer, FLOATS.as_pointer())


load = access(lambda b, at: b.load(to_vector(b, at), align=4))
store = access(lambda b, at, x: b.store(x, to_vector(b, at), align=4), VECTOR)
load_in_all_lanes = access(lambda b, at: in_all_lanes(b, b.load(at)))
infix(operator.add, "fadd")
infix(operator.sub, "fsub")
infix(operator.mul, "fmul")
infix(operator.truediv, "fdiv")
splat = operation(1, lambda b, x: x)
fma = llvm("fmuladd", 3)  # x·y + z, rounded once where the processor can
absolute, copysign = llvm("fabs", 1), llvm("copysign", 2)
minimum = operation(2, lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), x, y))  # y where one is NaN
maximum = operation(2, lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y))
to_exponent = operation(1, lambda b, x: b.bitcast(b.shl(b.bitcast(x, INTS), ir.Constant(INTS, [23] * LANES)), FLOATS))

jit = nb.njit(error_model="numpy")
