"""State dicts with an architecture beside them: the module's own answers, or an error that names the key."""

from __future__ import annotations

import ast
import copy
import json
import subprocess
import sys
import warnings

import numpy as np
import pytest

import lstmcore
from lstmcore.formats.torch.torch_state_dict import from_state_dict
from lstmcore.formats.torch.torch_state_dict import read as read_file

torch = pytest.importorskip("torch", reason="needs torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from strategies import SEEDS, make  # noqa: E402
from torch import nn  # noqa: E402
from torch_modules import ExitModel, Only, QuantModel, answers, assert_same, trained, windows  # noqa: E402

from lstmcore import layers as L  # noqa: E402
from lstmcore.formats.torch.torch_build import to_module  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")  # torch, of its own speed

EXIT = [
    ("lstm", "LSTM", {"batch_first": True, "dropout": 0.3}),
    ("classifier.0", "Linear"), "ReLU", "Dropout", ("classifier.3", "Linear"), "Sigmoid", "Squeeze",
]  # fmt: skip
QUANT = [("lstm", "LSTM"), ("bn", "BatchNorm1d"), "Dropout", ("fc1", "Linear"), "ReLU", ("fc2", "Linear"), "Sigmoid"]


def model(state, layers):
    return lstmcore.Model(from_state_dict(state, layers), backend="numpy")


# --- the same answers -----------------------------------------------------------------------------


@pytest.mark.parametrize(("cls", "layers", "features"), [(ExitModel, EXIT, 8), (QuantModel, QUANT, 10)])
def test_users_modules_answer_the_same(cls, layers, features, tmp_path):
    module = trained(cls())
    assert_same(module, model(module.state_dict(), layers), features)
    torch.save(module.state_dict(), tmp_path / "model.pt")
    assert_same(module, lstmcore.Model(read_file(tmp_path / "model.pt", layers), backend="numpy"), features)


@pytest.mark.parametrize("nest", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_the_forms_that_training_leaves(nest, prefix, tmp_path):
    module = trained(QuantModel(), seed=5)
    state = {prefix + key: value for key, value in module.state_dict().items()}
    content = state if nest is None else {nest: state, "epoch": 3}
    torch.save(content, tmp_path / "c.pt")
    expected = model(module.state_dict(), QUANT)
    assert model(content, QUANT) == expected
    assert lstmcore.Model(read_file(tmp_path / "c.pt", QUANT), backend="numpy") == expected


def test_a_layer_inside_a_submodule_of_a_prefixs_name(tmp_path):
    module = trained(nn.Sequential())
    module.add_module("module", nn.Linear(3, 2))
    module.add_module("_orig_mod", nn.Linear(2, 2))
    layers = [("module", "Linear"), ("_orig_mod", "Linear")]
    torch.save(module.state_dict(), tmp_path / "c.pt")
    assert [layer.name for layer in read_file(tmp_path / "c.pt", layers)] == ["module", "_orig_mod"]
    wrapped = {f"module.{key}": value for key, value in module.state_dict().items()}
    assert [layer.name for layer in from_state_dict(wrapped, layers)] == ["module", "_orig_mod"]


class Random(nn.Module):
    """Recurrent layers of all kinds with norms between them, and its architecture as `layers`."""

    def __init__(self, draw):
        super().__init__()
        sizes = st.integers(1, 7)
        self.features = width = draw(sizes)
        self.parts, self.layers = nn.ModuleList(), []
        for n in range(draw(st.integers(1, 3))):
            kind, hidden = draw(st.sampled_from([nn.LSTM, nn.GRU, nn.RNN])), draw(st.integers(2, 7))
            more = {"bidirectional": draw(st.booleans()), "num_layers": draw(st.integers(1, 3))}
            more |= {"bias": draw(st.booleans()), "batch_first": True}
            if kind is nn.LSTM and draw(st.booleans()):
                more["proj_size"] = 1
            said = {}
            if kind is nn.RNN:
                more["nonlinearity"] = said["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
            self.parts.append(kind(width, hidden, **more))
            width = more.get("proj_size", hidden) * (1 + more["bidirectional"])
            self.layers.append((f"parts.{2 * n}", kind.__name__, more if draw(st.booleans()) else said))
            affine = draw(st.booleans())
            self.parts.append(nn.LayerNorm(width, elementwise_affine=affine))
            self.layers.append((f"parts.{2 * n + 1}", "LayerNorm", {} if affine else {"num_features": width}))
        self.layers.append("Last")

    def forward(self, x):
        for part in self.parts:
            x = part(x)[0] if isinstance(part, nn.RNNBase) else part(x)
        return x[:, -1]


@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**31), source=st.sampled_from(["tensors", "arrays", "file"]))
def test_random_architectures_answer_the_same(data, seed, source, tmp_path_factory):
    module = trained(Random(data.draw), seed)
    state = module.state_dict()
    if source == "file":
        file = tmp_path_factory.mktemp("models") / "m.pt"
        torch.save(state, file)
        found = lstmcore.load(file, layers=module.layers, backend="numpy")
    else:
        found = model({k: v.numpy() for k, v in state.items()} if source == "arrays" else state, module.layers)
    double, wide = copy.deepcopy(module).double(), found.astype(np.float64)
    for steps in (1, 6):  # in float64, because a norm over two features makes anything of float32's rounding
        x = windows(3, steps, module.features, seed=steps, dtype=np.float64)
        np.testing.assert_allclose(wide(x), answers(double, x), rtol=0, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, data=st.data())
def test_weights_that_lstmcore_alone_has_are_seen(seed, data):
    """Peepholes, norms inside, learned states: from the state_dict of what lstmcore itself calls its weights."""
    rng, flags = np.random.default_rng(seed), st.booleans()
    lstm = make(L.LSTM, "rnn", rng, input_size=3, hidden_size=4, num_layers=data.draw(st.integers(1, 2)),
                peepholes=data.draw(flags), layer_norm=data.draw(flags), learned_state=data.draw(flags),
                bidirectional=data.draw(flags), return_sequences=True)  # fmt: skip
    state = {f"rnn.{key}": w for key, w in lstm.weights.items()}
    assert from_state_dict(state, [("rnn", "LSTM"), "Last"])[0] == lstm


def test_branches_and_learned_states(tmp_path):
    rng = np.random.default_rng(3)
    rnn = make(L.GRU, "rnn", rng, input_size=3, hidden_size=4, bidirectional=True, learned_state=True)
    two = make(L.RNN, "two", rng, input_size=3, hidden_size=8, activations="relu", inputs=("input",))
    last = L.Last("last", inputs=("input",))
    cat = L.Concat("cat", inputs=("rnn", "two", "last"))
    built = lstmcore.Model([rnn, two, last, cat], backend="numpy")
    module = to_module(built)
    torch.save(module.state_dict(), tmp_path / "m.pt")
    layers = [
        ("rnn", "GRU", {"return_sequences": False}),
        ("two", nn.RNN, {"nonlinearity": "relu", "inputs": ["input"]}),
        ("last", "Last", {"inputs": ["input"]}),
        ("cat", L.Concat, {"inputs": ["rnn", "two", "last"]}),
    ]
    found = lstmcore.Model(read_file(tmp_path / "m.pt", layers), backend="numpy")
    assert found == built
    assert_same(module, found, 3)


def test_modules_that_are_the_whole_model():
    for cls in (nn.LSTM, nn.GRU, nn.RNN):
        rnn = trained(Only(lambda m, x: m.rnn(x)[0][:, -1], rnn=cls(5, 6, 2, batch_first=True)))
        found = model(rnn.rnn.state_dict(), [cls.__name__])
        assert found.layers[0].name == cls.__name__.lower()
        assert_same(rnn, found, 5)
    fc = trained(nn.Linear(5, 2))
    assert_same(Only(lambda m, x: m.fc(x), fc=fc), model(fc.state_dict(), ["Linear"]), 5)


@pytest.mark.parametrize(("cell", "kind"), [(nn.LSTMCell, "LSTM"), (nn.GRUCell, "GRU"), (nn.RNNCell, "RNN")])
def test_cells_are_layers_of_one(cell, kind):
    def forward(m, x):
        state = None
        for x_t in x.unbind(1):
            state = m.cell(x_t, state)
        return state[0] if isinstance(state, tuple) else state

    module = trained(Only(forward, cell=cell(5, 6)))
    assert_same(module, model(module.state_dict(), [("cell", kind)]), 5)


def test_activations_by_torchs_names():
    names = ["Hardsigmoid", "Hardswish", "Hardtanh", "Mish", "ReLU6", "SELU", "SiLU", "Softplus", "Softsign"]
    names += ["ReLU", "Tanh", "Sigmoid", "ELU", "GELU"]
    for name in names:
        module = trained(nn.Sequential(nn.Linear(3, 20), getattr(nn, name)()), scale=4)
        assert_same(module, model(module.state_dict(), [("0", "Linear"), name]), 3)
    module = trained(nn.Sequential(nn.Linear(3, 20), nn.LeakyReLU(0.3)))
    assert_same(module, model(module.state_dict(), [("0", "Linear"), ("LeakyReLU", {"negative_slope": 0.3})]), 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precisions(dtype, tmp_path):
    module = trained(QuantModel()).to(dtype)
    found = model(module.state_dict(), QUANT)
    assert found.dtype == (np.float64 if dtype is torch.float64 else np.float32)
    assert_same(module.float(), found.astype(np.float32), 10)
    torch.save(trained(QuantModel()).to(dtype).state_dict(), tmp_path / "c.pt")
    assert lstmcore.Model(read_file(tmp_path / "c.pt", QUANT), backend="numpy") == found


def test_mixed_precisions_are_widened():
    module = trained(QuantModel())
    state = dict(module.state_dict())
    state["fc1.weight"] = state["fc1.weight"].double()
    assert model(state, QUANT).dtype == np.float64


def test_the_layers_keep_their_own_weights():
    module = trained(QuantModel())
    found = model(module.state_dict(), QUANT)
    x = windows(2, 5, 10)
    first = found(x)
    trained(module, seed=9)
    np.testing.assert_array_equal(found(x), first)


def test_swapped_layers_are_seen_by_their_answers():
    module = trained(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)))
    x = windows(2, 5, 4)
    swapped = model(module.state_dict(), [("2", "Linear"), "Tanh", ("0", "Linear")])
    assert np.abs(swapped(x) - answers(module, x)).max() > 1e-2


