# Two commands for a newcomer: `make run` and `make test`. Each sets up all that it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PAGE_TESTS := tests/static
PAGE_TOOLS := $(PAGE_TESTS)/node_modules
DEMO_HOME ?= safelight-home
# Processes that test, a file of tests at a time: one more than there are processors, since daemons are waited
# for; more than four would want for memory.
TESTERS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 4 ? cores + 1 : 4)))
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.PHONY: run install test lint types types-of-tools page screenshots torture fuzz judge bench format clean

run: install  ## the daemon on the built-in model, with sample prompts
	$(BIN)/safelight demo --home $(DEMO_HOME)

install: $(VENV)/.installed  ## the commands, in .venv/bin

test: $(VENV)/.installed-for-tests lint  ## lint, types, import contracts and all tests
	$(BIN)/pytest --numprocesses $(TESTERS) --dist loadfile

lint: $(VENV)/.installed-for-tests page
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory --jobs 2 types types-of-tools

types: $(VENV)/.installed-for-tests
	$(BIN)/mypy

types-of-tools: $(VENV)/.installed-for-tests
	$(BIN)/mypy --config-file tools/mypy.ini tools tests/tools

# Without npm the page's types go unchecked, as its tests do without a browser: only CI must have both.
page: $(if $(shell command -v npm),$(PAGE_TOOLS)/.installed)  ## the types of the page's modules, by the TypeScript compiler
	@if [ -e $(PAGE_TOOLS)/.installed ]; then $(PAGE_TOOLS)/.bin/tsc --project $(PAGE_TESTS); \
	elif [ "$$SAFELIGHT_BROWSER_TESTS" = required ]; then echo "SAFELIGHT_BROWSER_TESTS=required, and there is no npm on the PATH" >&2; exit 1; \
	else echo "no npm on the PATH: the page's types are not checked"; fi

torture: $(VENV)/.installed-for-tests  ## the long forms of the crash tests, many minutes
	$(BIN)/pytest -m torture
	$(BIN)/python -m tests.torture

fuzz: $(VENV)/.installed-for-tests  ## a million mutated prompt files; some minutes
	$(BIN)/python -m tests.fuzz

judge: $(VENV)/.installed-for-tests  ## all 200 questions to the demo model; a minute or two
	$(BIN)/python -m tests.tools.judged

bench: $(VENV)/.installed-for-bench  ## every benchmark, one after the other
	$(BIN)/python -m bench

screenshots: $(VENV)/.installed-for-tests  ## the pictures of the page in docs/images, made anew
	$(BIN)/python docs/screenshots.py

format: $(VENV)/.installed-for-tests
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) $(PAGE_TOOLS)

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

$(PAGE_TOOLS)/.installed: $(PAGE_TESTS)/package.json $(PAGE_TESTS)/package-lock.json
	npm ci --prefix $(PAGE_TESTS) --no-audit --no-fund --loglevel=error
	@touch $@

$(VENV)/.installed-for-bench: $(VENV)/.installed-for-tests
	$(PIP) --editable '.[bench]'
	@touch $@
