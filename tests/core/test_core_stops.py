"""The C core's long calls stopped at random moments, its functions called with NULL, its objects used by threads."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import printed, run

from lstmcore.backends import c as core

KERNELS = core.kernels_here()


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_stopped_call_leaves_whole_states(native: Path, native_hashes: dict[str, list[str]], kernel: str) -> None:
    assert printed(native / "stops", kernel) == native_hashes[kernel]


def test_stops_sees_that_nobody_stops(native: Path) -> None:
    done = run(native / "stops", KERNELS[0], "never")
    assert done.returncode == 1
    assert "stopped hardly anything" in done.stderr


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("program", ["nulls", "threads"])
def test_null_is_refused_and_threads_share_a_model(native: Path, program: str, kernel: str) -> None:
    """`make sanitize` runs both again, under ASan, UBSan and TSan."""
    done = run(native / program, kernel)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
