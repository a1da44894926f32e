"""`lstmcore.train` configs that are hostile, or by accident: refused at once, in one line that names the file."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("pytorch_lightning", reason="pytorch-lightning is not installed")
from lstmcore.train import config
from lstmcore.train.config import MAX_BYTES, MAX_DEPTH, read_config

GOOD = """
[data]
path = "x.csv"  # a comment of [[[[[[[[[[[[[[[[[[[[ and a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r
features = ["a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r", '[[[[[[[[[[[[[[[[[[[[[[', "quote \\" [[[[[[[[[[[[[[[[[["]
window = 5
horizon = 1
target = "y"
[split]
train = 10
test = 10
validation = 10
"""
DEEP = "[" * 3000 + "]" * 3000
HOSTILE = {
    "nested arrays": ("x = " + "[" * 5000, "line 12: more than 16 brackets in brackets"),
    "nested tables": ("x = " + "{a=" * 5000, "more than 16 brackets"),
    "a dotted key": (".".join(["a"] * 20_000) + " = 1", "line 12: a key of more than 16 parts"),
    "a dotted key of quotes": (".".join(['"a"'] * 10_000) + " = 1", "a key of more than 16 parts"),
    "a dotted table": ("[" + " . ".join(["a"] * 10_000) + "]", "a key of more than 16 parts"),
    "many lines": ("\n".join(f"a{n} = 1" for n in range(20_000)), "bytes; at most 65536 are taken"),
    "5,000 digits": ("[training]\nseed = " + "9" * 5000, "not a TOML file: Exceeds the limit"),
    "50,000 digits": ("[training]\nseed = " + "9" * 50_000, "line 13: a number of more than 8192 digits"),
    "4,000 digits": ("[training]\nseed = " + "9" * 4000, "training.seed: expected a number of at most 64 bits"),
    "5,000 digits of base 16": ("[training]\nmonitor = 0x" + "f" * 5000, "training.monitor: expected text, got int of"),
    "hidden": ("[model]\nhidden = 6000", "model.hidden, model.layers: expected at most 67,108,864 weights"),
    "more hidden": ("[model]\nhidden = 1000000000", "model.hidden: expected at most 16384, got 1000000000"),
    "layers": ("[model]\nlayers = 1000000", "model.layers: expected at most 64, got 1000000"),
    "a long word": (f'[training]\npos_weight = "{"data" * 5000}"', "training.pos_weight: expected a number above 0"),
    "a long monitor": (f'[training]\nmonitor = "{"data" * 5000}"', "training.monitor: expected one of"),
    "a long cell": (f'[model]\ncell = "{"data" * 5000}"', "model.cell: expected one of"),
    "brackets behind text that ends in 4 quotes": (
        "x = ['''a'''', " + DEEP + ", 'b']",
        "line 12: more than 16 brackets in brackets",
    ),
    "brackets behind text that ends in 5 quotes": (
        'x = ["""a\\"""""", ' + DEEP + ', "b"]',
        "line 12: more than 16 brackets in brackets",
    ),
    "brackets behind an escaped quote": (
        'x = ["""a\\""" """, ' + DEEP + ', "b"]',
        "line 12: more than 16 brackets in brackets",
    ),
    "an open quote of three": ('"' * 3 + "x" * 60_000, "not a TOML file"),
    "a long name twice": (f"[{'a' * 30_000}]\n" * 2, "not a TOML file: Cannot declare ("),
    "open quotes of three": ('\n\\"""' * 13_000, "not a TOML file"),
    "open quotes with backslashes": ('\\"' * 30_000, "not a TOML file"),
    "backslashes": ('[x]\ny = """' + "\\\\" * 30_000 + '"""', "unknown section [x]"),
    "quotes": ("[x]\ny = '''" + "''a" * 19_000 + "'''", "unknown section [x]"),
    "an open quote": ('"' + "x" * 60_000, "not a TOML file"),
    "no text": ("\x00", "not a TOML file"),
}


def test_dots_and_brackets_in_text_and_comments_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(GOOD.replace("\n", "\r\n").encode())
    assert len(read_config(path).data.features) == 3


def test_text_of_every_form_may_hold_brackets(tmp_path: Path) -> None:
    deep = "[" * 30
    text = [
        f"'''{deep}'{deep}''{deep}'''''",
        f'"""{deep}"{deep}\\"""{deep}""{deep}\\\\"""""',
        f"'{deep}\\'",
        f'"{deep}\\""',
    ]
    path = tmp_path / "c.toml"
    path.write_text(GOOD.replace('features = ["a', f'features = [{", ".join(text)}, "a'))
    assert [each.count("[") for each in read_config(path).data.features[:4]] == [90, 120, 30, 30]


def test_where_the_reader_recurses_too_deeply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever passes the check: no traceback."""
    monkeypatch.setattr(config, "_check_depth", lambda text: None)
    path = tmp_path / "c.toml"
    path.write_text(GOOD + "x = " + DEEP)
    with pytest.raises(ValueError, match=r"c.toml: not a TOML file: .*brackets"):
        read_config(path)


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_at_once(case: str, tmp_path: Path) -> None:
    more, text = HOSTILE[case]
    path = tmp_path / "c.toml"
    path.write_text(GOOD + more)
    start = time.process_time()
    tracemalloc.start()
    with pytest.raises((ValueError, TypeError)) as caught:
        read_config(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (4 << 20) + 10 * path.stat().st_size
    assert time.process_time() - start < 2
    assert str(caught.value).startswith(str(path))
    assert text in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


@settings(max_examples=150, deadline=None)
@given(st.text("ab.=[]{}\"'\\\n# 1,", max_size=300), st.integers(0, 20))
def test_no_text_is_another_error(tmp_path_factory: pytest.TempPathFactory, text: str, depth: int) -> None:
    path = tmp_path_factory.mktemp("config") / "c.toml"
    path.write_text(GOOD + text + "[" * depth)
    said = str(path)
    try:
        read_config(path)
    except (ValueError, TypeError) as error:
        said = str(error)
    assert said.startswith(str(path))
    assert MAX_DEPTH < 20
    assert path.stat().st_size < MAX_BYTES
