SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV ?= .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
PROTO := protos/tilewright/status/v1/status.proto
SOURCES := bench gateway ingest pipeline protos statussvc tests tiler tilewright
ARGS ?=
SECONDS ?= 180

##@ Start here
.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: $(VENV)/.project web/node_modules/.package-lock.json ## Install everything the project needs into .venv; assumes only Python 3.11
	@:

.PHONY: demo
demo: setup ## Tile a real, large image and show it
	@$(BIN)/python -m tilewright.commands.demo $(ARGS)

.PHONY: up
up: setup ## Run the whole system in one process on http://127.0.0.1:8000
	@$(BIN)/tilewright up $(ARGS)

##@ Work on it
.PHONY: test
test: setup oracles debian lint ## Run everything that CI runs: lint and all tests
	$(BIN)/pytest -n 2 --no-loadscope-reorder --durations=20 $(ARGS)

.PHONY: quick
quick: setup oracles lint ## Linters and the unit tests, which start nothing: about a minute
	$(BIN)/pytest -q -n 2 --no-loadscope-reorder tests/unit $(ARGS)

.PHONY: lint
lint: setup ## Check style, types, import rules and protos
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/buf lint protos

.PHONY: format
format: setup ## Fix and format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: protos
protos: setup ## Regenerate the Python code of protos/
	$(BIN)/python -m grpc_tools.protoc -I . \
	  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. $(PROTO)

.PHONY: docs
docs: setup ## Regenerate the reference tables of docs/ from the code
	$(BIN)/python -m tilewright.commands.reference
	$(BIN)/python -m tests.support.rigs.formats_page

.PHONY: bench
bench: setup ## Compare speed and memory with curl and plain libvips
	@$(BIN)/python -m bench.main $(ARGS)

.PHONY: attack
attack: setup ## Attack a local stack (crowds, costly files, slow sources) and print the damage
	@$(BIN)/python -m bench.attack $(ARGS)

.PHONY: writers
writers: setup ## Tile what several writers write by their options; compare it with other decoders
	@$(BIN)/python -m bench.writers $(ARGS)

.PHONY: soak
soak: setup ## Kill workers at random for SECONDS (180) during 200 datasets; count losses
	@$(BIN)/python -m tests.faults.soak --seconds $(SECONDS) $(ARGS)

.PHONY: lock
lock: setup ## Resolve all dependencies again (UPGRADE=1: to the newest versions)
	$(UV) pip compile -q $(COMPILE) pyproject.toml -o requirements.lock
	$(UV) pip compile -q $(COMPILE) pyproject.toml --extra dev -c requirements.lock -o requirements-dev.lock
	$(UV) pip compile -q $(COMPILE) requirements-bootstrap.in -c requirements-dev.lock -o requirements-bootstrap.lock
	$(UV) pip compile -q $(COMPILE) requirements-node.in -o requirements-node.lock
	$(UV) pip compile -q $(COMPILE) requirements-conformance.in -o requirements-conformance.lock
COMPILE = --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

##@ The farm (needs Docker)
.PHONY: compose-up
compose-up: ## Build and start the stack of compose.yaml; wait until it is healthy
	docker compose up --build --wait

.PHONY: compose-test
compose-test: setup ## Start the compose stack, tile an image through it, stop it
	$(BIN)/pytest -m compose tests/compose $(ARGS)

##@ Clean up
.PHONY: clean
clean: ## Remove everything that make setup and the tools made
	rm -rf $(VENV) web/node_modules tests/viewers/node_modules .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# These files are made once, and again when their dependencies change.

$(UV): requirements-bootstrap.lock scripts/find-python
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1 && ! $(BIN)/python -m ensurepip >/dev/null 2>&1; then \
	  python=$$(scripts/find-python); echo "Making $(VENV) with $$python"; $$python -m venv --clear $(VENV); \
	fi
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock
	@touch $@

$(VENV)/.packages: $(UV) requirements-dev.lock
	@echo "Installing the packages of requirements-dev.lock"
	@$(UV) pip sync -q --python $(BIN)/python --require-hashes requirements-bootstrap.lock requirements-dev.lock
	@touch $@

$(VENV)/.project: $(VENV)/.packages pyproject.toml
	@$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# Validators and decoders by others, for the tests. They are installed apart, because two have the same name and because
# the project must not come to depend on them.
$(VENV)/.conformance: requirements-conformance.lock | $(VENV)/.packages
	@echo "Installing validators and reference decoders for the tests"
	@rm -rf $(VENV)/conformance
	@$(UV) pip install -q --python $(BIN)/python --target $(VENV)/conformance --no-build-isolation --require-hashes \
	  -r requirements-conformance.lock
	@touch $@

web/node_modules/.package-lock.json: web/package-lock.json | $(VENV)/.packages
	@echo "Installing the page's assets"
	@cd web && VENV=$(abspath $(VENV)) ../scripts/npm ci --loglevel=error --no-fund --no-audit --ignore-scripts >/dev/null
	@touch $@

tests/viewers/node_modules/.package-lock.json: tests/viewers/package-lock.json | $(VENV)/.packages
	@echo "Installing viewers for the tests"
	@cd tests/viewers && VENV=$(abspath $(VENV)) ../../scripts/npm ci --loglevel=error --no-fund --no-audit --ignore-scripts >/dev/null
	@touch $@

# Validators, decoders and viewers that only the tests need: `make setup` does not wait for them.
.PHONY: oracles
oracles: $(VENV)/.conformance tests/viewers/node_modules/.package-lock.json
	@:

.PHONY: debian
debian:
	@scripts/debian-packages rabbitmq-server postgresql chromium libmagic1 nginx-light
