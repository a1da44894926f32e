"""The kernels of the numba backend: vectors of sixteen floats, and every layer over them.

`run` takes one window through all layers, and only it is called from Python. All that it works on lies in two arrays:
packed weights, and a thread's memory. The program says where in them; `numba.py` writes it.
All of this is one file, since numba's cache sees no change in another than that of `run`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # it has no types, and much of numba neither
from numba.core import cgutils, types
from numba.extending import intrinsic, models, overload, register_model

if nb.config.DISABLE_JIT:  # type: ignore[attr-defined]  # made at import
    raise ImportError("NUMBA_DISABLE_JIT is set, and these kernels cannot run uncompiled")

Vector = Any  # what the functions below take and return: 16 floats in registers

#: Floats in a vector: one register of AVX-512, two of AVX2, four of SSE or NEON.
LANES = 16
#: What is summed side by side, in four vectors: the gates of 16 units, or 64 outputs of a Linear.
TILE = 4 * LANES
#: Steps whose input products are formed at once, and which stay in the nearest caches until the steps use them.
CHUNK = 32

#: A program has a row an operation. Offsets and sizes are in floats; an operation uses the fields that it needs.
FIELDS = KIND, ROWS, INPUTS, UNITS, BLOCKS, X, X_ROW, Y, Y_ROW, WEIGHT, RECURRENT, GATES, C = tuple(range(13))
LSTM, LINEAR, AFFINE, COPY, SOFTMAX, RELU, LEAKY_RELU, ELU, GELU, GELU_TANH, TANH, SIGMOID = range(12)

# Vectors are spelled out for LLVM: whether it would make them of loops over floats, and keep sums in registers, is up
# to its version and to the processor. Where registers are shorter, it takes several.


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

# Activations, without a branch. e^x is 2^n·2^r, as in csrc/activations.inc.h, which explains the constants.

ZERO, HALF, ONE, TWO, TEN, LEAST, MOST, SQRT_HALF, GELU_SCALE, GELU_CUBIC, ROUNDER = (
    np.float32(x) for x in (0, 0.5, 1, 2, 10, -88, 88.7, math.sqrt(0.5), math.sqrt(2 / math.pi), 0.044715, 12583039)
)
LOG2_E = np.float32(math.log2(math.e))
Q5, Q4, Q3, Q2, Q1, Q0 = (
    np.float32(float.fromhex(x))
    for x in ("0x1.446cdep-13", "0x1.5f08f8p-10", "0x1.3b29e4p-7", "0x1.c6af6cp-5", "0x1.ebfbep-3", "0x1.62e43p-1")
)


@jit
def split_exp(x: Vector) -> tuple[Vector, Vector]:
    """s and p such that e^x = (1 + s)·p; p is 0 at `LEAST` and below, inf at `MOST` and above.

    As log2 e is rounded, e^x comes out up to 1.4e-8·|x| off, relatively.
    """
    x = minimum(MOST, maximum(LEAST, x))  # a constant stands first, so that a NaN goes through
    rounded = fma(x, LOG2_E, ROUNDER)
    r = fma(x, LOG2_E, ROUNDER - rounded)
    quotient = fma(fma(fma(fma(fma(Q5, r, Q4), r, Q3), r, Q2), r, Q1), r, Q0)
    return quotient * r, to_exponent(rounded)


@jit
def exp(x: Vector) -> Vector:
    s, p = split_exp(x)
    return (ONE + s) * p


@jit
def expm1(x: Vector) -> Vector:
    s, p = split_exp(x)
    return fma(s, p, p - ONE)


@jit
def sigmoid(x: Vector) -> Vector:
    return ONE / (ONE + exp(ZERO - x))


@jit
def tanh(x: Vector) -> Vector:
    e = expm1(TWO * minimum(TEN, absolute(x)))  # from 10 on the answer is 1
    return copysign(e / (e + TWO), x)


@jit
def activation(kind: int, x: Vector, setting: Vector) -> Vector:
    if kind == RELU:
        return maximum(ZERO, x)
    if kind == LEAKY_RELU:
        return fma(minimum(ZERO, x), setting, maximum(ZERO, x))
    if kind == ELU:
        return fma(expm1(minimum(ZERO, x)), setting, maximum(ZERO, x))
    if kind == GELU_TANH:
        return HALF * x * (ONE + tanh(GELU_SCALE * fma(GELU_CUBIC * x * x, x, x)))
    return tanh(x) if kind == TANH else sigmoid(x)


@jit
def gelu(x: Any) -> None:
    for n in range(len(x)):
        x[n] *= HALF * (ONE + math.erf(x[n] * SQRT_HALF))


@jit
def softmax(x: Any) -> None:
    largest, total = x[0], ZERO
    for n in range(1, len(x)):
        largest = max(largest, x[n])
    for n in range(len(x)):
        x[n] = math.exp(x[n] - largest)
        total += x[n]
    for n in range(len(x)):
        x[n] /= total


@jit
def tile(weights: Any, at: int, memory: Any, x_at: int, inputs: int, sums: tuple[Vector, ...]) -> tuple[Vector, ...]:
    """Add W·x to four vectors. Every sum is formed in the order of the inputs, with one multiply-add a term."""
    a, b, c, d = sums
    for k in range(inputs):
        x = load_in_all_lanes(memory, x_at + k)
        a = fma(x, load(weights, at), a)
        b = fma(x, load(weights, at + LANES), b)
        c = fma(x, load(weights, at + 2 * LANES), c)
        d = fma(x, load(weights, at + 3 * LANES), d)
        at += TILE
    return a, b, c, d


@jit
def load_tile(array: Any, at: int) -> tuple[Vector, ...]:
    return load(array, at), load(array, at + LANES), load(array, at + 2 * LANES), load(array, at + 3 * LANES)


@jit
def project(op: Any, weights: Any, memory: Any, x_at: int, rows: int, y_at: int, y_row: int) -> None:
    """W·x + b of every row, block by block: a block's weights stay in the nearest cache while the rows pass."""
    inputs = op[INPUTS]
    for block in range(op[BLOCKS]):
        at = op[WEIGHT] + block * (1 + inputs) * TILE  # the bias, and behind it the weights
        bias = load_tile(weights, at)
        for t in range(rows):
            a, b, c, d = tile(weights, at + TILE, memory, x_at + t * op[X_ROW], inputs, bias)
            y = y_at + t * y_row + block * TILE
            store(memory, y, a)
            store(memory, y + LANES, b)
            store(memory, y + 2 * LANES, c)
            store(memory, y + 3 * LANES, d)


