# Everything a user types. `make repro` and `make test` work on a fresh machine: they install what they need first.
# What params.yaml is composed from; with neither, `make repro` keeps what params.yaml was composed from last time.
PROFILE ?=
ARGS ?=
# Further arguments for `dvc repro`, such as DVC_ARGS=--pull.
DVC_ARGS ?=
# The DVC remote that `make remote` sets; the environment may name it.
URL ?= $(MEMSIFTER_REMOTE)
ENDPOINT ?= $(AWS_ENDPOINT_URL)

OVERRIDES = $(if $(PROFILE),profile=$(PROFILE)) $(ARGS)
PORT ?= 5000

VENV := .venv
# What is installed stays what is meant, until DEVICE says otherwise.
DEVICE ?= $(or $(patsubst $(VENV)/installed-%.txt,%,$(wildcard $(VENV)/installed-*.txt)),cpu)
PYTHON ?= $(if $(filter gpu,$(DEVICE)),python3.12,python3.11)
LOCK := requirements/$(DEVICE).txt
INSTALLED := $(VENV)/installed-$(DEVICE).txt
# Stage commands say `python`: the virtual environment comes first for DVC, Ray and everything below them.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

.PHONY: help setup tools repro test all-tests test-fast bench lint style types format params remote report docs mlflow lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(INSTALLED)  ## make or refresh .venv (DEVICE=cpu|gpu, or library: docs/use.md alone)

$(INSTALLED): $(LOCK) pyproject.toml scripts/setup.sh
	PYTHON=$(PYTHON) bash scripts/setup.sh $(VENV) $(LOCK)
	cp $(LOCK) $@

# The library alone has no DVC, no linters and no pytest. (Our own commands say by themselves what they lack.)
tools: setup
	@[ "$(DEVICE)" != library ] || { echo "memsifter: error: $(VENV) holds the library alone; make setup DEVICE=cpu (or gpu) installs the rest" >&2; exit 1; }

repro: setup  ## run the pipeline, e.g. make repro PROFILE=gpu ARGS='dataset=locomo'; later just make repro
	@DVC_ARGS='$(DVC_ARGS)' bash scripts/repro.sh $(OVERRIDES)

params: setup  ## compose params.yaml and run nothing, e.g. make params PROFILE=gpu ARGS='dataset=locomo'
	@python -m memsifter compose $(OVERRIDES)

remote: tools  ## share outs through S3: make remote URL=s3://bucket/path [ENDPOINT=https://host]
	@bash scripts/remote.sh "$(URL)" "$(ENDPOINT)"

test: tools style  ## lint, unit tests, and the pipeline end to end with the real engines
	@# mypy takes a minute of one core, while tests wait for Ray, servers and each other.
	@$(MAKE) --no-print-directory --jobs 2 types all-tests

all-tests: tools
	@# More workers than two cores: a test that waits for Ray or a server to start leaves its core to the others.
	python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder

test-fast: tools  ## the unit tests that need no engine
	python -m pytest -q -n 2 --dist loadfile -m "not slow and not pipeline"

bench: tools  ## every CPU benchmark against a reference way, under 25 minutes; writes docs/results/benchmarks.md
	python -m bench.side_by_side

lint: style types  ## ruff and mypy

style: tools
	ruff check .
	ruff format --check .

types: tools
	mypy

format: tools  ## let ruff rewrite the code
	ruff check --fix .
	ruff format .

report: setup  ## write reports/report.html: quality, training, cost, and every question, in one page
	@python -m memsifter report

docs: setup  ## write docs/parameters.md and the tables of docs/datasets.md from the code
	@python -m memsifter compose --reference
	@python -m memsifter.datasets.table

mlflow: setup  ## serve the comparison page on http://127.0.0.1:5000/#/experiments/1/runs (PORT=5000)
	@python -m memsifter track experiments
	@bash scripts/mlflow.sh $(PORT)

lock: setup  ## make the lock files anew from pyproject.toml; existing pins are kept where they still fit
	bash scripts/lock.sh

clean:  ## remove the virtual environment and all caches; DVC's outs stay
	rm -rf $(VENV) .cache/memsifter .mypy_cache .ruff_cache .pytest_cache
