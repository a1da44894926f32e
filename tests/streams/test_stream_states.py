"""States of streams, kept and taken up again; and files that are another's, damaged or made by an enemy."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from strategies import normal
from streams import CATCH_UP, KERNELS, same_bits, small

import lstmcore
from lstmcore.errors import ModelFormatError
from lstmcore.streaming import Stream, files

BACKENDS = ("c", "numba", "numpy")


def sliding(model: lstmcore.Model) -> Stream:
    return model.sliding(5)


def stateful(model: lstmcore.Model) -> Stream:
    return model.stateful()


KINDS = pytest.mark.parametrize("new", [sliding, stateful])


def written(folder: Path, new: Callable[[lstmcore.Model], Stream]) -> Path:
    """The file of a stream that has seen some ticks."""
    stream = new(small())
    stream.push_many(normal(np.random.default_rng(0), 12, 3))
    stream.save(folder / "state.safetensors")
    return folder / "state.safetensors"


def rewritten(path: Path, kind: str | None, **parts: Any) -> Path:
    """The file with other parts (None: without it), its name kept."""
    found = safetensors.numpy.load(path.read_bytes()) | parts
    left = {name: part for name, part in found.items() if part is not None}
    metadata = {"lstmcore_state": kind or "", "sha256": files.checksum(left)}
    path.write_bytes(safetensors.numpy.save(left, metadata if kind else None))
    return path


@KINDS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stream_goes_on_from_a_file(new: Any, dtype: Any, backend: str, tmp_path: Path) -> None:
    if backend == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    model = small(num_layers=2).astype(dtype).with_backend(backend)
    x = normal(np.random.default_rng(1), 30, 3)
    for after in (0, 3, 20):
        stream, other = new(model), new(model)
        stream.push_many(x[:after])
        stream.save(tmp_path / "state.safetensors")
        other.restore(str(tmp_path / "state.safetensors"))
        assert other.ticks == after
        same_bits(other.push_many(x[after:]), stream.push_many(x[after:]))
        for part, value in stream.state().items():
            np.testing.assert_array_equal(other.state()[part], value)


@KINDS
def test_kernels_take_up_each_others_states(new: Any) -> None:
    model = small(hidden=37, num_layers=2)
    x = normal(np.random.default_rng(2), 50, 3)
    stream = new(model)
    whole = np.concatenate([stream.push_many(x[:20]), stream.push_many(x[20:])])
    for kernel in KERNELS:
        stream = new(model)
        stream.push_many(x[:20])
        other = new(model.with_backend("c", kernel))
        other.restore(stream.state())
        same_bits(other.push_many(x[20:]), whole[20:])


@pytest.mark.parametrize("how", CATCH_UP, ids=str)
def test_a_helpers_stream_keeps_its_state(how: dict[str, Any]) -> None:
    model = small(hidden=37, num_layers=2)
    x = normal(np.random.default_rng(3), 60, 3)
    expected = model.sliding(9).push_many(x)
    stream = model.sliding(9, **how)
    answers = []
    for n, tick in enumerate(x):
        answers.append(stream.push(tick))
        if n % 7 == 0:
            state, stream = stream.state(), model.sliding(9, **how)
            stream.restore(state)
        if n % 11 == 0:
            stream = stream.copy()
    same_bits(answers, expected)


def test_the_parts_of_a_state_are_what_they_are_called() -> None:
    """The oldest window in flight has seen all of the last ticks, the newest none."""
    model = small(num_layers=2)
    x = normal(np.random.default_rng(4), 20, 3)
    stream, whole = model.sliding(5), model.stateful()
    stream.push_many(x)
    whole.push_many(x[-4:])
    state, seen = stream.state(), whole.state()
    assert set(state) == {"lstm.h_l0", "lstm.c_l0", "lstm.h_l1", "lstm.c_l1", "ticks", "window", "model"}
    for part in ("lstm.h_l0", "lstm.c_l0", "lstm.h_l1", "lstm.c_l1"):
        assert state[part].shape == (5, 8)
        same_bits(state[part][0], seen[part][0])
        assert not state[part][-1].any()
    assert (state["ticks"], state["window"], seen["ticks"]) == (20, 5, 4)


@KINDS
def test_a_state_is_the_callers_own(new: Any) -> None:
    for backend in ("c", "numpy"):
        stream = new(small().with_backend(backend))
        stream.push_many(np.ones((7, 3)))
        state, before = stream.state(), stream.state()
        for part in state.values():
            if part.flags.writeable:
                part[...] = 9
        for name, part in stream.state().items():
            np.testing.assert_array_equal(part, before[name])


@KINDS
def test_another_models_state_is_refused(new: Any, tmp_path: Path) -> None:
    """As such, whatever else differs with it."""
    path = written(tmp_path, new)
    scaled = small().with_scaler(np.zeros(3), np.ones(3))
    for other in (small(seed=1), scaled, small(hidden=9), small(num_layers=2), small(features=4)):
        for given, where in ((path, "state.safetensors"), (new(small()).state(), "^state")):
            with pytest.raises(ValueError, match=f"{where}: it is the state of another model, or of other weights"):
                new(other).restore(given)


def test_another_windows_state_is_refused(tmp_path: Path) -> None:
    for backend in ("c", "numpy"):
        stream = small().with_backend(backend).sliding(6)
        for given in (
            written(tmp_path, sliding),
            small().sliding(5).state(),
            {**stream.state(), "window": np.array(5)},
        ):
            with pytest.raises(ValueError, match=r"state.*: window: expected 6, got 5"):
                stream.restore(given)


@pytest.mark.parametrize(("backend", "other"), [("c", "numpy"), ("numpy", "c")])
def test_the_other_sort_of_state_is_refused(backend: str, other: str, tmp_path: Path) -> None:
    stream = small().with_backend(backend).sliding(5)
    stream.push_many(np.ones((7, 3)))
    stream.save(tmp_path / "state.safetensors")
    sorts = {"c": "a step of each layer", "numpy": "whole windows"}
    text = f"kept by a stream that computes {sorts[backend]}; this one, of another backend, computes {sorts[other]}"
    for given in (tmp_path / "state.safetensors", stream.state()):
        with pytest.raises(ValueError, match=f"state.*: {text}"):
            small().with_backend(other).sliding(5).restore(given)


def test_another_kinds_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, sliding)
    for given in (path, small().sliding(5).state()):
        with pytest.raises(
            ValueError, match=r"state.*: expected .* of a stateful stream, got that of a sliding stream"
        ):
            small().stateful().restore(given)
    for given in (written(tmp_path, stateful), small().stateful().state()):
        with pytest.raises(
            ValueError, match=r"state.*: expected .* of a sliding stream, got that of a stateful stream"
        ):
            small().sliding(5).restore(given)
    model = tmp_path / "model.safetensors"
    small().save(model)
    with pytest.raises(ModelFormatError, match=r"model.safetensors: expected the state of a sliding stream, got anoth"):
        small().sliding(5).restore(model)
    with pytest.raises(ModelFormatError, match=r"state.safetensors: the state of a stream, not a model"):
        lstmcore.load(path)
    with pytest.raises(ModelFormatError, match=r"got another file"):
        small().sliding(5).restore(rewritten(path, None))
    with pytest.raises(FileNotFoundError):
        small().sliding(5).restore(tmp_path / "none.safetensors")


@KINDS
@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"lstm.c_l0": None}, "expected the parts .*lstm.c_l0.*, got"),
        ({"more": np.zeros(1)}, "expected the parts .*, got .*more"),
        ({"lstm.c_l0": np.zeros((2, 2), "f4")}, r"lstm.c_l0: expected float32 \(\d, 8\), got float32 \(2, 2\)"),
        ({"lstm.c_l0": np.float16}, "lstm.c_l0: expected float32 .*, got float16"),
        ({"lstm.h_l0": np.int32}, "lstm.h_l0: expected float32 .*, got int32"),
        ({"ticks": np.zeros((), "f4")}, r"ticks: expected int64 \(\), got float32 \(\)"),
        ({"ticks": np.zeros((1,), "i8")}, r"ticks: expected int64 \(\), got int64 \(1,\)"),
        ({"ticks": np.array(-1)}, r"ticks: expected 0 to 2\*\*62, got -1"),
        ({"ticks": np.array(2**63 - 1)}, r"ticks: expected 0 to 2\*\*62, got 9223372036854775807"),
        ({"model": np.zeros(32, "u1")}, "it is the state of another model, or of other weights"),
        ({"model": np.zeros(31, "u1")}, r"model: expected uint8 \(32,\), got uint8 \(31,\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(new: Any, parts: dict[str, Any], text: str, tmp_path: Path) -> None:
    """Named, with the file; and the stream goes on as if nobody had asked."""
    path = written(tmp_path, new)
    kind = "sliding" if new is sliding else "stateful"
    found = safetensors.numpy.load(path.read_bytes())
    parts = {name: found[name].astype(part) if isinstance(part, type) else part for name, part in parts.items()}
    stream = new(small())
    stream.push_many(np.ones((7, 3)))
    before = stream.state()
    with pytest.raises(ValueError, match=rf"state.safetensors: {text}"):
        stream.restore(rewritten(path, kind, **parts))
    state = {name: part for name, part in {**before, **parts}.items() if part is not None}
    with pytest.raises(ValueError, match=f"^state: {text}"):
        stream.restore(state)
    for name, part in stream.state().items():
        np.testing.assert_array_equal(part, before[name])


@KINDS
def test_damaged_files_are_refused(new: Any, tmp_path: Path) -> None:
    path = written(tmp_path, new)
    whole, stream = path.read_bytes(), new(small())
    damaged = [whole[:size] for size in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1)]
    damaged += [whole + b"x", b"\xff" * 8 + whole[8:], whole[:8] + b"}" + whole[9:], b"what is this?"]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(ModelFormatError, match=r"state.safetensors: "):
            stream.restore(path)
    path.write_bytes(whole)
    stream.restore(path)
    assert stream.ticks == 12


def test_any_bit_changed_is_an_error(tmp_path: Path) -> None:
    path, rng = written(tmp_path, sliding), np.random.default_rng(5)
    whole, stream = path.read_bytes(), small().sliding(5)
    for _ in range(400):
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"state\.safetensors: "):
            stream.restore(path)
        assert stream.ticks == 0


def test_names_and_folders_that_cannot_be_written(tmp_path: Path) -> None:
    stream = small().stateful()
    with pytest.raises(ValueError, match=r"bin: expected a name that ends in .safetensors, such as state.safetensors"):
        stream.save(tmp_path / "state.bin")
    with pytest.raises(FileNotFoundError, match="no folder"):
        stream.save(tmp_path / "none" / "state.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_a_stream_is_no_pickle(take: Callable[[Any], Any], backend: str) -> None:
    model = small().with_backend(backend)
    for stream in (model.sliding(5), model.stateful(), lstmcore.SlidingPool(model, 5, 2)):
        with pytest.raises(TypeError, match=rf"a {type(stream).__name__} cannot be pickled: .*state\(\).*save\(\)"):
            take(stream)
    restored = model.sliding(5)
    restored.restore(pickle.loads(pickle.dumps(sliding(model).state())))


def test_what_a_stream_shows() -> None:
    model = small(outputs=2).with_backend("c", "scalar")
    stream = model.sliding(5)
    about = "ticks of 3 features -> (2,), backend c (scalar)"
    assert repr(stream) == f"<SlidingWindow: windows of 5 {about}, 0 ticks so far, not ready, catch_up='push'>"
    stream.push_many(np.ones((1234, 3)))
    assert "1,234 ticks so far, ready" in repr(stream)
    assert repr(model.stateful()) == f"<Stateful: {about}, 0 ticks so far>"
    assert "catch_up='thread', spin=True, cpu=0" in repr(model.sliding(5, catch_up="thread", spin=True, cpu=0))
    pool = lstmcore.SlidingPool(model, 5, 3)
    pool.push_many([1] * 5, np.ones((5, 3)))
    assert repr(pool) == f"<SlidingPool: 3 streams, windows of 5 {about}, 1 ready>"
    assert "backend numpy," in repr(small().with_backend("numpy").stateful())


def test_the_parts_of_a_state_have_names() -> None:
    with pytest.raises(ValueError, match="state: expected the names of its parts as keys, got 1"):
        small().sliding(5).restore({1: np.zeros(3)})  # type: ignore[dict-item]


def test_a_state_does_not_replace_a_model(tmp_path: Path) -> None:
    """It may replace a state, and what is no safetensors file at all."""
    path, stream = tmp_path / "bot.safetensors", small().sliding(5)
    small().save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"bot.safetensors: there is another safetensors file, perhaps a model; give"):
        stream.save(path)
    with pytest.raises(ValueError, match="perhaps a model"):
        lstmcore.SlidingPool(small(), 5, 2).save(path)
    assert path.read_bytes() == before
    for content in (b"", before[: len(before) // 2]):
        path.write_bytes(content)
        stream.save(path)
        stream.save(path)
        stream.restore(path)
