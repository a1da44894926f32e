"""Files: what is opened is a plain one, and what is written is there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lstmcore import terminal
from lstmcore.errors import ModelFormatError
from lstmcore.text import quoted

#: How a pointer file of Git LFS begins, which a clone without Git LFS has in place of a large file.
LFS = b"version https://git-lfs.github.com/spec/v1"
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
MAX_NAME = 200  # bytes of a file's name that its part has in its own, which may have 255 on most file systems


def as_name(path: Any, what: str) -> str:
    """A file's name as text. Raises TypeError for what is none, ValueError for one that no file can have."""
    name = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(name, str):
        raise TypeError(f"{what}: expected a file's name, a str or a Path, got {quoted(path)}")
    if "\0" in name:
        raise ValueError(f"{what}: a file's name has no NUL in it, got {quoted(name)}")
    return name


def open_plain(
    path: str | os.PathLike[str], error: type[ValueError] = ModelFormatError, *, what: str = ""
) -> io.BufferedReader:
    """Open a file for reading; never wait for somebody to write into it, as opening a pipe would.

    Args:
        path: Links are followed.
        error: What is raised for something else than a file.
        what: The beginning of the error, where it is not the path.

    Raises:
        OSError: There is none of that name, or it cannot be opened.
        ValueError (`error`): A directory, pipe, socket or device; or a pointer file of Git LFS.
    """
    what = what or os.fspath(path)
    _check_plain(os.stat(path).st_mode, what, error)  # first: to open a device may do something to it
    stream = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115  # theirs
    try:
        _check_plain(os.fstat(stream.fileno()).st_mode, what, error)
        if stream.peek(len(LFS))[: len(LFS)] == LFS:
            raise error(f"{what}: a Git LFS pointer, not the file itself; run git lfs pull")
    except BaseException:
        stream.close()
        raise
    return stream


def read_whole(path: str | os.PathLike[str], limit: int, error: type[ValueError] = ModelFormatError) -> bytes:
    """All bytes of a file, of at most `limit` bytes, which is checked before any are read.

    Raises:
        OSError: As `open_plain`, or it cannot be read.
        ValueError (`error`): As `open_plain`; a larger file, or one whose size changed while it was read.
    """
    with open_plain(path, error) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise error(f"{os.fspath(path)}: {size} bytes; at most {limit} are taken")
        data = stream.read(size)
        if len(data) != size or stream.read(1):
            raise error(f"{os.fspath(path)}: its size changed while it was read; it had {size} bytes")
    return data


def _check_plain(mode: int, what: str, error: type[ValueError]) -> None:
    if not stat.S_ISREG(mode):
        raise error(f"{what}: expected a file, got {KINDS.get(stat.S_IFMT(mode), 'something else')}")


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file, whole or not at all; see `replacing`."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text in UTF-8, whole or not at all; see `replacing`."""
    write_whole(path, text.encode())


def write_json(path: str | os.PathLike[str], document: Any) -> None:
    """Write one JSON document as `terminal.write_json` does, whole or not at all; see `replacing`."""
    text = io.StringIO()
    terminal.write_json(document, text)
    write_text(path, text.getvalue())


def write_figure(path: str | os.PathLike[str], figure: Any) -> None:
    """Write a figure of matplotlib in the format that the suffix names, whole or not at all; see `replacing`."""
    with replacing(path) as file:
        figure.savefig(file, format=Path(path).suffix.removeprefix(".") or "png")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write, which lies beside `path` and is moved there once it is on the disk: no reader sees half of it.

    Where the block ends with an error, `path` is as it was. A file that was there gives its mode to the new one;
    where there was none, the umask decides. A symbolic link stays, and the file that it points to is replaced. What
    is no file, such as a pipe or /dev/stdout, is written into.

    Raises:
        FileNotFoundError: No such folder.
        OSError: A full disk, or whatever else the system refuses; it names `path`.
    """
    with _named(path):
        old = _stat(path)
        if old is not None and not stat.S_ISREG(old.st_mode):
            # A pipe that nobody reads is an error at once: to open it would wait for a reader.
            with open(path, "wb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
                os.set_blocking(file.fileno(), True)
                yield file
            return
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            raise FileNotFoundError(f"no folder {target.parent}")
        with _part(target, old) as (part, descriptor):
            with open(os.dup(descriptor), "wb") as file:
                yield file
            os.fsync(descriptor)
            os.replace(part, target)
            _sync_folder(target.parent)


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors of the system as errors about `path`: those of writing name no file, or the part."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # numpy's, of a file that was written in part; or ours
            raise type(error)(f"{os.fspath(path)}: {error}") from error
        if error.filename is None or os.fspath(error.filename).endswith(".part"):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise


def _stat(path: str | os.PathLike[str]) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _part(target: Path, old: os.stat_result | None) -> Iterator[tuple[Path, int]]:
    """A new file beside `target`, and its descriptor; it is gone at the end, unless it was moved.

    It is locked, and so one that is not is what a killed process has left.
    """
    start = "." + os.fsdecode(os.fsencode(target.name)[:MAX_NAME]) + "."
    _remove_left_over(target.parent, start)
    while True:
        part = target.with_name(f"{start}{secrets.token_hex(4)}.part")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(part, flags, 0o666 if old is None else 0o600)
        try:
            with contextlib.suppress(OSError):  # a file system without locks: there nothing is taken for left over
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink == 0:  # it was taken for left over before it was locked
                continue
            if old is not None and os.fstat(descriptor).st_mode != old.st_mode:
                os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
            yield part, descriptor
            return
        finally:
            part.unlink(missing_ok=True)
            os.close(descriptor)


def _remove_left_over(folder: Path, start: str) -> None:
    try:
        names = os.listdir(folder)
    except PermissionError:  # a folder that may be written to and not read
        return
    for name in names:
        if not (name.startswith(start) and name.endswith(".part") and len(name) == len(start) + 8 + len(".part")):
            continue
        with contextlib.suppress(OSError):  # in use, somebody else's, or gone
            descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(folder / name)
            finally:
                os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """The new name too is on the disk, where the system does that for a folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES):
            raise
