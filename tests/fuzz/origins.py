"""Good files of every origin that the toolkit opens, each with the files beside it, and how it is used."""

import io
import json
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import trials
from safetensors.torch import save as safetensors_of
from third_party_states.small import CONVERTED, GIVEN, bsarec_state

Use = Callable[[Path], object]


@dataclass(frozen=True)
class Origin:
    """The files of an origin by name, the one that is opened, and what is done with it."""

    files: Mapping[str, bytes]
    opened: str
    use: Use
    content: Any = None  # what the opened file was saved from, if that was an object
    save: Callable[[Any], bytes] = field(default=lambda content: saved(content))


def saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


legacy = partial(saved, _use_new_zipfile_serialization=False)


def checkpoints() -> dict[str, Origin]:
    """Return good files of all origins of models, by name."""
    from models.registry import MODELS

    return {f"ours-{name}": _ours(name) for name in MODELS} | _theirs() | _with_neighbours() | _recbole()


def _ours(name: str) -> Origin:
    from models.checkpoint import describe_dataset, draw_probe, pack
    from models.datasets import load
    from models.registry import build, configure

    sequences = load("synthetic:users=20,items=30")
    config = configure(name, sequences.num_items, sequences.num_users, hidden_size=8, max_len=8)
    model = build(config)
    model.initialise(seed=0)
    row = {"epoch": 0, "loss": 1.0, "NDCG@20": 0.1}
    content = pack(
        model,
        dataset=describe_dataset(sequences),
        training={"loss": "ce", "epochs": 1, "seed": 0},
        metrics={"best_epoch": 0, "valid": row, "history": [row], "test": {"HR@5": 0.5}},
        seed=0,
        probe=draw_probe(sequences, 8, config.padding),
    )
    return Origin({"a.pt": saved(content)}, "a.pt", trials.use, content)


def _theirs() -> dict[str, Origin]:
    """Return state dicts of other programs, in both formats of torch.save, wrapped, and as safetensors."""
    found = {}
    for place, (name, (make, settings)) in enumerate(CONVERTED.items()):
        save, state = (saved, legacy)[place % 2], dict(make())
        use = partial(trials.use, **settings)
        found[name] = Origin({"a.pt": save(state)}, "a.pt", use, state, save)
    state = {key: value.contiguous() for key, value in bsarec_state().items()}
    settings = {"num_attention_heads": 2, "alpha": 0.3, "c": 9}
    wrapped = {
        "state_dict": {f"model._orig_mod.{key}": value for key, value in state.items()},
        "hyper_parameters": settings,
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}],
        "history": [{"epoch": 1, "loss": 0.5}],
    }
    found["lightning"] = Origin({"a.ckpt": saved(wrapped)}, "a.ckpt", trials.use, wrapped)
    found["lightning-legacy"] = Origin({"a.ckpt": legacy(wrapped)}, "a.ckpt", trials.use, wrapped, legacy)
    metadata = {key: json.dumps(value) for key, value in settings.items()}
    single = safetensors_of(state, metadata)
    found["safetensors"] = Origin({"model.safetensors": single}, "model.safetensors", trials.use)
    for ending, save in ((".safetensors", safetensors_of), (".bin", saved)):
        found[f"shards{ending}"] = _shards(state, ending, save)
    return found


def _shards(state: dict[str, torch.Tensor], ending: str, save: Callable[[Any], bytes]) -> Origin:
    names = [f"model-0000{number}-of-00002{ending}" for number in (1, 2)]
    where = {key: names[place > 10] for place, key in enumerate(state)}
    files = {name: save({key: state[key] for key, its in where.items() if its == name}) for name in names}
    index = f"model{ending}.index.json"
    files[index] = json.dumps({"metadata": {"total_size": 1}, "weight_map": where}).encode()
    return Origin(files, index, partial(trials.use, **GIVEN))


def _with_neighbours() -> dict[str, Origin]:
    """Return files whose settings are beside them."""
    state = dict(bsarec_state())
    call = "Namespace(num_attention_heads=2, alpha=0.3, c=9, data_name='Beauty', hidden_act='gelu', train_name='a')"
    texts = {
        "args.txt": "num_heads,2\nalpha,0.3\nc,9\ndataset,Beauty\n",
        "a.log": f"10:00 {call}\n10:01 epoch 0: loss 5.0\n10:02 {call}\n",
        "config.json": json.dumps({"model": {"num_attention_heads": 2, "alpha": 0.3, "c": 9}, "loss": {"alpha": 1}}),
        "config.yaml": "model: &m\n  num_attention_heads: 2\n  alpha: 0.3\nother:\n  <<: *m\n  c: 9\nc: 9\n",
    }
    weights = saved(state)
    return {
        f"with {name}": Origin({"a.pt": weights, name: text.encode()}, "a.pt", trials.use)
        for name, text in texts.items()
    }


class Config:
    """Stands for the configuration object that RecBole pickles beside the weights."""


def _recbole() -> dict[str, Origin]:
    make, _ = CONVERTED["recbole-sasrec"]
    config = Config()
    config.final_config_dict = {"model": "SASRec", "n_heads": 2, "hidden_act": "gelu", "dataset": "ml-100k"}
    config.parameters = {"Training": ["epochs", "lr"]}
    content = {"config": config, "epoch": 3, "state_dict": make(), "optimizer": {"state": {}, "param_groups": []}}
    module = types.ModuleType("recbole.config.configurator")
    module.Config = Config
    Config.__module__ = module.__name__
    parts = {"recbole": types.ModuleType("recbole"), "recbole.config": types.ModuleType("recbole.config")}
    sys.modules.update(parts | {module.__name__: module})
    files = {protocol: saved(content, pickle_protocol=protocol) for protocol in (2, 4)}
    files[0] = legacy(content)
    for name in [*parts, module.__name__]:
        del sys.modules[name]
    return {f"recbole-{protocol}": Origin({"a.pth": data}, "a.pth", trials.use) for protocol, data in files.items()}


def tables() -> dict[str, Origin]:
    """Return good files of interactions, by name."""
    rows = [(f"u{row % 7}", f"item {row % 5}", 1_700_000_000 + 17 * row) for row in range(60)]
    table = pd.DataFrame(rows, columns=["who", "what", "when"])
    parquet = io.BytesIO()
    table.to_parquet(parquet, index=False)
    files = {
        "shop.csv": table.to_csv(index=False).encode(),
        "shop.tsv": table.to_csv(index=False, sep="\t").encode(),
        "shop.parquet": parquet.getvalue(),
        "dates.csv": table.assign(when=pd.to_datetime(table["when"], unit="s")).to_csv(index=False).encode(),
    }
    found = {name: Origin({name: data}, name, import_file) for name, data in files.items()}
    lines = "".join(f"{user} {' '.join(str(1 + (user * step) % 9) for step in range(1, 8))}\n" for user in range(1, 12))
    return found | {"sequences.txt": Origin({"sequences.txt": lines.encode()}, "sequences.txt", load_file)}


def import_file(path: Path) -> None:
    """Make sequences of a table, as `python -m models.datasets import` does."""
    from models.datasets.importing import import_table

    imported = import_table(path, user="who", item="what", time="when", k=2)
    imported.sequences.windows("test", 8)


def load_file(path: Path) -> None:
    """Load sequences and describe them, as `python -m models.datasets describe` does, and begin to train on them."""
    from models.datasets import load
    from models.datasets.statistics import statistics_table
    from models.train import check_ids

    sequences = load(path)
    statistics_table([sequences], 8)
    check_ids(sequences)
    sequences.windows("test", 8)
