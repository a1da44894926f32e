"""What the core reads, writes and moves: no padding, nothing around an array, no memory and no system call in a run."""

from __future__ import annotations

import gc
import platform
import shutil
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import printed, run
from strategies import make, normal, states

import lstmcore
from lstmcore import layers as L
from lstmcore.backends import c as core

KERNELS = core.kernels_here()

wraps = pytest.mark.skipif(
    platform.system() != "Linux", reason="poison and quiet are linked with --wrap, which only Linux's linkers have"
)


@wraps
@pytest.mark.parametrize("kernel", KERNELS)
def test_nan_in_padding_and_around_arrays_changes_no_bit(
    native: Path, native_hashes: dict[str, list[str]], kernel: str
) -> None:
    every = 3 if kernel == "scalar" else 1  # it takes long
    assert printed(native / "poison", kernel, every=every) == native_hashes[kernel][::every]


@wraps
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("weight", "NaN where no number"),
        ("input", "NaN where no number"),
        ("answer", "wrote outside an array"),
        ("write", "wrote to its input"),
    ],
)
def test_poison_finds_planted_faults(native: Path, kernel: str, fault: str, found: str) -> None:
    done = run(native / "poison", kernel, fault)
    assert done.returncode == 1
    assert f"lstmcore_run_many: {found}" in done.stderr


@wraps
def test_neon_reads_no_padding_under_emulation(native_hashes: dict[str, list[str]], emulated: tuple[str, Path]) -> None:
    emulator, folder = emulated
    every = 3  # it takes long there
    assert printed(emulator, folder / "poison", "neon", every=every) == native_hashes["scalar"][::every]


#: The status with which quiet says that it could not watch system calls.
CANNOT_TELL = 77

#: Everything that moves memory, and that quiet counts.
MEMORY = {"malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign", "free"}


@wraps
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_run_moves_no_memory_and_makes_no_system_call(
    native: Path, native_hashes: dict[str, list[str]], kernel: str
) -> None:
    done = run(native / "quiet", kernel)
    assert done.returncode in (0, CANNOT_TELL), done.stderr
    assert done.stdout.splitlines() == native_hashes[kernel]
    if done.returncode == CANNOT_TELL:
        pytest.skip(f"memory was watched, but {done.stderr.strip()}")


@wraps
@pytest.mark.parametrize("fault", [*sorted(MEMORY), "getpid", "write"])
def test_quiet_finds_planted_faults(native: Path, fault: str) -> None:
    done = run(native / "quiet", KERNELS[0], fault)
    if done.returncode == CANNOT_TELL:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 1
    found = "allocated or freed memory" if fault in MEMORY else "made a system call"
    assert f"lstmcore_run_many: {found}" in done.stderr


#: All else that the core may ask of the C library, none of which waits or allocates.
OTHERS = {"memcpy", "memmove", "memset", "memcmp", "strcmp", "strlen", "vsnprintf", "getenv", "sysconf", "fmaf"}

#: What compilers add.
ADDED = {
    "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail", "__memcpy_chk", "__memmove_chk", "__memset_chk", "__vsnprintf_chk",
}  # fmt: skip


def foreign(objects: Path) -> dict[str, set[str]]:
    """What each object of a library asks of others, beyond what it may."""
    asked: dict[str, set[str]] = {}
    for line in printed("nm", "-A", objects):
        place, undefined, name = line.partition(" U ")
        if undefined and not name.startswith("lstmcore_"):
            asked.setdefault(place.rstrip(" :").rpartition(":")[2], set()).add(name)
    return {member: names - MEMORY - OTHERS - ADDED for member, names in asked.items()}


@wraps
@pytest.mark.skipif(shutil.which("nm") is None, reason="nm (binutils) is not installed")
def test_the_core_has_no_uncounted_way_to_memory_and_no_lock_but_its_helpers(native: Path) -> None:
    asked = foreign(native / "liblstmcore.a")
    assert {"session.c.o", "model.c.o"} <= set(asked)
    thread = asked.pop("helper.c.o")  # which runs only where a caller started it
    assert thread
    assert all(name.startswith("pthread_") for name in thread - {"sched_yield", "clock_gettime"}), thread
    assert "sched_yield" in thread, "who waits for a helper must let it have the processor"
    assert not set().union(*asked.values()), asked
    quiet = foreign(native / "CMakeFiles" / "quiet.dir" / "tests" / "c" / "quiet.c.o")
    assert {"fork", "waitpid"} <= set().union(*quiet.values()), "what is not allowed must be seen"


