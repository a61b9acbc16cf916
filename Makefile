# One command a job. Each sets up what it needs in .venv; all that must be there is Python 3.11 or later, its pip, and make.
#   make PYTHON=python3.12 ...   another interpreter (for a new .venv)
#   make demo DATA=folder        the demo over your own legacy files
#   make test TESTS=tests/domain ARGS="-k name"

PYTHON ?= python3
JOBS ?= 2
TESTS ?= tests
ARGS ?=
DATA ?=
PYTHONS ?= python3.11 python3.12 python3.13
VENV := .venv
BIN := $(VENV)/bin

# Two marks, so that an edit of pyproject.toml costs seconds and works offline.
LOCKED := $(VENV)/.locked
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test matrix torture test-wheel test-all-pythons check bench docs format lock clean
.NOTPARALLEL:

help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

$(LOCKED): requirements/dev.txt tools/setup_venv.sh
	@echo "Setting up $(VENV) from requirements/dev.txt (once) ..."
	@tools/setup_venv.sh "$(PYTHON)" $(VENV) requirements/dev.txt
	@touch $@

$(READY): $(LOCKED) pyproject.toml
	@tools/setup_venv.sh "$(BIN)/python" $(VENV) requirements/dev.txt --editable .
	@touch $@

setup: $(READY) ## The virtual environment alone

demo: $(READY) ## The whole path on one machine: import, serve, read back, query
	@$(BIN)/python -m horde_model_reference demo $(if $(DATA),--data "$(DATA)")

test: $(READY) ## The tests
	@$(BIN)/python -m pytest -n $(JOBS) $(TESTS) $(ARGS)

matrix: $(READY) ## The failure matrix of a replica, played and printed
	@$(BIN)/python -m tests.resilience $(ARGS)

torture: $(READY) ## Writers killed 200 times in the middle of moderation; or ARGS=number
	@$(BIN)/python -m tests.torture $(ARGS)

test-wheel: $(READY) ## The tests of the built wheel, away from the source tree
	@tools/test_wheel.sh

test-all-pythons: ## The tests on every Python found, each in an environment of its own
	@ran=; for python in $(PYTHONS); do \
	    $$python -c '' 2>/dev/null || { echo "== $$python is not here"; continue; }; \
	    version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "== Python $$version"; \
	    tools/setup_venv.sh "$$python" .venv-$$version requirements/dev.txt --editable . || exit 1; \
	    .venv-$$version/bin/python -m pytest -n $(JOBS) $(TESTS) $(ARGS) || exit 1; \
	    ran="$$ran $$version"; \
	done; echo "Passed on:$$ran"; test -n "$$ran"

check: $(READY) ## Format, lint, types, layers, cycles, sizes, import, hygiene, docs, examples
	@tools/check.sh $(VENV)

bench: $(READY) ## The benchmarks, as a table
	@$(BIN)/python -m benchmarks $(ARGS)

docs: $(READY) ## Write the generated pages, check the links
	@$(BIN)/python -m tools.generate_configuration
	@$(BIN)/python -m tools.check_links

format: $(READY) ## Format the code and repair what can be repaired
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

lock: $(READY) ## Choose versions of the dependencies anew
	@tools/lock.sh $(VENV)

clean: ## Remove what was made here, the virtual environments included
	@rm -rf $(VENV) .venv-* build dist site .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
