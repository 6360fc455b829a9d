# Every command creates .venv if it is missing. `make lens` is the main job, `make test` proves the house.
PYTHON ?= python3
BIN := .venv/bin
SOURCE ?= digits
OUT ?= lens-report

.PHONY: lens dimension test check test-all test-peers bench format clean

lens: .venv/ready
	$(BIN)/submanifold lens $(SOURCE) --out $(OUT)

dimension: .venv/ready
	$(BIN)/submanifold dimension $(SOURCE)

test: .venv/ready
	$(BIN)/pytest -q -n 2

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test-all: .venv/ready
	$(BIN)/pytest -q -m ""

# diffusers and pykan are large and nothing but these tests and the benchmarks needs them
test-peers: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[peers]"
	$(BIN)/pytest -q -m peer

bench: .venv/ready
	$(BIN)/python -m benchmarks

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv build dist
