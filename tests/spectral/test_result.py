"""What every result of a measure can do: no result class lacks it, and files and pictures are those of the measure."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import is_dataclass
from html import escape
from pathlib import Path
from typing import Any

import drawn
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import spectral
from models.errors import ConfigError
from models.files import OutputError
from spectral import over_seeds, plot
from spectral.result import MOST_ROWS, Result
from spectral.signals import ExtremeSignals
from spectral.singular_values import LayerSpectra
from spectral.theorem1 import Theorem1

RESULTS: dict[str, Callable[[], Any]] = {
    "AttentionStatistics": lambda: drawn.attention_statistics(0),
    "Betas": drawn.betas,
    "BlockResponse": drawn.block_response,
    "Comparison": lambda: drawn.remedies(["sasrec", "bsarec"]),
    "CosineSimilarity": lambda: drawn.cosine_similarity(0),
    "Differences": lambda: drawn.differences(["bsarec"]),
    "Dynamics": lambda: drawn.watched(["sasrec"]),
    "ExtremeSignals": lambda: ExtremeSignals(drawn.user_signal(7), drawn.user_signal(30)),
    "FrequencyResponse": drawn.frequency_response,
    "Gains": lambda: over_seeds.gains(drawn.summaries(0, 2)),
    "Integrity": drawn.integrity,
    "LastItemOverlap": lambda: drawn.last_item(0),
    "LayerBounds": lambda: drawn.layer_bounds(0),
    "LayerSpectra": lambda: LayerSpectra({0: drawn.singular_values(0), 1: drawn.singular_values(1)}),
    "LearnedFilters": drawn.learned_filters,
    "Ledger": drawn.claims,
    "LinearCKA": lambda: drawn.cka(["sasrec"]),
    "MixingRatio": drawn.mixing_ratio,
    "PositionResponse": drawn.position_response,
    "RankOneDistance": lambda: drawn.rank_one(0),
    "RankingByGroup": lambda: drawn.user_frequency(["sasrec"]),
    "Similarities": lambda: drawn.similarities(0),
    "SingularValues": lambda: drawn.singular_values(0),
    "Smoothing": lambda: drawn.smoothing(0),
    "SpectralSummary": lambda: drawn.summaries(1, 1)[0],
    "Spectrum": lambda: drawn.spectrum(0),
    "StratifiedSimilarity": drawn.strata,
    "Theorem1": lambda: Theorem1(tuple(drawn.decay()), 1),
    "TransferMap": drawn.transfer_map,
    "UserSignal": drawn.user_signal,
}
SEVERAL = {"ExtremeSignals", "SpectralSummary"}  # what no single Axes can hold


def classes() -> list[type]:
    """Every class that a module of the package makes."""
    names = [each.name for each in pkgutil.walk_packages(spectral.__path__, "spectral.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    found = {id(each): each for module in modules for each in vars(module).values() if inspect.isclass(each)}
    return [each for each in found.values() if each.__module__.startswith("spectral.")]


def test_no_class_with_a_table_or_a_summary_is_left_out():
    lacking = [each for each in classes() if is_dataclass(each) and {"table", "summary"} & set(dir(each))]
    assert {each.__name__ for each in lacking if not issubclass(each, Result)} <= {"Section"}  # a part of the report
    concrete = {each.__name__ for each in classes() if issubclass(each, Result) and not inspect.isabstract(each)}
    assert concrete == set(RESULTS)


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_drawn_saved_and_shown(name: str, tmp_path: Path):
    result = RESULTS[name]().labelled("bsarec")
    assert isinstance(result.plot(), Axes | Figure)
    if name in SEVERAL:
        with pytest.raises(ConfigError, match=r"draw one"):
            result.plot(plot.panels()[1][0])
    else:
        _, [ax] = plot.panels()
        assert result.plot(ax) is ax and ax.has_data()
    paths = result.save(tmp_path / "made", formats=["png", "csv"])
    assert [path.name for path in paths] == ["made.png", "made.csv"]
    saved, expected = pd.read_csv(paths[1]), result.table_of_files()
    assert list(saved.columns) == list(expected.columns) and len(saved) == len(expected) > 0
    html = result._repr_html_()
    assert html.count("<tr") - 1 == min(MOST_ROWS, len(result.table())) and f"<caption>{name} of bsarec: " in html


def test_what_a_notebook_shows_is_escaped():
    hostile = "<script>alert(1)</script>"
    result = drawn.user_frequency([hostile]).labelled(hostile)
    assert hostile not in result._repr_html_() and escape(hostile) in result._repr_html_()


def test_files_of_others_are_not_replaced(tmp_path: Path):
    (tmp_path / "made.csv").write_text("my notes")
    with pytest.raises(OutputError, match=r"made\.csv"):
        drawn.smoothing(0).save(tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["made.csv"]


def test_columns_of_null_models_are_saved(tmp_path: Path):
    null = drawn.smoothing(1)
    drawn.smoothing(0).save(tmp_path / "made", ["csv"], {"uniform": [null]})
    assert list(pd.read_csv(tmp_path / "made.csv")["mad_uniform"]) == pytest.approx(list(null.mad))