INPUTS, OUTPUTS, STEPS = 4, 3, 40


def model(*, sequences: bool = False, squeeze: bool = False) -> lstmcore.Model:
    rng = np.random.default_rng(0)
    outputs = 1 if squeeze else OUTPUTS
    lstm = make(L.LSTM, "lstm", rng, input_size=INPUTS, hidden_size=20, num_layers=2, return_sequences=sequences)
    linear = make(L.Linear, "fc", rng, in_features=20, out_features=outputs)
    return lstmcore.Model([lstm, linear, *([L.Squeeze("squeeze")] if squeeze else [])], backend="c")


def windows(n: int, steps: int = STEPS) -> Any:
    return normal(np.random.default_rng(1), n, steps, INPUTS)


def grown(call: Callable[[], Any], times: int) -> tuple[int, int]:
    """By how many blocks and bytes Python's memory, numpy's arrays with it, grows while something is called."""
    for _ in range(100):
        call()
    tracemalloc.start()
    try:
        call()
        gc.collect()
        blocks, bytes_ = sys.getallocatedblocks(), tracemalloc.get_traced_memory()[0]
        for _ in range(times):
            call()
        gc.collect()
        return sys.getallocatedblocks() - blocks, tracemalloc.get_traced_memory()[0] - bytes_
    finally:
        tracemalloc.stop()


def ways_to_call() -> dict[str, Callable[[], Any]]:
    one, squeezed, sequences = model(), model(squeeze=True), model(sequences=True)
    batch, short = windows(3), windows(1, 7)[0]
    state = states(one.recurrent_layers[0], np.random.default_rng(2))
    return {
        "a window": lambda: one(batch[0]),
        "a window, answered by a number": lambda: squeezed(batch[0]),
        "a window, every step answered": lambda: sequences(batch[0]),
        "a window in float64": lambda: one(np.zeros((STEPS, INPUTS))),
        "windows of two lengths in turn": lambda: (one(batch[0]), one(short)),
        "a window from given states": lambda: one(batch[0], state),
        "a batch": lambda: one(batch),
    }


CALLS = 1000

#: One block or object kept in ten calls is growth. A single list or cache that Python makes once is not.
BLOCKS, BYTES = CALLS // 10, CALLS * 16 // 10


@pytest.mark.parametrize("way", ways_to_call())
def test_memory_does_not_grow(way: str) -> None:
    blocks, bytes_ = grown(ways_to_call()[way], CALLS)
    assert blocks < BLOCKS
    assert bytes_ < BYTES


def test_growth_would_be_seen() -> None:
    answer, kept = ways_to_call()["a window"], []
    blocks, bytes_ = grown(lambda: kept.append(answer()), CALLS)
    assert blocks >= BLOCKS
    assert bytes_ >= BYTES


@pytest.mark.parametrize("sequences", [False, True])
def test_answers_are_the_callers_own(sequences: bool) -> None:
    run_model, batch = model(sequences=sequences), windows(3)
    expected = run_model(batch)
    answers = [run_model(window) for window in batch]
    np.testing.assert_array_equal(answers, expected)
    for n, answer in enumerate(answers):
        assert not any(np.shares_memory(answer, other) for other in (*answers[:n], expected, batch))
    answers[0][...] = np.nan
    np.testing.assert_array_equal(answers[1:], expected[1:])
    np.testing.assert_array_equal(run_model(batch[0]), expected[0])


def test_a_window_may_be_written_over_once_it_is_answered() -> None:
    run_model, batch = model(), windows(3)
    expected = run_model(batch)
    buffer = np.empty_like(batch[0])
    answers = []
    for window in batch:
        buffer[...] = window
        answers.append(run_model(buffer))
    buffer[...] = np.nan
    np.testing.assert_array_equal(answers, expected)


def test_an_answer_may_be_the_next_window() -> None:
    rng = np.random.default_rng(3)
    lstm = make(L.LSTM, "lstm", rng, input_size=INPUTS, hidden_size=INPUTS, return_sequences=True)
    run_model = lstmcore.Model([lstm], backend="c")
    first = windows(1)[0]
    second = run_model(first)
    third = run_model(second)
    np.testing.assert_array_equal(third, run_model(second.copy()))
    np.testing.assert_array_equal(second, run_model(first))
    assert not np.array_equal(second, third)
