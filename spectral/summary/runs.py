"""The summaries behind a figure: those that runs left, or made here from checkpoints.

Files of format 1 hold no null models. Two of them need no checkpoint: the gain of uniform attention follows from the
mask alone, and models with initial weights from the configuration in the result beside the summary, and the dataset.

Contents: `read_runs`, `read_results`, `summarised`; `uniform_attention`, `architecture` and `epochs_of`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from models.checkpoint import known_source
from models.datasets import load as load_sequences
from models.errors import CheckpointError, DataError
from models.recommender import Recommender
from models.registry import KNOWN, build, configure
from models.results import runs as results
from models.results.runs import Result
from spectral.capture import capture
from spectral.filter_response import attention_power
from spectral.nulls import nulls_of, under_nulls
from spectral.summary import SpectralSummary, read_summary, summarise, without_samples

Runs = dict[str, list[SpectralSummary]]  # by system, one for each seed


def summarised(
    models: Mapping[str, Any], windows: Mapping[str, Any], nulls: Sequence[str] = (), draws: int = 1
) -> Runs:
    """Return the summaries of loaded models, by system, with those of the null models that each model has.

    windows: by system, (P, N) of all users of the dataset. nulls, draws: as `spectral.nulls.under_nulls` takes them,
    and "all" for all that there are.
    """
    return {
        system: [
            summarise(
                model,
                windows[system],
                {"model": model.name, "seed": model.checkpoint["seed"]},
                nulls=[name for name in nulls_of(model) if {name, "all"} & set(nulls)],
                draws=draws,
            )
        ]
        for system, model in models.items()
    }


def read_runs(
    folder: str | Path,
    seeds: Mapping[str, Sequence[int]],
    nulls: Sequence[str] = (),
    draws: int = 1,
    data_dir: str | Path | None = None,
    data: str | None = None,
) -> Runs:
    """Return the summaries <system>-seed<seed>.spectral.npz of a folder, by system.

    seeds: by system. nulls: of the null models that a file holds, these are kept, at most `draws` of each. If the first
    file of a system does not hold uniform attention or initial weights, they are measured now as far as that is
    possible without its checkpoint. data_dir, data: where the dataset is that this needs; see
    `models.checkpoint.windows_of`.

    Raises CheckpointError for a summary that is missing (the message names the command that makes it) or is not one,
    and DataError if the dataset is needed and not found.
    """
    runs: Runs = {}
    for system, of_system in seeds.items():
        paths = [Path(folder, f"{system}-seed{seed}.spectral.npz") for seed in of_system]
        found = [_with_nulls(read_summary(_made(path)), nulls, draws) for path in paths]
        runs[system] = [_completed(found[0], paths[0], nulls, draws, data_dir, data), *found[1:]]
    return runs


def read_results(folder: str | Path, seeds: Mapping[str, Sequence[int]]) -> dict[str, list[Result]]:
    """Return the results beside the summaries that `read_runs` takes, by system. Raises CheckpointError likewise."""
    return {
        system: [results.read(_made(Path(folder, f"{system}-seed{seed}.json"))) for seed in of_system]
        for system, of_system in seeds.items()
    }


def architecture(result: Result) -> Recommender:
    """Return a model with the configuration of a run, and weights that were not trained.

    Example:
        >>> from types import SimpleNamespace
        >>> run = SimpleNamespace(model="sasrec", config={"num_items": 20, "num_layers": 3})
        >>> architecture(run).config.num_layers
        3
    """
    return build(configure(result.model, among=KNOWN, **result.config))


def epochs_of(behind: Mapping[str, Any]) -> str:
    """Return for how many epochs runs were trained, as in "13 to 60 epochs", and how many of them a limit ended.

    behind: loaded models, or lists of results, by system.
    """
    runs = [run for of in behind.values() for run in (of if isinstance(of, list) else [of])]
    epochs, capped = zip(*map(_epochs, runs), strict=True)
    ends = " to ".join(map(str, sorted({min(epochs), max(epochs)}))) + (" epochs" if max(epochs) > 1 else " epoch")
    limit = f"; the limit of epochs ended {sum(capped)} of {len(runs)} runs" if any(capped) else ""
    return f"{ends}{limit}"


def _epochs(run: Any) -> tuple[int, bool]:
    """Return the number of epochs of a run, and whether their limit ended it before early stopping could."""
    if isinstance(run, Result):
        return run.epochs, run.was_capped
    metrics, training = run.checkpoint["metrics"], run.checkpoint["training"]
    epochs = len(metrics["history"])
    return epochs, epochs - 1 - metrics["best_epoch"] < training["patience"]


def uniform_attention(summary: SpectralSummary) -> SpectralSummary | None:
    """Return what uniform attention under the mask of a summary's model passes; None without attention to replace.

    Needs no checkpoint: the maps depend on the mask and on the number of items alone.

    Example:
        Uniform attention under a causal mask damps the fastest of four positions' waves by 5.6 dB:

        >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8))
        >>> found = uniform_attention(summarise(model, torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]]), {"model": "sasrec"}))
        >>> found.response().gain_db[:, 0, -1].round(1)
        array([-5.6, -5.6])
    """
    layers, n = len(summary.power), summary.positions
    if not layers:
        return None
    model = build(configure(summary.about["model"], among=KNOWN, num_items=n, max_len=n + (not summary.is_full)))
    if not model.has_replaceable_attention:
        return None
    model.initialise(0)
    [captured] = capture(model.eval().with_uniform_attention(), torch.arange(1, n + 1)[None], hidden=False)
    sums = attention_power([captured.last(n).attention[0]] * layers)
    power, self_power = (x.mean(1, keepdim=True) * summary.window_users for x in (sums.power, sums.self_power))
    return without_samples(summary, power=power.numpy(), self_power=self_power.numpy())


def _with_nulls(summary: SpectralSummary, names: Sequence[str], draws: int) -> SpectralSummary:
    kept = {name: held[:draws] for name, held in summary.nulls.items() if {name, "all"} & set(names)}
    return replace(summary, nulls=kept)


def _completed(
    summary: SpectralSummary,
    path: Path,
    names: Sequence[str],
    draws: int,
    data_dir: str | Path | None,
    data: str | None,
) -> SpectralSummary:
    wanted = {name for name in ("uniform", "untrained") if {name, "all"} & set(names)} - summary.nulls.keys()
    added = {}
    if "uniform" in wanted and (uniform := uniform_attention(summary)) is not None:
        added["uniform"] = [uniform]
    beside = path.with_name(path.name.replace(".spectral.npz", ".json"))
    if "untrained" in wanted and beside.exists():
        added["untrained"] = _untrained(summary, beside, draws, data_dir, data)
    return replace(summary, nulls=added | summary.nulls)


def _untrained(
    summary: SpectralSummary, path: Path, draws: int, data_dir: str | Path | None, data: str | None
) -> list[SpectralSummary]:
    """Return the summaries of models with initial weights, from the result of a run."""
    result = results.read(path)
    name = result.dataset["name"]
    sequences = load_sequences(data or known_source({"name": name, "source": name}), data_dir)
    if sequences.fingerprint != summary.about["fingerprint"]:
        raise DataError(
            f"{sequences.name} is not the data that {path} was trained on, so models with initial weights cannot be "
            "measured on its users; name its file with data, or leave out the null untrained"
        )
    model = architecture(result).eval()
    windows = torch.from_numpy(sequences.windows("test", model.config.max_len, model.config.padding).inputs)

    def measure(other: Any, inputs: Any) -> SpectralSummary:
        return summarise(other, inputs, summary.about, samples=0)

    return under_nulls(measure, model, windows, ["untrained"], draws)["untrained"]


def _made(path: Path) -> Path:
    if not path.exists():
        profile, dataset = path.parts[-2], path.parts[-4] if len(path.parts) > 3 else "..."
        raise CheckpointError(
            f"{path} is missing; make it with: make figures PROFILE={profile} DATASET={dataset}, or from a checkpoint "
            f"with: python -m spectral.summary CHECKPOINT --out {path}"
        )
    return path
