"""Training runs and figures as one workflow over the notebooks.

    snakemake --cores all --config profile=quick            # what `make figures` runs; a laptop's cores
    snakemake --cores all --config profile=paper dataset=beauty
    snakemake --profile config/slurm --config profile=paper    # a cluster; any executor plugin runs the same targets

    snakemake tables --cores all --config profile=paper dataset=lastfm    # every model, every seed: days, resumable
    snakemake figures/beauty/fig5.pdf --cores all --config profile=paper   # one figure, with all that it needs
    snakemake sensitivity --cores all --config profile=paper dataset=lastfm    # Figures 5 and 6, resumable as well

A profile is a file of config/; keys given with --config or --configfile go on top of it. Checkpoints and executed
notebooks go to <runs>/<profile>/<dataset>/, figures and the tables behind them to <figures>/<dataset>/, and those over
several datasets to <figures>/. What a table is made of, the settings, metrics and ranks of each run, goes to
<figures>/<dataset>/runs/<profile>/: tables are made again from those files alone. A target named by its file may be of another
dataset than the configured one. Relative folders are relative to the folder of this file.
"""

import json
import os
import re
import sys
from pathlib import Path

import yaml
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

from models.results import profile
from models.datasets import names

ROOT = str(workflow.basedir)
NOTEBOOKS = os.path.relpath(f"{ROOT}/notebooks")
PROFILES = sorted(path.stem for path in Path(ROOT, "config").glob("*.yaml"))
FORMATS = ["png", "pdf", "csv", "json"]
TABLE_FORMATS = ["csv", "md", "tex"]


def chosen(given, known, what):
    """Return `given` if it is known, or say what is."""
    if given not in known:
        raise WorkflowError(f"unknown {what} {given!r}: expected one of {', '.join(sorted(known))}")
    return given


