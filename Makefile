# Two commands for newcomers: `make demo` and `make test`. Everything is installed into .venv and nowhere else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   ?=

export OPENBLAS_NUM_THREADS := 1
# The tests start some thousand programs: without their bytecode each would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test chaos world fuzz deploy long check format docs bench wheel lock clean

help:
	@echo "make demo    let 20 simulated devices learn on this machine (options: make demo DEMO='--rounds 20')"
	@echo "make test    check and test everything"
	@echo "make chaos   kill real processes at random, give them bad links and wrong clocks; slow tests"
	@echo "make world   run simulated worlds (make world WORLDS=0:1000)"
	@echo "make fuzz    changed messages for aggregator and device (make fuzz FUZZ_SECONDS=3600)"
	@echo "make deploy  install on a booted Debian and in containers, as root"
	@echo "make long    the tests that take minutes to hours"
	@echo "make check   format, lint, types, architecture, security"
	@echo "make format  put the code into its format"
	@echo "make docs    write the generated pages in docs/ anew, after what they tell of has changed"
	@echo "make bench   measure against peers and physical limits (see benchmarks/README.md)"
	@echo "make wheel   build dist/fedge-*.whl, to install on devices"

demo: $(VENV)/demo.installed
	$(BIN)/fedge demo $(DEMO)

# Two workers for each core that may be used: what starts programs and brokers mostly waits, and what is pure
# computes meanwhile; fewer where memory is short (tests/order.py).
WORKERS ?= auto
test: check
	$(BIN)/pytest -m "not (slow or chaos or deploy or long)" --numprocesses $(WORKERS) --dist worksteal

# Real processes killed at random (SEED, ROUNDS), then bad links, wrong clocks, full queues, and what
# `make test` leaves out because it takes its time; some need root.
SEED   ?= 1
ROUNDS ?= 50
chaos: $(VENV)/dev.installed
	$(BIN)/python -m tests.chaos.kills --seed $(SEED) --rounds $(ROUNDS)
	$(BIN)/pytest -m "chaos or slow" --timeout 900

# Simulated worlds, deterministic from their seeds: 100,000 take less than two hours on one core.
WORLDS ?= 0:100000
world: $(VENV)/dev.installed
	$(BIN)/fedge world --seeds $(WORLDS)

# What is delivered, on a machine of its own: systemd services on a booted Debian, container images. Needs root.
deploy: $(VENV)/dev.installed
	$(BIN)/pytest -m deploy --timeout 1800

# What takes minutes to hours: run by hand, its results are recorded in docs/reliability.md.
long: $(VENV)/dev.installed
	$(BIN)/pytest -m long --timeout 7200

CHECKS := check-types check-format check-lint check-imports check-advisories
.PHONY: $(CHECKS)
check: $(VENV)/dev.installed
	@$(MAKE) --no-print-directory --jobs 2 --output-sync --keep-going $(CHECKS)
check-types:
	$(BIN)/mypy
check-format:
	$(BIN)/ruff format --check .
check-lint:
	$(BIN)/ruff check .
check-imports:
	$(BIN)/lint-imports
check-advisories:
	$(BIN)/python .ci/audit.py requirements.lock

format: $(VENV)/dev.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/dev.installed
	$(BIN)/python -m fleet.cli.settings_reference docs/settings.md
	$(BIN)/python -m fleet.cli.api_reference docs/api.md
	$(BIN)/python -m fleet.cli.algorithms docs/algorithms.md
	$(BIN)/python -m fleet.cli.transitions docs/transitions.md

# Changed messages for both programs, guided by coverage, for as long as one likes (tests/fuzz/__main__.py).
FUZZ_SECONDS ?= 600
FUZZ_SEED    ?= 1
fuzz: $(VENV)/dev.installed
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED) --workers 2 --keep

# One after the other, each also where one before has missed its goal (exit code 1).
BENCHMARKS := algorithm_cost averaging enrolment extensions footprint influence round_vs_flower step_cost
bench: $(VENV)/dev.installed
	@$(MAKE) --no-print-directory --jobs 1 --keep-going $(BENCHMARKS:%=bench-%)
bench-%:
	$(BIN)/python -m benchmarks.$*

wheel: $(VENV)/dev.installed
	$(BIN)/python -m build --wheel

# The versions that all of this was tested with; `make lock` after a change of pyproject.toml.
lock:
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-annotate --no-header \
		--upgrade --output-file requirements.lock

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Fedge needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# What is never imported needs no bytecode: Python writes it where it is first needed.
$(VENV)/%.installed: pyproject.toml requirements.lock | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint requirements.lock --editable '.[$*]'
	@touch $@

clean:
	rm -rf $(VENV) dist build out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
