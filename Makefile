# The toolbox. Needs python3 >= 3.11 with venv and pip, make and git; `make` alone lists what there is.

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed

# The first interpreter that is new enough; PYTHON=... on the command line overrides it.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
DEMO_SECONDS ?= 60
TESTS ?= tests
WORKERS ?= 2
N ?= 1000
SEED ?= 1
TRIES ?= 300
KILLS ?= 100
RATE ?= 500

.DEFAULT_GOAL := help
.PHONY: help setup demo chaos test check format docs bench histories mutants soak proof proof-long lock lock-peers image image-test clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## Make .venv with everything pinned and verified by hash (done once)

$(STAMP): requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "sfsync needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment: install its venv and pip (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "installing the pinned requirements into $(VENV) ..."
	@# The pip of an older Python needs three times as long for the rest as the one that is pinned.
	@sed -n '/^pip==/,/[^\\]$$/p' requirements/dev.txt > $(VENV)/pip.txt
	@$(BIN)/python -m pip install -qq --require-hashes --requirement $(VENV)/pip.txt
	@$(BIN)/python -m pip install -qq --no-compile --no-deps --require-hashes --requirement requirements/dev.txt
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## A simulated org, the daemon and a Postgres of its own for DEMO_SECONDS (60; 0 = until Ctrl-C)
	@DEMO_SECONDS=$(DEMO_SECONDS) $(BIN)/sfsync demo

chaos: $(STAMP) ## What happens to your configuration when ...: every fault against the real daemon; CHAOS='--config FILE'
	@$(BIN)/sfsync chaos $(CHAOS)

test: $(STAMP) ## The whole suite, or TESTS=path, in WORKERS=2 processes; Postgres: SFSYNC_TEST_DSN, else containers, else embedded
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TESTS)

check: $(STAMP) ## Lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src tests
	$(BIN)/python -m pytest -q tests/structure

format: $(STAMP) ## Mend what the formatter and the linter can mend alone
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(STAMP) ## Write the documents that are made from the code (docs/logs.md, docs/types.md, docs/failpoints.md)
	@$(BIN)/python -m tests.structure.log_document > docs/logs.md
	@$(BIN)/python -m tests.structure.types_document > docs/types.md
	@$(BIN)/python -m tests.structure.failpoint_document > docs/failpoints.md

histories: $(STAMP) ## Play N=1000 random histories from SEED=1 in virtual time; one JSON line
	@$(BIN)/python -m tests.simulation --histories $(N) --first-seed $(SEED) --workers $(WORKERS)

mutants: $(STAMP) ## Plant every known bad design and say which seed killed it, of TRIES=300 at most; RECORD=1 keeps the seeds; last one JSON line
	@$(BIN)/python -m tests.simulation.mutants --histories $(TRIES) --first-seed $(SEED) --workers $(WORKERS) $(if $(RECORD),--record)

soak: $(STAMP) ## Real processes: KILLS=100 with faults around them, or MINUTES=120 at RATE=500 changes a second; one JSON line
	@$(BIN)/python -m tests.process $(if $(MINUTES),--minutes $(MINUTES) --rate $(RATE),--kills $(KILLS)) --seed $(SEED)

proof: $(STAMP) ## Every proof for about an hour: histories, mutants, failpoints, kills, faults; OPTIONS="--record --only kills"
	@$(BIN)/python -m tests.proof $(OPTIONS)

proof-long: $(STAMP) ## The same for a night, and a soak; goes on where it stopped
	@$(BIN)/python -m tests.proof --profile long $(OPTIONS)

bench: $(STAMP) ## Measure; one JSON line per figure
	@$(BIN)/python -m tests.bench

COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade
lock: $(STAMP) ## Pin requirements/*.txt anew (with Python 3.11: the oldest needs the most)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "make lock needs a .venv of Python 3.11")'
	$(COMPILE) --output-file requirements/run.txt pyproject.toml
	$(COMPILE) --output-file requirements/build.txt requirements/build.in
	$(COMPILE) --extra embedded --extra japan --extra dev --constraint requirements/run.txt --constraint requirements/build.txt \
		--output-file requirements/dev.txt pyproject.toml

# Not upgraded: versions of peers are part of what was measured. gurglefish.txt needs the pip-tools of a Python 3.9.
lock-peers: $(STAMP) ## Pin what the bench is compared with anew (with Python 3.11)
	@for peer in pipelinewise meltano row_loop plot; do CUSTOM_COMPILE_COMMAND="make lock-peers" $(BIN)/pip-compile --quiet \
		--output-file tests/bench/pins/$$peer.txt tests/bench/pins/$$peer.in || exit 1; done

image: ## Build the container image sfsync:latest
	docker build --file docker/Dockerfile --tag sfsync:latest .

image-test: image ## Run the image against a simulated org and a Postgres in containers
	docker/try-image

clean: ## Remove everything that make made
	rm -rf $(VENV) .bench .demo .chaos .proof build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
