"""The numba backend's activations, over vectors and without a branch.

e^x is 2^n·2^r, as in csrc/kernels/activations.inc.h, which explains the constants.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lstmcore.backends.numba.program import ELU, GELU_TANH, LEAKY_RELU, RELU, TANH
from lstmcore.backends.numba.vectors import Vector, absolute, copysign, fma, jit, maximum, minimum, to_exponent

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
