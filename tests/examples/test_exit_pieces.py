"""examples/exit_management: pieces of work that are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pieces import OutOfTime, Piece, Pieces


def square(n: int, log: Path) -> dict[str, Any]:
    with log.open("a") as file:
        file.write(f"{n} ")
    return {"square": n * n}


def pieces(log: Path, *, power: int = 2) -> list[Piece]:
    return [Piece(f"n{n}", {"n": n, "power": power}, square, (n, log)) for n in range(4)]


def test_what_was_made_is_not_made_again(tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "kept"
    expected = [{"square": n * n} for n in range(4)]
    with pytest.raises(OutOfTime, match="squares: 1 of 4 are done"):
        Pieces(folder, resume=True, jobs=1, until=0.0).run(pieces(log), "squares")
    assert Pieces(folder, resume=True, jobs=1).run(pieces(log), "squares") == expected
    assert log.read_text() == "0 1 2 3 "
    assert Pieces(folder, resume=True, jobs=1).seconds() > 0
    # Other settings, or no wish to go on: everything anew.
    assert Pieces(folder, resume=True, jobs=1).run(pieces(log, power=3), "squares") == expected
    assert Pieces(folder, resume=False, jobs=1).run(pieces(log, power=3), "squares") == expected
    assert log.read_text() == "0 1 2 3 " * 3


def test_several_at_a_time_come_back_in_order(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    found = Pieces(tmp_path / "kept", resume=True, jobs=2).run(pieces(tmp_path / "log"), "squares")
    assert found == [{"square": n * n} for n in range(4)]
    assert sorted((tmp_path / "log").read_text().split()) == ["0", "1", "2", "3"]
