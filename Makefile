# Everything runs in .venv, which is made from constraints.txt: the versions that the tests were run with.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

POINTS ?= 20
WORKERS ?= logical
SEED ?= $(shell date +%s)

.PHONY: demo test cluster drill check bench clean

demo: $(READY)  ## index the handbook on the embedded Redis and ask it questions
	$(BIN)/ragknn demo

# What is compiled is kept, whatever the environment says: hundreds of processes read it.
test: $(READY)  ## run all tests, on every core up to four, or WORKERS=n: each worker has a Redis and a loaded model
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist worksteal

cluster: $(READY)  ## run all tests on a Redis Cluster: `test` leaves out those of nodes that fail and slots that move
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist worksteal tests/cluster

drill: $(READY)  ## kill, cut, stop and fill at many points drawn by chance; POINTS=n of each, SEED=n to repeat
	@echo 'drill: SEED=$(SEED) POINTS=$(POINTS)'
	DRILL_SEED=$(SEED) DRILL_POINTS=$(POINTS) $(BIN)/pytest --numprocesses logical --maxprocesses 4 tests/drill
	$(BIN)/pytest --numprocesses logical --maxprocesses 4 -m hypothesis --hypothesis-profile drill --hypothesis-seed $(SEED)
	$(BIN)/python tests/drill_rebuilding.py --seed $(SEED) --trials $(POINTS) --kill process
	$(BIN)/python tests/drill_rebuilding.py --seed $(SEED) --trials $(POINTS) --kill server
	$(BIN)/python tests/drill_bad_input.py --seed $(SEED) --trials 1000

check: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## speed beside the peers; with DATA=folder, quality on a data set in BEIR layout
	$(BIN)/python -m $(if $(DATA),benchmarks.retrieval $(DATA),benchmarks.summary)

clean:  ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
