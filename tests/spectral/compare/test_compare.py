"""Differences of spectral measures between systems, on summaries whose truth is known."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import simulated_summaries as simulated

from models.errors import ConfigError, DataError
from models.results.significance import holm
from spectral.compare import MEASURES, by_system, compare, measured

SEEDS = (1, 2, 3, 4)
SASREC = [simulated.summary("sasrec", seed, rank=2, damping=(10, 14), between=(0.1, 0.3, 0.6)) for seed in SEEDS]
BSAREC = [simulated.summary("bsarec", seed, rank=6, damping=(10, 8), high_share=0.6, beta=0.2) for seed in SEEDS]
SYSTEMS = {"sasrec": SASREC, "bsarec": BSAREC}


@pytest.mark.parametrize(
    ("measure", "sign"),
    [("effective_rank", 1), ("stable_rank", 1), ("between_users", -1), ("within_sequence", -1), ("high_share", 1)],
)
def test_a_difference_is_found_in_the_layer_that_has_it(measure: str, sign: int):
    last = compare(SYSTEMS, measure).table().iloc[-1]
    assert last.layer == 2 and last.system == "bsarec" and last.reference == "sasrec" and last.seeds == 4
    assert sign * last.difference > 0 and sign * last.low > 0 and sign * last.high > 0
    assert last.p_holm < 0.05 and last.difference == pytest.approx(last["value"] - last.reference_value)


@pytest.mark.parametrize("measure", ["nyquist_gain", "nyquist_self_gain"])
def test_of_attention_there_is_a_row_for_each_layer(measure: str):
    table = compare(SYSTEMS, measure).table().set_index("layer")
    assert table.index.tolist() == [1, 2] and set(table.users) == {simulated.USERS // 2}
    factor = 1 if measure == "nyquist_gain" else 1.5
    assert table["value"].tolist() == pytest.approx([-10 * factor, -8 * factor], rel=0.05)
    assert table.p_holm[1] > 0.05 > table.p_holm[2] and table.difference[2] == pytest.approx(6 * factor, rel=0.1)
    assert table.p_holm.tolist() == holm(table.p_value.tolist())


def test_equal_systems_cannot_be_told_apart():
    again = [simulated.summary("duorec", seed, rank=2, between=(0.1, 0.3, 0.6)) for seed in SEEDS]
    for measure in ("effective_rank", "between_users"):
        assert (compare({"sasrec": SASREC, "duorec": again}, measure).table().p_holm > 0.05).all()


def test_one_seed_has_an_interval_over_users_and_no_p_value():
    row = compare({"sasrec": SASREC[:1], "bsarec": BSAREC}, "between_users").table().iloc[-1]
    assert not row.knows_seeds and np.isnan(row.p_holm) and row.seeds == 1
    of_users = (np.mean([run.between_samples for run in BSAREC], axis=0) - SASREC[0].between_samples)[:, -1]
    assert row.high - row.low > 2 * 1.9 * of_users.std()


def test_the_share_of_high_frequencies_is_that_of_all_modes():
    share = 10 ** (measured(BSAREC[:1], "high_share")[0][0, 0] / 10)
    energy = np.concatenate([BSAREC[0].hidden_power[0], BSAREC[0].hidden_power[0][1:-1][::-1]])  # all N modes
    assert len(energy) == simulated.N
    assert share == pytest.approx(energy[2:-1].sum() / energy.sum())


def test_beta_is_compared_between_systems_that_have_it():
    more = [simulated.summary("bsarec-c5", seed, beta=0.6) for seed in SEEDS]
    table = compare({"bsarec": BSAREC, "bsarec-c5": more}, "beta").table()
    assert table["value"].tolist() == pytest.approx([0.6, 0.6], rel=0.1) and (table.p_holm < 0.05).all()
    assert set(table.users) == {0}
    with pytest.raises(ConfigError, match="beta has no error over users; give several seeds"):
        compare({"bsarec": BSAREC[:1], "bsarec-c5": more}, "beta")


@pytest.mark.parametrize(
    ("systems", "measure", "reference", "error", "message"),
    [
        ({"sasrec": SASREC}, "beta", None, ConfigError, "at least two systems, got sasrec"),
        (SYSTEMS, "colour", None, ConfigError, "unknown measure 'colour'; choose one of nyquist_gain"),
        (SYSTEMS, "beta", None, ConfigError, "sasrec has no beta"),
        (SYSTEMS, "stable_rank", "gru4rec", ConfigError, "no system 'gru4rec'"),
        (
            {"a": SASREC, "b": [replace(BSAREC[0], about={"fingerprint": "g"})]},
            "stable_rank",
            None,
            DataError,
            "b was measured on other data than a",
        ),
        (
            {"a": SASREC, "b": [replace(BSAREC[0], positions=50)]},
            "stable_rank",
            None,
            DataError,
            "80 users and 50 positions, a on 80 and 12",
        ),
    ],
)
def test_what_cannot_be_compared_is_named(systems, measure, reference, error, message):
    with pytest.raises(error, match=message):
        compare(systems, measure, reference)


def test_the_command_takes_files_of_several_systems(call, tmp_path):
    files = []
    for name, runs in SYSTEMS.items():
        for run in runs:
            files.append(tmp_path / f"{name}-seed{run.about['seed']}.spectral.npz")
            run.write(files[-1])
    status, out, err = call("compare", *files, "--measure", "between_users", "--out", "table.csv")
    assert status == 0, err
    assert "difference to sasrec with its 95% interval over users and seeds\n" in err
    assert out.splitlines()[-1].startswith("bsarec  sasrec")
    assert len(pd.read_csv(tmp_path / "table.csv")) == 3
    status, _, err = call("compare", files[0], *files[-2:], "--measure", "between_users")
    assert status == 0 and "interval over users, and over seeds where knows_seeds is yes" in err
    status, out, err = call("compare", *files, "--reference", "bsarec", "--json")
    assert status == 0, err
    printed = json.loads(out)
    assert printed["measure"] == "effective_rank" and {row["system"] for row in printed["rows"]} == {"sasrec"}
    assert printed["what"] == MEASURES["effective_rank"].what
    status, _, err = call("compare", files[0], "--measure", "between_users")
    assert status == 2 and "at least two systems" in err
    with pytest.raises(DataError, match="seed 1 of this system is there already"):
        by_system({files[0]: SASREC[0], tmp_path / "sasrec-seed5.spectral.npz": SASREC[0]})
