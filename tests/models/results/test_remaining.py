"""What is left of the run list, and how long it may take, from made-up finished runs."""

from dataclasses import replace
from pathlib import Path

import pytest
from repository import ROOT
from simulated_results import result

from models.datasets import load
from models.results.profile import Profile
from models.results.profile_file import read_profile
from models.results.remaining import estimate, remaining, timed_on, unfinished_blocks
from models.results.runs import Origin

DATASET = "synthetic:users=30,items=60"
FOLDER = DATASET.replace(":", "-")


def profile(tmp_path: Path, *blocks: list[str]) -> Profile:
    run_list = [{"datasets": [FOLDER], "systems": systems, "seeds": [1, 2]} for systems in blocks]
    given = {"profile": "smoke", "dataset": DATASET, "figures": str(tmp_path), "run_list": run_list}
    return read_profile(given, ROOT)


def finish(chosen: Profile, system: str, seed: int, summary: bool = True) -> None:
    run = replace(result("sasrec", seed, 9), seconds_per_epoch=30.0, epochs=10)
    path = chosen.result.format(dataset=FOLDER, system=system, seed=seed)
    replace(run, dataset=run.dataset | {"name": DATASET}).save(path)
    if summary:
        Path(path).with_suffix("").with_suffix(".spectral.npz").touch()


def test_a_run_is_left_until_both_its_files_are_there(tmp_path: Path):
    chosen = profile(tmp_path, ["sasrec"], ["sasrec", "bsarec"])
    assert list(unfinished_blocks(chosen)) == [1, 2]
    finish(chosen, "sasrec", 1)
    finish(chosen, "sasrec", 2, summary=False)
    assert [(block.left, block.total) for block in remaining(chosen, None)] == [(1, 2), (3, 4)]
    finish(chosen, "sasrec", 2)
    assert list(unfinished_blocks(chosen)) == [2]
    assert [(block.left, block.unknown) for block in remaining(chosen, None)] == [(0, 0), (2, 2)]


def test_an_estimate_is_made_of_the_runs_that_are_most_alike():
    chosen = read_profile({"profile": "paper", "dataset": DATASET, "dataset_settings": {DATASET: {}}}, ROOT)

    def run(**changes: object):
        made = result("sasrec", 1, 9)
        training = made.training | {"loss": changes.pop("loss", "bce")}
        config = made.config | {"num_layers": changes.pop("num_layers", 2)}
        dataset = made.dataset | {"name": changes.pop("name", DATASET)}
        return replace(made, training=training, config=config, dataset=dataset, **changes)

    exact = run(seconds_per_epoch=2.0, epochs=30)
    assert estimate(chosen, FOLDER, "sasrec", [exact, run(seconds_per_epoch=9.0, loss="ce")], None) == pytest.approx(60)
    assert estimate(chosen, FOLDER, "sasrec-16", [exact], None) == pytest.approx(60 * 8)
    larger = "synthetic:users=90,items=60"
    samples = [load(name).num_prefixes(50).sum() for name in (DATASET, larger)]
    elsewhere = run(seconds_per_epoch=2.0, epochs=30, name=larger)
    assert estimate(chosen, FOLDER, "sasrec", [elsewhere], None) == pytest.approx(60 * samples[0] / samples[1])
    assert estimate(chosen, FOLDER, "bsarec", [exact], None) is None
    assert estimate(chosen, FOLDER, "sasrec", [replace(exact, seconds_per_epoch=None)], None) is None
    assert estimate(chosen, FOLDER, "sasrec", [run(name="no such data")], None) is None


def test_the_hours_are_of_the_given_processor_and_the_epochs_of_all_runs():
    chosen = read_profile({"profile": "paper", "dataset": DATASET, "dataset_settings": {DATASET: {}}}, ROOT)

    def run(model: str, processor: str | None, seconds: float, epochs: int):
        made = replace(result(model, 1, 9), seconds_per_epoch=seconds, epochs=epochs)
        origin = processor and Origin(commit=None, threads=1, processor=processor, wall_seconds=None)
        return replace(made, dataset=made.dataset | {"name": DATASET}, origin=origin or None)

    runs = [run("sasrec", "a card", 1, 30), run("sasrec", "a laptop", 9, 50), run("gru4rec", "a card", 2, 10)]
    runs.append(run("gru4rec", None, 4, 20))
    assert estimate(chosen, FOLDER, "sasrec", runs, "a laptop") == pytest.approx(9 * 40)
    assert estimate(chosen, FOLDER, "gru4rec", runs, "a laptop") is None  # it has made none
    assert estimate(chosen, FOLDER, "gru4rec", runs, "one that has made no runs") == pytest.approx(3 * 15)


def test_the_processors_are_named(tmp_path: Path):
    chosen = profile(tmp_path, ["sasrec"])
    finish(chosen, "sasrec", 1)
    path = Path(chosen.result.format(dataset=FOLDER, system="sasrec", seed=2))
    replace(result("sasrec", 2, 9), origin=None).save(path)
    assert timed_on(chosen, "a processor") == ["a processor"]
    assert timed_on(chosen, "another") == timed_on(chosen, None) == ["a processor", "older results that do not name it"]
