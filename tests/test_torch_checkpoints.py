"""Checkpoints given to from_torch beside the module: in all forms that training leaves, or refused."""

from __future__ import annotations

import os
import re
import traceback
import warnings
from pathlib import Path

import pytest

import lstmcore

torch = pytest.importorskip("torch", reason="needs torch")

from torch import nn  # noqa: E402
from torch_modules import ExitModel, Forward, QuantModel, read, trained  # noqa: E402


def _last(m, x):
    return m.lstm(x)[0][:, -1]


# Said of every module that reads time first; test_time_major_input_is_told_of sees that it is.
pytestmark = pytest.mark.filterwarnings("ignore:.*reads its windows as .T, N, F.:UserWarning")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (lambda state: {5: torch.zeros(1)}, "unexpected in the state_dict: 5"),
        (lambda state: {f"_orig_mod.{key}": value for key, value in state.items()}, "differ in their prefix only"),
    ],
)
def test_keys_that_cannot_be_told_apart_or_are_no_names(more, text, tmp_path):
    module = trained(ExitModel())
    state = {f"module.{key}": value for key, value in module.state_dict().items()}
    own = state if "prefix" in text else dict(module.state_dict())
    torch.save(own | more(module.state_dict()), tmp_path / "c.pt")
    with pytest.raises(lstmcore.ModelFormatError, match=text):
        read(module, checkpoint=tmp_path / "c.pt")


@pytest.mark.parametrize("nest", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_checkpoints_in_the_forms_that_training_leaves(nest, prefix, tmp_path):
    source, module = trained(QuantModel(), seed=5), trained(QuantModel(), seed=6)
    state = {prefix + key: value for key, value in source.state_dict().items()}
    torch.save(state if nest is None else {nest: state, "epoch": 3}, tmp_path / "c.pt")
    before = module.state_dict()["fc1.weight"].clone()
    assert read(module, checkpoint=tmp_path / "c.pt") == read(source)
    assert torch.equal(module.state_dict()["fc1.weight"], before)


def test_a_module_that_has_a_submodule_of_the_prefixs_name(tmp_path):
    module = trained(Forward(_last, module=nn.Identity()))
    outer = trained(nn.Sequential())
    outer.add_module("module", trained(ExitModel(), seed=4))
    torch.save(outer.state_dict(), tmp_path / "c.pt")
    assert read(outer, checkpoint=tmp_path / "c.pt") == read(outer)
    torch.save(module.state_dict(), tmp_path / "d.pt")
    assert read(module, checkpoint=tmp_path / "d.pt") == read(module)


@pytest.fixture
def saved_on_a_gpu(tmp_path):
    """A checkpoint whose storages say "cuda:0", and a torch that has no such device."""
    from torch import serialization

    if torch.cuda.is_available():
        pytest.skip("has a GPU, on which the checkpoint would load")
    source = trained(ExitModel(), seed=8)
    before = list(serialization._package_registry)
    serialization.register_package(0, lambda storage: "cuda:0", lambda storage, location: None)
    try:
        torch.save(source.state_dict(), tmp_path / "gpu.pt")
    finally:
        serialization._package_registry[:] = before
    return source, tmp_path / "gpu.pt"


def test_a_checkpoint_saved_on_a_gpu_loads_without_one(saved_on_a_gpu):
    source, file = saved_on_a_gpu
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(file)
    assert read(trained(ExitModel(), seed=1), checkpoint=file) == read(source)


def _without(state):
    del state["lstm.weight_hh_l1"]


def _with_more(state):
    state["attention.weight"] = torch.zeros(3)


def _other_shape(state):
    state["classifier.0.weight"] = torch.zeros(32, 63)


def _not_a_tensor(state):
    state["classifier.0.weight"] = 1.5


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_without, "missing in the state_dict: lstm.weight_hh_l1"),
        (_with_more, "unexpected in the state_dict: attention.weight"),
        (_other_shape, r"classifier.0.weight: expected shape \(32, 64\), got \(32, 63\)"),
        (_not_a_tensor, r"classifier.0.weight: expected shape \(32, 64\), got float"),
    ],
)
def test_checkpoints_of_other_modules(change, text, tmp_path):
    module = trained(ExitModel())
    state = dict(module.state_dict())
    change(state)
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(lstmcore.ModelFormatError, match=r"c\.pt: " + text):
        read(module, checkpoint=tmp_path / "c.pt")


def _pickled(path: Path):
    torch.save(nn.Sequential(nn.Linear(2, 2)), path)
    return ".* it holds a pickled torch.nn.modules.container.Sequential; save module.state_dict"


class Evil:
    """Pickled as a call of what is no torch."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _shell(path: Path):
    torch.save({"w": Evil(os.system, f"touch {path}.run")}, path)
    return r".* it holds a pickled posix.system; save module.state_dict\(\), .* where the file was made"


def _builtin(path: Path):
    torch.save({"w": Evil(eval, "1")}, path)
    return r".* it holds a pickled eval; save"


def _old_shell(path: Path):
    torch.save({"w": Evil(os.system, f"touch {path}.run")}, path, _use_new_zipfile_serialization=False)
    return ".* it holds a pickled posix.system; save"


def _other_protocol(path: Path):
    torch.save(trained(ExitModel()).state_dict(), path, pickle_protocol=4)
    return ".* it holds more than tensors, numbers and names; save"


def _truncated(path: Path):
    torch.save(trained(ExitModel()).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    return "expected a state_dict that torch.save wrote"


def _text(path: Path):
    path.write_text("weights: 1, 2, 3\n" * 10)
    return "expected a state_dict that torch.save wrote"


def _empty(path: Path):
    path.write_bytes(b"")
    return "expected a state_dict that torch.save wrote"


def _tensor(path: Path):
    torch.save(torch.zeros(3), path)
    return "expected a state_dict, got Tensor"


def _script(path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(nn.Linear(2, 2)).save(path)
    return "expected a state_dict that torch.save wrote: .*TorchScript"


@pytest.mark.parametrize(
    "write",
    [_pickled, _shell, _builtin, _old_shell, _other_protocol, _truncated, _text, _empty, _tensor, _script],
)
def test_files_that_are_no_checkpoints(write, tmp_path):
    text = write(tmp_path / "c.pt")
    with pytest.raises(lstmcore.ModelFormatError, match=r"c\.pt: " + text) as raised:
        read(trained(ExitModel()), checkpoint=tmp_path / "c.pt")
    assert "\n" not in str(raised.value)
    shown = "".join(traceback.format_exception(raised.value))  # with all that led to it
    assert not re.search("trust|set to `False`|allowlist|safe_globals", shown), (
        "torch's advice to run what a file holds"
    )
    assert not (tmp_path / "c.pt.run").exists()


def test_a_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(trained(ExitModel()), checkpoint=tmp_path / "c.pt")
