"""Training runs and figures as one workflow over the notebooks.

    snakemake --cores all --config profile=quick            # what `make figures` runs; draws into runs/figures
    snakemake --cores all --config profile=paper dataset=beauty
    snakemake --profile config/slurm --config profile=paper    # a cluster; any executor plugin runs the same targets

    snakemake tables --cores all --config profile=paper dataset=lastfm    # every model, every seed: days, resumable
    snakemake figures/beauty/fig5.pdf --cores all --config profile=paper   # one figure, with all that it needs
    snakemake sensitivity --cores all --config profile=paper dataset=lastfm    # Figures 5 and 6, resumable as well
    snakemake successors --cores all --config profile=paper dataset=lastfm    # all models side by side, on one dataset
    snakemake remedies --cores all --config profile=paper    # remedies against oversmoothing compared, days, resumable
    snakemake --cores all --config profile=paper dataset=beauty missing=name    # the figures of the runs that are there
    snakemake claims --cores all --config profile=paper      # which claims of the paper hold, on the runs that are there

A profile is a file of config/; keys given with --config or --configfile go on top of it. Checkpoints and executed
notebooks go to <runs>/<profile>/<dataset>/, figures and the tables behind them to <figures>/<dataset>/, and those over
several datasets to <figures>/: with `quick` to runs/figures, which git ignores, with `paper` to the committed figures/. What a table is made of, the settings, metrics and ranks of each run, goes to
<figures>/<dataset>/runs/<profile>/: tables are made again from those files alone. A target named by its file may be of another
dataset than the configured one. Relative folders are relative to the folder of this file.
"""

import json
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from models.errors import ConfigError
from models.results.priority import priority
from models.results.profile_file import read_profile

ROOT = str(workflow.basedir)
NOTEBOOKS = os.path.relpath(f"{ROOT}/notebooks")
FORMATS = ["png", "pdf", "csv", "json"]
TABLE_FORMATS = ["csv", "md", "tex"]
try:
    PROFILE = read_profile(config, ROOT)
except ConfigError as error:
    raise WorkflowError(str(error)) from error

LOGS = f"{PROFILE.runs}/{PROFILE.profile}/{{dataset}}/notebooks"
FIGURES = f"{PROFILE.figures}/{{dataset}}"
# The notebooks that draw trained models, and their figures.
DRAWN = {
    "fig1_signals": ["fig1"],
    # Summaries of an older format hold no transfer maps, so these are not asked for.
    "fig2_filter": ["fig2a", "fig2b", *([] if PROFILE.from_summaries else ["fig2b_transfer"])],
    "fig2_layers": ["fig2c", "fig2d"],
    "fig3_oversmoothing": ["fig3a", "fig3b"],
    "fig4_architecture": ["fig4"],
    "fig7_beta": ["fig7a"],
    "fig7_filters": ["fig7b", "fig7c"],
    "theorem1": ["theorem1"],
}
# Not among those that are drawn by default: it needs more runs, or files of third parties (`checkpoints`).
SUCCESSORS = ["successors_filter", "successors_spectra", "successors_similarity"]
# Figures of results of runs, by the setting that they vary; drawn with the others once these results are there.
SENSITIVITY = {"alpha": "fig5", "c": "fig6"}
SENSITIVITY_DATASETS = {"alpha": "fig8", "c": "fig9"}
GALLERY = [f"{PROFILE.figures}/{page}" for page in ("README.md", "index.html")]
DATA = f"--data-dir {PROFILE.data_dir}" if PROFILE.data_dir else ""
NULLS = " ".join([f"--draws {PROFILE.null_draws}", *(f"--null {null}" for null in PROFILE.nulls)])
# Papermill runs a notebook and keeps it, with its outputs, as the log of the job: also where it failed. At this level
# it shows what the notebook writes to standard error (the progress of a training run) and nothing of its own.
PAPERMILL = (
    "{sys.executable:q} -m papermill --cwd {ROOT:q} --kernel python3 --log-output --log-level WARNING --no-progress-bar"
    " {params.notebook:q} {log:q} -y {params.parameters:q}"
)