def test_sequences_go_to_layers_that_need_them():
    rng, state = np.random.default_rng(0), {}
    for name in ("a", "b"):
        state |= {f"{name}.{k}": w for k, w in make(L.GRU, name, rng, input_size=4, hidden_size=4).weights.items()}
    found = from_state_dict(state, [("a", "GRU"), "Tanh", "Dropout", ("b", "GRU"), "ReLU"])
    assert [layer.return_sequences for layer in found if isinstance(layer, L.GRU)] == [True, False]
    found = from_state_dict(state, [("a", "GRU"), ("b", "GRU"), "Last"])
    assert [layer.return_sequences for layer in found if isinstance(layer, L.GRU)] == [True, True]


# --- refusals -------------------------------------------------------------------------------------

STATE = {key: value.numpy() for key, value in QuantModel().state_dict().items()}


def changed(**others):
    """STATE with other values; None leaves a key out, "__" stands for a point."""
    state = STATE | {key.replace("__", "."): value for key, value in others.items()}
    return {key: value for key, value in state.items() if value is not None}


BAD_STATES = {
    "a missing key": (changed(fc1__bias=None, fc2__weight=None), r"fc2.weight: missing; 'fc2' as Linear needs it"),
    "a missing bias": (
        changed(lstm__bias_hh_l0=None),
        r"lstm.bias_hh_l0: missing; expected shape \(256,\)",
    ),
    "a key of no layer": (changed(fc3__weight=np.ones(3, "f4")), r"fc3.weight: no layer uses this key \(1 such\)"),
    "a key of no weight": (changed(fc1__scale=np.ones(3, "f4")), "fc1.scale: no layer uses this key"),
    "a counter of no norm": (changed(fc1__num_batches_tracked=np.array(3)), "num_batches_tracked: no layer uses this"),
    "another shape": (
        changed(lstm__bias_ih_l0=np.ones(255, "f4")),
        r"lstm.bias_ih_l0: expected shape \(256,\), got",
    ),
    "rows of another kind": (
        changed(lstm__weight_ih_l0=np.ones((192, 10), "f4")),
        r"lstm.weight_ih_l0: expected shape \(256, 10\), got \(192, 10\)",
    ),
    "other axes": (changed(fc1__weight=np.ones(32, "f4")), r"fc1.weight: expected 2 axes, got shape \(32,\)"),
    "an empty matrix": (changed(fc1__weight=np.ones((0, 64), "f4")), "out_features.*from 1"),
    "integers": (changed(fc1__weight=np.ones((32, 64), "i8")), "fc1.weight: expected float32 or float64, got int64"),
    "no array": (changed(fc1__weight=3.0), "fc1.weight: expected an array or a tensor, got float"),
    "no plain tensor": (changed(fc1__weight=torch.ones(32, 64).to_sparse()), "fc1.weight: expected a plain tensor"),
    "another key": ({**STATE, 5: np.ones(3)}, "expected names as keys, got the int 5"),
    "layers that do not fit": (changed(fc2__weight=np.ones((1, 31), "f4")), r"fc2 \(Linear\): expected 31 features"),
    "prefixes apart": (
        {**{f"module.{k}": v for k, v in STATE.items()}, **{f"_orig_mod.{k}": v for k, v in STATE.items()}},
        "differ in their prefix only",
    ),
}


