"""`lstmcore.plot` and `lstmcore plot`: what is drawn is what was computed, and what cannot be drawn is said."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategies import make

import lstmcore
from lstmcore import Model, plot
from lstmcore import layers as L
from lstmcore.attribution import input_gradient
from lstmcore.commands.cli import main
from lstmcore.demo import market
from lstmcore.demo.run import MODEL
from lstmcore.plot.lengths import NETWORKS, Network, gradient_by_tick

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


@pytest.fixture(scope="module")
def model() -> Model:
    return lstmcore.load(MODEL)


@pytest.fixture(scope="module")
def window() -> Any:
    return market.features(market.simulate(100, 3))[-20:]


def small(cls: type[L.Recurrent], *head: L.Layer, **more: Any) -> Model:
    layer = make(cls, "layer", np.random.default_rng(0), input_size=3, hidden_size=4, **more)
    return Model([layer, *head])


def images(figure: Any) -> dict[str, Any]:
    """The heat maps of a figure by their headings."""
    return {axes.get_title("left"): axes.images[0] for axes in figure.axes if axes.images}


def test_gates(model: Model, window: Any) -> None:
    trace = model.trace(window)
    shown = images(plot.gates(trace))
    assert [text.split(":")[0] for text in shown] == ["input gate i", "forget gate f", "candidate g", "output gate o"]
    for letter, image in zip("ifgo", shown.values(), strict=True):
        np.testing.assert_array_equal(image.get_array(), getattr(trace, letter).T)
    assert [image.get_clim() for image in shown.values()].count((0, 1)) == 3


def test_gates_of_other_layers() -> None:
    x = np.random.default_rng(0).normal(size=(7, 3))
    assert [text.split(":")[0] for text in images(plot.gates(small(L.GRU).trace(x)))] == [
        "reset gate r", "update gate z", "candidate n",
    ]  # fmt: skip
    assert list(images(plot.gates(small(L.RNN).trace(x)))) == ["n, which is the new hidden state"]
    trace = small(L.LSTM, bidirectional=True, activations="relu tanh tanh").trace(x)
    shown = images(plot.gates(trace, "layer_l0_reverse"))
    image = shown["input gate i: how much of the candidate is written"]
    np.testing.assert_array_equal(image.get_array(), trace[1].i.T)
    assert image.get_clim()[1] >= trace[1].i.max()  # no share, with this function: nothing is cut off


def test_state(model: Model, window: Any) -> None:
    trace = model.trace(window)
    figure = plot.state(trace)
    (image,) = images(figure).values()
    np.testing.assert_array_equal(image.get_array(), trace.c.T)
    drawn = {line.get_label(): line.get_ydata() for line in figure.axes[1].lines if "unit" in str(line.get_label())}
    moves = np.ptp(trace.c, axis=0)
    assert set(drawn) == {f"unit {n}" for n in np.argsort(-moves)[:5]}
    for name, values in drawn.items():
        np.testing.assert_array_equal(values, trace.c[:, int(name.split()[1])])
    hidden = small(L.GRU).trace(window[:, :3])
    np.testing.assert_array_equal(images(plot.state(hidden))["hidden state h, every unit"].get_array(), hidden.h.T)


def test_score_is_the_answer_to_what_has_been_seen(model: Model, window: Any) -> None:
    (line,) = plot.score(model, window).axes[0].lines
    expected = [model(window[: n + 1])[0] for n in range(len(window))]
    np.testing.assert_array_equal(line.get_ydata(), np.asarray(expected, np.float64))
    steps = small(L.LSTM, return_sequences=True)
    lines = plot.score(steps, window[:, :3]).axes[0].lines
    np.testing.assert_allclose(np.stack([line.get_ydata() for line in lines], 1), steps(window[:, :3]), atol=2e-6)


def test_attribution_is_of_the_scaled_input(model: Model, window: Any) -> None:
    trace = model.trace(window)
    shown = images(plot.attribution(trace, features=market.FEATURES))
    scaler = model.layers[0].weights
    gradient = input_gradient(trace) * scaler["scale"]
    first, second = shown.values()
    assert list(shown) == ["gradient of the answer with respect to the scaled input", "gradient times scaled input"]
    np.testing.assert_allclose(first.get_array(), gradient.T, rtol=1e-12)
    scaled = (window - scaler["mean"].astype("f8")) / scaler["scale"]
    np.testing.assert_allclose(second.get_array(), (gradient * scaled).T, rtol=1e-9, atol=1e-15)
    assert [label.get_text() for label in first.axes.get_yticklabels()] == list(market.FEATURES)


def test_overview_and_what_it_cannot_draw(model: Model, window: Any) -> None:
    def said(figure: Any) -> list[str]:
        return [text.get_text() for part in figure.subfigs for text in part.texts if "not drawn" in text.get_text()]

    assert said(plot.overview(model, window)) == []
    flat = small(L.LSTM, L.GELU("gelu"), L.Flatten("flatten", 20), return_sequences=True)
    score, attribution = said(plot.overview(flat, window[:, :3]))
    assert "windows of 20 ticks only (Flatten)" in score
    assert "gelu (GELU): its gradient is not written here" in attribution


def test_a_window_with_nan_can_be_drawn(model: Model, window: Any, tmp_path: Path) -> None:
    broken = window.copy()
    broken[0] = np.nan
    broken[3, 2] = np.inf
    figure = plot.overview(model, broken)
    figure.savefig(tmp_path / "nan.png")
    assert figure.get_suptitle().startswith("NaN or infinite in the window: 11 of 200 numbers, first at tick 0")
    assert plot.overview(model, window).get_suptitle() == ""


def test_the_units_that_move_most_are_found_before_a_nan(model: Model, window: Any) -> None:
    broken = window.copy()
    broken[-1, 0] = np.nan
    figure = plot.state(model.trace(broken))
    drawn = {str(line.get_label()) for line in figure.axes[1].lines if "unit" in str(line.get_label())}
    moves = np.ptp(model.trace(window).c[:-1], axis=0)
    assert drawn == {f"unit {n}" for n in np.argsort(-moves)[:5]}


def test_a_tick_of_the_overview_stands_under_the_same_tick(model: Model, window: Any) -> None:
    names = [f"a feature with a long name, {n}" for n in range(10)]
    figure = plot.overview(model, window, features=names)
    figure.draw_without_rendering()
    bars = {axes.images[0].colorbar.ax: axes for axes in figure.axes if axes.images}
    panels = [axes for axes in figure.axes if axes not in bars]
    assert (len(panels), len(bars)) == (9, 7)
    for tick in (0, 13, 19):
        places = [axes.transData.transform((tick, 0))[0] for axes in panels]
        np.testing.assert_allclose(places, places[0], atol=1e-6)
    for bar, axes in bars.items():
        gap = bar.get_window_extent().x0 - axes.get_window_extent().x1
        assert 0 < gap < 30  # pixels, of 1100
    for axes in figure.axes:  # nothing is pushed off the picture
        box = axes.get_tightbbox()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


def test_a_legend_leaves_the_heading_alone(window: Any) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    parts = figure.subfigures(1, 3)
    plot.score(small(L.LSTM), window[:, :3], into=parts[2])
    figure.draw_without_rendering()
    axes = parts[2].axes[0]
    legend = axes.get_legend().get_window_extent()
    heading = next(text for text in axes.get_children() if getattr(text, "get_text", str)().startswith("The answer"))
    assert not legend.overlaps(heading.get_window_extent())
    assert not legend.overlaps(axes.get_window_extent())
    assert legend.x1 <= figure.bbox.x1


def test_drawing_into_a_part_of_a_figure(model: Model, window: Any) -> None:
    from matplotlib.figure import Figure

    own = Figure(layout="constrained")
    left, right = own.subfigures(1, 2)
    assert plot.gates(model.trace(window), into=left) is own
    assert plot.score(model, window, into=right) is own
    assert len(left.axes) == 8  # each with its colour bar
    assert len(right.axes) == 1


def test_nothing_is_shown_and_no_setting_is_touched(model: Model, window: Any) -> None:
    import matplotlib
    from matplotlib import _pylab_helpers

    before = dict(matplotlib.rcParams)
    plot.overview(model, window)
    plot.vanishing_gradient((3,), hidden=2, seeds=(0,))
    assert dict(matplotlib.rcParams) == before
    assert _pylab_helpers.Gcf.get_all_fig_managers() == []


def test_a_model_a_trace_and_its_parts_are_told_apart(model: Model, window: Any) -> None:
    trace: Any = model.trace(window)
    wrong: Any = model
    for picture in (plot.gates, plot.state, plot.attribution):
        with pytest.raises(TypeError, match=r"^trace: expected what model.trace\(window\) gives, got a Model$"):
            picture(wrong)
        with pytest.raises(TypeError, match=r"got its part 'lstm'; give the whole trace, .* with layer='lstm'"):
            picture(trace["lstm"])
    for of_a_model in (plot.score, plot.overview):
        with pytest.raises(TypeError, match=r"^model: expected a Model, got a Trace$"):
            of_a_model(trace, window)


def test_where_to_draw_is_a_figure_or_a_part_of_one(model: Model, window: Any) -> None:
    from matplotlib.figure import Figure

    trace, axes = model.trace(window), Figure().subplots()
    lines: Any = ([0.5], [0.4], [0.6])
    pictures: list[Any] = [
        lambda: plot.gates(trace, into=axes),
        lambda: plot.state(trace, into=axes),
        lambda: plot.score(model, window, into=axes),
        lambda: plot.attribution(trace, into=axes),
        lambda: plot.vanishing_gradient((3,), into=axes),
        lambda: plot.accuracy([8], {"RNN": lines}, into=axes),
    ]
    for picture in pictures:
        with pytest.raises(TypeError, match=r"^into: expected a Figure or a SubFigure .*, got Axes$"):
            picture()


def test_what_is_refused(model: Model, window: Any) -> None:
    trace = model.trace(window)
    with pytest.raises(ValueError, match="features: expected 10 names, got 2"):
        plot.attribution(trace, features=["a", "b"])
    with pytest.raises(TypeError, match="features: expected a list of 10 names, got the str 'abcdefghij'"):
        plot.overview(model, window, features="abcdefghij")
    with pytest.raises(ValueError, match="output: expected 0 to 0"):
        plot.attribution(trace, 1)
    with pytest.raises(ValueError, match="layer: expected a number below 1, got 1"):
        plot.gates(trace, 1)
    with pytest.raises(KeyError, match="'gru': the traced layers are 'lstm'"):
        plot.state(trace, "gru")
    linear = make(L.Linear, "fc", np.random.default_rng(0), in_features=10, out_features=8)
    with pytest.raises(ValueError, match="the model has no recurrent layer"):
        plot.gates(Model([linear]).trace(window))
    with pytest.raises(ValueError, match="8 outputs; at most 7"):
        plot.score(Model([linear, L.Last("last")]), window)
    with pytest.raises(ValueError, match="got a batch"):
        plot.score(model, window[np.newaxis])
    with pytest.raises(ValueError, match="network: expected one of RNN, GRU, LSTM, got 'CNN'"):
        gradient_by_tick(Network("CNN"), 5)
    with pytest.raises(ValueError, match="length: expected at least 1, got 0"):
        gradient_by_tick(Network("RNN"), 0)
    with pytest.raises(ValueError, match="1 to 7 networks, got 1 and 8"):
        plot.vanishing_gradient((3,), [Network("RNN")] * 8)
    with pytest.raises(ValueError, match="scores: expected 1 to 7 models, got 0"):
        plot.accuracy([8], {})
    with pytest.raises(ValueError, match=r"scores of 'RNN': expected 2 figures, got shape \(1,\)"):
        plot.accuracy([8, 16], {"RNN": ([0.5, 0.5], [0.5], [0.5, 0.5])})


def test_the_gradient_vanishes_where_theory_says() -> None:
    """An RNN's gradient is multiplied by R at every step; an LSTM's goes through f, which its bias moves to 1."""
    reach = {str(network): gradient_by_tick(network, 40, hidden=16, seeds=range(5)) for network in NETWORKS}
    for size in reach.values():
        assert size.shape == (40,)
        assert size[-1] == 1
    oldest = {name: size[0] for name, size in reach.items()}
    assert oldest["RNN"] < 1e-5
    assert oldest["RNN"] < oldest["LSTM, forget bias 1"] < oldest["LSTM, forget bias 3"]
    assert oldest["LSTM, forget bias 5"] > 0.1
    # sigmoid(1) = 0.73 is what an LSTM of bias 1 keeps a step; the rest of the gradient adds to it.
    assert reach["LSTM, forget bias 1"][0] > 0.73**39


def test_the_curves_of_the_vanishing_gradient() -> None:
    networks = (Network("RNN"), Network("LSTM", 2.0))
    figure = plot.vanishing_gradient((4, 9), networks, hidden=3, seeds=(0, 1, 2))
    assert [axes.get_title("left") for axes in figure.axes] == ["4 ticks", "9 ticks"]
    line = figure.axes[1].lines[1]
    assert line.get_label() == "LSTM, forget bias 2"
    np.testing.assert_array_equal(line.get_xdata(), np.arange(8, -1, -1))
    np.testing.assert_array_equal(line.get_ydata(), gradient_by_tick(networks[1], 9, hidden=3, seeds=(0, 1, 2)))


def test_accuracy_by_length() -> None:
    figures = ([0.9, 0.6], [0.8, 0.5], [1.0, 0.9])
    axes = plot.accuracy([8, 32], {"RNN": figures, "GRU": figures}, chance=0.5).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["8", "32"]
    (line, _, (bars,)) = axes.containers[0]
    np.testing.assert_array_equal(line.get_ydata(), figures[0])
    np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], [[0.8, 1.0], [0.5, 0.9]])


@pytest.fixture
def files(tmp_path: Path, window: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("window.npy", window)
    np.savetxt("ticks.csv", window, delimiter=",", header=",".join(market.FEATURES), comments="")
    np.save("batch.npy", window[np.newaxis])
    np.save("wide.npy", np.ones((5, 11)))
    return tmp_path


@pytest.mark.parametrize("picture", ["overview", "score", "attribution", "state", "gates"])
def test_the_command(picture: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plot", str(MODEL), "window.npy", "-o", "out.png", "--picture", picture, "--last", "10"]
    assert main(arguments) == 0
    assert (files / "out.png").read_bytes().startswith(b"\x89PNG")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"lstmcore: out.png: {picture} of 10 ticks\n"


@pytest.mark.parametrize("more", [[], ["--columns", ",".join(market.FEATURES)]])
def test_the_command_reads_what_predict_reads(more: list[str], files: Path) -> None:
    assert main(["plot", str(MODEL), "ticks.csv", "-o", "out.svg", "--picture", "attribution", *more]) == 0
    text = (files / "out.svg").read_text()
    assert all(f"<!-- {name} -->" in text for name in market.FEATURES)
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed; pandas writes .parquet with it")
    pandas.read_csv("ticks.csv").to_parquet("ticks.parquet")
    assert main(["plot", str(MODEL), "ticks.parquet", "-o", "out.pdf", "--recurrent", "lstm"]) == 0
    assert (files / "out.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["window.npy", "-o", "out.txt"], "out.txt: expected a name that ends in .png, .svg, .pdf"),
        (["window.npy", "-o", "there.png"], "there.png: exists already; --force overwrites it"),
        (["gone.npy", "-o", "out.png"], "gone.npy: No such file or directory"),
        (["batch.npy", "-o", "out.png"], "batch.npy: expected one window (T, 10), got shape (1, 20, 10)"),
        (["wide.npy", "-o", "out.png"], "wide.npy: expected one window (T, 10), got shape (5, 11)"),
        (["window.npy", "-o", "out.png", "--last", "21"], "--last 21: window.npy has 20 rows"),
        (["window.npy", "-o", "out.png", "--recurrent", "gru"], "--recurrent gru: the model has lstm"),
        (["window.npy", "-o", "out.png", "--output", "3"], "output: expected 0 to 0, the answer being (1,), got 3"),
        (["window.npy", "-o", "no/out.png"], "no/out.png: no folder FOLDER/no"),
    ],
)
def test_errors_are_one_line(arguments: list[str], error: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "there.png").touch()
    assert main(["plot", str(MODEL), *arguments]) == 1
    assert capsys.readouterr().err == f"lstmcore: error: {error.replace('FOLDER', str(files))}\n"
    assert not (files / "out.png").exists()


def test_without_matplotlib_the_error_names_the_extra(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["plot", str(MODEL), "window.npy", "-o", "out.png"]) == 1
    assert capsys.readouterr().err == (
        'lstmcore: error: matplotlib is not installed; pip install "lstmcore[plot]" brings it\n'
    )