@jit
def step(weights: Any, at: int, memory: Any, units: int, gates_at: int, h_at: int, c_at: int, new_h_at: int) -> None:
    """One step of 16 units. The gates hold W·x + b; R·h is formed apart, and added at the end."""
    zero = splat(ZERO)
    from_input = load_tile(memory, gates_at)
    from_hidden = tile(weights, at, memory, h_at, units, (zero, zero, zero, zero))
    i = sigmoid(from_input[0] + from_hidden[0])
    f = sigmoid(from_input[1] + from_hidden[1])
    g = tanh(from_input[2] + from_hidden[2])
    o = sigmoid(from_input[3] + from_hidden[3])
    c = load(memory, c_at)
    c = f * c + i * g
    h = o * tanh(c)
    store(memory, c_at, c)
    store(memory, new_h_at, h)


@jit
def lstm(op: Any, weights: Any, memory: Any) -> None:
    """Every step's h goes behind the initial h, which is the first row of Y. Behind C stands the initial c."""
    units, blocks, row = op[UNITS], op[BLOCKS], op[Y_ROW]
    for n in range(op[C], op[C] + row, LANES):
        store(memory, n, load(memory, n + row))
    for begin in range(0, op[ROWS], CHUNK):
        rows = min(CHUNK, op[ROWS] - begin)
        project(op, weights, memory, op[X] + begin * op[X_ROW], rows, op[GATES], blocks * TILE)
        for t in range(rows):
            h_at = op[Y] + (begin + t) * row
            for n in range(blocks):
                # Odd steps go downwards: the weights used last are still in the nearest cache.
                block = blocks - 1 - n if t % 2 else n
                weights_at, gates_at = op[RECURRENT] + block * units * TILE, op[GATES] + (t * blocks + block) * TILE
                c_at, new_h_at = op[C] + block * LANES, h_at + row + block * LANES
                step(weights, weights_at, memory, units, gates_at, h_at, c_at, new_h_at)


@jit
def affine(op: Any, weights: Any, memory: Any) -> None:
    """(x - mean)·scale + shift, in place: three rows of weights, each padded to whole vectors."""
    row, padded = op[X_ROW], (op[INPUTS] + LANES - 1) // LANES * LANES
    for x_at in range(op[X], op[X] + op[ROWS] * row, row):
        for n in range(0, padded, LANES):
            mean_at = op[WEIGHT] + n
            centred = load(memory, x_at + n) - load(weights, mean_at)
            scale, shift = load(weights, mean_at + padded), load(weights, mean_at + 2 * padded)
            store(memory, x_at + n, fma(centred, scale, shift))


@nb.njit(error_model="numpy", nogil=True)
def run(program: Any, weights: Any, memory: Any) -> None:
    """One window through all operations of `program`, (N, len(FIELDS)) int64."""
    for op in program:
        kind, begin, row = op[KIND], op[X], op[X_ROW]
        end = begin + op[ROWS] * row
        if kind == LSTM:
            lstm(op, weights, memory)
        elif kind == LINEAR:
            project(op, weights, memory, begin, op[ROWS], op[Y], op[Y_ROW])
        elif kind == AFFINE:
            affine(op, weights, memory)
        elif kind == COPY:
            width = op[INPUTS]
            for t in range(op[ROWS]):
                for n in range(width):
                    memory[op[Y] + t * width + n] = memory[begin + t * row + n]
        elif kind == SOFTMAX:
            for x_at in range(begin, end, row):
                softmax(memory[x_at : x_at + op[INPUTS]])
        elif kind == GELU:
            gelu(memory[begin:end])
        else:
            setting = load_in_all_lanes(weights, op[WEIGHT])
            for n in range(begin, end, LANES):
                store(memory, n, activation(kind, load(memory, n), setting))
