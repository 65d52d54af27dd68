"""Sphinx configuration: Markdown pages, and the API reference from the docstrings. Built by ``nox -s docs``."""

from __future__ import annotations

from importlib.util import find_spec

import aiocreds

project = "aiocreds"
author = "the aiocreds authors"
copyright = "the aiocreds authors"  # noqa: A001 - Sphinx's name
version = release = aiocreds.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True  # a reference that leads nowhere fails the build
# Only names of this package have a page here. Its type variables and private protocols have none.
nitpick_ignore_regex = [
    ("py:.*", r"(?!aiocreds\b).*"),
    ("py:.*", r"aiocreds\.(.*\.)?([PST]|_.*)"),
    ("py:mod", r"aiocreds\.integrations\..*"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_mock_imports = [] if find_spec("smithy_aws_core") else ["smithy_aws_core"]  # it needs Python 3.12
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "aiocreds"
html_static_path = ["_static"]
html_copy_source = False
html_show_sourcelink = False
html_favicon = "_static/icon.svg"
