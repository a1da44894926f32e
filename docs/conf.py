"""What `make docs` builds. Warnings are errors there, so a link, an include or a docstring cannot rot unseen."""

from lstmcore import __version__

project = "lstmcore"
copyright = "2026, the lstmcore authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"lstmcore {release}"

default_role = "code"  # docstrings put code in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 100
# `Array` in a signature, not numpy's spelled-out generic.
autodoc_type_aliases = {"Array": "Array", "Shape": "Shape", "State": "State", "npt.ArrayLike": "ArrayLike"}
