# Everything starts from a machine with Python, cargo and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RELEASE := .venv-release
FUZZ_SECONDS ?= 60
FUZZ_INPUTS ?= 1000
FAULTS ?= 240
FAULTS_SEED ?= 0
WHEEL_TARGETS := x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu
SOURCES := Cargo.toml Cargo.lock pyproject.toml $(shell find rust python -name '*.rs' -o -name 'Cargo.toml')

.DEFAULT_GOAL := help
.PHONY: help demo install test test-rust test-python lint slow faults fuzz bench docs wheels wheel-test audit format clean

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

test-rust: ## Tests of the Rust kernels, and each fuzz target for a second
	cargo test --quiet

test-python: $(VENV)/developed ## Tests of the package
	$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

slow: $(VENV)/developed fuzz ## The tests that repeat whole experiments, and fuzz
	$(BIN)/pytest --slow -m slow

faults: $(VENV)/developed ## Kills, full disks and damaged files on a tiny run, FAULTS=240 within 15 minutes
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m made.faults --faults $(FAULTS) --seed $(FAULTS_SEED)

fuzz: $(VENV)/developed ## Hostile input for every kernel and reader, FUZZ_SECONDS=60 and FUZZ_INPUTS=1000 each
	cargo run --quiet --profile fuzz --package tmi-fuzz -- --seconds $(FUZZ_SECONDS)
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m made.fuzz --inputs $(FUZZ_INPUTS)

bench: $(VENV)/developed ## Measure the kernels against NumPy and a memory copy
	$(BIN)/tmi bench
	$(BIN)/pytest benches -q -s
	cargo bench --quiet

docs: $(VENV)/developed ## Build the documentation site, in target/site
	$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/mkdocs build --strict

$(RELEASE)/installed: scripts/release-tools.txt
	$(PYTHON) -m venv $(RELEASE)
	echo '*' > $(RELEASE)/.gitignore
	$(RELEASE)/bin/python -m pip install --quiet --requirement $<
	touch $@

# zig links against the C library of manylinux2014, for either processor. The paths of this machine stay out.
wheels: export PATH := $(abspath $(RELEASE)/bin):$(PATH)
wheels: export RUSTFLAGS := --remap-path-prefix=$(HOME)/.cargo/registry/src=registry --remap-path-prefix=$(CURDIR)=.
wheels: $(RELEASE)/installed ## Build and check the Linux wheels and the sdist, in dist/
	rm -rf dist
	rustup target add $(WHEEL_TARGETS)
	set -e; for target in $(WHEEL_TARGETS); do \
	  maturin build --release --locked --zig --compatibility manylinux2014 --target $$target --out dist; done
	maturin sdist --out dist
	python scripts/check_wheels.py dist

wheel-test: ## Install the wheel in dist/ into an empty environment and use every command
	bash scripts/wheel_test.sh dist $(PYTHON)

audit: $(RELEASE)/installed $(VENV)/installed ## Known vulnerabilities and licences of what is depended on (needs cargo-deny)
	cargo deny --all-features check
	$(RELEASE)/bin/pip-audit --path $(VENV)/lib/python3*/site-packages --skip-editable

format: $(VENV)/developed ## Format all code
	cargo fmt
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean: ## Remove what was built
	rm -rf $(VENV) $(RELEASE) target dist python/tmi/*.so
