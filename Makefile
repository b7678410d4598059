# Everything runs in .venv, which `install` makes from the hashed lock. `make help` lists the targets.

BIN := .venv/bin
STAMP := .venv/.installed
JOBS ?= 2
ROUNDS ?= 20
SEED ?= 1
ARGS ?=

# The first interpreter that is new enough; a newer one that is not the system's may lack venv, so that is tried too.
FIND_PYTHON = for python in "$${PYTHON:-python3}" python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	python=; done; \
	if [ -z "$$python" ]; then \
	echo "Python 3.11 or newer with venv is needed. Install it (Debian: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3 install" >&2; \
	exit 1; fi

.DEFAULT_GOAL := help
.PHONY: help install demo serve test check fuzz soak bench

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Put everything into .venv, from the lock with hashes
	@:

$(STAMP): requirements.lock pyproject.toml
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ $(FIND_PYTHON); "$$python" -m venv --clear .venv; }
	@echo "Installing into .venv …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

demo: install ## Run the main job end to end on simulated dongles, and print the records
	@$(BIN)/bpjs-sms demo

serve: install ## Keep a gateway with simulated lanes running; prints a key and a call to try
	@$(BIN)/bpjs-sms serve --simulated 2 --with-key

test: install ## Run every test
	@$(BIN)/pytest -q -n $(JOBS) $(ARGS)

check: install ## Format, lint, types, then every test
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(MAKE) --no-print-directory test

fuzz: install ## Run the randomised tests ROUNDS times, each with another seed
	@for round in $$(seq $(ROUNDS)); do \
	seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); echo "round $$round, seed $$seed"; \
	$(BIN)/pytest -q -n $(JOBS) --hypothesis-seed=$$seed $(ARGS) $$(grep -l hypothesis tests/test_*.py) || exit 1; done

soak: install ## 24 simulated hours of one lane with every fault at random, then 1,000,000 PDUs (SEED=n)
	@$(BIN)/python tests/soak.py --hours 24 --seed $(SEED)
	@$(BIN)/python tests/pdu_mutations.py 1000000 --seed $(SEED)

bench: install ## Run the benchmarks; each prints a table and JSON
	@for benchmark in benchmarks/*.py; do $(BIN)/python "$$benchmark" || exit 1; done
