"""Models that others published, beside the answers that their own runtimes gave: the same answers, or a clear refusal.

LSTMCORE_PUBLISHED names a folder of models, each `NAME.<suffix>` with its record `NAME.npz`. A record holds `about`, in
JSON: the names of `inputs` and `outputs`; `states`, the inputs that are an output of the call before; `mode`, how the
model was asked; `layers`, the architecture of a state_dict; `time_major`, where the first axis is time. For each call
k = 0, 1, 2 it holds the arrays `k|in|NAME` and `k|out|NAME`.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstmcore
from lstmcore.errors import ModelFormatError, UnsupportedError

FOLDER = os.environ.get("LSTMCORE_PUBLISHED", "")
TOLERANCE = 1e-5  # of the record's largest number, or of 1: runtimes form their sums in other orders
#: Those that answer as recorded, and must go on doing so.
ANSWERED = {
    "keras2-circuit-gru",
    "keras2-circuit-lstm",
    "keras2-multivariate-lstm",
    "keras2-turbofan-binary",
    "keras2-turbofan-regression",
    "keras3-aircraft-lstm",
    "keras3-gold-spread-bilstm",
    "keras3-gold-spread-gru",
    "keras3-gold-spread-lstm",
    "keras3h5-bitcoin-gru",
    "keras3h5-bitcoin-lstm",
    "onnx-aircraft-lstm",
    "onnx-infineon-small",
    "torch-price-lstm",
    "torch-rul-lstm",
    "torch-rul-lstm-best",
    "torch-sysid-lstm",
    "torch-sysid-lstm-bare",
    "torch-wildlife-autoencoder",
}

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="LSTMCORE_PUBLISHED does not name a folder of published models and recorded answers"
)


def models() -> list[Path]:
    records = sorted(Path(FOLDER).glob("*.npz")) if FOLDER else []
    return [
        next(path for path in sorted(record.parent.glob(f"{record.stem}.*")) if path.suffix not in (".npz", ".json"))
        for record in records
    ]


def answer(path: Path, about: dict[str, Any], inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The model's answer to one call, in the shape of the record. Raises UnsupportedError where it cannot be asked."""
    layers = about["layers"]
    listed = None if layers is None else [tuple(each) if isinstance(each, list) else each for each in layers]
    model = lstmcore.load(path, layers=listed)
    if len(inputs) > 1 or about["states"] or len(about["outputs"]) > 1 or about["mode"] != "calls":
        raise UnsupportedError(f"{path}: a model of one input and one output cannot be asked what this one was")
    (x,) = inputs.values()
    out = model(x.swapaxes(0, 1) if about.get("time_major") else x)
    return out.swapaxes(0, 1) if about.get("time_major") and out.ndim == 3 else out


@pytest.mark.parametrize("path", models(), ids=lambda path: path.stem)
def test_it_answers_as_recorded_or_is_refused(path: Path) -> None:
    with np.load(path.with_suffix(".npz")) as record:
        about = json.loads(str(record["about"]))
        calls = [{name: record[f"{k}|in|{name}"] for name in about["inputs"]} for k in range(3)]
        recorded = [record[f"{k}|out|{about['outputs'][0]}"] for k in range(3)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parts that the answer does not depend on
            answers = [answer(path, about, inputs) for inputs in calls]
    except (UnsupportedError, ModelFormatError) as error:
        refusal = str(error)
    else:
        refusal = ""
    assert not refusal or path.name in refusal
    assert not refusal or path.stem not in ANSWERED, refusal
    for got, expected in [] if refusal else zip(answers, recorded, strict=True):
        limit = TOLERANCE * max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=0, atol=limit)


def test_none_is_lost() -> None:
    assert {path.stem for path in models()} >= ANSWERED
