"""Settings of the documentation's site: `make docs` writes it to docs/_build/html, without the network."""

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path

from docutils.nodes import SkipNode, math
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

from docstrings import as_rest  # noqa: E402
from generated_pages import relinked, write_pages  # noqa: E402

project = "Spectral recommenders"
author = "the contributors"
copyright = "the contributors, MIT license"
release = importlib.metadata.version("spectral-recommenders")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
exclude_patterns = ["_build"]
nb_execution_mode = "off"  # notebooks are run by the workflow and by the tests
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # they would come from the network
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_update_mathjax = False
html_math_renderer = "mathml"
suppress_warnings = ["ref.python"]  # two classes of different modules may have one name
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_attr_annotations = False  # signatures have the types
toc_object_entries = False  # they would make half of the time of a build
python_maximum_signature_line_length = 100
smartquotes = False  # two dashes begin an option
html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False


def formula(display: str) -> Callable[[HTML5Translator, math], None]:
    """Return a visitor that writes a formula as MathML, which browsers draw without a script."""

    def visit(translator: HTML5Translator, node: math) -> None:
        translator.body.append(convert(node.astext(), display=display))
        raise SkipNode

    return visit


def setup(app: Sphinx) -> None:
    """Write the pages that are made of code and of files elsewhere; say how docstrings, links and formulas are read."""
    write_pages()
    app.add_html_math_renderer("mathml", (formula("inline"), None), (formula("block"), None))
    app.connect(
        "source-read", lambda app, page, source: source.__setitem__(0, relinked(source[0], DOCS / f"{page}.md"))
    )
    app.connect("autodoc-process-docstring", as_rest, priority=400)  # before napoleon reads the sections
