# `make demo` and `make test` need Python ≥ 3.11, pip and a package index, nothing else.
# Another Python: `make test PYTHON=python3.13`; each Python has an environment of its own.

PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
DEFAULT := $(shell python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV := .venv$(if $(filter-out $(DEFAULT),$(VERSION)),-$(VERSION))
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

.PHONY: demo
demo: $(VENV)/run ## train on real radio galaxies and write a report, in a few minutes
	$(BIN)/zoo train radio_galaxies_demo

.PHONY: test
test: $(VENV)/test ## lint and the default tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYTEST) -m "not slow and not parity"

.PHONY: test-slow
test-slow: $(VENV)/test ## the long tests
	$(PYTEST) -m "slow and not parity"

.PHONY: test-parity
test-parity: $(VENV)/parity ## numerical agreement with PyTorch
	$(PYTEST) -m parity

.PHONY: test-smoke
test-smoke: $(VENV)/test ## a few minutes of everything, for a second Python
	$(PYTEST) -m "smoke and not slow"

.PHONY: notebooks
notebooks: $(VENV)/test ## execute all notebooks and store their pictures
	$(BIN)/python notebooks/execute.py

.PHONY: notebooks-check
notebooks-check: $(VENV)/test ## execute all notebooks, keep nothing
	$(BIN)/python notebooks/execute.py --check

.PHONY: readme
readme: $(VENV)/run ## refresh the generated tables of README.md
	$(BIN)/zoo readme

.PHONY: format
format: $(VENV)/test ## format and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: clean
clean: ## remove environments and caches, never runs
	rm -rf .venv .venv-* .cache .pytest_cache .ruff_cache .hypothesis build *.egg-info

$(VENV)/run: pyproject.toml constraints.txt
	@test -n "$(VERSION)" || { echo "zoo needs Python 3.11 or newer; none was found. Name one: make demo PYTHON=/path/to/python3.13"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[data,run]"
	touch $@

$(VENV)/test: $(VENV)/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[data,run,notebooks,test]"
	touch $@

$(VENV)/parity: $(VENV)/test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[data,run,notebooks,test,parity]"
	touch $@
