# deid-gateway: everything a developer or CI runs. `make help` lists it.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3)
STAMP := $(VENV)/.installed
BENCH_VENV := .cache/venv-bench
BENCH_STAMP := $(BENCH_VENV)/.installed
FUZZ_VENV := .cache/venv-fuzz
FUZZ_STAMP := $(FUZZ_VENV)/.installed
SOURCES := $(wildcard app alembic tests tools bench)
FUZZ_SECONDS ?= 60
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install run test check demo bench fuzz lock fmt coverage clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv from the lock files (fast when nothing changed)

$(STAMP): requirements-dev.txt pyproject.toml app/__init__.py
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than Python 3.11" >&2; exit 1; }
	test -x $(BIN)/pip || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

run: install ## start the gateway on this machine, with a database of its own
	$(BIN)/deid-gateway serve $(ARGS)

test: install ## run every test (ARGS="-k name" to choose)
	$(BIN)/python -m pytest -n 2 $(ARGS)

coverage: install ## run every test and show what they did not reach
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term-missing:skip-covered $(ARGS)

check: install ## format, lint, types, import layers, spelling, deployment files
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/helm lint --strict --quiet deploy/helm/deid-gateway

fmt: install ## rewrite the code in the house format
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

demo: install ## send a sample study through a gateway and find its patient again
	$(BIN)/python tools/demo.py $(ARGS)

bench: install $(BENCH_STAMP) ## measure beside cp and other tools (ARGS goes to the harness)
	$(BIN)/python -m bench --peers $(BENCH_VENV)/bin $(ARGS)

$(BENCH_STAMP): requirements-bench.txt
	test -x $(BENCH_VENV)/bin/pip || "$(PYTHON)" -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --require-hashes -r requirements-bench.txt
	@touch $@

fuzz: install $(FUZZ_STAMP) ## fuzz the tokeniser for FUZZ_SECONDS (60)
	$(FUZZ_VENV)/bin/python tests/fuzz/fuzz_part10.py -max_total_time=$(FUZZ_SECONDS) $(ARGS)

$(FUZZ_STAMP): requirements-fuzz.txt
	test -x $(FUZZ_VENV)/bin/pip || "$(PYTHON)" -m venv $(FUZZ_VENV)
	$(FUZZ_VENV)/bin/python -m pip install --quiet --require-hashes -r requirements-fuzz.txt
	@touch $@

# The locks name no machine and no index: they hold on every registry that serves these files.
LOCK := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes \
	--allow-unsafe --strip-extras --annotation-style=line \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

lock: install ## resolve the dependencies anew and write the lock files (ARGS=--upgrade)
	$(LOCK) $(ARGS) -o requirements.txt -c tools/lock-constraints.txt pyproject.toml
	$(LOCK) $(ARGS) -o requirements-dev.txt --extra dev -c requirements.txt pyproject.toml
	$(LOCK) $(ARGS) -o requirements-fuzz.txt --extra fuzz -c requirements.txt pyproject.toml
	$(LOCK) $(ARGS) -o requirements-bench.txt tools/bench-peers.in

clean: ## remove what the commands above made, but never the data
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf dist build .coverage
	find app alembic tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
