"""Files of watched runs: read, grouped into systems and seeds, and put into words by conditions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from json_output import json_of

from models.errors import ConfigError, DataError
from spectral import plot
from spectral.dynamics import Dynamics, read_watch
from spectral.watch import HEADER


def write(folder: Path, name: str, similarity: list[float], metric: list[float]) -> Path:
    lines = [HEADER]
    for epoch, (value, ranked) in enumerate(zip(similarity, metric, strict=True)):
        lines += [f"{epoch},,NDCG@20,{ranked}"]
        lines += [f"{epoch},{layer},between_users,{value * layer}" for layer in (0, 1, 2)]
    path = folder / f"{name}.watch.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [
        write(tmp_path, "sasrec-ce-seed42", [0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.2]),
        write(tmp_path, "sasrec-ce-seed43", [0.5, 0.4, 0.3], [0.1, 0.3, 0.2]),
        write(tmp_path, "bsarec", [0.1, 0.2], [0.2, 0.1]),
    ]


def test_seeds_of_a_system_are_averaged_up_to_the_epoch_that_all_reached(files):
    dynamics = Dynamics.read(files)
    assert dynamics.systems == ["sasrec-ce", "bsarec"] and dynamics.measures == ["NDCG@20", "between_users"]
    curves = dynamics.curves("between_users")
    sasrec = curves[curves.system == "sasrec-ce"]
    assert sasrec.epoch.tolist() == [0, 1, 2]
    np.testing.assert_allclose(sasrec["mean"], [0.9, 0.7, 0.5])  # layer 2 is twice the numbers
    np.testing.assert_allclose(sasrec.low, [0.8, 0.6, 0.4])
    np.testing.assert_allclose(sasrec.high, [1.0, 0.8, 0.6])
    assert sasrec.seeds.tolist() == [2, 2, 2]
    np.testing.assert_allclose(dynamics.curves("between_users", layer=1)["mean"][:3], [0.45, 0.35, 0.25])


def test_best_epochs_are_of_each_run_and_paths_are_of_the_same_epoch(files):
    dynamics = Dynamics.read(files)
    assert list(dynamics.best().itertuples(index=False, name=None)) == [
        ("sasrec-ce", "42", 2),
        ("sasrec-ce", "43", 1),
        ("bsarec", "", 0),
    ]
    path = dynamics.paths("between_users").query("seed == '42'")
    assert path[["between_users", "NDCG@20"]].to_numpy().tolist() == [[0.8, 0.1], [0.6, 0.2], [0.4, 0.3], [0.2, 0.2]]
    changes = dynamics.changes("between_users").set_index(["system", "seed"])
    assert changes.loc[("sasrec-ce", "42"), :"half_epoch"].tolist() == [0.8, 0.4, 2, 1]
    assert changes.turn.isna().all()
    assert np.isnan(changes.loc[("bsarec", ""), "half_epoch"])  # the first epoch is the best one


def test_the_sentence_follows_the_signs_of_all_seeds(tmp_path):
    falls, rises = [0.4, 0.1], [0.1, 0.4]
    better = [0.1, 0.2]
    for name, first, second, word in (
        ("a", falls, falls, "falls from"),
        ("b", rises, rises, "rises from"),
        ("c", falls, rises, "no common direction"),
    ):
        paths = [write(tmp_path, f"{name}-seed{n}", values, better) for n, values in ((1, first), (2, second))]
        said = Dynamics.read(paths).sentence("between_users", "similarity")
        assert [other for other in ("falls from", "rises from", "no common direction") if other in said] == [word]
        assert ("half of it by epoch" in said) == (name != "c")


@pytest.mark.parametrize(
    ("values", "said"),
    [  # of layer 1; layer 2 has twice the numbers, and the best epoch is the last but one
        ([0.4, 0.1, 0.2, 0.0], "falls from 0.8 to 0.2 by epoch 1, then rises to 0.4 by epoch 2"),
        ([0.1, 0.4, 0.2, 0.0], "rises from 0.2 to 0.8 by epoch 1, then falls to 0.4 by epoch 2"),
        ([0.3, 0.1, 0.3, 0.0], "falls from 0.6 to 0.2 by epoch 1, then rises to 0.6 by epoch 2"),
        ([0.40, 0.19, 0.20, 0.0], "falls from 0.8 to 0.4, half of it by epoch 1 of 2"),  # turns by less than a tenth
        ([0.4, 0.3, 0.1, 0.0], "falls from 0.8 to 0.2, half of it by epoch 2 of 2"),  # turns after the best epoch
    ],
)
def test_the_sentence_says_where_all_seeds_turn_back(tmp_path, values, said):
    paths = [write(tmp_path, f"a-seed{seed}", values, [0.1, 0.2, 0.3, 0.2]) for seed in (1, 2)]
    assert Dynamics.read(paths).sentence("between_users", "It") == f"It, from the first to the best epoch: a: {said}."
    paths[1] = write(tmp_path, "a-seed2", [0.4, 0.35, 0.3, 0.0], [0.1, 0.2, 0.3, 0.2])  # does not turn
    of_both = Dynamics.read(paths).sentence("between_users", "It")
    assert "then" not in of_both and ("half" in of_both) == ("half" in said)


def test_the_sentence_names_systems_with_one_seed(files):
    said = Dynamics.read(files).sentence("between_users", "It")
    assert "sasrec-ce: falls" in said and "bsarec (one seed): no common direction" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a file of spectral.watch"),
        ("epoch,loss\n0,1\n", "is not a file of spectral.watch"),
        (HEADER + "\n", "holds no epoch"),
        (HEADER + "\n0,1,hfc_share\n", "line 2: expected epoch,layer,measure,value, got '0,1,hfc_share'"),
        (HEADER + "\n0,,loss,1\nx,1,a,1\n", "line 3: expected"),
    ],
)
def test_a_broken_file_is_named_with_the_line(tmp_path, text, message):
    path = tmp_path / "a.watch.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as raised:
        read_watch(path)
    assert str(path) in str(raised.value)


def test_a_run_twice_no_run_and_an_unknown_measure_are_refused(files, tmp_path):
    (tmp_path / "other").mkdir()
    again = write(tmp_path / "other", "bsarec", [0.1], [0.1])
    with pytest.raises(DataError, match="is a second file of bsarec"):
        Dynamics.read([*files, again])
    with pytest.raises(DataError, match="there are no watched runs"):
        Dynamics.read([])
    with pytest.raises(ConfigError, match="no run has the measure 'rank'; choose one of NDCG@20, between_users"):
        Dynamics.read(files).curves("rank")
    with pytest.raises(ConfigError, match="no run has between_users in layer 9; the last layer is 2"):
        Dynamics.read(files).curves("between_users", layer=9)


def test_pictures_have_a_band_where_there_are_seeds_and_a_star_for_every_run(files):
    dynamics = Dynamics.read(files)
    ax = plot.dynamics(dynamics, "between_users")
    assert len(ax.collections) == 1  # SASRec's band
    stars = [line for line in ax.lines if line.get_marker() == "*" and line.get_linestyle() == "None"]
    assert sorted(float(x) for star in stars for x in star.get_xdata()) == [0, 1, 2]
    ax = plot.dynamics_paths(dynamics, "between_users")
    assert len([line for line in ax.lines if line.get_linestyle() != "None"]) == 3


def test_the_command_draws_both_pictures(call, files, tmp_path):
    code, out, err = call("dynamics", *files, "--json", "--out", tmp_path / "drawn")
    assert code == 0
    changes = json_of(out)["changes"]
    assert len(changes) == 6 and changes[0].keys() >= {"measure", "system", "first", "best", "half_epoch"}
    for name in ("dynamics", "dynamics_paths"):
        for kind in ("png", "pdf", "csv"):
            assert (tmp_path / "drawn" / f"{name}.{kind}").stat().st_size > 0
    code, out, _ = call("dynamics", *files, "--measure", "between_users", "--layer", 1, "--out", tmp_path / "drawn")
    assert code == 0 and "half_epoch" in out and "turn_epoch" in out
    beside = {name: pd.read_csv(tmp_path / f"drawn/{name}.csv") for name in ("dynamics", "dynamics_paths")}
    assert set(beside["dynamics"].measure) == {"between_users"} and set(beside["dynamics"].layer) == {1}
    assert set(beside["dynamics_paths"].measure) == {"between_users", "NDCG@20"}
    assert all(len(table) == epochs for table, epochs in zip(beside.values(), (9, 18), strict=True))
    code, _, err = call("dynamics", *files, "--measure", "ranks", "--out", tmp_path / "drawn")
    assert code == 2 and "error: no run has the measure 'ranks'" in err