def typed(value):
    """Return a setting with its numbers as numbers: --config leaves those inside a mapping as text, YAML 1e-3."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
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
    known = {*settings, "data_dir", "dataset_settings", "block"}
    for key in given:
        chosen(key, known, "config key")
    update_config(settings, given)
    numeric = ("training", "_settings", "sensitivity")
    settings |= {key: typed(value) for key, value in settings.items() if key.endswith(numeric)}
    if not isinstance(settings["models"], list):
        raise WorkflowError(f"models must be a list: --config 'models=[{settings['models']}]'")
    for model in {model for shown in [settings["models"], *settings["figure_models"].values()] for model in shown}:
        chosen(model, {**settings["model_settings"], **settings["variants"]}, "model")
    for table, systems in settings["tables"].items():
        for system in systems:
            chosen(system, {**settings["model_settings"], **settings["variants"]}, f"system of table {table}")
    check_sensitivity(settings)
    chosen(settings["dataset"], known_datasets(settings), f"dataset for profile {settings['profile']}")
    return settings


def check_sensitivity(settings):
    """Refuse what `sensitivity` cannot be made of: other keys, what is not a grid of numbers, unknown systems."""
    given = settings["sensitivity"]
    for key, value in given.items():
        chosen(key, {*profile.SETTINGS, "baselines", "datasets"}, "key of sensitivity")
        if key in profile.SETTINGS and not (isinstance(value, list) and all(type(v) in (int, float) for v in value)):
            raise WorkflowError(f"sensitivity needs a list of numbers: --config 'sensitivity={{{key}: [1, 3]}}'")
    for system in given["baselines"]:
        chosen(system, {**settings["model_settings"], **settings["variants"]}, "baseline of sensitivity")
    for dataset in given["datasets"] or []:
        chosen(dataset, known_datasets(settings), f"dataset of sensitivity for profile {settings['profile']}")


def known_datasets(settings):
    """Return the datasets that the profile has settings for, or all named ones besides a generated or a local one."""
    dataset = str(settings["dataset"])
    is_local = dataset.startswith("synthetic:") or Path(ROOT, dataset).is_file()
    return settings.get("dataset_settings") or ([dataset] if is_local else names())


SETTINGS = settings_of(config)
DATASET = str(SETTINGS["dataset"])
DATASET_FOLDER = Path(DATASET).stem.replace(":", "-") if Path(ROOT, DATASET).is_file() else DATASET.replace(":", "-")
DATASETS = {DATASET_FOLDER: DATASET} | {name: name for name in known_datasets(SETTINGS) if name != DATASET}
RUNS = f"{SETTINGS['runs']}/{SETTINGS['profile']}/{{dataset}}"
FIGURES = f"{SETTINGS['figures']}/{{dataset}}"
SEED = SETTINGS["seed"]
CHECKPOINT = f"{RUNS}/{{system}}-seed{{seed}}.pt"
CHECKPOINTS = expand(CHECKPOINT, system=SETTINGS["models"], seed=SEED, allow_missing=True)
DEPTH = SETTINGS["depth"]
RESULT = f"{FIGURES}/runs/{SETTINGS['profile']}/{{system}}-seed{{seed}}.json"
SUMMARY = RESULT.replace(".json", ".spectral.npz")
VARIED = {
    profile.system(setting, value): {"model": profile.MODEL, setting: value}
    for setting in profile.SETTINGS
    for value in SETTINGS["sensitivity"][setting]
}
SYSTEMS = {name: {"model": name} for name in SETTINGS["model_settings"]} | VARIED | SETTINGS["variants"]
DRAWN = ["fig1", *(f"fig2{part}" for part in "abcd"), "fig3a", "fig3b", "fig4", *(f"fig7{part}" for part in "abc"), "theorem1"]
# Of results of runs, with the setting that they vary; they are drawn with the others once these results are there.
SENSITIVITY = {"fig5": "alpha", "fig6": "c"}
SENSITIVITY_DATASETS = {"fig8": "alpha", "fig9": "c"}
GALLERY = [f"{SETTINGS['figures']}/{page}" for page in ("README.md", "index.html")]
SENSITIVITY_SEEDS = SETTINGS["seeds"].get("sensitivity", SETTINGS["seeds"]["default"])


def settings_for(system, folder):
    """Return the settings of a system: those of all models, of its model, of that on the dataset, and its own.

    A system is a model, or a variant of one: the model with other settings.
    """
    model = SYSTEMS[system]["model"]
    of_dataset = SETTINGS.get("dataset_settings", {}).get(DATASETS[folder], {})
    return SETTINGS["training"] | SETTINGS["model_settings"][model] | of_dataset.get(model, {}) | SYSTEMS[system]


def training_parameters(wildcards):
    """Return the parameters of train.ipynb for one run."""
    of_run = {"dataset": DATASETS[wildcards.dataset], "seed": int(wildcards.seed), "data_dir": SETTINGS.get("data_dir")}
    return json.dumps(
        of_run | settings_for(wildcards.system, wildcards.dataset) | {"out": CHECKPOINT.format(**wildcards)}
    )


def results(table):
    """Return the results that a table is made of: its systems, each with its seeds."""
    seeds = SETTINGS["seeds"]
    return [
        path
        for system in SETTINGS["tables"][table]
        for path in expand(RESULT, system=system, seed=seeds.get(system, seeds["default"]), allow_missing=True)
    ]


def models_of(figure):
    """Return the models that a figure shows."""
    return SETTINGS["figure_models"].get(figure, SETTINGS["models"])


def trained_for(figure, *systems):
    """Return the checkpoints of any dataset that a figure needs: of its models, and of some systems more."""
    return expand(CHECKPOINT, system=[*models_of(figure), *systems], seed=SEED, allow_missing=True)


def figure_parameters(figure, **more):
    """Return what gives the parameters that all figure notebooks share, and more."""

    def parameters(wildcards):
        shared = ("profile", "seed", "runs", "data_dir")
        own = {"dataset": wildcards.dataset, "models": models_of(figure), "out": SETTINGS["figures"]} | more
        return json.dumps({key: SETTINGS[key] for key in shared if key in SETTINGS} | own)

    return parameters


def of_results():
    """Return the parameters that all notebooks share that are made of results of runs."""
    return {"profile": SETTINGS["profile"], "results": SETTINGS["figures"], "out": SETTINGS["figures"]}


def pictures(*names):
    """Return the files of some figures of any dataset: the picture twice, the table behind it, and its note."""
    return expand(f"{FIGURES}/{{name}}.{{format}}", name=names, format=FORMATS, allow_missing=True)


def across(*names):
    """Return the files of some figures over several datasets, which lie beside the datasets' folders."""
    return expand(f"{SETTINGS['figures']}/{{name}}.{{format}}", name=names, format=FORMATS)


