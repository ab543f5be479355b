"""All measures of one or several checkpoints, side by side on one page.

`python -m spectral.report ckpt.pt [more.pt ...]` writes the page. It is one HTML file that contains its pictures, opens
without a network, and can be printed. If a model does not have a measure, the page says why.

Contents: `page`, the page as HTML; its parts are in `spectral.report.parts`, what they show in `spectral.analysis`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spectral.analysis import Analysis
from spectral.report.parts import overview, sections

CSS_PIXELS_PER_INCH = 120  # two figures of one column fit side by side


def names_of(loaded: Mapping[Path, Any]) -> list[str]:
    """Return a name for each model: its own, or its title and file if several models have the same name.

    Example:
        >>> from types import SimpleNamespace
        >>> sasrec = SimpleNamespace(name="sasrec", title="SASRec")
        >>> bsarec = SimpleNamespace(name="bsarec", title="BSARec")
        >>> names_of({Path("a.pt"): sasrec, Path("b.pt"): sasrec, Path("c.pt"): bsarec})
        ['SASRec, a', 'SASRec, b', 'bsarec']
    """
    names = [model.name for model in loaded.values()]
    stems = [path.stem for path in loaded]
    return [
        model.name
        if names.count(model.name) == 1
        else f"{model.title}, {path.stem if stems.count(path.stem) == 1 else path}"
        for path, model in loaded.items()
    ]


def page(analyses: Sequence[Analysis]) -> str:
    """Return the page of models with different names as HTML."""
    import base64

    from jinja2 import Environment, PackageLoader, StrictUndefined

    from spectral.plot.figure import render

    environment = Environment(
        loader=PackageLoader("spectral.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["html_table"] = lambda table: table.to_html(
        index=False, border=0, float_format="{:.4g}".format, na_rep="-", classes="numbers"
    )
    environment.filters["data_uri"] = lambda figure: (
        "data:image/png;base64," + base64.b64encode(render(figure, "png")).decode()
    )
    environment.filters["css_width"] = lambda figure: round(
        CSS_PIXELS_PER_INCH * figure.get_figure(root=True).get_figwidth()
    )
    subjects = [analysis.subject for analysis in analyses]
    users = sorted({f"{subject.dataset}: {len(subject.users()):,} users" for subject in subjects})
    return environment.get_template("report.html.j2").render(
        overview=overview(analyses), sections=sections(analyses), users="; ".join(users)
    )
