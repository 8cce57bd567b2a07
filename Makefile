# Two commands for a newcomer: `make run` and `make test`. Each sets up all that it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_HOME ?= safelight-home
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.PHONY: run install test lint torture fuzz bench format clean

run: install  ## the daemon on the built-in model, with sample prompts
	$(BIN)/safelight demo --home $(DEMO_HOME)

install: $(VENV)/.installed  ## the commands, in .venv/bin

test: $(VENV)/.installed-for-tests lint  ## lint, types, import contracts and all tests
	$(BIN)/pytest

lint: $(VENV)/.installed-for-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --config-file tools/mypy.ini tools tests/tools
	$(BIN)/lint-imports

torture: $(VENV)/.installed-for-tests  ## the long forms of the crash tests, many minutes
	$(BIN)/pytest -m torture
	$(BIN)/python -m tests.torture

fuzz: $(VENV)/.installed-for-tests  ## a million mutated prompt files; some minutes
	$(BIN)/python -m tests.fuzz

bench: $(VENV)/.installed-for-bench  ## every benchmark, one after the other
	$(BIN)/python -m bench

format: $(VENV)/.installed-for-tests
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Safelight needs Python 3.11 or later; say which with make PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-for-tests: $(VENV)/.installed
	$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.installed-for-bench: $(VENV)/.installed-for-tests
	$(PIP) --editable '.[bench]'
	@touch $@
