"""Names, keys, cells and paths that somebody else chose: on the terminal, in errors, in reports, in pictures."""

from __future__ import annotations

import io
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import lstmcore
from lstmcore import layers as L
from lstmcore import terminal
from lstmcore.commands.cli import main
from lstmcore.errors import LstmcoreError, ModelFormatError, UnsupportedError
from lstmcore.text import CUT, LINE, NAME, NAMES, clean, listed, markdown, plotted, quoted

HOSTILE = {
    "escape codes": "\x1b[2J\x1b]0;owned\x07red\x9b31m",
    "new lines": "a\r\nlstmcore: error: forged\u2028b\x85c\x0bd",
    "backwards": "a\u202egnp.exe\u2066",
    "rich": "[bold red]a[/bold red] [link=http://x]b[/link] \\[c]",
    "markdown": "a|b`c`*d*_e_~~f~~[g](h)![i](j)<b>k</b>&lt; #l $m$",
    "not of UTF-8": "a\udcffb",
    "long": "n" * 100_000,
    "long words": "word " * 20_000,
}
texts = st.text(max_size=60)


def shown_safely(text: str, most: int = LINE) -> bool:
    """Whether it is one line that can be printed, and not too long."""
    return text.isprintable() and len(text) <= most


@settings(max_examples=300, deadline=None)
@given(texts, st.integers(0, 5000))
def test_what_is_shown_is_one_line_of_printable_characters(text: str, times: int) -> None:
    for most in (NAME, LINE):
        assert shown_safely(clean(text * times, most), most)
        assert shown_safely(quoted(text * times, most), most)
    assert shown_safely(markdown(text * times), 2 * NAME)
    assert shown_safely(listed([text] * times), (NAME + 2) * NAMES + 20)
    if text.isprintable() and text == " ".join(text.split()):
        assert clean(text) == text


def test_the_middle_of_what_is_too_long_is_left_out() -> None:
    text = clean("model.safetensors: layer " + "n" * 100_000 + ": expected a name, got none; give it one")
    assert text.startswith("model.safetensors: layer nnn")
    assert text.endswith("nnn: expected a name, got none; give it one")
    assert CUT in text
    assert listed(range(NAMES + 2)) == ", ".join(map(str, range(NAMES))) + " and 2 more"
    assert listed("abc") == "a, b, c"


def test_what_python_does_not_show_is_said_to_be_that() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for show in (quoted, clean):
        assert show(10**5000) == "<int of 16610 bits>"
        assert show([10**5000, 1]) == "<list of length 2>"
        assert show(deep) == "<list of length 1>"
    assert listed([10**5000, "a"]) == "<int of 16610 bits>, a"


# --- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [LstmcoreError, ModelFormatError, UnsupportedError, lstmcore.BackendError])
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_our_errors_are_one_line(kind: type[LstmcoreError], name: str) -> None:
    error = kind(f"m.onnx: node {name}: what now?")
    assert shown_safely(str(error))
    assert str(error).startswith("m.onnx: node ")
    assert str(error).endswith("what now?")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def model(name: str) -> lstmcore.Model:
    """Random weights, and every name another one."""
    rng = np.random.default_rng(0)
    size = {"input_size": 3, "hidden_size": 4, "num_layers": 1, "bias": True}
    weights = {
        k: rng.normal(size=s).astype("f4") for k, s in L.LSTM.weight_shapes(**size, return_sequences=True).items()
    }
    fc = {"weight": rng.normal(size=(1, 4)).astype("f4"), "bias": rng.normal(size=1).astype("f4")}
    return lstmcore.Model(
        [
            L.LSTM(f"{name} 1", **size, return_sequences=True, weights=weights),
            L.ReLU(f"{name} 2"),
            L.Add(f"{name} 3", inputs=(f"{name} 1", f"{name} 2")),
            L.Last(f"{name} 4"),
            L.Linear(f"{name} 5", 4, 1, True, weights=fc),
        ],
        backend="numpy",
    )


