"""Where a Keras file keeps the weights of a layer, and that every one of them finds its layer.

In a .keras file they are numbered and lie under the object that has them: `layers/lstm_1/cell/vars/0`. In an .h5 file
each layer of the outermost model has a group, and the group an attribute that lists its weights' names in order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lstmcore.errors import ModelFormatError, UnsupportedError
from lstmcore.formats.keras.hdf5 import Hdf5
from lstmcore.layers import Array

#: Of what training alone needs: the optimizer's slots, counters of metrics, the generators of dropout.
TRAINING = re.compile(
    r"(optimizer|optimizer_weights|metrics)/.*|(.*/)?seed_generator(_\d+)?/(vars/0|seed_generator_state.*)"
)

OLD_LAYERS = "_layer_checkpoint_dependencies"  # "layers" in the .keras files of Keras 2.12 and 2.13

#: A weight's name in Keras and the shape it must have; None: it is not read (the count of an adapted Normalization).
Wanted = tuple[str, tuple[int, ...] | None]


@dataclass(frozen=True)
class Place:
    """Where an object's weights lie.

    Attributes:
        path: In a .keras file, the path of the object.
        group: In an .h5 file, the outermost layer's name; "" while there is none.
        within: In an .h5 file, for each object inside that layer, names of which one is part of its weights' names.
    """

    path: str = ""
    group: str = ""
    within: tuple[frozenset[str], ...] = ()

    def attribute(self, name: str, *among: str) -> Place:
        """The object under the attribute `name` of this one."""
        within = (*self.within, frozenset(among)) if among else self.within
        return replace(self, path=f"{self.path}/{name}", within=within)

    def layer(self, path: str, name: str, *, is_model: bool) -> Place:
        """A layer `name` of the model at this place, `path` below it; or a model in the model."""
        path = f"{self.path}/{path}" if self.path else path
        if not self.group:
            return Place(path, name)
        return Place(path, self.group, self.within if is_model else (*self.within, frozenset({name})))


class Weights:
    """The weights of a .keras file."""

    def __init__(self, opened: Hdf5, what: str) -> None:
        self.opened, self.what = opened, what
        self._used: set[str] = set()

    def take(self, place: Place, wanted: Sequence[Wanted], dtype: str) -> list[Array]:
        """The arrays of an object, in the order in which Keras makes them. Raises ModelFormatError."""
        found = []
        for path, (_, shape) in zip(self._paths(place, [name for name, _ in wanted]), wanted, strict=True):
            self._used.add(path)
            if shape is not None:
                found.append(self.opened.read(path, shape, np.dtype(dtype)))
        return found

    def check_all_used(self) -> None:
        """Raises ModelFormatError for a weight that no layer has taken."""
        left = sorted(p for p in self.opened.datasets if p not in self._used and not TRAINING.fullmatch(p))
        if left:
            raise ModelFormatError(f"{self.what}: {left[0]!r:.200}: no layer has this weight ({len(left)} such)")

    def _paths(self, place: Place, names: list[str]) -> list[str]:
        path = place.path
        if not self.opened.has_group(path) and self.opened.has_group(OLD_LAYERS):
            path = path.replace("layers/", f"{OLD_LAYERS}/")
        return [f"{path}/vars/{n}" for n in range(len(names))]


class OldWeights(Weights):
    """The weights of an .h5 file."""

    root = "model_weights"

    def __init__(self, opened: Hdf5, what: str) -> None:
        super().__init__(opened, what)
        self._places: dict[Place, list[str]] = {}  # a layer that is used twice takes its weights twice
        self._check_layers()

    def _check_layers(self) -> None:
        listed = set(self._listed("", "layer_names"))
        groups = {name for name in self.opened.children(self.root) if name != "top_level_model_weights"}
        if listed != groups:
            one = sorted(listed ^ groups)[0]
            raise ModelFormatError(f"{self.what}: {one!r:.200}: the list layer_names and the groups differ")

    def _listed(self, group: str, name: str) -> list[str]:
        """The texts of an attribute, which Keras cuts into name0, name1, ... where it is long."""
        path = f"{self.root}/{group}" if group else self.root
        found = self.opened.texts(path, name)
        if found is not None:
            return found
        parts: list[str] = []
        while (part := self.opened.texts(path, f"{name}{len(parts)}")) is not None:
            parts.append("")  # counts the parts
            found = [*(found or []), *part]
        if found is None:
            raise ModelFormatError(f"{self.what}: group {path!r:.200}: no attribute {name!r}")
        return found

    def _paths(self, place: Place, names: list[str]) -> list[str]:
        if not names:
            return []
        if place not in self._places:
            self._places[place] = self._find(place, names)
        return self._places[place]

    def _find(self, place: Place, names: list[str]) -> list[str]:
        listed = self._listed(place.group, "weight_names")
        paths = [(name, f"{self.root}/{place.group}/{name}") for name in listed]
        left = [(name, path) for name, path in paths if path not in self._used]
        for among in place.within:
            left = [(name, path) for name, path in left if among.intersection(name.split("/"))]
        where = f"{self.what}: layer {place.group!r}"
        if place.within and len(left) != len(names):
            inside = " in ".join(sorted("|".join(sorted(among)) for among in place.within))
            raise UnsupportedError(
                f"{where}: expected the weights {names} of {inside}, got {[name for name, _ in left]!r:.200}; "
                f"save the model as .keras"
            )
        found = [re.sub(r":\d+$", "", name).rpartition("/")[2] for name, _ in left[: len(names)]]
        if found != names:
            raise ModelFormatError(f"{where}: expected the weights {names}, got {found!r:.200}")
        return [path for _, path in left[: len(names)]]
