"""State dicts read without torch: what torch reads, to the bit, and other formats, by their names."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_files import SIX, as_numpy, records, refused, same, storage, tensor, write

import lstmcore
from lstmcore.formats.torch.torch_file import read_checkpoint, read_state_dict, strip_prefixes


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, num_layers=2, batch_first=True)
        self.norm = nn.BatchNorm1d(4)
        self.fc = nn.Linear(4, 1)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return Net().state_dict()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.pt"


# --- what torch reads -----------------------------------------------------------------------------


def test_a_state_dict(state: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(state, path)
    found = read_state_dict(path)
    assert same(found, as_numpy(state))
    assert found["norm.num_batches_tracked"].dtype == np.int64


DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
DTYPES += [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
VIEWS: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda x: x,
    lambda x: x.clone(),
    lambda x: x.transpose(0, -1),
    lambda x: x[..., 1::2],
    lambda x: x[-1:],
    lambda x: x.expand(3, *x.shape),
    lambda x: x[..., :1].expand(x.shape),
    lambda x: x.flatten()[2:],
    lambda x: x.sum().to(x.dtype),
    lambda x: torch.nn.Parameter(x, x.dtype.is_floating_point),
]
TENSORS = st.lists(
    st.tuples(
        st.sampled_from(DTYPES),
        st.lists(st.integers(0, 4), min_size=1, max_size=3),
        st.lists(st.sampled_from(VIEWS), min_size=1, max_size=3),
    ),
    max_size=4,
)


@given(tensors=TENSORS, seed=st.integers(0, 2**31), checksums=st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_torch_reads_is_read_to_the_bit(folder: Path, tensors: list[Any], seed: int, checksums: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for n, (dtype, shape, views) in enumerate(tensors):
        base = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).to(dtype)
        base = base / 7 if dtype.is_floating_point else base
        for view in views:  # several tensors of one storage
            state[f"{n}.{len(state)}"] = view(base)
    torch.serialization.set_crc32_options(checksums)
    try:
        torch.save(state, folder / "any.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    expected = torch.load(folder / "any.pt", weights_only=True)
    found = read_state_dict(folder / "any.pt")
    assert same(found, as_numpy(expected))
    assert all(x.flags.c_contiguous and x.flags.writeable for x in found.values())
    assert not any(np.shares_memory(x, y) for x, y in combinations(found.values(), 2))
    assert same(read_checkpoint(folder / "any.pt"), as_numpy(expected))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("torch_file")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_value_of_half_precision_is_widened_exactly(dtype: torch.dtype, path: Path) -> None:
    values = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    values = values.view(256, 256).T
    torch.save({"x": values}, path)
    found, expected = read_state_dict(path)["x"], values.float().numpy()
    numbers = ~np.isnan(expected)
    assert numbers.sum() > 60_000
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert found[numbers].tobytes() == expected[numbers].tobytes()
    assert np.isnan(found[~numbers]).all()


def test_weights_that_lie_in_one_storage_as_cudnn_wants_them(state: dict[str, torch.Tensor], path: Path) -> None:
    flat = torch.cat([x.flatten() for key, x in state.items() if key.startswith("lstm.")])
    parts = iter(flat.split([x.numel() for key, x in state.items() if key.startswith("lstm.")]))
    together = {key: next(parts).view(x.shape) if key.startswith("lstm.") else x for key, x in state.items()}
    torch.save(together, path)
    assert same(read_state_dict(path), as_numpy(state))


@pytest.mark.parametrize("nest", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_checkpoints_in_the_forms_that_training_leaves(
    state: dict[str, torch.Tensor], nest: str | None, prefix: str, path: Path
) -> None:
    saved = OrderedDict((prefix + key, value) for key, value in state.items())
    torch.save(saved if nest is None else {"epoch": 3, nest: saved}, path)
    assert same(read_checkpoint(path), as_numpy(state))
    if nest is None:
        assert same(read_state_dict(path), as_numpy(saved))
    else:
        refused(path, "epoch: expected a tensor, got int", read_state_dict)


def test_a_checkpoint_with_all_that_training_keeps(path: Path) -> None:
    net = Net()
    adam = torch.optim.Adam(net.parameters(), amsgrad=True)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(adam, [3, 8])
    net.fc(net.lstm(torch.ones(2, 5, 3))[0]).sum().backward()
    adam.step()
    kept: dict[str, Any] = {"state_dict": net.state_dict(keep_vars=True), "optimizer": adam.state_dict()}
    kept |= {"scheduler": scheduler.state_dict(), "rng": torch.get_rng_state(), "seed": 2**64 - 1, "best": None}
    kept |= {"device": torch.device("cuda", 0), "dtype": torch.bfloat16, "shape": torch.Size([2, 3]), "text": "µ\n"}
    kept |= {"set": {1, 2}, "bytes": b"\xff", "array": bytearray(b"a"), "complex": 1j, "losses": [0.5] * 2500}
    torch.save(kept, path)
    assert torch.load(path, weights_only=True)
    assert same(read_checkpoint(path), as_numpy(net.state_dict()))


def test_prefixes_are_left_where_the_module_has_them() -> None:
    state = {"module.module.a": 1, "module.module.b": 2}
    assert strip_prefixes(state, "f") == {"a": 1, "b": 2}
    assert strip_prefixes(state, "f", {"module.a", "module.b"}) == {"module.a": 1, "module.b": 2}
    assert strip_prefixes(state | {"steps": 3}, "f") == state | {"steps": 3}
    assert strip_prefixes({"module.": 1, 3: 2}, "f") == {"module.": 1, 3: 2}
    with pytest.raises(lstmcore.ModelFormatError, match=r"f: keys that differ in their prefix only: .*_orig_mod.a"):
        strip_prefixes({"module.a": 1, "_orig_mod.a": 2}, "f")


@pytest.mark.parametrize("name", ["code.pt", "constants.pkl", "größe.pth", "a.b.c"])
def test_any_name_of_a_file(state: dict[str, torch.Tensor], name: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / name)
    assert same(read_state_dict(str(tmp_path / name)), as_numpy(state))


def test_neither_torch_nor_pickles_own_machine_is_used(state: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(state, path)
    code = f"""
