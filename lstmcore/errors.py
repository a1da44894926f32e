"""The errors that have a name of their own."""

from __future__ import annotations

from lstmcore.text import clean


class LstmcoreError(Exception):
    """What every error class of this package derives from.

    The text is one line without control characters, whatever the names in a file are.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(clean(each) if isinstance(each, str) else each for each in args))


class ModelFormatError(LstmcoreError, ValueError):
    """A model file that is damaged, hostile, of another version, or inconsistent; the text names file and key."""


class UnsupportedError(LstmcoreError, ValueError):
    """A part of a source model that lstmcore has no equation for; the text names the part."""


class BackendError(LstmcoreError, RuntimeError):
    """A backend or kernel that was asked for and cannot run here; the text says why."""
