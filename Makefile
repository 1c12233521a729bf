PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint format setup clean

## make demo: a real ZenML server on SQLite, schedules, real runs, until Ctrl-C
demo: $(READY)
	$(BIN)/zendaemon demo $(DEMO)

## make test: every test, on real ZenML servers (the first time, four of them are installed into .cache/)
test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(TESTS)

## make lint: format, rules, types, import directions
lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy zendaemon
	$(BIN)/python -m pytest -q tests/unit/test_architecture.py

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache
