"""A sensitivity curve of simulated results."""

from pathlib import Path

from simulated_results import result

from models.results.profile import varied_system
from models.results.runs import Result
from models.results.sensitivity import Sensitivity, sensitivity

SEEDS = (1, 2, 3)
QUALITY = {0.1: 20.0, 0.5: 8.0, 0.9: 12.0}
RUNS = [result("bsarec", seed, quality, alpha=alpha) for alpha, quality in QUALITY.items() for seed in SEEDS]
SASREC = [result("sasrec", seed, 30) for seed in SEEDS]


def curve(seeds: tuple[int, ...] = SEEDS, models: tuple[str, ...] = ("sasrec",)) -> Sensitivity:
    runs = [run for run in RUNS if run.seed in seeds]
    return sensitivity(runs, "alpha", 0.9, [result(model, seed, 30) for model in models for seed in seeds])


def store(folder: Path, runs: list[Result], best: float = 0.9, setting: str = "alpha") -> Path:
    for run in runs:
        value = run.config.get(setting)
        system = run.model if value in (None, best) else varied_system(setting, value)
        run.save(folder / f"{system}-seed{run.seed}.json")
    return folder