def of_configured(*files):
    """Return the files of the configured dataset."""
    return expand(files, dataset=DATASET_FOLDER)


def listed_runs(block=None):
    """Return results and summaries of the run list, of all its blocks or of one, counted from 1."""
    blocks = SETTINGS["run_list"] if block is None else SETTINGS["run_list"][int(block) - 1 : int(block)]
    return [
        path
        for of_block in blocks
        for path in expand(
            [RESULT, SUMMARY], dataset=of_block["datasets"], system=of_block["systems"], seed=of_block["seeds"]
        )
    ]


def varied_results(setting, folder):
    """Return the results of a sensitivity figure of one dataset: of each value of the setting, and of the baselines."""
    own = settings_for(profile.MODEL, folder).get(setting)
    if own is None:
        raise WorkflowError(f"model_settings of the profile lack {profile.MODEL}'s {setting}, on {folder}: add it")
    systems = profile.systems(setting, SETTINGS["sensitivity"][setting], own).values()
    systems = [*systems, *SETTINGS["sensitivity"]["baselines"]]
    return expand(RESULT, system=systems, seed=SENSITIVITY_SEEDS, dataset=folder)


def datasets_with(setting):
    """Return the datasets that have all results of a sensitivity figure."""
    return [name for name in DATASETS if all(map(os.path.exists, varied_results(setting, name)))]


def varied_datasets(setting):
    """Return the datasets of a sensitivity figure over several: those that are asked for, or whose results are there.

    Where there are no such results, it is the configured dataset.
    """
    return SETTINGS["sensitivity"]["datasets"] or datasets_with(setting) or [DATASET_FOLDER]


def drawn():
    """Return the files of all figures of the configured dataset, and of those over several that have their results."""
    of_dataset = [name for name, setting in SENSITIVITY.items() if DATASET_FOLDER in datasets_with(setting)]
    of_several = [name for name, setting in SENSITIVITY_DATASETS.items() if len(datasets_with(setting)) > 1]
    return of_configured(*pictures(*DRAWN, *of_dataset)) + across(*of_several)


def sensitivity_parameters(setting, **of_figure):
    """Return the parameters of a sensitivity notebook."""
    varied = {
        "models": [profile.MODEL, *SETTINGS["sensitivity"]["baselines"]],
        "values": SETTINGS["sensitivity"][setting],
        "seeds": SENSITIVITY_SEEDS,
    }
    return json.dumps(of_results() | varied | of_figure)


# Papermill runs a notebook and keeps it, with its outputs, as the log of the job: also where it failed. At this level
# it shows what the notebook writes to standard error (the progress of a training run) and nothing of its own.
PAPERMILL = (
    "{sys.executable:q} -m papermill --cwd {ROOT:q} --kernel python3 --log-output --log-level WARNING --no-progress-bar"
    " {NOTEBOOKS:q}/{rule}.ipynb {log:q} -y {params.parameters:q}"
)


wildcard_constraints:
    seed=r"\d+",
    table="|".join(SETTINGS["tables"]) or "none",
    system="|".join(map(re.escape, SYSTEMS)),
    dataset="|".join(map(re.escape, DATASETS)),