def _raises(function: Callable[[], object]) -> str:
    with pytest.raises((ValueError, TypeError, KeyError, IndexError)) as caught:
        function()
    return str(caught.value.args[0])


def test_a_name_that_is_no_text_is_refused_in_one_line() -> None:
    assert shown_safely(_raises(lambda: model(HOSTILE["not of UTF-8"])))


NAMED = {kind: name for kind, name in HOSTILE.items() if kind != "not of UTF-8"}


@pytest.mark.parametrize("name", NAMED.values(), ids=NAMED)
def test_what_a_model_says_of_itself(name: str) -> None:
    named = model(name)
    lines = repr(named).splitlines()
    assert len(lines) == 1 + len(named.layers)
    window = np.ones((5, 3), np.float32)
    trace = named.trace(window)
    assert len(repr(trace).splitlines()) == 2
    lstm, relu, _, last, fc = named.layers
    broken = (
        lambda: lstmcore.Model([fc, relu, fc]),
        lambda: lstmcore.Model([lstm, relu, last, fc, relu.replace(name="unread"), last.replace(inputs=(name,))]),
        lambda: lstmcore.Model([lstm, fc, last, relu.replace(name="r", inputs=(fc.name, lstm.name))]),
        lambda: lstmcore.Model([lstm, fc, lstm.replace(name="behind")]),
        lambda: lstmcore.Model([lstm, fc.map_weights(lambda w: w.astype("f8"))]),
        lambda: lstmcore.Model([lstm, last, last.replace(name=f"{name}!"), fc]),
        lambda: L.Linear(name, 4, 1, True, weights={name: window}),
        lambda: L.LSTM(name, 3, 4, 1024, True, weights={name: window}),
        lambda: L.Add("add", inputs=(name, name)).output_of([("T", 3), ("T", 4)]),
        lambda: fc.replace(bias=name),
        lambda: fc.replace(inputs=name),
        lambda: named.trace(window)[name],
        lambda: named(window, state={name: window}),
        lambda: named(window, state={lstm.name: window[0]}),
        lambda: named.stateful().restore({name: window}),
    )
    for text in (*lines, *repr(trace).splitlines(), *map(_raises, broken)):
        assert shown_safely(text), text[:1000]


# --- commands ---------------------------------------------------------------------------------------------------


def _said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(arguments)
    out, err = capsys.readouterr()
    for line in (*out.split("\n"), *err.split("\n")):
        assert shown_safely(line, LINE + len("lstmcore: ")), line[:1000]
    assert all(line.startswith("lstmcore: ") for line in err.splitlines())
    return status, out, err


@pytest.mark.filterwarnings("always:.*NaN or infinite weights:RuntimeWarning")
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_in_files_on_the_command_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    encodable = name.encode(errors="replace").decode()
    layers = list(model(encodable).layers)
    layers[0] = layers[0].map_weights(lambda w: np.where(np.arange(w.size).reshape(w.shape), w, np.nan).astype("f4"))
    lstmcore.Model(layers, backend="numpy").save("m.safetensors")
    assert _said(capsys, "inspect", "m.safetensors")[0] == 0
    assert _said(capsys, "convert", "m.safetensors", "copy.safetensors")[0] == 0
    _said(capsys, "convert", "m.safetensors", "m.onnx")
    _said(capsys, "verify", "m.safetensors", "--against", "c")

    arrays = safetensors.numpy.load_file("copy.safetensors")
    with safetensors.safe_open("copy.safetensors", "numpy") as file:
        metadata = file.metadata()
    arrays[encodable] = np.ones(3, np.float32)
    safetensors.numpy.save_file(arrays, "more.safetensors", metadata)
    assert _said(capsys, "inspect", "more.safetensors")[0] == 1
    safetensors.numpy.save_file(dict(list(arrays.items())[1:]), "less.safetensors", metadata)
    assert _said(capsys, "inspect", "less.safetensors")[0] == 1

    cell = '"' + encodable.replace('"', "") + '"'
    for n, text in enumerate((f"{cell},b,c\nx,1,2\n", f"a,b,c\n{cell},1,2\n3,1,2\n", f"{cell},{cell},c\n1,1,1\n")):
        Path(f"{n}.csv").write_text(text, encoding="utf-8")
        assert _said(capsys, "predict", "copy.safetensors", f"{n}.csv")[0] == 1
    assert _said(capsys, "predict", "copy.safetensors", "0.csv", "--columns", f"{name[:2000]},b")[0] == 1