def pictures(*names):
    """Return the files of some figures of any dataset: the picture twice, the table behind it, and its note."""
    return expand(f"{FIGURES}/{{name}}.{{format}}", name=names, format=FORMATS, allow_missing=True)


def across(*names):
    """Return the files of some figures over several datasets, which lie beside the datasets' folders."""
    return expand(f"{PROFILE.figures}/{{name}}.{{format}}", name=names, format=FORMATS)


def checkpoints(*systems):
    """Return the checkpoints of any dataset of the systems that a figure shows."""
    return expand(PROFILE.checkpoint, system=dict.fromkeys(systems), seed=PROFILE.seed, allow_missing=True)


def trained(wildcards):
    """Return the checkpoint of a run, whose date does not matter once the run has ended.

    Before, what is made of it has to follow the training. Snakemake would leave it out, without a word, behind a file
    that is `ancient` and that a killed run has left.
    """
    path = PROFILE.checkpoint.format(**wildcards)
    return ancient(path) if Path(path).with_suffix(".json").exists() else path


def drawn(wildcards):
    """Return the files of all figures of the configured dataset, and of those over several that have their results."""
    notebooks = PROFILE.drawable(DRAWN, PROFILE.folder)
    if not notebooks:
        raise WorkflowError(
            f"missing=name draws spectral summaries of runs, and {PROFILE.results_folder(PROFILE.folder)} has none that "
            f"the profile {PROFILE.profile} draws; leave it out to train the models"
        )
    of_models = [name for notebook in notebooks for name in DRAWN[notebook]]
    of_results = [name for setting, name in SENSITIVITY.items() if PROFILE.has_varied(setting, PROFILE.folder)]
    of_several = [name for setting, name in SENSITIVITY_DATASETS.items() if len(PROFILE.varied_datasets(setting)) > 1]
    return expand(pictures(*of_models, *of_results), dataset=PROFILE.folder) + across(*of_several)


def asked(of_profile, **given):
    """Return what asks a method of the profile about the wildcards of a job, and what is given."""
    return lambda wildcards: of_profile(**wildcards, **given)


def parameters(of_profile, **given):
    """Return what gives a notebook's parameters for the wildcards of a job, as JSON."""
    return lambda wildcards: json.dumps(of_profile(**wildcards, **given))


wildcard_constraints:
    seed=r"\d+",
    table="|".join(PROFILE.tables) or "none",
    system="|".join(map(re.escape, PROFILE.systems)),
    dataset="|".join(map(re.escape, PROFILE.datasets)),


rule all:
    input:
        expand([*checkpoints(*PROFILE.models), f"{FIGURES}/theorem1_decay.csv"], dataset=PROFILE.folder)
        if PROFILE.missing == "train"
        else [],
        drawn,
        GALLERY,


rule gallery:
    message:
        f"Writing the gallery's pages: {GALLERY[-1]}"
    input:
        drawn,
    output:
        GALLERY,
    params:
        folder=PROFILE.figures,
    shell:
        "{sys.executable:q} -m spectral.gallery {params.folder:q}"


# The state file of an unfinished run lies beside the checkpoint and is no output, so that a killed run goes on.
rule train:
    message:
        "Training {wildcards.system} on {wildcards.dataset}, seed {wildcards.seed}"
    output:
        PROFILE.checkpoint,
    priority: lambda wildcards: priority(PROFILE, DRAWN, wildcards.dataset, wildcards.system)
    log:
        f"{LOGS}/train-{{system}}-seed{{seed}}.ipynb",
    params:
        notebook=f"{NOTEBOOKS}/train.ipynb",
        parameters=parameters(PROFILE.training_parameters),
    shell:
        PAPERMILL


# From a checkpoint to what tables and curves need of it, once: the checkpoint may be thrown away afterwards.
rule result:
    message:
        "Evaluating {wildcards.system} on {wildcards.dataset}, seed {wildcards.seed}"
    input:
        trained,
    output:
        result=PROFILE.result,
        summary=PROFILE.summary,
    params:
        data=lambda wildcards: ["--data", file] if (file := PROFILE.data_file(wildcards.dataset)) else [],
    shell:
        "cd {ROOT:q} && {sys.executable:q} -m models.evaluate {input:q} --result {output.result:q} {DATA} {params.data:q}"
        " && {sys.executable:q} -m spectral.summary {input:q} --out {output.summary:q} {DATA} {params.data:q}"
        " {NULLS}"


