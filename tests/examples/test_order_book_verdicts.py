"""examples/order_book: what its report concludes, from summaries of every sort."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lightgbm", reason="lightgbm is not installed; examples/order_book needs the extra examples")
from order_book import models, verdicts
from order_book.answers import SEQUENCE

TOLD = ("auc", "auc_told")


def interval(low: float, high: float) -> dict[str, float]:
    return {"mean": (low + high) / 2, "low": low, "high": high, "count": 5}


def book(**auc: tuple[float, float]) -> dict[str, Any]:
    """A summary in which every model's AUC lies from 0.6 to 0.7 and every lead round zero, but for those named."""
    names = {name.replace(" ", "_"): name for name in models.NAMES}
    found: dict[str, Any] = {kind: {name: interval(0.6, 0.7) for name in models.NAMES} for kind in TOLD}
    for kind in TOLD:
        found[kind] |= {names[name]: interval(*ends) for name, ends in auc.items()}
        found[f"{kind}_lead_of_lstm"] = {name: interval(-0.1, 0.1) for name in models.NAMES if name != "LSTM"}
    return found


def test_every_mix_of_intervals_is_told() -> None:
    for above in itertools.product((False, True), repeat=len(SEQUENCE)):
        ends = {name: (0.8, 0.9) if is_above else (0.65, 0.75) for name, is_above in zip(SEQUENCE, above, strict=True)}
        said = verdicts.on_the_book(book(**ends))[0]
        clear, _, not_clear = said.partition(";") if ";" in said else (said, "", "")
        if not any(above):
            assert said.startswith("On every sample, no sequence model's interval lies above that of")
            continue
        for name, is_above in zip(SEQUENCE, above, strict=True):
            assert name in (clear if is_above else not_clear), said
        assert ("Nearest is" in said) == all(above)


def test_the_nearest_interval_is_the_one_named() -> None:
    said = verdicts.on_the_book(book(RNN=(0.82, 0.9), GRU=(0.71, 0.95), LSTM=(0.8, 0.9)))[0]
    assert "Nearest is GRU's, from 0.710 on, where that one ends at 0.700." in said


@pytest.mark.parametrize(
    ("lead", "words"), [((0.1, 0.2), "is ahead of"), ((-0.2, -0.1), "is behind"), ((-0.1, 0.1), "cannot be told apart")]
)
@pytest.mark.parametrize("other", [models.ROLLING, models.BLEND])
def test_a_lead_is_told_with_its_interval(lead: tuple[float, float], words: str, other: str) -> None:
    found = book()
    found["auc_lead_of_lstm"][other] = interval(*lead)
    said = verdicts.on_the_book(found)[1 if other == models.ROLLING else 2]
    assert words in said
    assert f"{lead[0]:+.3f} to {lead[1]:+.3f}" in said


@pytest.mark.parametrize("low", [None, -math.inf, math.nan])
@pytest.mark.parametrize("kind", TOLD)
def test_nothing_is_concluded_without_intervals(kind: str, low: float | None) -> None:
    found = book()
    found[kind]["GRU"]["low"] = low
    (said,) = verdicts.on_the_book(found)
    assert "cannot say" in said


def recording(net: dict[str, tuple[float, float]], trades: float = 60) -> dict[str, Any]:
    each = {
        name: {
            "trades_per_seed": trades,
            "fees_bp": 10.0,
            "gross_bp": interval(net[name][0] + 10, net[name][1] + 10),
            "net_bp": interval(*net[name]),
        }
        for name in models.NAMES
    }
    auc = {name: interval(0.6, 0.7) for name in models.NAMES}
    lead = {name: interval(-0.1, 0.1) for name in models.NAMES if name != "LSTM"}
    return {"seconds": 344.0, "summary": {"auc": auc, "auc_lead_of_lstm": lead, "trading": each}}


@pytest.mark.parametrize(
    ("net", "words"),
    [
        ((-10.0, -9.0), "After costs all lose"),
        ((-1.0, 0.5), "After costs none is shown to earn"),
        ((0.5, 1.0), "still earned, on these few minutes"),
    ],
)
def test_what_is_left_behind_costs(net: tuple[float, float], words: str) -> None:
    said = verdicts.on_the_recording(recording(dict.fromkeys(models.NAMES, net)))
    assert any(words in sentence for sentence in said)


def test_few_trades_are_no_evidence() -> None:
    found = recording(dict.fromkeys(models.NAMES, (0.5, 1.0)))
    found["summary"]["trading"]["RNN"] = {"trades_per_seed": 1.0, "fees_bp": 10.0, "net_bp": interval(5.0, 5.0)}
    found["summary"]["trading"]["GRU"] = {"trades_per_seed": 0.0, "fees_bp": 10.0}
    said = " ".join(verdicts.on_the_recording(found))
    assert "RNN and GRU found fewer than 30 trades to make" in said
    assert "RNN, GRU" not in said.partition("still earned")[0].rpartition("After costs")[2]
    none = recording(dict.fromkeys(models.NAMES, (0.5, 1.0)), trades=float(np.nextafter(verdicts.MANY, 0)))
    assert "After costs" not in " ".join(verdicts.on_the_recording(none))
