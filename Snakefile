"""Training runs and figures as one workflow over the notebooks.

    snakemake --cores all --config profile=quick            # what `make figures` runs; a laptop's cores
    snakemake --cores all --config profile=paper dataset=beauty
    snakemake --jobs 20 --executor slurm --config profile=paper    # any executor plugin runs the same targets

    snakemake tables --cores all --config profile=paper dataset=lastfm    # every model, every seed: days, resumable

A profile is a file of config/; keys given with --config or --configfile go on top of it. Checkpoints and executed
notebooks go to <runs>/<profile>/<dataset>/, figures and the tables behind them to <figures>/<dataset>/. What a table
is made of, the settings, metrics and ranks of each run, goes to <figures>/<dataset>/runs/: tables are made again from
those files alone. Relative folders are relative to the folder of this file.
"""

import json
import os
import sys
from pathlib import Path

import yaml
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

from models.datasets import names

ROOT = str(workflow.basedir)
NOTEBOOKS = os.path.relpath(f"{ROOT}/notebooks")
PROFILES = sorted(path.stem for path in Path(ROOT, "config").glob("*.yaml"))
FORMATS = ["png", "pdf", "csv"]


def chosen(given, known, what):
    """Return `given` if it is known, or say what is."""
    if given not in known:
        raise WorkflowError(f"unknown {what} {given!r}: expected one of {', '.join(sorted(known))}")
    return given


def typed(value):
    """Return a setting with its numbers as numbers: --config leaves those inside a mapping as text, YAML 1e-3."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    for convert in (int, float, yaml.safe_load) if isinstance(value, str) else ():
        try:
            return convert(value)
        except ValueError:
            continue
    return value


def settings_of(given):
    """Return the profile's settings with the given keys on top, all of them known."""
    profile = chosen(given.get("profile", "quick"), PROFILES, "profile")
    settings = load_configfile(Path(ROOT, "config", f"{profile}.yaml"))
    known = {*settings, "data_dir", "dataset_settings"}
    for key in given:
        chosen(key, known, "config key")
    update_config(settings, given)
    settings |= {key: typed(value) for key, value in settings.items() if key.endswith(("training", "_settings"))}
    if not isinstance(settings["models"], list):
        raise WorkflowError(f"models must be a list: --config 'models=[{settings['models']}]'")
    for model in settings["models"]:
        chosen(model, settings["model_settings"], "model")
    for table, systems in settings["tables"].items():
        for system in systems:
            chosen(system, {**settings["model_settings"], **settings["variants"]}, f"system of table {table}")
    chosen(settings["dataset"], known_datasets(settings), f"dataset for profile {settings['profile']}")
    return settings


def known_datasets(settings):
    """Return the datasets that the profile has settings for, or all named ones besides a generated or a local one."""
    dataset = str(settings["dataset"])
    is_local = dataset.startswith("synthetic:") or Path(ROOT, dataset).is_file()
    return settings.get("dataset_settings") or ([dataset] if is_local else names())


SETTINGS = settings_of(config)
DATASET = str(SETTINGS["dataset"])
DATASET_FOLDER = Path(DATASET).stem.replace(":", "-") if Path(ROOT, DATASET).is_file() else DATASET.replace(":", "-")
RUNS = f"{SETTINGS['runs']}/{SETTINGS['profile']}/{DATASET_FOLDER}"
FIGURES = f"{SETTINGS['figures']}/{DATASET_FOLDER}"
SEED = SETTINGS["seed"]
CHECKPOINT = f"{RUNS}/{{system}}-seed{{seed}}.pt"
CHECKPOINTS = expand(CHECKPOINT, system=SETTINGS["models"], seed=SEED)
RESULT = f"{FIGURES}/runs/{{system}}-seed{{seed}}.json"


def training_parameters(wildcards):
    """Return the parameters of train.ipynb for one run: those of all models, of its model, on this dataset, its own.

    A system is a model, or a variant of one: the model with other settings.
    """
    variant = dict(SETTINGS["variants"].get(wildcards.system, {"model": wildcards.system}))
    model = variant.pop("model")
    of_dataset = SETTINGS.get("dataset_settings", {}).get(DATASET, {})
    return json.dumps(
        {"model": model, "dataset": DATASET, "seed": int(wildcards.seed), "data_dir": SETTINGS.get("data_dir")}
        | SETTINGS["training"]
        | SETTINGS["model_settings"].get(model, {})
        | of_dataset.get(model, {})
        | variant
        | {"out": CHECKPOINT.format(**wildcards)}
    )


def results(table):
    """Return the results that a table is made of: its systems, each with its seeds."""
    seeds = SETTINGS["seeds"]
    return [
        RESULT.format(system=system, seed=seed)
        for system in SETTINGS["tables"][table]
        for seed in seeds.get(system, seeds["default"])
    ]


def figure_parameters():
    """Return the parameters that all figure notebooks share."""
    shared = ("profile", "models", "seed", "runs", "figures", "data_dir")
    return json.dumps({key: SETTINGS[key] for key in shared if key in SETTINGS} | {"dataset": DATASET_FOLDER})


