"""How a model is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from lstmcore.text import quoted

MONITORS = {"validation_auc": "max", "validation_loss": "min"}
ACCELERATORS = ("auto", "cpu", "gpu", "mps")
PRECISIONS = ("auto", "32-true", "16-mixed", "bf16-mixed", "64-true")


@dataclass(frozen=True)
class Settings:
    """How a model is trained. Raises ValueError or TypeError that names what is out of range.

    Sizes of batches are of all devices together, so that a result hardly depends on their number.
    """

    epochs: int = 20  # passes over the training samples, at most
    batch_size: int = 256  # samples of a step; a sequence that answers every tick counts as one
    learning_rate: float = 1e-3  # AdamW's
    weight_decay: float = 1e-2
    patience: int = 5  # epochs without a better `monitor` before it stops
    monitor: str = "validation_auc"  # or "validation_loss": by which the best epoch is chosen
    pos_weight: float | str | None = None  # how much a 1 counts in the loss; "balanced": zeros by ones
    gradient_clip: float = 1.0  # largest norm of the gradient; 0: none
    precision: str = "auto"  # mixed bfloat16 or float16 on a GPU, float32 elsewhere
    accelerator: str = "auto"  # a GPU where there is one
    devices: int = 1  # processes on this machine, one a device
    nodes: int = 1  # machines
    seed: int = 0  # of the order and of dropout

    def __post_init__(self) -> None:
        for field in fields(self):
            check(field.name, str(field.type), getattr(self, field.name))
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 1), ("devices", 1), ("nodes", 1)):
            _check_least(name, getattr(self, name), least)
        for name in ("weight_decay", "gradient_clip", "seed"):
            _check_least(name, getattr(self, name), 0)
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate: expected a number above 0, got {self.learning_rate}")
        for name, known in (("monitor", MONITORS), ("accelerator", ACCELERATORS), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {quoted(getattr(self, name))}")
        weight = self.pos_weight
        if (isinstance(weight, str) and weight != "balanced") or (isinstance(weight, int | float) and not weight > 0):
            raise ValueError(f'pos_weight: expected a number above 0 or "balanced", got {quoted(weight)}')


#: What an annotation's words allow, and how an error calls it.
KINDS: dict[str, tuple[Any, str]] = {
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "str": (str, "text"),
    "list[str]": (list, "a list of text"),
    "None": (type(None), "nothing"),
}


def check(name: str, annotation: str, value: Any) -> None:
    """Raise TypeError where a value is not what an annotation such as "float | str | None" allows."""
    words = [word.strip() for word in annotation.split("|")]
    fits = any(isinstance(value, KINDS[word][0]) for word in words) and (not isinstance(value, bool) or "bool" in words)
    if isinstance(value, list):
        fits = fits and all(isinstance(each, str) for each in value)
    if not fits:
        shown = " or ".join(KINDS[word][1] for word in words if word != "None")
        raise TypeError(f"{name}: expected {shown}, got {type(value).__name__} {_show(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value}")
    if isinstance(value, int) and value.bit_length() > 63:  # what TOML allows
        raise ValueError(f"{name}: expected a number of at most 64 bits, got one of {value.bit_length()}")


def _show(value: Any) -> str:
    """A value in an error. Python refuses to write an int of more than 4,300 digits."""
    if isinstance(value, int) and value.bit_length() > 63:
        return f"of {value.bit_length()} bits"
    return f"{value!r:.80}"


def _check_least(name: str, value: float, least: int) -> None:
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
