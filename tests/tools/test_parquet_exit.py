"""The end of a process that has read a .parquet file: Arrow's threads must not need the interpreter by then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

#: Whatever thread asks for the interpreter lock gets it late: as it is on a busy machine, but every time.
LATE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>
int PyGILState_Ensure(void) {
    static int (*real)(void);
    if (real == NULL) {
        real = (int (*)(void))dlsym(RTLD_NEXT, "PyGILState_Ensure");
    }
    if (syscall(SYS_gettid) != getpid()) {
        usleep(300000);
    }
    return real();
}
"""


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs LD_PRELOAD and a C compiler")
def test_a_process_that_read_a_parquet_file_ends_well(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    import pyarrow

    columns = {f"c{k}": np.random.default_rng(k).normal(size=2_000) for k in range(40)}
    parquet.write_table(pyarrow.table(columns), tmp_path / "d.parquet", row_group_size=100)
    (tmp_path / "late.c").write_text(LATE)
    library = tmp_path / "late.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "late.c", "-ldl"], check=True)
    code = "import sys; from lstmcore import data; print(data.read(sys.argv[1]).values.shape)"
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "d.parquet"],
            env=os.environ | {"LD_PRELOAD": str(library)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "(2000, 40)\n", "")
