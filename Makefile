# Two commands do all the set-up on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check matrix reliability bench-ppo bench-speed install clean

demo: install
	$(BIN)/rlhf run quickstart

test: install
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

matrix: install
	$(BIN)/python -m tests.matrix

reliability: install
	$(BIN)/python -m benchmarks.reliability $(if $(FULL),--full)

bench-ppo: install
	$(BIN)/python -m benchmarks.ppo.compare all

bench-speed: install
	$(BIN)/python -m benchmarks.speed --short

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable . --group dev
	touch $@

clean:
	rm -rf .venv runs dist
