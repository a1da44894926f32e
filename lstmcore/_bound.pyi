from typing import Any

class Bound:
    """A function of the core bound to its handle, its input and its output."""

    def __new__(
        cls,
        run: int,
        handle: int,
        x: Any,
        y: Any,
        slow: Any,
        answer: Any,
        busy: str,
        ndarray: type,
        keep: object,
        *,
        behind: int = 0,
        catch_up: int = 0,
        finite: bool = False,
        yields: bool = False,
        input: Any = None,
        mean: Any = None,
    ) -> Bound: ...
    def ask(self, given: Any, /) -> Any: ...
    def run(self) -> Any: ...