@pytest.mark.parametrize("case", BAD_STATES)
def test_states_that_do_not_fit_are_refused_by_key(case):
    state, text = BAD_STATES[case]
    with pytest.raises(lstmcore.ModelFormatError, match=text) as raised:
        from_state_dict(state, QUANT)
    assert str(raised.value).startswith("state_dict: ")
    assert "\n" not in str(raised.value)


BAD_LAYERS = {
    "text": ("LSTM", TypeError, "layers: expected a list of layers, got str; expected"),
    "none": (None, TypeError, "layers: expected a list of layers, got NoneType"),
    "a number": ([3], ValueError, r"layers\[0\]: expected .*, got 3"),
    "three texts": ([("lstm", "LSTM", "64")], ValueError, r"layers\[0\]: expected .*'64'"),
    "a kind": ([*QUANT, "Conv1d"], ValueError, r"layers\[7\]: unknown kind 'Conv1d'; known are LSTM, GRU"),
    "a class": ([("lstm", nn.Conv1d)], ValueError, r"layers\[0\]: unknown kind 'Conv1d'"),
    "a setting": (
        [("lstm", "LSTM", {"hidden": 3})],
        ValueError,
        r"layers\[0\] .*: unknown setting 'hidden'; perhaps 'hidden_size'; known",
    ),
    "a setting misspelt": (
        [("lstm", "LSTM", {"num_layer": 3})],
        ValueError,
        r"unknown setting 'num_layer'; perhaps 'num_layers'; known",
    ),
    "a kind misspelt": ([("lstm", "Lstm")], ValueError, r"unknown kind 'Lstm'; perhaps 'LSTM'.*; known are LSTM"),
    "a name misspelt": (
        [("lsmt", "LSTM"), *QUANT[1:]],
        lstmcore.ModelFormatError,
        r"lsmt.weight_ih_l0: missing; 'lsmt' as LSTM needs it; perhaps 'lstm'$",
    ),
    "an argument of another kind": (
        [("lstm", "LSTM", {"nonlinearity": "relu"})],
        ValueError,
        r"layers\[0\] \(LSTM\): unknown setting 'nonlinearity'",
    ),
    "inputs as text": (
        [("lstm", "LSTM", {"inputs": "input"})],
        ValueError,
        r"inputs: expected a list of layers",
    ),
    "a name twice": ([*QUANT, ("fc2", "Linear")], ValueError, r"layers\[5\]: two layers have the name 'fc2'"),
    "a size that is not the file's": (
        [("lstm", "LSTM", {"hidden_size": 32}), *QUANT[1:]],
        lstmcore.ModelFormatError,
        r"lstm.weight_ih_l0: expected shape \(128, 10\), got \(256, 10\)",
    ),
    "more layers than there are": (
        [("lstm", "LSTM", {"num_layers": 2}), *QUANT[1:]],
        lstmcore.ModelFormatError,
        "lstm.weight_ih_l1: missing",
    ),
    "a setting out of range": (
        [("lstm", "LSTM", {"num_layers": 0}), *QUANT[1:]],
        lstmcore.ModelFormatError,
        r"layers\[0\], 'lstm': LSTM: setting 'num_layers'",
    ),
    "a layer left out": (
        [entry for entry in QUANT if entry != ("bn", "BatchNorm1d")],
        lstmcore.ModelFormatError,
        r"bn\.bias: no layer uses this key \(5 such\)",
    ),
    "a norm of another name": (
        [("lstm", "LSTM"), ("norm", "LayerNorm"), *QUANT[1:]],
        lstmcore.ModelFormatError,
        "norm.weight: missing; 'norm' as LayerNorm needs it$",
    ),
    "no layers": ([], lstmcore.ModelFormatError, "no layer uses this key"),
    "another kind": (
        [("lstm", "GRU"), *QUANT[1:]],
        lstmcore.ModelFormatError,
        r"lstm.weight_ih_l0: expected shape \(192, 10\), got \(256, 10\)",
    ),
    "inputs that are not there": (
        [*QUANT, ("Add", {"inputs": ["lstm", "nothing"]})],
        lstmcore.ModelFormatError,
        "nothing",
    ),
}


