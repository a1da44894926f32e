"""Files as they are in life: pipes and pointers in place of models, files cut short by others, full disks, kills."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from strategies import make

import lstmcore
from lstmcore import files
from lstmcore import layers as L
from lstmcore.commands import cli

SUFFIXES = (".safetensors", ".keras", ".h5", ".hdf5", ".onnx", ".pt", ".pth")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%064x\nsize 70928\n" % 7


def small() -> lstmcore.Model:
    lstm = make(L.LSTM, "lstm", np.random.default_rng(0), input_size=3, hidden_size=48, num_layers=1)
    return lstmcore.Model([lstm], backend="numpy")


def skip_without(suffix: str) -> None:
    package = {".keras": "h5py", ".h5": "h5py", ".hdf5": "h5py", ".onnx": "onnx"}.get(suffix)
    if package is not None:
        pytest.importorskip(package, reason=f"{package} is not installed")


def as_model(path: Path) -> object:
    layers = [("lstm", "LSTM")] if path.suffix in (".pt", ".pth") else None
    model = lstmcore.load(path, layers=layers, backend="numpy")
    return [dict(layer.weights) for layer in model.layers]


def as_state(path: Path) -> object:
    stream = small().sliding(200)
    stream.restore(path)
    return stream.state()


def as_checkpoint(path: Path) -> object:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    model = lstmcore.from_torch(torch.nn.Linear(3, 3000).eval(), checkpoint=path)
    return [dict(layer.weights) for layer in model.layers]


def made_fifo(path: Path) -> str:
    os.mkfifo(path)
    return r"expected a file, got a named pipe \(FIFO\)"


def made_folder(path: Path) -> str:
    path.mkdir()
    return "expected a file, got a directory"


def made_socket(path: Path) -> str:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)  # a socket's path may have 107 bytes
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)
    return "expected a file, got a socket"


def made_device(path: Path) -> str:
    path.symlink_to("/dev/null")
    return "expected a file, got a device"


def made_pointer(path: Path) -> str:
    path.write_bytes(POINTER)
    return "a Git LFS pointer, not the file itself; run git lfs pull"


@pytest.mark.parametrize("made", [made_fifo, made_folder, made_socket, made_device, made_pointer])
@pytest.mark.parametrize(
    ("suffix", "read"),
    [*((suffix, as_model) for suffix in SUFFIXES), (".safetensors", as_state), (".pt", as_checkpoint)],
)
def test_what_is_no_file_of_numbers_is_refused_at_once(
    tmp_path: Path, made: Callable[[Path], str], suffix: str, read: Callable[[Path], object]
) -> None:
    """A pipe that nobody writes into would be waited for without an end."""
    skip_without(suffix)
    path = tmp_path / f"m{suffix}"
    text = made(path)
    with pytest.raises(lstmcore.ModelFormatError, match=f"^{re.escape(str(path))}: {text}$"):
        read(path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect"],
        ["convert", "o.safetensors"],
        ["verify", "--against", "numpy"],
        ["predict", "data.csv"],
        ["bench"],
        ["replay", "recording", "--model"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_pipe_given_to_a_command(tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.safetensors"
    os.mkfifo(path)
    command, *more = arguments
    order = [command, *more, str(path)] if command == "replay" else [command, str(path), *more]
    assert cli.main(order) == 1
    assert "got a named pipe (FIFO)" in capsys.readouterr().err


def test_layers_in_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "layers.json")
    assert cli.main(["inspect", str(tmp_path / "m.pt"), "--layers", str(tmp_path / "layers.json")]) == 1
    assert "layers.json: expected a file, got a named pipe (FIFO)" in capsys.readouterr().err


def written(suffix: str, path: Path) -> Callable[[Path], object]:
    """A sound file that is larger than what is read of it at once, and what reads it."""
    if suffix == "state":
        small().sliding(200).save(path)
        return as_state
    if suffix in (".pt", "checkpoint"):
        torch = pytest.importorskip("torch", reason="torch is not installed")
        module = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(3, 48)}) if suffix == ".pt" else torch.nn.Linear(3, 3000)
        torch.save(module.state_dict(), path)
        return as_model if suffix == ".pt" else as_checkpoint
    if suffix == ".onnx":
        small().export_onnx(path)
    elif suffix == ".h5":
        h5py = pytest.importorskip("h5py", reason="h5py is not installed")
        with h5py.File(path, "w") as opened:
            opened["weights"] = np.random.default_rng(0).normal(size=5000)
    elif suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("config.json", "metadata.json", "model.weights.h5"):
                archive.writestr(name, os.urandom(30_000))
    else:
        small().save(path)
    return as_model


@pytest.mark.parametrize("kind", [".safetensors", "state", ".onnx", ".pt", "checkpoint", ".h5", ".keras"])
@given(call=st.integers(1, 4), keep=st.floats(0, 0.99))
@example(call=2, keep=0.5)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_that_is_cut_short_while_it_is_read(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, kind: str, call: int, keep: float
) -> None:
    """Another process does it behind one of our looks at the file: an error, never wrong numbers or a dead process."""
    skip_without(kind)
    path = tmp_path_factory.mktemp("cut") / f"m{ {'state': '.safetensors', 'checkpoint': '.pt'}.get(kind, kind) }"
    read = written(kind, path)
    right = None
    with contextlib.suppress(lstmcore.ModelFormatError):  # some hold no model, only its bytes
        right = read(path)
    size, inode, looks, fstat = path.stat().st_size, path.stat().st_ino, 0, os.fstat

    def cut(descriptor: int) -> os.stat_result:
        nonlocal looks
        found = fstat(descriptor)
        looks += found.st_ino == inode
        if found.st_ino == inode and looks == call:
            os.truncate(path, int(keep * size))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", cut)
        error = got = None
        try:
            got = read(path)
        except lstmcore.ModelFormatError as found:
            error = found
    if error is None:  # what was cut off had been read, or nobody looked that often
        np.testing.assert_equal(got, right)
    else:
        assert str(path) in str(error)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_files_mode_is_kept_and_a_new_ones_follows_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        path = tmp_path / "m.safetensors"
        small().save(path)
        assert mode_of(path) == 0o666 & ~mask
        for mode in (0o600, 0o644, 0o666, 0o440, 0o755):
            path.chmod(mode)
            small().save(path)
            assert mode_of(path) == mode
    finally:
        os.umask(before)


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    for name in ("x" * 243 + ".safetensors", "\N{SNOWMAN}" * 81 + ".safetensors"):
        small().save(tmp_path / name)
        assert lstmcore.load(tmp_path / name, backend="numpy") == small()
    with pytest.raises(OSError, match="too long") as caught:
        small().save(tmp_path / ("x" * 244 + ".safetensors"))
    assert str(caught.value.filename).endswith(".safetensors")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    link, target = tmp_path / "m.safetensors", tmp_path / "kept" / "v1.safetensors"
    link.symlink_to(Path("kept") / "v1.safetensors")
    for _ in range(2):  # first a link to a file that is not there yet
        small().save(link)
        assert link.is_symlink()
        assert not target.is_symlink()
        assert lstmcore.load(target, backend="numpy") == small()
    assert [p.name for p in target.parent.iterdir()] == [target.name]
    loop = tmp_path / "loop.safetensors"
    loop.symlink_to(loop.name)
    with pytest.raises(OSError, match=r"loop.safetensors"):
        small().save(loop)


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    """As /dev/stdout is, which would otherwise be replaced by a file."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write_whole(path, b"one\n")
        assert os.read(reader, 100) == b"one\n"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_pipe_that_nobody_reads_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    os.mkfifo(path)
    with pytest.raises(OSError, match=r"m\.safetensors"):
        small().save(path)


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    """A file size that may not be passed stands for the disk: the system refuses to write on in the same way."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match=re.escape(str(path))) as caught:
            small().save(path)
        with pytest.raises(OSError, match=re.escape(str(path))), files.replacing(path) as file:
            np.save(file, np.ones(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == [path.name]
    with pytest.raises(OSError, match=r"/dev/full") as caught:
        files.write_whole("/dev/full", b"x")
    assert caught.value.errno == errno.ENOSPC


WAITS = """
import sys
from lstmcore import files
with files.replacing(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("written", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"

    def begun() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WAITS, str(path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        return process

    killed, other = begun(), begun()
    try:
        assert len(os.listdir(tmp_path)) == 2
        killed.kill()
        killed.communicate(timeout=60)
        files.write_whole(path, b"whole")
        assert len(os.listdir(tmp_path)) == 2  # the file, and the other's part
        other.communicate("", timeout=60)
        assert path.read_bytes() == b"half"
        assert os.listdir(tmp_path) == [path.name]
    finally:
        killed.kill()
        other.kill()


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else f"{os.fstat(descriptor).st_size} bytes")
        fsync(descriptor)

    def moved(part: Path, target: Path) -> None:
        done.append("moved")
        replace(part, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    files.write_whole(tmp_path / "file", b"12345")
    assert done == ["5 bytes", "moved", "folder"]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with files.replacing(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []
