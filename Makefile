# What works from a clean clone, with Python >= 3.11, pip and make. `make` alone lists it.
PYTHON ?= python3
# Processes that run tests; each takes about 1.5 GB.
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTED := $(VENV)/.tested

.PHONY: help setup demo test lint docs format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(INSTALLED) ## Install contrail and its tools into .venv (2-4 minutes, 2.4 GB)

demo: $(INSTALLED) ## Train a small model on a short stream (fetches 93 MB the first time)
	$(BIN)/contrail run examples/quickstart.yaml

# Tests are compiled once, and not by each process again.
test: export PYTHONDONTWRITEBYTECODE =
test: $(TESTED) ## Run the tests, on all environments that can be installed here
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "slow or not slow"

lint: $(INSTALLED) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED) ## Build the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(INSTALLED) ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove .venv and what tools have left behind; runs/ stays
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("contrail needs Python 3.11 or later, and $(PYTHON) is %d.%d. Try: make setup PYTHON=python3.12" % v[:2])'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	$(BIN)/python -m contrail.compat.torchvision
	@touch $@

$(TESTED): $(INSTALLED)
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev,wheels]"
	# gem-llm pins other versions of what is there already, and Python 3.12.0 or earlier.
	$(BIN)/python -m pip install -c constraints.txt --no-deps --ignore-requires-python gem-llm || echo "gem-llm cannot be installed here: its tests are skipped."
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev,all]" || echo "alfworld and textworld cannot be compiled here (they need a C++ compiler): their tests are skipped."
	@touch $@
