"""Sphinx configuration of the site; `nox -s docs` builds it into docs/build/html."""

from __future__ import annotations

import sys
from pathlib import Path

import lot

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "LOT"
author = "the authors of LOT"
version = release = lot.__version__

# The offline MathJax serves formulas from the site itself: it reads the same on a cluster without a network.
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx-mathjax-offline", "lot_docs"]
smartquotes = False  # quotes and dashes are code on most pages
exclude_patterns = ["build", "_ext", "requirements.txt"]

myst_enable_extensions = ["attrs_inline", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource", "exclude-members": "__init__, __new__"}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88

# Every reference to a public name must resolve. Internal types that signatures show have no page, and names of other
# projects are not looked up: the build needs no network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!lot\.).*"),
    (r"py:class", r"lot\.(builtin|config|model|nn|options|plugins|runs|storage|testing|training)\.\w+\..*"),
    (r"py:class", r"lot\.\w+\._\w+"),  # type variables
]

html_theme = "furo"
html_title = "LOT"
html_static_path = ["_static"]
html_css_files = ["lot.css"]
html_copy_source = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
