"""Checkpoints given to from_torch beside the module: in all forms that training leaves, or refused."""

from __future__ import annotations

import argparse
import ast
import os
import re
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest

import lstmcore

torch = pytest.importorskip("torch", reason="needs torch")

from torch import nn  # noqa: E402
from torch_modules import ExitModel, Forward, QuantModel, answers, read, trained, windows  # noqa: E402


def _last(m, x):
    return m.lstm(x)[0][:, -1]


# Said of every module that reads time first; test_time_major_input_is_told_of sees that it is.
pytestmark = pytest.mark.filterwarnings("ignore:.*reads its windows as .T, N, F.:UserWarning")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (lambda state: {5: torch.zeros(1)}, "expected a state_dict with names as keys, got the int 5"),
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


def _state(seed=5):
    return trained(QuantModel(), seed).state_dict()


def _optimizer():
    module = QuantModel()
    module(torch.randn(3, 4, 10)).sum().backward()
    optimizer = torch.optim.Adam(module.parameters())
    optimizer.step()
    return optimizer.state_dict()


SCALER = {"mean": np.zeros(10), "std": np.ones(10, np.float32)}
CHECKPOINTS = {
    "numpy scalars": lambda: {"state_dict": _state(), "best": np.float64(0.3), "epoch": np.int64(7)},
    "a scaler of arrays": lambda: {"model": _state(), "scaler": SCALER},
    "a scaler of tensors": lambda: {"net": _state(), "scaler": {k: torch.tensor(x) for k, x in SCALER.items()}},
    "an optimizer": lambda: {"weights": _state(), "optimizer": _optimizer(), "loss": [0.5, np.float32(0.25)]},
    "Lightning": lambda: {
        "state_dict": {f"model.{key}": value for key, value in _state().items()},
        "optimizer_states": [_optimizer()],
        "hyper_parameters": {"lr": 0.1},
        "callbacks": {"ModelCheckpoint{'mode': 'min'}": {"best_model_score": torch.tensor(0.5)}},
    },
}
LAYERS = ["lstm", "bn", "fc1", "ReLU", "fc2", "Sigmoid"]


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_what_lies_beside_the_weights(case, tmp_path):
    kinds = {"lstm": "LSTM", "bn": "BatchNorm1d", "fc1": "Linear", "fc2": "Linear"}
    layers = [(name, kinds[name]) if name in kinds else name for name in LAYERS]
    content = CHECKPOINTS[case]()
    torch.save(content, tmp_path / "c.pt")
    source, x = trained(QuantModel(), 5), windows(3, 9, 10)
    assert read(trained(QuantModel(), 6), checkpoint=tmp_path / "c.pt") == read(source)
    for model in (lstmcore.load(tmp_path / "c.pt", layers=layers), lstmcore.from_state_dict(content, layers)):
        np.testing.assert_allclose(model(x), answers(source, x), atol=2e-6)


def test_safetensors_of_other_projects(tmp_path):
    """They hold a state_dict: with its layers, or for a module that is there, it is read."""
    from safetensors.torch import save_file

    file, source = tmp_path / "c.safetensors", trained(ExitModel(), 4)
    save_file({f"model.{key}": value for key, value in source.state_dict().items()}, file)
    assert read(trained(ExitModel(), 1), checkpoint=file) == read(source)
    layers = [("lstm", "LSTM"), ("classifier.0", "Linear"), "ReLU", ("classifier.3", "Linear"), "Sigmoid", "Squeeze"]
    x = windows(3, 9, 8)
    np.testing.assert_allclose(lstmcore.load(file, layers=layers)(x), answers(source, x), atol=2e-6)
    with pytest.raises(lstmcore.ModelFormatError) as raised:
        lstmcore.load(file)
    proposed = re.search(r"perhaps layers=(\[.*?\]) with", str(raised.value))[1]
    assert lstmcore.load(file, layers=ast.literal_eval(proposed)).input_size == 8  # what is proposed can be done


def _dynamic(path: Path):
    quantize = torch.ao.quantization.quantize_dynamic
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return quantize(nn.Sequential(nn.Linear(3, 2)), {nn.Linear}).state_dict()


def _quantized_tensor(path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch is about to leave them out
        return {"0.weight": torch.quantize_per_tensor(torch.randn(2, 3), 0.1, 0, torch.qint8)}


QUANTIZED = {
    "a tensor": _quantized_tensor,
    "a module": _dynamic,
}


@pytest.mark.parametrize("case", QUANTIZED)
def test_quantized_weights_are_said_to_be(case, tmp_path):
    content = QUANTIZED[case](tmp_path)
    torch.save(content, tmp_path / "c.pt")
    module = trained(nn.Sequential(nn.Linear(3, 2)))
    doors = (
        lambda: read(module, checkpoint=tmp_path / "c.pt"),
        lambda: lstmcore.load(tmp_path / "c.pt", layers=[("0", "Linear")]),
        lambda: lstmcore.from_state_dict(content, [("0", "Linear")]),
    )
    for door in doors:
        with pytest.raises(
            lstmcore.ModelFormatError, match="quantised weights are not read; save the state_dict of the"
        ):
            door()


def test_several_models_in_a_checkpoint_are_told_by_name(tmp_path):
    torch.save({"actor": _state(), "critic": _state(6), "step": 3}, tmp_path / "c.pt")
    with pytest.raises(lstmcore.ModelFormatError, match="several keys: actor, critic; save the one of the model alone"):
        read(trained(QuantModel()), checkpoint=tmp_path / "c.pt")


def test_a_pickled_object_beside_the_weights_is_not_called_a_module(tmp_path):
    torch.save({"state_dict": _state(), "args": argparse.Namespace(epochs=3)}, tmp_path / "c.pt")
    with pytest.raises(lstmcore.ModelFormatError) as raised:
        read(trained(QuantModel()), checkpoint=tmp_path / "c.pt")
    assert "holds a pickled argparse.Namespace; save module.state_dict() alone" in str(raised.value)


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
        (_not_a_tensor, r"classifier.0.weight: expected a tensor, got float"),
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
    return r".* it holds a pickled posix.system; save module.state_dict\(\) alone, where the file was made"


def _builtin(path: Path):
    torch.save({"w": Evil(eval, "1")}, path)
    return r".* it holds a pickled __builtin__.eval; save"


def _old_shell(path: Path):
    torch.save({"w": Evil(os.system, f"touch {path}.run")}, path, _use_new_zipfile_serialization=False)
    return ".* it holds a pickled posix.system; save"


def _other_protocol(path: Path):
    torch.save(trained(ExitModel()).state_dict(), path, pickle_protocol=4)
    return ".* expected pickle protocol 2, .* got 4; save it without"


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
