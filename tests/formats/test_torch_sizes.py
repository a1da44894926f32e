"""from_torch: a module whose answer depends on how many windows or steps it is given loads right, or is refused."""

from __future__ import annotations

import copy
import dataclasses
import re
import time
import types

import numpy as np
import pytest

import lstmcore

torch = pytest.importorskip("torch", reason="needs torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402
from torch_modules import Forward, answers, read, trained, windows  # noqa: E402

LONG = 50  # a variable that a forward reads


def _last(m, x):
    return m.lstm(x)[0][:, -1]


def _cells(m, steps):
    h = steps[0].new_zeros(len(steps[0]), 6)
    for step in steps:
        h = m.cell(step, h)
    return h


def _helper(x, most=50):
    return x[:, -most:]


REFUSED = {
    "the last steps": (lambda m, x: _last(m, x[:, -50:]), "50"),
    "the first steps": (lambda m, x: _last(m, x[:, :64]), "64"),
    "a loop over the first steps": (lambda m, x: _cells(m, [x[:, t] for t in range(min(x.shape[1], 50))]), "50"),
    "a loop over the last steps": (
        lambda m, x: _cells(m, [x[:, t] for t in range(max(0, x.size(1) - 50), x.size(1))]),
        "50",
    ),
    "a list of steps": (lambda m, x: _cells(m, x.unbind(1)[-50:]), "50"),
    "a branch by the length": (lambda m, x: _last(m, x) if x.shape[1] > 60 else -_last(m, x), "60"),
    "a branch by len": (lambda m, x: _last(m, x) if len(x[0]) > 60 else -_last(m, x), "60"),
    "a branch by a sum": (lambda m, x: _last(m, x) if x.shape[1] - 7 > 60 else -_last(m, x), "67"),
    "a branch by a quotient": (lambda m, x: _last(m, x) if x.shape[1] // 3 > 20 else -_last(m, x), "60"),
    "a branch by a fraction": (lambda m, x: _last(m, x) if x.shape[1] > 2.5 * m.rate else -_last(m, x), "50"),
    "a branch that forgets": (lambda m, x: _last(m, x[:, -60:] if x.shape[1] > 60 else x), "60"),
    "a global variable": (lambda m, x: _last(m, x[:, -LONG:]), "50"),
    "a helper's default": (lambda m, x: _last(m, _helper(x)), "50"),
    "an attribute in a dict": (lambda m, x: _last(m, x[:, -m.settings["long"] :]), "50"),
    "one window": (lambda m, x: _last(m, x) if x.shape[0] > 1 else torch.sigmoid(_last(m, x)), r"windows \(1, "),
    "one step": (lambda m, x: _last(m, x) if x.shape[1] > 1 else torch.sigmoid(_last(m, x)), r"windows \(3, 1, "),
    "a squeeze of one window": (lambda m, x: m.lstm(x.squeeze())[0][..., -1, :], r"windows \(\d+, \d+, "),
    "many windows": (lambda m, x: _last(m, x[:40]), "40"),
    "a branch by the batch": (lambda m, x: _last(m, x) if len(x) <= 40 else -_last(m, x), "40"),
    "windows and steps": (
        lambda m, x: -_last(m, x) if len(x) > 40 and x.size(1) > 40 else _last(m, x),
        r"windows \(\d\d+, \d\d+, ",
    ),
    "too long a slice": (lambda m, x: _last(m, x[:, -1_000_000:]), "1,000,000 .* too many to be tried"),
    "too long a branch": (lambda m, x: _last(m, x) if x.size(1) < 1 << 30 else -x, "1,073,741,824 .* too many"),
    "too long a list": (lambda m, x: _cells(m, x.unbind(1)[-1_000_000:]), "1,000,000.* apart.*or write 1000000.0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_answer_that_depends_on_the_sizes_is_refused(case):
    function, text = REFUSED[case]
    module = trained(Forward(function, cell=nn.GRUCell(5, 6), rate=20, settings={"long": 50}))
    if "cell" not in function.__code__.co_names and "_cells" not in function.__code__.co_names:
        del module.cell
    else:
        del module.lstm
    with pytest.raises(lstmcore.UnsupportedError) as raised:
        read(module)
    assert re.search(f"^Forward: .*{text}", str(raised.value)), str(raised.value)
    assert "take the last step as out[:, -1], and cut the windows before" in str(raised.value)
    assert "\n" not in str(raised.value)


HUGE = (1 << 2000) - 1  # of a variable: Python's compiler makes no constant as large

ALIKE = {
    "the last of the last steps": lambda m, x: m.lstm(x)[0][:, -10:][:, -1],
    "as many steps as there are": lambda m, x: _last(m, x[:, : x.size(1)]),
    "a number that is no size": lambda m, x: _last(m, x / 1_000_000),
    "a number beyond all floats": lambda m, x: _last(m, x[:, :HUGE]),
    "a branch by one": lambda m, x: _last(m, x) if x.size(1) < HUGE else 1 / 0,
    "states of a size": lambda m, x: m.lstm(x, (torch.zeros(1, x.size(0), m.hidden),) * 2)[0][:, -1],
    "a check of the length": lambda m, x: _last(m, x) if x.size(1) < 40 else 1 / 0,
    "a check of the batch": lambda m, x: _last(m, x) if len(x) > 1 else 1 / 0,
    "an odd length": lambda m, x: _last(m, x) if x.size(1) % 2 else 1.0 * _last(m, x),
}


@pytest.mark.parametrize("case", ALIKE)
def test_numbers_that_make_no_difference_are_taken(case):
    module = trained(Forward(ALIKE[case], hidden=6))
    model = read(module)
    x = windows(3, 39, 5) * (1e6 if case == "a number that is no size" else 1)
    np.testing.assert_allclose(model(x), answers(module, x), atol=5e-6)


def test_a_squeeze_that_drops_one_window_gives_that_windows_answer():
    """The module answers a batch of one with another rank; the Model answers a batch of one and a window."""
    module = trained(Forward(lambda m, x: m.fc(_last(m, x)).squeeze(), fc=nn.Linear(6, 1)))
    model = read(module)
    x = windows(1, 9, 5)
    assert answers(module, x).shape == ()
    np.testing.assert_allclose(model(x), answers(module, x)[None], atol=2e-6)
    np.testing.assert_allclose(model(x[0]), answers(module, x), atol=2e-6)


def test_a_wide_module_with_sizes_in_its_code_takes_no_longer():
    """What happens to be in the code is not worth more than part of a second."""

    def forward(m, x):
        states = torch.zeros(1, x.size(0), m.hidden)
        return m.wide(x, (states, states))[0][:, -1]

    module = trained(Forward(forward, nn.Identity(), wide=nn.LSTM(5, 700, batch_first=True), hidden=700))
    read(module)
    start = time.process_time()
    read(module)
    assert time.process_time() - start < 20


# --- any slice, any branch, any size --------------------------------------------------------------

#: What a forward may do to windows (N, T, F) with a number k.
CUTS = {
    "last": lambda x, k: x[:, -k:],
    "first": lambda x, k: x[:, :k],
    "from": lambda x, k: x[:, k:],
    "without the last": lambda x, k: x[:, :-k],
    "between": lambda x, k: x[:, k // 2 : k],
    "every": lambda x, k: x[:, :: 1 + k // 9],
    "narrow": lambda x, k: x.narrow(1, 0, min(k, x.size(1))),
    "split": lambda x, k: x.split(k, 1)[0],
    "windows": lambda x, k: x[:k],
    "nothing": lambda x, k: x,
    "all": lambda x, k: x[:, -max(k, x.shape[1]) :],
}
#: When it does so.
WHEN = {
    "always": lambda n, t, k: True,
    "longer": lambda n, t, k: t > k,
    "shorter": lambda n, t, k: t <= k,
    "exactly": lambda n, t, k: t == k,
    "among": lambda n, t, k: t in (k, k + 2),
    "more": lambda n, t, k: n >= k,
    "one": lambda n, t, k: n == 1,
    "one step": lambda n, t, k: t < 2,
    "double": lambda n, t, k: 2 * t + 1 > k,
    "part": lambda n, t, k: k - t // 2 < 3,
    "longer batch": lambda n, t, k: t > k and n > 1,
    "longer window": lambda n, t, k: t > k and n == 1,
}
#: What it does then, beside cutting.
THEN = {"cut": lambda y: y, "negative": lambda y: -y, "sigmoid": torch.sigmoid}
NUMBERS = st.one_of(st.integers(1, 12), st.integers(13, 90))


class Depends(nn.Module):
    """An LSTM whose forward cuts its windows, or changes its answer, by their sizes."""

    def __init__(self, cut, when, then, k, k_when):
        super().__init__()
        self.lstm = nn.LSTM(2, 3, batch_first=True)
        self.fc = nn.Linear(3, 2)
        self.cut, self.when, self.then, self.k, self.k_when = CUTS[cut], WHEN[when], THEN[then], k, k_when

    def forward(self, x):
        n, t = x.shape[0], x.size(1)
        if self.when(n, t, self.k_when):
            return self.then(self.fc(self.lstm(self.cut(x, self.k))[0][:, -1]))
        return self.fc(self.lstm(x)[0][:, -1])


@settings(max_examples=18, deadline=None)
@given(
    cut=st.sampled_from(sorted(CUTS)), when=st.sampled_from(sorted(WHEN)), then=st.sampled_from(sorted(THEN)),
    k=NUMBERS, k_when=NUMBERS, seed=st.integers(0, 99), data=st.data(),
)  # fmt: skip
def test_any_slice_and_branch_loads_right_or_is_refused(cut, when, then, k, k_when, seed, data):
    module = trained(Depends(cut, when, then, k, k_when), seed)
    try:
        model = read(module)
    except lstmcore.UnsupportedError:
        return
    edges = [size for number in (k, k_when, 2 * k_when) for size in (number - 1, number, number + 1) if size > 0]
    sizes = st.one_of(st.sampled_from([1, *edges]), st.integers(1, 400))
    double, wide = copy.deepcopy(module).double(), model.astype(np.float64)
    for n, t in data.draw(st.lists(st.tuples(sizes, sizes), min_size=4, max_size=4)):
        n = min(n, 100)
        x = windows(n, t, 2, seed, np.float64)
        x[-1, data.draw(st.integers(0, t - 1))] = np.nan  # which no LSTM forgets
        try:
            expected = answers(double, x)
        except (RuntimeError, IndexError):  # an empty cut
            continue
        np.testing.assert_allclose(wide(x), expected, rtol=1e-9, atol=1e-12)


class _Settings:
    longest = 60


@dataclasses.dataclass
class _Slotted:
    __slots__ = ("longest",)
    longest: int


NUMBERS = {
    **{f"numpy's {kind.__name__}": kind(60) for kind in (np.int64, np.int32, np.uint8, np.float32, np.float64)},
    "an array": np.array(60),
    "a tensor": torch.tensor(60),
}
CONFIGS = {
    "an object in an object": types.SimpleNamespace(inner=types.SimpleNamespace(longest=60)),
    "an object in a dict": {"inner": types.SimpleNamespace(longest=60)},
    "a class": _Settings,
    "an object's class": _Settings(),
    "slots": _Slotted(60),
}


def _longest(config):
    if hasattr(config, "longest"):
        return config.longest
    return (config["inner"] if isinstance(config, dict) else config.inner).longest


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "beyond",
    [
        lambda m, x: x.shape[1] > m.longest,
        lambda m, x: m.longest < x.shape[1],
        lambda m, x: x.shape[1] - m.longest > 0,
        lambda m, x: len(x[0]) > m.longest,
    ],
    ids=["compared", "reversed", "subtracted", "len"],
)
def test_limits_that_are_not_pythons_numbers_are_tried(name, beyond):
    module = trained(Forward(lambda m, x: -_last(m, x) if beyond(m, x) else _last(m, x), longest=NUMBERS[name]))
    with pytest.raises(lstmcore.UnsupportedError):  # some are refused as such
        lstmcore.from_torch(module)


@pytest.mark.parametrize("name", CONFIGS)
def test_limits_that_lie_deep_in_a_config_are_tried(name):
    """Where the comparison is not seen: of numbers that are no sizes any more."""
    module = trained(
        Forward(
            lambda m, x: -_last(m, x) if int(x.shape[1]) > _longest(m.config) else _last(m, x), config=CONFIGS[name]
        )
    )
    with pytest.raises(lstmcore.UnsupportedError, match="60"):
        lstmcore.from_torch(module)


_MODULE = types.ModuleType("settings_of_ones_own")
_MODULE.longest = 60


def test_limits_in_a_python_module_are_tried():
    with pytest.raises(lstmcore.UnsupportedError, match="60"):
        lstmcore.from_torch(
            trained(Forward(lambda m, x: -_last(m, x) if int(x.shape[1]) > _MODULE.longest else _last(m, x)))
        )