@pytest.mark.parametrize("case", BAD_LAYERS)
def test_architectures_that_are_none_are_refused_by_place(case):
    layers, error, text = BAD_LAYERS[case]
    with pytest.raises(error, match=text):
        from_state_dict(STATE, layers)


def test_what_is_taken_from_both_directions_has_to_be_said():
    state = nn.GRU(3, 4, bidirectional=True).state_dict()
    with pytest.raises(ValueError, match=r"layers\[0\], 'gru': bidirectional: say what the forward takes"):
        from_state_dict(state, ["GRU"])
    (final,) = from_state_dict(state, [("GRU", {"return_sequences": False})])
    every, _ = from_state_dict(state, ["GRU", "Last"])
    assert (final.return_sequences, every.return_sequences) == (False, True)


def test_a_file_without_an_architecture_says_what_it_has(tmp_path):
    state = trained(QuantModel()).state_dict() | {
        f"more.{n}.{key}": value
        for n, module in enumerate([nn.GRU(3, 4, 2), nn.RNN(3, 4), nn.LSTM(3, 4, proj_size=2), nn.LayerNorm(2)])
        for key, value in module.state_dict().items()
    }
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "m.pt")
    with pytest.raises(lstmcore.ModelFormatError) as raised:
        read_file(tmp_path / "m.pt")
    text = str(raised.value)
    assert (
        'layers=[("lstm", "LSTM"), ("bn", "BatchNorm1d"), ("fc1", "Linear"), ("fc2", "Linear"), ("more.0", "GRU"), '
        '("more.1", "RNN"), ("more.2", "LSTM"), ("more.3", "LayerNorm")]'
    ) in text
    assert "lstm.weight_ih_l0 (256, 10), " in text
    assert text.endswith(" more")
    assert "\n" not in text


