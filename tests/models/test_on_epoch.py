"""A function that is told about the epochs of a run: each once, when it is saved."""

from pathlib import Path

import pytest

from models.callbacks import EpochRecord
from models.train import train

SMALL = {"max_len": 8, "hidden_size": 8, "show_progress": False}
DATA = "synthetic:users=20,items=30"


class Stop(Exception):
    """What a user's function raises."""


def test_a_run_that_a_function_stops_goes_on_after_the_epoch_that_it_was_told(tmp_path: Path):
    told: list[EpochRecord] = []

    def follow(record: EpochRecord) -> None:
        told.append(record)
        if len(told) == 2:
            raise Stop

    whole = train("sasrec", DATA, out=tmp_path / "whole.pt", epochs=4, **SMALL)
    with pytest.raises(Stop):
        train("sasrec", DATA, out=tmp_path / "stopped.pt", epochs=4, on_epoch=follow, **SMALL)
    assert (tmp_path / "stopped.pt.state").exists()
    run = train("sasrec", DATA, out=tmp_path / "stopped.pt", epochs=4, on_epoch=follow, resume=True, **SMALL)
    assert [record.epoch for record in told] == [0, 1, 2, 3]
    assert [{"epoch": record.epoch} | dict(record.metrics) for record in told] == run.history == whole.history
    assert told[-1].best_epoch == run.best_epoch and all(record.seconds > 0 for record in told)
    assert (tmp_path / "stopped.pt").read_bytes() == (tmp_path / "whole.pt").read_bytes()