rule all:
    input:
        of_configured(*CHECKPOINTS, f"{FIGURES}/theorem1_decay.csv"),
        drawn(),
        GALLERY,


rule gallery:
    message:
        "Writing the gallery's pages"
    input:
        drawn(),
    output:
        GALLERY,
    params:
        folder=SETTINGS["figures"],
    shell:
        "{sys.executable:q} -m spectral.gallery {params.folder:q}"


# The state file of an unfinished run lies beside the checkpoint and is no output, so that a killed run goes on.
rule train:
    message:
        "Training {wildcards.system} on {wildcards.dataset}, seed {wildcards.seed}"
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
        "Running {rule}.ipynb on {wildcards.dataset}"
    input:
        trained_for("fig2"),
        f"{NOTEBOOKS}/fig2_filter.ipynb",
    output:
        pictures("fig2a", "fig2b", "fig2c", "fig2d"),
    log:
        f"{RUNS}/notebooks/fig2_filter.ipynb",
    params:
        parameters=figure_parameters("fig2"),
    shell:
        PAPERMILL


use rule fig2_filter as fig1_signals with:
    input:
        trained_for("fig1"),
        f"{NOTEBOOKS}/fig1_signals.ipynb",
    output:
        pictures("fig1"),
    log:
        f"{RUNS}/notebooks/fig1_signals.ipynb",
    params:
        parameters=figure_parameters("fig1"),


use rule fig2_filter as fig3_oversmoothing with:
    input:
        trained_for("fig3", *(f"{model}-{DEPTH}" for model in models_of("fig3") if DEPTH)),
        f"{NOTEBOOKS}/fig3_oversmoothing.ipynb",
    output:
        pictures("fig3a", "fig3b"),
    log:
        f"{RUNS}/notebooks/fig3_oversmoothing.ipynb",
    params:
        parameters=figure_parameters("fig3", depth=DEPTH),


use rule fig2_filter as fig4_architecture with:
    input:
        trained_for("fig4"),
        f"{NOTEBOOKS}/fig4_architecture.ipynb",
    output:
        pictures("fig4"),
    log:
        f"{RUNS}/notebooks/fig4_architecture.ipynb",
    params:
        parameters=figure_parameters("fig4"),


use rule fig2_filter as fig7_filters with:
    input:
        trained_for("fig7"),
        f"{NOTEBOOKS}/fig7_filters.ipynb",
    output:
        pictures("fig7a", "fig7b", "fig7c"),
    log:
        f"{RUNS}/notebooks/fig7_filters.ipynb",
    params:
        parameters=figure_parameters("fig7"),


use rule fig2_filter as theorem1 with:
    input:
        trained_for("theorem1"),
        f"{NOTEBOOKS}/theorem1.ipynb",
    output:
        pictures("theorem1"),
        f"{FIGURES}/theorem1_decay.csv",
    log:
        f"{RUNS}/notebooks/theorem1.ipynb",
    params:
        parameters=figure_parameters("theorem1"),


# From a checkpoint to what tables and curves need of it, once: the checkpoint may be thrown away afterwards.
rule result:
    message:
        "Evaluating {wildcards.system} on {wildcards.dataset}, seed {wildcards.seed}"
    input:
        ancient(CHECKPOINT),
    output:
        result=RESULT,
        summary=SUMMARY,
    params:
        data=f"--data-dir {SETTINGS['data_dir']}" if SETTINGS.get("data_dir") else "",
    shell:
        "cd {ROOT:q} && {sys.executable:q} -m models.evaluate {input:q} --result {output.result:q} {params.data}"
        " && {sys.executable:q} -m spectral.summary {input:q} --out {output.summary:q} {params.data}"


# Block by block (`--config block=1`), so that the list is worked through in its order; all of them without a block.
rule runs:
    input:
        listed_runs(SETTINGS.get("block")),


rule tables:
    input:
        of_configured(*(f"{FIGURES}/{table}.{format}" for table in SETTINGS["tables"] for format in TABLE_FORMATS)),