# Training leaves this file beside the checkpoint, epoch by epoch.
rule watched:
    message:
        "Keeping what was watched of {wildcards.system} on {wildcards.dataset}, seed {wildcards.seed}"
    input:
        trained,
    output:
        PROFILE.watched,
    params:
        watched=lambda wildcards, input: re.sub(r"\.pt$", ".watch.csv", str(input)),
    shell:
        "cp {params.watched:q} {output:q}"


# Block by block (`--config block=1`), so that the list is worked through in its order; all of it without a block.
rule runs:
    input:
        [
            path
            for dataset, system, seed in PROFILE.listed()
            for path in PROFILE.files_of(dataset, system, seed)
        ],


for notebook, names in DRAWN.items():

    rule:
        name:
            notebook
        message:
            f"Running {notebook}.ipynb on {{wildcards.dataset}}"
        input:
            asked(PROFILE.drawn_from, notebook=notebook),
            f"{NOTEBOOKS}/{notebook}.ipynb",
        output:
            pictures(*names),
            f"{FIGURES}/theorem1_decay.csv" if notebook == "theorem1" else [],
        log:
            f"{LOGS}/{notebook}.ipynb",
        params:
            notebook=f"{NOTEBOOKS}/{notebook}.ipynb",
            parameters=parameters(PROFILE.figure_parameters, notebook=notebook),
        shell:
            PAPERMILL


rule successors:
    input:
        expand(pictures(*SUCCESSORS), dataset=PROFILE.folder),


rule successors_notebook:
    message:
        "Running successors.ipynb on {wildcards.dataset}"
    input:
        checkpoints(*PROFILE.behind("successors")),
        list(PROFILE.checkpoints),
        f"{NOTEBOOKS}/successors.ipynb",
    output:
        pictures(*SUCCESSORS),
    log:
        f"{LOGS}/successors.ipynb",
    params:
        notebook=f"{NOTEBOOKS}/successors.ipynb",
        parameters=parameters(PROFILE.figure_parameters, notebook="successors"),
    shell:
        PAPERMILL


rule tables:
    input:
        expand(f"{FIGURES}/{{table}}.{{format}}", dataset=PROFILE.folder, table=PROFILE.tables, format=TABLE_FORMATS),


rule table_datasets:
    message:
        "Running {rule}.ipynb"
    input:
        f"{NOTEBOOKS}/table_datasets.ipynb",
    output:
        expand(f"{PROFILE.figures}/table_datasets.{{format}}", format=["csv", "md", "json"]),
    log:
        f"{PROFILE.runs}/{PROFILE.profile}/notebooks/table_datasets.ipynb",
    params:
        notebook=f"{NOTEBOOKS}/table_datasets.ipynb",
        parameters=json.dumps({"out": PROFILE.figures, "data_dir": PROFILE.data_dir}),
    shell:
        PAPERMILL


# The ledger is judged on the runs that are there, and names what it lacks. They are no inputs, so that none is trained
# for it; `make claims` makes it anew every time.
rule claims:
    message:
        "Running {rule}.ipynb"
    input:
        f"{NOTEBOOKS}/claims.ipynb",
    output:
        expand(f"{PROFILE.figures}/claims.{{format}}", format=["csv", "md", "json"]),
    log:
        f"{PROFILE.runs}/{PROFILE.profile}/notebooks/claims.ipynb",
    params:
        notebook=f"{NOTEBOOKS}/claims.ipynb",
        parameters=json.dumps(
            {
                "results": PROFILE.figures,
                "out": PROFILE.figures,
                "profile": PROFILE.profile,
                "data_dir": PROFILE.data_dir,
            }
        ),
    shell:
        PAPERMILL


