from collections.abc import Callable
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
        refuse: Callable[[int], object],
        ndarray: type,
        keep: object,
        *,
        behind: int = 0,
        catch_up: int = 0,
        finite: bool = False,
        yields: bool = False,
        input: Any = None,
        mean: Any = None,
        bind: int = 0,
    ) -> Bound: ...
    @property
    def running(self) -> bool: ...
    def ask(self, given: Any, /) -> Any: ...
    def ask_taken(self, given: Any, /) -> Any: ...
    def run(self) -> Any: ...
