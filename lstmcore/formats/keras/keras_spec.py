"""One layer of a Keras file's architecture: its class, its name and its arguments, checked against the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lstmcore.errors import ModelFormatError, UnsupportedError
from lstmcore.formats.keras.keras_arguments import ARGUMENTS, REFUSED, Only
from lstmcore.formats.near import near
from lstmcore.layers.base import MAX_SIZE, is_finite

#: What an entry of the architecture may hold beside class and config; what Keras rebuilds itself by, and training.
ENTRY = {
    "module", "class_name", "config", "registered_name", "build_config", "compile_config", "name", "inbound_nodes",
    "shared_object_id",
}  # fmt: skip

#: Policies by the dtype of their weights. What a mixed policy rounds to 16 bits on the way is here done in float32.
POLICIES = {"float32": "float32", "float64": "float64", "mixed_float16": "float32", "mixed_bfloat16": "float32"}

REQUIRED = object()

LISTED = "docs/formats.md lists those that are"


class Spec:
    """A layer (or model, or cell) as the file describes it.

    Args:
        entry: The parsed JSON.
        file: The beginning of every error.
        version: Keras's major version, which decides what some names mean.

    Raises:
        ModelFormatError: An entry that is none.
        UnsupportedError: A class or an argument that is not supported, named.
    """

    def __init__(self, entry: Any, file: str, version: int) -> None:
        if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
            raise ModelFormatError(f"{file}: expected a layer with a class_name and a config, got {entry!r:.200}")
        self.entry, self.file, self.version = entry, file, version
        self.kind: str = "Functional" if entry["class_name"] == "Model" else entry["class_name"]
        config = entry.get("config")
        if self.kind == "Sequential" and isinstance(config, list):  # Keras before 2.3
            config = {"layers": config}
        if not isinstance(config, dict):
            raise ModelFormatError(f"{file}: {self.kind!r:.100}: expected a config, got {config!r:.200}")
        name = config.get("name", entry.get("name", self.kind.lower()))
        if not isinstance(name, str) or not name or not name.isprintable() or len(name) > 200:
            raise ModelFormatError(f"{file}: {self.kind!r:.100}: expected a name, got {name!r:.200}")
        self.name: str = name
        self.config: Mapping[str, Any] = config
        self._check_class()

    @property
    def what(self) -> str:
        """The beginning of every error: the file and the layer."""
        return f"{self.file}: layer {self.name!r} ({self.kind:.100})"

    @property
    def is_operation(self) -> bool:
        """A function of keras.ops in the graph, and no layer: those have neither dtype nor trainable."""
        return "trainable" not in self.config and self.kind not in ("Sequential", "Functional", "InputLayer")

    def _check_class(self) -> None:
        module, registered = self.entry.get("module"), self.entry.get("registered_name")
        for key in self.entry.keys() - ENTRY:
            raise UnsupportedError(f"{self.what}: unknown entry {key!r:.200}")
        own = module is None or module == "builtins" or str(module).split(".")[0] in ("keras", "tf_keras")
        if not own or registered not in (None, self.kind, self.entry["class_name"]) or ">" in self.kind:
            raise UnsupportedError(
                f"{self.what}: a custom class (module {module!r:.100}, registered as {registered!r:.100}); "
                f"only layers of Keras itself are read"
            )
        if not self.is_operation and self.kind not in ARGUMENTS and self.kind != "SlicingOpLambda":
            why = REFUSED.get(self.kind, f"{LISTED}{near(self.kind, ARGUMENTS)}")
            raise UnsupportedError(f"{self.what}: layers of this class are not read: {why}")

    def check_arguments(self) -> None:
        """Raises UnsupportedError for an argument that is unknown, or has a value that is not supported."""
        table = ARGUMENTS[self.kind]
        for key, value in self.config.items():
            if key not in table:
                raise UnsupportedError(f"{self.what}: argument {key!r:.100} is not known{near(key, table)}")
            meaning = table[key]
            if isinstance(meaning, Only) and not any(value is v or value == v for v in meaning.values):
                raise UnsupportedError(f"{self.what}: argument {key} is {value!r:.100}; {meaning}")

    def inner(self, key: str) -> Spec:
        """The layer that this one wraps."""
        return Spec(self[key], self.file, self.version)

    def __getitem__(self, key: str) -> Any:
        return self.get(key)

    def get(self, key: str, default: Any = REQUIRED) -> Any:
        """An argument. Raises ModelFormatError if there is neither one nor a default."""
        if key not in self.config and default is REQUIRED:
            raise ModelFormatError(f"{self.what}: argument {key} is missing")
        return self.config.get(key, default)

    def flag(self, key: str, default: Any = REQUIRED) -> bool:
        """An argument that is true or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false", value)
        return value

    def size(self, key: str) -> int:
        """An argument that counts something."""
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIZE:
            raise self.wrong(key, f"an integer from 1 to {MAX_SIZE}", value)
        return value

    def number(self, key: str, default: Any = REQUIRED, *, finite: bool = True) -> float:
        """An argument that is a number, and a finite one unless it need not be."""
        value = self.get(key, default)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not (is_finite(value) or (isinstance(value, float) and not finite)):
            raise self.wrong(key, "a finite number" if finite else "a number", value)
        return float(value)

    def dtype(self) -> str:
        """The dtype of the weights, by the layer's dtype policy: float32 or float64."""
        policy = self.get("dtype", "float32")
        if isinstance(policy, dict) and policy.get("class_name") in ("DTypePolicy", "Policy", "FloatDTypePolicy"):
            policy = policy["config"].get("name") if isinstance(policy.get("config"), dict) else None
        if not isinstance(policy, str) or policy not in POLICIES:
            raise UnsupportedError(f"{self.what}: argument dtype is {policy!r:.200}; read are {', '.join(POLICIES)}")
        return POLICIES[policy]

    def axis_is_last(self, rank: int, key: str = "axis") -> bool:
        """Whether an argument names the last of `rank` axes, the batch's among them: -1, rank - 1 or a list of it."""
        value = self.get(key)
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        return not isinstance(value, bool) and value in (-1, rank - 1)

    def wrong(self, key: str, expected: str, value: Any) -> ModelFormatError:
        """The error about an argument of another type or range."""
        return ModelFormatError(f"{self.what}: argument {key}: expected {expected}, got {value!r:.200}")
