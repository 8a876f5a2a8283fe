# GatewayX: every task of a checkout. `make` alone lists them.
# Set-up steps leave a stamp and run again only when what they are made from has changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
UV_VERSION := 0.13.8
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps

# rustup's usual place, for shells that have not been told; one interpreter for every build.
export PATH := $(HOME)/.cargo/bin:$(PATH)
export PYO3_PYTHON := $(BIN)/python
export VIRTUAL_ENV := $(VENV)
export CARGO_TERM_QUIET := true

EXTENSION_CRATES := auth http policy telemetry engine python
EXTENSION_SOURCES := Cargo.toml Cargo.lock pyproject.toml \
    $(shell find $(EXTENSION_CRATES:%=native/%) -name '*.rs' -o -name Cargo.toml)

PLUGIN := target/gatewayx-envoy.wasm
PLUGIN_SOURCES := scripts/build-wasm.sh $(shell find wasm native/policy -name '*.rs' -o -name 'Cargo.*')

.PHONY: help
help: ## List the tasks
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | \
	    awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# Setting up

.PHONY: setup
setup: $(STAMPS)/extension ## Make .venv with every tool and the native extension, built for speed

$(STAMPS)/uv:
	@scripts/system-packages.sh gcc:gcc $(PYTHON):python3
	@command -v cargo >/dev/null || { echo "Missing: Rust 1.88 or newer (https://rustup.rs)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is older than 3.11; say PYTHON=python3.x" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/system-packages.sh none:python3-venv
	@echo "Making .venv"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/tools: requirements/dev.lock | $(STAMPS)/uv
	@echo "Installing the locked tools"
	@$(BIN)/uv pip sync --quiet requirements/dev.lock
	@touch $@

$(STAMPS)/extension: $(STAMPS)/tools $(EXTENSION_SOURCES)
	@echo "Building the native extension"
	@$(BIN)/maturin develop --uv --release --locked --quiet
	@touch $@

.PHONY: wasm
wasm: $(PLUGIN) ## Build the Envoy plugin, with Debian's compiler

$(PLUGIN): $(PLUGIN_SOURCES)
	@echo "Building the Envoy plugin"
	@scripts/build-wasm.sh $@

# Using

.PHONY: run
run: setup ## Run a demo upstream and the gateway in front of it; prints what to try
	@$(BIN)/python examples/demo.py

# Checking

.PHONY: test
test: setup peers wasm ## Everything that continuous integration runs
	@$(MAKE) --no-print-directory lint test-native test-python

.PHONY: peers
peers:
	@scripts/system-packages.sh nginx:nginx-light haproxy:haproxy prometheus:prometheus \
	    initdb:postgresql faketime:faketime systemd-analyze:systemd go:golang-go

.PHONY: lint
lint: setup ## Formatting, lints and types; warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo fmt --manifest-path native/fuzz/Cargo.toml --check
	cargo clippy --manifest-path native/fuzz/Cargo.toml --target-dir target/fuzz --locked -- -D warnings
	cargo fmt --manifest-path wasm/Cargo.toml --check
	cargo clippy --manifest-path wasm/Cargo.toml --target-dir target/wasm --all-targets --locked -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --allowlist tests/tidy/stubtest.allow --ignore-unused-allowlist \
	    gatewayx._native

.PHONY: test-native
test-native: setup ## Rust tests; the shared-memory code under every interleaving (loom)
	cargo test --workspace --locked
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom \
	    cargo test --package gatewayx-telemetry --release --test loom --locked
	cargo test --manifest-path wasm/Cargo.toml --target-dir target/wasm --locked
	cargo run --package gatewayx-simulator --release --locked -- --exchanges 200000
	cargo run --manifest-path native/fuzz/Cargo.toml --target-dir target/fuzz --locked

.PHONY: soak
soak: setup ## Simulate for as long as it is let: SEED= where to begin, EXCHANGES= how many
	cargo run --package gatewayx-simulator --release --locked -- \
	    --seed $(or $(SEED),$(shell date +%s)000) --exchanges $(or $(EXCHANGES),20000000)
	cargo run --manifest-path native/fuzz/Cargo.toml --target-dir target/fuzz --release --locked -- \
	    --seed $(or $(SEED),$(shell date +%s)) --inputs 2000000

.PHONY: test-python
test-python: setup peers wasm ## Python tests: units, integration on real sockets, the rules of the code
	$(BIN)/pytest -q

.PHONY: coverage
coverage: setup peers wasm ## Python tests with the lines that none of them ran
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

.PHONY: bench
bench: setup peers ## Measure the parts, then the gateway beside nginx, HAProxy and Envoy
	@scripts/system-packages.sh wrk:wrk taskset:util-linux
	cargo bench --quiet --locked --package gatewayx-telemetry --package gatewayx-http
	$(BIN)/pytest -q benchmarks/primitives
	$(BIN)/python -m benchmarks.proxy

# Keeping

.PHONY: docs
docs: setup ## Write the generated pages of docs/
	$(BIN)/python -m gatewayx.config.reference > docs/CONFIGURATION.md
	$(BIN)/python -m tests.admin.catalogue > docs/METRICS.md
	$(BIN)/python -m tests.admin.api_reference > docs/API.md

.PHONY: format
format: setup ## Format all code
	cargo fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lock
lock: $(STAMPS)/uv ## Resolve pyproject.toml anew into requirements/dev.lock
	$(BIN)/uv pip compile --quiet --group dev pyproject.toml --generate-hashes --no-header \
	    --no-annotate --output-file requirements/dev.lock

.PHONY: clean
clean: ## Remove everything that was built, .venv included
	rm -rf $(VENV) target dist build htmlcov .coverage .coverage.* src/gatewayx/_native*.so
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
