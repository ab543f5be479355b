"""What models cost, worked out from the same results."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulated_sensitivity import RUNS, SASREC

from models.errors import DataError
from models.results.cost import costs


def test_costs_are_means_over_the_seeds_whose_time_is_known(tmp_path: Path):
    times = [2.0, 4.0, None]
    runs = [replace(run, seconds_per_epoch=time, epochs=60) for run, time in zip(SASREC, times, strict=True)]
    cost = costs([*runs, *(replace(run, seconds_per_epoch=None) for run in RUNS[:3])])
    row = cost.table().iloc[0]
    assert [row.seconds_per_epoch, row.fastest, row.slowest, row.minutes, row.epochs] == [3, 2, 4, 3, 60]
    assert row.system == "SASRec" and row.parameters == 100 and row.n == 3
    assert np.isnan(cost.table().iloc[1].seconds_per_epoch) and np.isnan(cost.table().iloc[1].minutes)
    cost.write(tmp_path / "cost")
    assert (
        "| SASRec | ce | 1 | 3 | 60 (4) | 100 | 3.0 | 2.0–4.0 | 3.0 | a processor |"
        in (tmp_path / "cost.md").read_text()
    )
    assert (
        r"SASRec & ce & 1 & 3 & 60 (4) & 100 & 3.0 & 2.0--4.0 & 3.0 & a processor \\"
        in (tmp_path / "cost.tex").read_text()
    )
    assert cost.sentence() == "An epoch of SASRec takes 3.0 s on a processor, one of SASRec 3.0 s."
    assert len((tmp_path / "cost.csv").read_text().splitlines()) == 3


def test_times_are_compared_only_if_they_are_of_one_processor():
    slow = [replace(run, seconds_per_epoch=40.0) for run in RUNS[:3]]
    assert "takes 2.0 s on a processor, one of BSARec" in costs([*SASREC, *slow]).sentence()
    elsewhere = [replace(run, origin=replace(run.origin, processor="a card")) for run in SASREC]
    apart = "different processors, so their seconds cannot be compared"
    assert apart in costs([*elsewhere, *slow]).sentence()
    assert apart in costs([elsewhere[0], *SASREC[1:]]).sentence()
    assert apart in costs([*SASREC, *(replace(run, origin=None) for run in slow)]).sentence()
    assert "| unknown |" in costs([replace(run, origin=None) for run in slow]).to_markdown()
    assert costs([replace(SASREC[0], seconds_per_epoch=None)]).sentence() == "No run has its time."


def test_the_losses_behind_the_costs_are_said():
    other = [replace(run, training=run.training | {"loss": "bce"}) for run in SASREC]
    assert costs([*other, *RUNS[:3]]).losses() == "The losses differ: bce SASRec; ce BSARec."
    assert costs(SASREC).losses() == "All are trained with the loss ce."


def test_costs_of_different_data_are_refused():
    with pytest.raises(DataError, match="same data"):
        costs([SASREC[0], replace(SASREC[1], dataset=SASREC[1].dataset | {"fingerprint": "g"}), RUNS[0]])
    with pytest.raises(DataError, match="no results"):
        costs([])