rule table_protocols:
    message:
        "Running {rule}.ipynb on {wildcards.dataset}"
    input:
        f"{NOTEBOOKS}/table_protocols.ipynb",
        expand(PROFILE.result, system=["sasrec", "bsarec"], seed=PROFILE.seed, allow_missing=True),
    output:
        expand(f"{FIGURES}/table_protocols.{{format}}", format=["csv", "md", "json"], allow_missing=True),
    log:
        f"{LOGS}/table_protocols.ipynb",
    params:
        notebook=f"{NOTEBOOKS}/table_protocols.ipynb",
        parameters=lambda wildcards: json.dumps(
            PROFILE.results_parameters(
                dataset=wildcards.dataset, seeds=[PROFILE.seed], runs=PROFILE.runs, data_dir=PROFILE.data_dir
            )
        ),
    shell:
        PAPERMILL


rule table:
    message:
        "Making {wildcards.table} for {wildcards.dataset}"
    input:
        notebook=lambda wildcards: f"{NOTEBOOKS}/{PROFILE.table_notebook(wildcards.table)}.ipynb",
        results=asked(PROFILE.table_results),
    output:
        expand(f"{FIGURES}/{{table}}.{{format}}", format=TABLE_FORMATS, allow_missing=True),
    log:
        f"{LOGS}/{{table}}.ipynb",
    params:
        notebook=lambda wildcards, input: input.notebook,
        parameters=parameters(PROFILE.table_parameters),
    shell:
        PAPERMILL


rule sensitivity:
    input:
        expand(pictures(*SENSITIVITY.values()), dataset=PROFILE.folder),


rule remedies:
    input:
        [
            path
            for dataset in PROFILE.remedies_datasets
            for path in expand(pictures("remedies", "dynamics", "dynamics_paths"), dataset=dataset)
        ],


for notebook in ("remedies", "dynamics"):

    rule:
        name:
            f"{notebook}_figure"
        message:
            f"Running {notebook}.ipynb on {{wildcards.dataset}}"
        input:
            f"{NOTEBOOKS}/{notebook}.ipynb",
            asked(PROFILE.remedies_files, notebook=notebook),
        output:
            pictures(notebook, *(["dynamics_paths"] if notebook == "dynamics" else [])),
            [f"{FIGURES}/remedies_{name}.csv" for name in ("tests", "correlations")] if notebook == "remedies" else [],
        log:
            f"{LOGS}/{notebook}.ipynb",
        params:
            notebook=f"{NOTEBOOKS}/{notebook}.ipynb",
            parameters=parameters(PROFILE.remedies_parameters, notebook=notebook),
        shell:
            PAPERMILL


for setting, figure in SENSITIVITY.items():

    rule:
        name:
            f"{figure}_{setting}"
        message:
            f"Running fig5_fig6_sensitivity.ipynb on {{wildcards.dataset}}, {setting}"
        input:
            f"{NOTEBOOKS}/fig5_fig6_sensitivity.ipynb",
            asked(PROFILE.varied_results, setting=setting),
        output:
            pictures(figure),
        log:
            f"{LOGS}/{figure}_{setting}.ipynb",
        params:
            notebook=f"{NOTEBOOKS}/fig5_fig6_sensitivity.ipynb",
            parameters=parameters(PROFILE.sensitivity_parameters, setting=setting),
        shell:
            PAPERMILL


for setting, figure in SENSITIVITY_DATASETS.items():

    rule:
        name:
            f"{figure}_{setting}_datasets"
        message:
            f"Running fig8_fig9_sensitivity.ipynb on {', '.join(PROFILE.varied_datasets(setting))}, {setting}"
        input:
            f"{NOTEBOOKS}/fig8_fig9_sensitivity.ipynb",
            [PROFILE.varied_results(setting, *of_runs) for of_runs in PROFILE.varied_datasets(setting).items()],
        output:
            across(figure),
        log:
            f"{PROFILE.runs}/{PROFILE.profile}/notebooks/{figure}_{setting}_datasets.ipynb",
        params:
            notebook=f"{NOTEBOOKS}/fig8_fig9_sensitivity.ipynb",
            parameters=json.dumps(
                PROFILE.sensitivity_parameters(setting, datasets=PROFILE.varied_datasets(setting))
            ),
        shell:
            PAPERMILL