def test_what_the_error_proposes_can_be_used(tmp_path):
    module = trained(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
    torch.save(module.state_dict(), tmp_path / "m.pt")
    with pytest.raises(lstmcore.ModelFormatError) as raised:
        read_file(tmp_path / "m.pt")
    proposed = str(raised.value).partition("layers=[")[2].partition("]")[0]
    layers = [tuple(part.strip('"()') for part in entry.split('", "')) for entry in proposed.split("), ")]
    assert_same(module, lstmcore.Model(read_file(tmp_path / "m.pt", layers), backend="numpy"), 3)


@pytest.mark.parametrize("steps", [False, True])
def test_what_the_error_proposes_for_both_directions_can_be_used(steps, tmp_path):
    """Of the last recurrent layer it has to be said what is taken from it; the first gives all steps to the second."""

    def forward(m, x):
        out, (h, _) = m.b(m.a(x)[0])
        return m.fc(out[:, -1] if steps else torch.cat([h[-2], h[-1]], 1))

    rnns = {
        "a": nn.GRU(3, 4, batch_first=True, bidirectional=True),
        "b": nn.LSTM(8, 4, batch_first=True, bidirectional=True),
    }
    module = trained(Only(forward, **rnns, fc=nn.Linear(8, 2)))
    torch.save(module.state_dict(), tmp_path / "m.pt")
    with pytest.raises(
        lstmcore.ModelFormatError, match=r"\(or for out\[:, -1\] .* True and a \"Last\" behind"
    ) as raised:
        read_file(tmp_path / "m.pt")
    layers = ast.literal_eval(str(raised.value).partition("layers=[")[2].partition("]")[0])
    assert [entry[1:] for entry in layers] == [("GRU",), ("LSTM", {"return_sequences": False}), ("Linear",)]
    in_json = raised.value.on_command_line("--layers")
    assert '(or for out[:, -1] of both directions, true and a "Last" behind' in in_json
    listed = json.loads(in_json.partition("perhaps ")[2].partition("] (or")[0] + "]")
    assert [tuple(entry) for entry in listed] == [*layers]
    if steps:
        layers = [layers[0], ("b", "LSTM", {"return_sequences": True}), "Last", layers[2]]
    assert_same(module, lstmcore.Model(read_file(tmp_path / "m.pt", layers), backend="numpy"), 3)


def test_keys_that_cannot_be_shown_stay_on_one_line(tmp_path):
    torch.save({"a\nb": torch.ones(2, 2)}, tmp_path / "m.pt")
    for layers in (None, ["ReLU"]):
        with pytest.raises(lstmcore.ModelFormatError) as raised:
            read_file(tmp_path / "m.pt", layers)
        assert str(raised.value).isprintable()


def _script(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(nn.Linear(2, 2)).save(path)
    return r"it is a TorchScript archive; in torch, .*torch\.jit\.load"


def _exported(path):
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), path)
    return r"it is a torch\.export archive; in torch, .*torch\.export\.load"


