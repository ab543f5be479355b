"""All measures of one or several checkpoints, side by side on one page.

`python -m spectral.report ckpt.pt [more.pt ...]` writes the page. It is one HTML file that contains its pictures, opens
without a network, and can be printed. If a model does not have a measure, the page says why.

Contents: `page`, the page as HTML, and the filters of its template. Its parts are in `spectral.report.parts`, what they
show in `spectral.analysis`.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectral.analysis import Analysis
from spectral.report.explorer import explorer_data
from spectral.report.parts import overview, sections

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from pandas import DataFrame

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
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("spectral", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (html_table, csv_uri, data_uri, css_width, alt_text, explorer_data)
    environment.filters.update({function.__name__: function for function in filters})
    subjects = [analysis.subject for analysis in analyses]
    users = sorted({f"{subject.dataset}: {len(subject.users()):,} users" for subject in subjects})
    return environment.get_template("report/report.html.j2").render(
        names=[analysis.name for analysis in analyses],
        overview=overview(analyses),
        sections=sections(analyses),
        users="; ".join(users),
    )


def html_table(table: "DataFrame") -> str:
    """Return a table as HTML, numbers with four digits."""
    return table.to_html(index=False, border=0, float_format="{:.4g}".format, na_rep="-", justify="inherit")


def csv_uri(table: "DataFrame") -> str:
    """Return a table as a link to CSV, with all digits.

    Example:
        >>> import pandas as pd
        >>> csv_uri(pd.DataFrame({"layer": [1]}))
        'data:text/csv;base64,bGF5ZXIKMQo='
    """
    return "data:text/csv;base64," + base64.b64encode(table.to_csv(index=False, lineterminator="\n").encode()).decode()


def data_uri(figure: "Figure | SubFigure") -> str:
    """Return a figure as a link to its PNG."""
    from spectral.plot.figure import render

    return "data:image/png;base64," + base64.b64encode(render(figure, "png")).decode()


def css_width(figure: "Figure | SubFigure") -> int:
    """Return the width of a figure on the page, in CSS pixels."""
    return round(CSS_PIXELS_PER_INCH * figure.get_figure(root=True).get_figwidth())


def alt_text(figure: "Figure | SubFigure") -> str:
    """Return in words what a figure shows: its panels, its axes and what its lines are.

    Example:
        >>> from matplotlib.figure import Figure
        >>> figure = Figure()
        >>> ax = figure.subplots()
        >>> _ = ax.set(title="layer 1", xlabel="frequency", ylabel="gain in dB")
        >>> _ = ax.plot([0, 1], label="bsarec"), ax.legend()
        >>> alt_text(figure)
        'Panels: layer 1. Axes: gain in dB against frequency. Legend: bsarec.'
    """
    axes = figure.get_figure(root=True).axes
    legends = [*figure.get_figure(root=True).legends, *(ax.get_legend() for ax in axes)]
    said = {
        "Panels": [ax.get_title(loc=side) for ax in axes for side in ("left", "center", "right")],
        "Axes": [" against ".join(filter(None, (ax.get_ylabel(), ax.get_xlabel()))) for ax in axes],
        "Legend": [text.get_text() for legend in legends if legend for text in legend.get_texts()],
        "Text": [text.get_text() for ax in axes for text in ax.texts if not ax.axison],
    }
    parts = {name: [" ".join(text.split()) for text in dict.fromkeys(texts) if text] for name, texts in said.items()}
    return " ".join(f"{name}: {'; '.join(texts)}." for name, texts in parts.items() if texts) or "A drawing."
