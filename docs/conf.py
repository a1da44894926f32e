"""What `make docs` builds. Warnings are errors there, so a link, an include or a docstring cannot rot unseen."""

from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon.docstring import GoogleDocstring

from lstmcore import __version__

project = "lstmcore"
copyright = "2026, the lstmcore authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"lstmcore {release}"

default_role = "code"  # docstrings put code in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say what is taken, with shapes


def setup(app: Sphinx) -> None:
    """Read docstrings as Google's style has them."""
    app.connect("autodoc-process-docstring", _read_docstring)


def _read_docstring(app: Sphinx, what: Any, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if what not in ("attribute", "data", "property"):  # where napoleon takes what stands before a colon for a type
        lines[:] = GoogleDocstring(list(lines), what=what, name=name, obj=obj).lines()
