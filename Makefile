# `make figures` and `make test` are the two commands; `make help` lists all.
PYTHON ?= python3
PROFILE ?= quick
DATASET ?=
CORES ?= all
VENV := .venv
STAMP := $(VENV)/.installed
PY := $(VENV)/bin/python

# One process per core, one thread each: two runs side by side beat one run with two threads by far.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export NUMEXPR_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.PHONY: help setup figures gallery redraw tables sensitivity remedies claims examples paper successors test docs fuzz speed lab

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' Makefile | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

setup: $(STAMP) ## only the set-up: .venv with the pinned dependencies and this project

# An environment does not survive a move of its folder, so the stamp names the folder it was made in.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

# .unfinished marks an installation under way: one that was killed may hold half a package, so it is made anew.
$(STAMP): pyproject.toml constraints.txt models/layers/kernels.cpp
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: Python 3.11 or newer is needed, and '$(PYTHON)' is not: make setup PYTHON=python3.12" >&2; exit 1; }
	@if test -e $(VENV)/.unfinished; then \
	  echo "The last set-up was interrupted; starting again."; rm -rf $(VENV).old; mv $(VENV) $(VENV).old; rm -rf $(VENV).old; fi
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) || { \
	  echo "error: '$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing the pinned dependencies into $(VENV); this takes a minute or two, once."
	@rm -f $(STAMP); date +%s > $(VENV)/.unfinished
	@$(call install,.) || { rm -f $(VENV)/.unfinished; exit 1; }
	@echo "Installed in $$(($$(date +%s) - $$(cat $(VENV)/.unfinished))) s."
	@echo '$(CURDIR)' > $(VENV)/.unfinished; mv $(VENV)/.unfinished $(STAMP)

# An extra of pyproject.toml on top, such as what only tests need, or several, in one installation of half a minute. Killed
# here, the whole set-up is made anew as well.
$(VENV)/.installed-%: $(STAMP)
	@echo "Installing what $* needs besides into $(VENV)."
	@rm -f $@; mv $(STAMP) $(VENV)/.unfinished
	@$(call install,.[$*]) || { mv $(VENV)/.unfinished $(STAMP); exit 1; }
	@mv $(VENV)/.unfinished $(STAMP); touch $@

# Compiling to bytecode takes a third of the time of an installation, and pip does it on one core only. This project is
# compiled too: where PYTHONDONTWRITEBYTECODE is set, every command would do it again. Some packages hold examples that
# are no Python of this version, so the exit status says nothing.
install = $(PY) -m pip install -qq --no-compile -c constraints.txt -e '$(1)' \
  && { $(PY) -m compileall -qq -j 0 $(VENV)/lib models spectral || true; }

.NOTPARALLEL:

# The operating system drops this lock when its holder dies, however it dies, which Snakemake's own lock does not survive.
SNAKEMAKE = mkdir -p .snakemake; exec 9> .snakemake/make.lock; \
  if command -v flock >/dev/null && ! flock -n 9; then echo "Waiting for another run in this folder to end."; flock 9; fi; \
  $(PY) -m snakemake --nolock --rerun-incomplete --keep-going --quiet host reason --cores $(CORES)
CONFIG ?=

figures: $(STAMP) ## train models on MovieLens-100K and draw runs/figures/ml-100k (PROFILE=quick)
	@start=$$(date +%s); $(SNAKEMAKE) --config profile=$(PROFILE) $(if $(DATASET),dataset=$(DATASET)) \
	  $(if $(MISSING),missing=$(MISSING)) $(CONFIG) \
	  && echo "Figures are there after $$(($$(date +%s) - start)) s, the set-up not counted."

gallery: ## the same in the committed gallery, figures/, which git tracks and the profile `paper` draws anyway
	@$(MAKE) --no-print-directory figures CONFIG="figures=figures $(CONFIG)"

paper: ## figures with the published settings: make paper DATASET=lastfm (hours; MISSING=name draws the runs that are there)
	@$(MAKE) --no-print-directory figures PROFILE=paper

# Rules have the names of notebooks, or of a figure. Figures 8 and 9 are of several datasets; to force them would be to
# ask for them.
redraw: $(STAMP) ## figures, all drawn again: make redraw PROFILE=paper DATASET=lastfm
	@$(SNAKEMAKE) --config profile=$(PROFILE) $(if $(DATASET),dataset=$(DATASET)) $(CONFIG) --forcerun \
	  $(filter-out fig5% fig8%,$(basename $(notdir $(wildcard notebooks/fig*.ipynb notebooks/theorem1.ipynb)))) fig5_alpha fig6_c

tables: $(STAMP) ## the tables of every model over several seeds: make tables PROFILE=paper DATASET=lastfm (days; MISSING=name trains nothing)
	@$(SNAKEMAKE) --config profile=$(PROFILE) $(if $(DATASET),dataset=$(DATASET)) $(if $(MISSING),missing=$(MISSING)) -- tables

runs: $(STAMP) ## the run list of config/paper.yaml, block by block: days, resumable (CORES=1: one run at a time)
	@$(PY) -m models.remaining $(CONFIG)
	@for block in $$($(PY) -m models.remaining --blocks $(CONFIG)); do \
	  { $(SNAKEMAKE) --config profile=paper block=$$block $(CONFIG) -- runs; } || failed=1; \
	  $(PY) -m models.remaining $(CONFIG); done; exit $${failed:-0}

EXAMPLES := sasrec bsarec
EXAMPLE_RUNS := runs/quick/ml-100k
examples: $(STAMP) ## train the example checkpoints of models/examples again, if their runs are not there
	@$(SNAKEMAKE) --config profile=quick -- $(EXAMPLES:%=$(EXAMPLE_RUNS)/%-seed42.pt)
	@for model in $(EXAMPLES); do \
	  $(PY) -m models.convert --no-users $(EXAMPLE_RUNS)/$$model-seed42.pt models/examples/$$model.pt || exit 1; done

sensitivity: $(STAMP) ## HR@20 and NDCG@20 against alpha and c: make sensitivity PROFILE=paper DATASET=lastfm (hours)
	@$(SNAKEMAKE) --config profile=$(PROFILE) $(if $(DATASET),dataset=$(DATASET)) -- sensitivity

successors: $(STAMP) ## filters and smoothing of all models side by side: make successors PROFILE=paper DATASET=lastfm (days)
	@$(SNAKEMAKE) --config profile=$(PROFILE) $(if $(DATASET),dataset=$(DATASET)) $(CONFIG) -- successors

remedies: $(STAMP) ## remedies against oversmoothing compared, and how models smooth over epochs: make remedies PROFILE=paper (days, resumable; MISSING=name trains nothing)
	@$(SNAKEMAKE) --config profile=$(PROFILE) $(if $(MISSING),missing=$(MISSING)) $(CONFIG) -- remedies

claims: $(STAMP) ## which claims of the paper hold on the runs in figures/*/runs/paper: figures/claims.md
	@$(SNAKEMAKE) --config profile=paper --forcerun claims -- claims

test: $(VENV)/.installed-test,docs ## linters, types and the whole test suite, notebooks included
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(PY) -m pytest

docs: $(VENV)/.installed-docs ## the documentation as a site, docs/_build/html
	@$(PY) -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/_build/html

fuzz: $(VENV)/.installed-test ## mutated checkpoints and tables, in other ways for each seed: make fuzz MINUTES=10 SEED=0
	@PYTHONPATH=.:tests/helpers $(PY) tests/fuzz/fuzz.py --minutes $(or $(MINUTES),10) --seed $(or $(SEED),0) --keep runs/fuzz

# A measurement that fails leaves the earlier one.
RESULTS := benchmarks/results
speed: $(STAMP) ## measure speed, memory and growth, and write the tables of docs/speed.md and docs/scaling.md: half an hour on a quiet machine
	@mkdir -p $(RESULTS)
	$(PY) benchmarks/train_speed.py --json > $(RESULTS)/train_speed.part
	@mv $(RESULTS)/train_speed.part $(RESULTS)/train_speed.json
	$(PY) benchmarks/train_memory.py --users 10000 --interactions 200000 --items 1000000 --beside-torch --json \
	  > $(RESULTS)/train_memory.part
	@mv $(RESULTS)/train_memory.part $(RESULTS)/train_memory.json
	$(PY) benchmarks/scaling.py --out $(RESULTS)/scaling
	@$(PY) benchmarks/speed_table.py

lab: $(STAMP) ## the notebooks in JupyterLab
	@$(PY) -m jupyter lab notebooks
