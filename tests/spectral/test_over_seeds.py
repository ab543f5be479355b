"""Curves over the runs of a system, on summaries whose numbers are given."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import simulated_summaries as simulated

from models.errors import ConfigError
from spectral.over_seeds import Betas, betas, gains, similarities, spectrum, transfer
from spectral.summary import SpectralSummary, without_samples

RUNS = [simulated.summary("bsarec", seed, rank=2, beta=0.3) for seed in (1, 2, 3)]


def with_nulls(run: SpectralSummary, factor: float) -> SpectralSummary:
    """A run whose uniform null passes so much of its power, and one whose draws know only representations."""
    powers = {name: getattr(run, name) * factor for name in ("power", "self_power")}
    kinds = {name: getattr(run, name) for name in ("singular_values", "directions", "within")}
    nulls = {"uniform": [without_samples(run, **powers)], "untrained": [without_samples(run, **kinds)] * 2}
    return replace(run, nulls=nulls)


@pytest.mark.parametrize(("name", "field"), [("gain", "power"), ("self_gain", "self_power")])
def test_gains_are_means_of_decibels_over_runs(name: str, field: str):
    found = gains(RUNS)
    expected = np.mean([10 * np.log10(getattr(run, field)[:, 0] / run.window_users) for run in RUNS], axis=0)
    interval = getattr(found, f"{name}_db")
    np.testing.assert_allclose(interval.value, expected)
    np.testing.assert_allclose(getattr(found.response, f"{name}_db")[:, 0], expected)
    assert (interval.seeds, interval.users) == (3, simulated.USERS // 2)
    inner = slice(1, None)  # DC passes unchanged in every run
    assert (interval.low < interval.value)[:, inner].all() and (interval.value < interval.high)[:, inner].all()
    assert (interval.high - interval.low > interval.users_high - interval.users_low)[:, inner].all()


def test_a_table_of_gains_has_the_bands_the_counts_and_the_nulls():
    table = gains([with_nulls(run, 0.25) for run in RUNS]).table()
    assert set(table["head"]) == {"mean"} and len(table) == 2 * (simulated.N // 2 + 1)
    assert {"low", "high", "users_low", "seeds_low", "self_low", "seeds", "users"} <= set(table)
    assert set(table.seeds) == {3} and set(table.users) == {simulated.USERS // 2}
    assert (table.low[1:] <= table.gain_db[1:]).all()
    np.testing.assert_allclose(table.gain_db_uniform, table.gain_db - 10 * np.log10(4))
    assert "gain_db_untrained" not in table  # its draws hold no power


def test_one_run_keeps_its_heads_and_says_that_it_is_one():
    run = RUNS[0]
    heads = np.concatenate([run.power, 2 * run.power], axis=1)
    found = gains([replace(run, power=heads, self_power=heads)])
    assert found.response.gain.shape[1] == 2 and found.gain_db.seeds == 1
    np.testing.assert_allclose(found.gain_db.value, 10 * np.log10(1.5 * run.power[:, 0] / run.window_users))
    table = found.table()
    assert list(table["head"].unique()) == [1, 2, "mean"] and table[table["head"] != "mean"].low.isna().all()


def test_the_spectrum_is_the_mean_of_logarithms():
    found = spectrum(RUNS)
    values = np.array([run.singular_values[-1] / run.singular_values[-1, 0] for run in RUNS])
    np.testing.assert_allclose(found.normalised.value, np.exp(np.log(values).mean(0)))
    np.testing.assert_allclose(found.values.normalised, found.normalised.value)
    assert found.layer == 2 and (found.normalised.low[1:] > 0).all()
    ranks = [run.spectra().layers[2].effective_rank for run in RUNS]
    assert float(found.effective_rank.value) == pytest.approx(np.mean(ranks))
    table = spectrum([with_nulls(run, 1) for run in RUNS]).table()
    np.testing.assert_allclose(table.normalised_untrained, table.normalised)
    assert "normalised_uniform" not in table and set(table.seeds) == {3} and set(table.users) == {simulated.USERS}


def test_gaussian_matrices_have_the_columns_of_the_summary():
    assert "gaussian" not in spectrum(RUNS, gaussian=True).nulls  # format 1 does not know them
    columns = {"column_means": np.zeros((3, simulated.D)), "column_deviations": np.ones((3, simulated.D))}
    found = spectrum([replace(run, **columns) for run in RUNS], gaussian=True)
    assert len(found.nulls["gaussian"]) == 20 and found.nulls["gaussian"][0].effective_rank > 5.8
    assert {"normalised_gaussian_low", "normalised_gaussian_high"} <= set(found.table())


@pytest.mark.parametrize(
    ("convention", "factor"), [("pairs", 1), ("published", (simulated.USERS - 1) / simulated.USERS)]
)
def test_similarities_are_means_over_runs(convention: str, factor: float):
    found = similarities([with_nulls(run, 1) for run in RUNS], convention)
    expected = np.mean([run.similarity().between_users for run in RUNS], axis=0)
    np.testing.assert_allclose(found.between_users.value, factor * expected)
    np.testing.assert_allclose(found.similarity.between_users, factor * expected)
    np.testing.assert_allclose(found.nulls["untrained"][0].between_users, factor * expected)
    table = found.table()
    assert len(table) == 6 and set(table.kind) == {"between_users", "within_sequence"} and set(table.seeds) == {3}
    np.testing.assert_allclose(table.similarity_untrained, table.similarity)
    with pytest.raises(ConfigError, match="unknown convention 'all'"):
        similarities(RUNS, "all")  # type: ignore[arg-type]


def test_a_null_of_some_runs_is_the_mean_over_those():
    runs = [with_nulls(RUNS[0], 0.25), *RUNS[1:]]
    found = gains(runs).nulls["uniform"]
    assert len(found) == 1
    np.testing.assert_allclose(found[0].gain_db, RUNS[0].response().gain_db - 10 * np.log10(4))


def test_several_draws_of_a_null_are_drawn_as_their_mean():
    run, other = RUNS[0], RUNS[1]
    held = [replace(run, nulls={"shuffled": [run, other]})]
    [mean] = similarities(held).mean_nulls["shuffled"]
    expected = (run.similarity().between_users + other.similarity().between_users) / 2
    np.testing.assert_allclose(mean.between_users, expected)
    [mean] = spectrum(held).mean_nulls["shuffled"]
    both = [each.singular_values[-1] / each.singular_values[-1, 0] for each in (run, other)]
    np.testing.assert_allclose(mean.values, np.sqrt(both[0] * both[1]))


def test_betas_are_sorted_before_they_are_averaged():
    values = np.array([[[0.9, 0.1, 0.5]], [[0.0, 0.2, 0.4]]])
    found = Betas(values)
    np.testing.assert_allclose(found.beta.value, [[0.05, 0.35, 0.65]])
    table = found.table()
    assert table.run_1.tolist() == [0.1, 0.5, 0.9] and set(table.seeds) == {2} and set(table.users) == {0}
    assert table.untrained.tolist() == pytest.approx([0.0445, 0.4549, 1.9128], abs=1e-3)  # chi-squared at 1/6, 1/2, 5/6
    assert betas(RUNS).values.shape == (3, 2, simulated.D)
    with pytest.raises(ConfigError, match="sasrec has no beta"):
        betas([simulated.summary("sasrec", 1)])


def test_transfer_maps_are_averaged_and_asked_for_where_there_are_none():
    maps = [np.full((2, 3, 3), value) for value in (1.0, 3.0)]
    runs = [replace(run, transfer=of * run.window_users) for run, of in zip(RUNS, maps, strict=False)]
    assert (transfer(runs).power == 2).all()
    with pytest.raises(ConfigError, match="this summary of bsarec holds no transfer map; make it again"):
        transfer(RUNS)


def test_models_without_attention_are_named():
    with pytest.raises(ConfigError, match="bsarec has no attention"):
        gains([replace(RUNS[0], power=RUNS[0].power[:0])])
    assert isinstance(spectrum(RUNS).table(), pd.DataFrame)
