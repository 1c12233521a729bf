PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SERVERS := 0.62.0 0.75.0 0.85.0 0.98.0

.PHONY: demo test simulate mutants bench servers lint format setup clean

## make demo: a real ZenML server on SQLite, schedules, real runs, until Ctrl-C
demo: $(READY)
	$(BIN)/zendaemon demo $(DEMO)

## make test: every test, on real ZenML servers (the first time, four of them are installed into .cache/)
test: $(READY) servers
	$(BIN)/python -m pytest -n 2 --dist loadfile $(TESTS)

## make simulate SEEDS=10000: simulated weeks, each with its own mishaps; SEED=42 replays one, and tells every step
simulate: $(READY)
	@PYTHONPATH=tests $(BIN)/python -m simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),200))

## make mutants: takes each guard of the promise away, and shows that the simulation notices
mutants: $(READY)
	@PYTHONPATH=tests $(BIN)/python -m simulation.mutants

## make bench: every benchmark, beside its peers, which are installed into .cache/bench the first time; BENCH=burst for one
bench: $(READY)
	@$(BIN)/python -m bench $(BENCH)

# Before pytest, whose capture would hide the progress.
servers: $(READY)
	@$(BIN)/python -c 'import os, pathlib; from zendaemon.demo.venv import ensure_venv; \
		cache = pathlib.Path(os.environ.get("ZENDAEMON_DEMO_CACHE") or ".cache"); \
		[ensure_venv(version, cache.absolute(), print) for version in "$(SERVERS)".split()]'

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
