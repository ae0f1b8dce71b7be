# make audit   the example, from nothing: environment, installation, audit of a real corpus
# make test    the tests, from nothing
# make check   what pre-commit and CI look at besides: style and types

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: audit test check clean

audit: $(INSTALLED)
	$(BIN)/contexture audit examples/abalone.yaml

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Versions that are known to work together; among them a build of torch without CUDA.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "contexture needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV)