import pickle, sys
sys.modules["torch"] = None
pickle.Unpickler = pickle._Unpickler = pickle.load = pickle.loads = None
from lstmcore.formats.torch.torch_file import read_state_dict
print(len(read_state_dict({str(path)!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(state)


# --- files made by hand ---------------------------------------------------------------------------


def test_a_file_made_by_hand(path: Path) -> None:
    write(path, records())
    assert same(read_state_dict(path), {"w": SIX.reshape(2, 3)})


def test_a_file_of_the_first_versions(path: Path) -> None:
    """torch 1.6 named storages by their addresses, and wrote no order of bytes."""
    others = {"byteorder": None, "version": b"2\n", "data/0": None, "data/94340341200128": SIX.tobytes()}
    write(path, records({"w": tensor(stored=storage("94340341200128"))}, **others))
    assert same(read_state_dict(path), {"w": SIX.reshape(2, 3)})


def test_storages_of_a_gpu(path: Path) -> None:
    write(path, records({"w": tensor(stored=storage(location="cuda:0"))}))
    assert same(read_state_dict(path), {"w": SIX.reshape(2, 3)})


@pytest.mark.parametrize(
    ("kind", "stored", "dtype"),
    [
        ("Float", ">f4", "f4"),
        ("Double", ">f8", "f8"),
        ("Half", ">f2", "f4"),
        ("Long", ">i8", "i8"),
        ("Bool", "u1", "?"),
    ],
)
def test_numbers_of_a_big_endian_machine(kind: str, stored: str, dtype: str, path: Path) -> None:
    content = {"w": tensor(stored=storage(kind=getattr(torch, f"{kind}Storage")))}
    write(path, records(content, **{"byteorder": b"big", "data/0": SIX.astype(stored).tobytes()}))
    assert same(read_state_dict(path), {"w": SIX.reshape(2, 3).astype(dtype)})


def test_bfloat16_of_a_big_endian_machine(path: Path) -> None:
    data = (SIX.view(np.uint32) >> 16).astype(">u2").tobytes()
    stored = storage(kind=torch.BFloat16Storage)
    content = {"w": tensor(stored=stored), "one": tensor((), (), 2, stored)}
    write(path, records(content, **{"byteorder": b"big", "data/0": data}))
    assert same(read_state_dict(path), {"w": SIX.reshape(2, 3), "one": np.array(3, np.float32)})


def test_empty_tensors_whatever_their_offset(path: Path) -> None:
    write(path, records({"a": tensor((0, 3), (3, 1), 99), "b": tensor((2, 0), (2**60, 2**60))}))
    assert same(read_state_dict(path), {"a": np.zeros((0, 3), np.float32), "b": np.zeros((2, 0), np.float32)})


def test_strides_of_axes_with_one_element_do_not_matter(path: Path) -> None:
    write(path, records({"w": tensor((1, 6, 1), (2**62, 1, 2**63))}))
    assert same(read_state_dict(path), {"w": SIX.reshape(1, 6, 1)})


# --- other formats --------------------------------------------------------------------------------

EXPORTED = r"it is a torch.export archive; in torch, torch.save\(torch.export.load\(path\).state_dict, other_path\)"
AGAIN = r"; load it in torch and torch.save\(module.state_dict\(\), path\)"


def _legacy(path: Path) -> str:
    torch.save(nn.Linear(2, 2).state_dict(), path, _use_new_zipfile_serialization=False)
    return "its format is that of torch before 1.6" + AGAIN


def _script(path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(nn.Linear(2, 2)).save(path)
    return r"it is a TorchScript archive; in torch, torch.save\(torch.jit.load\(path\).state_dict\(\), other_path\)"


def _export(path: Path) -> str:
    with path.open("wb") as stream:
        torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), stream)
    return EXPORTED


def _old_export(path: Path) -> str:
    write(path, {"serialized_exported_program.json": b"{}", "version": b"3"}, folder="")
    return EXPORTED


def _package(path: Path) -> str:
    with torch.package.PackageExporter(path) as exporter:
        exporter.save_pickle("m", "m.pkl", 1)
    return "it is a torch.package archive" + AGAIN


def _module(path: Path) -> str:
    torch.save(nn.Sequential(nn.Linear(2, 2)), path)
    return "it holds a pickled torch.nn.modules.container.Sequential; save module.state_dict"


def _own_module(path: Path) -> str:
    torch.save({"model": Net()}, path)
    return rf"it holds a pickled {Net.__module__}.Net; save module.state_dict\(\) alone"


def _complex(path: Path) -> str:
    torch.save({"w": torch.zeros(2, dtype=torch.complex64)}, path)
    return "it holds torch.ComplexFloatStorage; only dense tensors of real numbers, integers or booleans are read"


def _sparse(path: Path) -> str:
    torch.save({"w": torch.eye(2).to_sparse()}, path)
    return "it holds torch._utils._rebuild_sparse_tensor; only dense"


def _quantized(path: Path) -> str:
    torch.save({"w": torch.zeros(2, dtype=torch.float8_e4m3fn)}, path)
    return "it holds torch._utils._rebuild_tensor_v3; only dense"


def _negated(path: Path) -> str:
    torch.save({"w": torch.zeros(2, dtype=torch.complex64).conj().imag}, path)
    return "expected torch._utils._rebuild_tensor_v2 as torch.save writes it for a plain tensor, got it with"


def _tensor(path: Path) -> str:
    torch.save(torch.zeros(3), path)
    return ", got Tensor"


def _text(path: Path) -> str:
    path.write_text("weights: 1, 2, 3\n" * 10)
    return "it begins with b'weights:'"


def _empty(path: Path) -> str:
    path.write_bytes(b"")
    return "it begins with b''"


def _plain_pickle(path: Path) -> str:
    path.write_bytes(pickle.dumps({"w": 1}))
    return r"it begins with b'\\x80"


def _arrays(path: Path) -> str:
    with path.open("wb") as stream:
        np.savez(stream, w=np.zeros(3))
    return r"expected one folder with a data.pkl in the archive, got the folders \['w.npy'\]"


OTHERS = [_legacy, _script, _export, _old_export, _package, _module, _own_module, _complex, _sparse]
OTHERS += [_quantized, _negated, _tensor, _text, _empty, _plain_pickle, _arrays]


@pytest.mark.parametrize("make", OTHERS)
def test_other_formats(make: Callable[[Path], str], path: Path) -> None:
    text = make(path)
    refused(path, "^: expected a state_dict.*" + text)


def test_a_weight_that_is_no_tensor(path: Path) -> None:
    torch.save({"fc.weight": np.zeros((2, 3))}, path)
    refused(path, r"fc.weight: expected a tensor, got numpy\.\w+\.multiarray._reconstruct")


def test_a_file_that_is_not_there(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_state_dict(path)