@pytest.mark.parametrize("name", [name for name in HOSTILE.values() if len(name) < 200])
def test_paths_on_the_command_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = name.replace("/", "_")
    model("a").save("m.safetensors")
    assert _said(capsys, "convert", "m.safetensors", f"{path}.safetensors")[0] == 0
    assert _said(capsys, "inspect", f"{path}.safetensors")[0] == 0
    assert _said(capsys, "inspect", f"{path}.h5")[0] == 1
    Path(f"{path}.csv").write_text("a,b\n1,2\n")
    assert _said(capsys, "predict", "m.safetensors", f"{path}.csv")[0] == 1
    assert _said(capsys, "replay", f"{path}.csv", "--model", "m.safetensors")[0] == 1
    Path(f"{path}.toml").write_text(f"[{path[:0]}x]\n")
    pytest.importorskip("pytorch_lightning", reason="Lightning is not installed; lstmcore train needs it")
    assert _said(capsys, "train", f"{path}.toml", "--out", path)[0] == 1


def test_no_markup_of_rich_is_read_from_names(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich", reason="rich is not installed")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERM", "xterm")  # of a dumb one rich takes 80 columns
    hostile = HOSTILE["rich"]
    terminal.table([hostile, f">{hostile}"], [(hostile, 1)], f"title {hostile}")
    assert screen.getvalue().count(hostile) == 4


# --- reports and pictures ---------------------------------------------------------------------------------------


def rendered(line: str) -> list[str]:
    """The kinds of tokens that a parser of Markdown finds in a line, and its text as the last one."""
    parser = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed").MarkdownIt("gfm-like")
    parser.disable("linkify")
    tokens = [token for block in parser.parse(line) for token in (block.children or [block])]
    kinds = [
        token.type
        for token in tokens
        if token.type not in ("text", "text_special", "paragraph_open", "paragraph_close")
    ]
    return [*kinds, "".join(token.content for token in tokens)]


@settings(max_examples=300, deadline=None)
@given(st.one_of(texts, st.text("ab_*`|[]()<>!#&;\\~ $1.-+=:/", max_size=40), st.sampled_from(list(HOSTILE.values()))))
def test_no_markdown_is_read_from_names(name: str) -> None:
    assert rendered(f"The column {markdown(name)} is the target.") == [f"The column {clean(name, NAME)} is the target."]
    table = f"| a | b |\n| --- | --- |\n| {markdown(name)} | x |\n"
    found = rendered(table)
    assert found.count("td_open") == 2
    assert found[-1] == f"ab{clean(name, NAME)}x"


@settings(max_examples=50, deadline=None)
@given(st.one_of(texts, st.text("a$\\_{}^ ", max_size=20), st.sampled_from(list(HOSTILE.values()))))
def test_no_mathematics_is_read_from_names(name: str) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed; these are its texts")
    from matplotlib import cbook
    from matplotlib.figure import Figure

    text = plotted(name)
    assert not cbook.is_math_text(text)
    drawn = Figure().text(0, 0, text)
    assert drawn._preprocess_math(text) == (clean(name, NAME), False)


def test_pictures_with_names_of_any_kind() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed; the pictures are drawn with it")
    from lstmcore import plot

    window = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    for names in (
        ["$\\frac{", "$a$", HOSTILE["long"]],
        [HOSTILE["new lines"], HOSTILE["rich"], HOSTILE["escape codes"]],
    ):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")
            figure = plot.overview(model(names[0]), window, features=names)
            figure.savefig(io.BytesIO())
        assert figure.get_size_inches()[0] == 11
