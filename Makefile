# What .ci/run runs, step by step: make check, make test, make build. "make format" changes files.
# Needs: pip install -e .[test,dev]

PYTHON ?= python3

# Fast tests of what is pure; the floor is in pyproject.toml.
PURE = $(addprefix tests/test_,$(addsuffix .py,rules attested_rules operators_word not_faults unseen \
  explain bypass windows_firewall attested))

.PHONY: all check format coverage test build

all: check coverage test build

check:
	$(PYTHON) -m ruff check --output-format concise
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy --platform linux
	$(PYTHON) -m mypy --platform win32
	$(PYTHON) -m mypy --platform darwin

format:
	$(PYTHON) -m ruff check --fix --output-format concise
	$(PYTHON) -m ruff format

coverage:
	$(PYTHON) -m pytest -q --cov --cov-report term $(PURE)

test:
	$(PYTHON) -m pytest

build:
	$(PYTHON) build.py