rule table_datasets:
    message:
        "Running {rule}.ipynb"
    input:
        f"{NOTEBOOKS}/table_datasets.ipynb",
    output:
        expand(f"{SETTINGS['figures']}/table_datasets.{{format}}", format=["csv", "md", "json"]),
    log:
        f"{SETTINGS['runs']}/{SETTINGS['profile']}/notebooks/table_datasets.ipynb",
    params:
        parameters=json.dumps({"out": SETTINGS["figures"], "data_dir": SETTINGS.get("data_dir")}),
    shell:
        PAPERMILL


def table_parameters(wildcards):
    """Return the parameters of a table's notebook."""
    given = {"table": wildcards.table, "models": SETTINGS["tables"][wildcards.table], "dataset": wildcards.dataset}
    return json.dumps(of_results() | given)


# A table of its own name has its own notebook; others are more main tables, of other systems.
def table_notebook(wildcards):
    """Return the notebook that makes a table."""
    own = f"{NOTEBOOKS}/{wildcards.table}.ipynb"
    return own if Path(own).is_file() else f"{NOTEBOOKS}/table_main.ipynb"


rule table:
    message:
        "Making {wildcards.table} for {wildcards.dataset}"
    input:
        notebook=table_notebook,
        results=lambda wildcards: results(wildcards.table),
    output:
        expand(f"{FIGURES}/{{table}}.{{format}}", format=TABLE_FORMATS, allow_missing=True),
    log:
        f"{RUNS}/notebooks/{{table}}.ipynb",
    params:
        parameters=table_parameters,
    shell:
        PAPERMILL.replace("{NOTEBOOKS:q}/{rule}.ipynb", "{input.notebook:q}")


rule sensitivity:
    input:
        of_configured(*pictures(*SENSITIVITY)),


rule fig5_alpha:
    message:
        "Running {rule}.ipynb on {wildcards.dataset}"
    input:
        f"{NOTEBOOKS}/fig5_alpha.ipynb",
        lambda wildcards: varied_results("alpha", wildcards.dataset),
    output:
        pictures("fig5"),
    log:
        f"{RUNS}/notebooks/fig5_alpha.ipynb",
    params:
        parameters=lambda wildcards: sensitivity_parameters("alpha", dataset=wildcards.dataset),
    shell:
        PAPERMILL


use rule fig5_alpha as fig6_c with:
    input:
        f"{NOTEBOOKS}/fig6_c.ipynb",
        lambda wildcards: varied_results("c", wildcards.dataset),
    output:
        pictures("fig6"),
    log:
        f"{RUNS}/notebooks/fig6_c.ipynb",
    params:
        parameters=lambda wildcards: sensitivity_parameters("c", dataset=wildcards.dataset),


rule fig8_alpha_datasets:
    message:
        "Running {rule}.ipynb on {params.datasets}"
    input:
        f"{NOTEBOOKS}/fig8_alpha_datasets.ipynb",
        [varied_results("alpha", dataset) for dataset in varied_datasets("alpha")],
    output:
        across("fig8"),
    log:
        f"{SETTINGS['runs']}/{SETTINGS['profile']}/notebooks/fig8_alpha_datasets.ipynb",
    params:
        datasets=", ".join(varied_datasets("alpha")),
        parameters=sensitivity_parameters("alpha", datasets=varied_datasets("alpha")),
    shell:
        PAPERMILL


use rule fig8_alpha_datasets as fig9_c_datasets with:
    input:
        f"{NOTEBOOKS}/fig9_c_datasets.ipynb",
        [varied_results("c", dataset) for dataset in varied_datasets("c")],
    output:
        across("fig9"),
    log:
        f"{SETTINGS['runs']}/{SETTINGS['profile']}/notebooks/fig9_c_datasets.ipynb",
    params:
        datasets=", ".join(varied_datasets("c")),
        parameters=sensitivity_parameters("c", datasets=varied_datasets("c")),
