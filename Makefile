# Everything starts from a machine with Python, cargo and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := Cargo.toml Cargo.lock pyproject.toml $(shell find rust python -name '*.rs' -o -name 'Cargo.toml')

.DEFAULT_GOAL := help
.PHONY: help demo install test test-rust test-python lint slow bench format clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: install ## Build, install into .venv, and run `tmi attack`
	$(BIN)/tmi attack

install: $(VENV)/installed ## Build and install the package into .venv

$(VENV)/installed: $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/developed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

test: lint test-rust test-python ## Run every check

lint: $(VENV)/developed ## Formatting, lints, types, layers
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest tmi._core
	$(BIN)/lint-imports

test-rust: ## Tests of the Rust kernels
	cargo test --quiet

test-python: $(VENV)/developed ## Tests of the package
	$(BIN)/pytest

slow: $(VENV)/developed ## The tests that repeat whole experiments
	$(BIN)/pytest --slow -m slow

bench: $(VENV)/developed ## Measure the kernels against NumPy and a memory copy
	$(BIN)/tmi bench
	$(BIN)/pytest benches -q -s
	cargo bench --quiet

format: $(VENV)/developed ## Format all code
	cargo fmt
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean: ## Remove what was built
	rm -rf $(VENV) target dist python/tmi/*.so