def pictures(*names):
    """Return the files of some figures: the picture twice, and the table behind it."""
    return expand(f"{FIGURES}/{{name}}.{{format}}", name=names, format=FORMATS)


# Papermill runs a notebook and keeps it, with its outputs, as the log of the job: also where it failed. At this level
# it shows what the notebook writes to standard error (the progress of a training run) and nothing of its own.
PAPERMILL = (
    "{sys.executable:q} -m papermill --cwd {ROOT:q} --kernel python3 --log-output --log-level WARNING --no-progress-bar"
    " {NOTEBOOKS:q}/{rule}.ipynb {log:q} -y {params.parameters:q}"
)


wildcard_constraints:
    seed=r"\d+",
    table="|".join(SETTINGS["tables"]) or "none",
    system="|".join([*SETTINGS["model_settings"], *SETTINGS["variants"]]),


rule all:
    input:
        CHECKPOINTS,
        pictures("fig2a", "fig2b", "fig3a", "fig3b", "theorem1"),
        f"{FIGURES}/theorem1_decay.csv",


# The state file of an unfinished run lies beside the checkpoint and is no output, so that a killed run goes on.
rule train:
    message:
        "Training {wildcards.system} on {DATASET}, seed {wildcards.seed}"
    output:
        CHECKPOINT,
    log:
        f"{RUNS}/notebooks/train-{{system}}-seed{{seed}}.ipynb",
    params:
        parameters=training_parameters,
    shell:
        PAPERMILL


rule fig2_filter:
    message:
        "Running {rule}.ipynb, which draws into {FIGURES}"
    input:
        CHECKPOINTS,
        f"{NOTEBOOKS}/fig2_filter.ipynb",
    output:
        pictures("fig2a", "fig2b"),
    log:
        f"{RUNS}/notebooks/fig2_filter.ipynb",
    params:
        parameters=figure_parameters(),
    shell:
        PAPERMILL


use rule fig2_filter as fig3_oversmoothing with:
    input:
        CHECKPOINTS,
        f"{NOTEBOOKS}/fig3_oversmoothing.ipynb",
    output:
        pictures("fig3a", "fig3b"),
    log:
        f"{RUNS}/notebooks/fig3_oversmoothing.ipynb",


use rule fig2_filter as theorem1 with:
    input:
        CHECKPOINTS,
        f"{NOTEBOOKS}/theorem1.ipynb",
    output:
        pictures("theorem1"),
        f"{FIGURES}/theorem1_decay.csv",
    log:
        f"{RUNS}/notebooks/theorem1.ipynb",


# From a checkpoint to what tables need of it, once: the checkpoint may be thrown away afterwards.
rule result:
    message:
        "Evaluating {wildcards.system} on {DATASET}, seed {wildcards.seed}"
    input:
        ancient(CHECKPOINT),
    output:
        RESULT,
    params:
        data=f"--data-dir {SETTINGS['data_dir']}" if SETTINGS.get("data_dir") else "",
    shell:
        "cd {ROOT:q} && {sys.executable:q} -m models.evaluate {input:q} --result {output:q} {params.data}"


rule tables:
    input:
        expand(f"{FIGURES}/{{table}}.{{format}}", table=SETTINGS["tables"], format=["csv", "md", "tex"]),


rule table_datasets:
    message:
        "Making {rule} in {FIGURES}"
    input:
        f"{NOTEBOOKS}/table_datasets.ipynb",
    output:
        expand(f"{FIGURES}/table_datasets.{{format}}", format=["csv", "md"]),
    log:
        f"{RUNS}/notebooks/table_datasets.ipynb",
    params:
        parameters=json.dumps({key: SETTINGS.get(key) for key in ("figures", "data_dir")} | {"dataset": DATASET_FOLDER}),
    shell:
        PAPERMILL


def table_parameters(wildcards):
    """Return the parameters of a table's notebook."""
    given = {"table": wildcards.table, "models": SETTINGS["tables"][wildcards.table], "dataset": DATASET_FOLDER}
    return json.dumps({key: SETTINGS[key] for key in ("profile", "figures")} | given)


# A table of its own name has its own notebook; others are more main tables, of other systems.
def table_notebook(wildcards):
    """Return the notebook that makes a table."""
    own = f"{NOTEBOOKS}/{wildcards.table}.ipynb"
    return own if Path(own).is_file() else f"{NOTEBOOKS}/table_main.ipynb"


rule table:
    message:
        "Making {wildcards.table} in {FIGURES}"
    input:
        notebook=table_notebook,
        results=lambda wildcards: results(wildcards.table),
    output:
        expand(f"{FIGURES}/{{{{table}}}}.{{format}}", format=["csv", "md", "tex"]),
    log:
        f"{RUNS}/notebooks/{{table}}.ipynb",
    params:
        parameters=table_parameters,
    shell:
        PAPERMILL.replace("{NOTEBOOKS:q}/{rule}.ipynb", "{input.notebook:q}")