def _pickled(path):
    torch.save(nn.Sequential(nn.Linear(2, 2)), path)
    return r"it holds a pickled torch\.nn\.modules\.container\.Sequential; save module\.state_dict"


def _legacy(path):
    torch.save(nn.Linear(2, 2).state_dict(), path, _use_new_zipfile_serialization=False)
    return r"its format is that of torch before 1\.6; load it in torch and torch\.save"


@pytest.mark.parametrize("write", [_script, _exported, _pickled, _legacy])
def test_other_files_are_refused_with_the_way_to_convert_them(write, tmp_path):
    path = tmp_path / "model.pt2"
    text = write(path)
    with pytest.raises(lstmcore.ModelFormatError, match=text) as raised:
        read_file(path, ["Linear"])
    assert str(raised.value).startswith(f"{path}: ")


def test_the_way_to_convert_a_script_works(tmp_path):
    linear = trained(nn.Linear(3, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(linear).save(tmp_path / "script.pt")
        torch.save(torch.jit.load(tmp_path / "script.pt").state_dict(), tmp_path / "m.pt")
    assert_same(linear, lstmcore.Model(read_file(tmp_path / "m.pt", ["Linear"]), backend="numpy"), 3)
    torch.export.save(torch.export.export(linear, (torch.zeros(1, 3),)), tmp_path / "linear.pt2")
    torch.save(torch.export.load(tmp_path / "linear.pt2").state_dict, tmp_path / "n.pt")
    assert_same(linear, lstmcore.Model(read_file(tmp_path / "n.pt", ["Linear"]), backend="numpy"), 3)


def test_no_torch_is_needed(tmp_path):
    torch.save(trained(QuantModel()).state_dict(), tmp_path / "m.pt")
    code = f"""
import sys
sys.modules["torch"] = None
import numpy as np
import lstmcore
from lstmcore.formats.torch.torch_state_dict import read
print(lstmcore.Model(read({str(tmp_path / "m.pt")!r}, {QUANT!r}), backend="numpy")(np.ones((4, 10), "f4")).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1,)"
