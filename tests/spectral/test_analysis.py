"""All measures of one model: those of the commands, each once, with the reasons for those that it does not have."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import models
import spectral
from models.errors import ConfigError
from spectral.analysis import COMPARED, MEASURES, Analysis
from spectral.result import Result


@pytest.fixture(scope="module")
def analysis(checkpoint: Path) -> Analysis:
    return spectral.analyse(checkpoint, draws=2, max_users=12)


def test_every_attribute_is_a_result_with_the_name_of_the_model_and_measured_once(analysis: Analysis):
    assert len(MEASURES) == 20
    for name in MEASURES:
        result = getattr(analysis, name)
        assert isinstance(result, Result) and result.label == "bsarec" and getattr(analysis, name) is result
        assert len(result.table())


def test_the_numbers_are_those_of_the_measures(analysis: Analysis, checkpoint: Path):
    model = models.load(checkpoint)
    windows = model.probe.input_ids[model.probe.uniform][:12]
    spectra = spectral.LayerSpectra.from_captures(spectral.capture(model, windows, attention=False))
    ranks = [spectrum.effective_rank for spectrum in spectra.layers.values()]
    np.testing.assert_allclose(analysis.table()["singular_values"], ranks)
    assert list(analysis.table()) == ["layer", *COMPARED]
    assert analysis.table()["frequency_response"].isna().tolist() == [True, False, False]  # layer 0 has no attention


def test_it_is_drawn_shown_and_written(analysis: Analysis, tmp_path: Path):
    assert len(analysis.findings) == len(COMPARED) and len(analysis.plot().axes) == len(COMPARED)
    assert "<caption>Analysis of BSARec on synthetic" in analysis._repr_html_()
    paths = analysis.save(tmp_path)
    assert [path.name for path in paths if path.suffix == ".csv"] == [f"{name}.csv" for name in MEASURES]
    assert "effective_rank_untrained" not in pd.read_csv(tmp_path / "mixing_ratio.csv")
    assert "between_users_untrained" in pd.read_csv(tmp_path / "cosine_similarity.csv")
    page = (tmp_path / "report.html").read_text()
    assert all(sentence in page for sentence in analysis.findings)


def test_loaded_models_and_given_windows_are_taken(checkpoint: Path, sasrec_checkpoint: Path):
    model = models.load(checkpoint)
    loaded = spectral.analyse(model, max_users=12)
    windows = spectral.analyse(model, model.probe.input_ids[model.probe.uniform][:12].numpy())
    of_file = spectral.analyse(str(checkpoint), max_users=12)
    for other in (loaded, windows):
        pd.testing.assert_frame_equal(other.smoothing.table(), of_file.smoothing.table())
    assert (of_file.file, loaded.file) == (checkpoint.name, "")
    with pytest.raises(ConfigError, match="has no learned filters"):
        _ = spectral.analyse(sasrec_checkpoint).learned_filters


@pytest.mark.parametrize("given", [{"c": 4}, {"null": ["unifrom"]}, {"split": "tset"}])
def test_what_cannot_be_used_is_refused(given: dict, checkpoint: Path):
    with pytest.raises(ConfigError):
        spectral.analyse(checkpoint, **given)
