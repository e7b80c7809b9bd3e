# Needs Python 3.11 or newer, with pip and venv, and GNU make. `make` alone lists what there is.

PYTHON   ?= python3
VENV     ?= .venv
BIN      := $(VENV)/bin
PYTEST   := $(BIN)/python -m pytest
ARGS     ?=
WORKERS  ?= 2
PICTURES := docs/pictures
QUESTION ?= Why is the sky blue?

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test unit integration providers coverage mutants lint format examples docs bench eval-local pictures clean

help: ## List the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1 \t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.user ## Ask a mixture of local models; QUESTION="..." asks your own
	$(BIN)/langchain-moa models pull
	$(BIN)/langchain-moa ask --preset local "$(QUESTION)"

test: unit integration ## Run all tests; ARGS="..." goes to pytest, LANGCHAIN_MOA_DATA=... names recorded answers

unit: $(VENV)/.developer ## Run the tests that need no network: every socket is refused
	$(PYTEST) tests/unit_tests --disable-socket --allow-unix-socket --numprocesses $(WORKERS) $(ARGS)

integration: $(VENV)/.developer ## Run the tests with servers and real models, all on this machine
	$(BIN)/langchain-moa models pull
	$(PYTEST) tests/integration_tests --allow-hosts=127.0.0.1,::1 --numprocesses $(WORKERS) --dist loadfile $(ARGS)

providers: $(VENV)/.developer ## Run every combination of providers, turns, tools and thinking, of which `make test` runs all pairs
	LANGCHAIN_MOA_MATRIX=full $(PYTEST) tests/integration_tests/providers/test_matrix.py \
		--allow-hosts=127.0.0.1,::1 --numprocesses $(WORKERS) $(ARGS)

coverage: $(VENV)/.developer ## Run all tests and list the lines and branches that none of them took
	$(BIN)/coverage erase
	$(MAKE) test WORKERS=0 PYTEST="$(BIN)/coverage run -m pytest"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

mutants: $(VENV)/.mutants ## Break the engine in many ways and list those that no test sees; ARGS="langchain_moa.reference*" for some
	$(BIN)/mutmut run --max-children $(WORKERS) $(ARGS)
	$(BIN)/mutmut results

lint: $(VENV)/.developer ## Check format, style, types, and which way imports go
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.developer ## Format the code and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

examples: $(VENV)/.developer ## Run every example, on the local models where no key is set
	$(BIN)/langchain-moa models pull
	@set -e; for example in examples/[!_]*.py; do \
		echo; echo "==> $$example"; $(BIN)/python "$$example" </dev/null; \
	done

docs: $(VENV)/.developer ## Build the documentation into ./site; a warning is an error
	$(BIN)/zensical build --strict --clean

bench: $(VENV)/.developer ## Measure what a mixture costs beside its calls; ARGS="--no-peers" leaves other packages out
	$(BIN)/python -m benchmarks.speed $(ARGS)

eval-local: $(VENV)/.developer ## Compare a mixture of the local models with its members on 100 sums: some 1,500 calls, half an hour
	$(BIN)/langchain-moa models pull
	$(BIN)/langchain-moa eval compare --config benchmarks/eval-local.yaml --task benchmarks/sums.jsonl --concurrency 2 $(ARGS)

pictures: $(VENV)/.developer ## Draw the pictures of README and documentation anew
	mkdir -p $(PICTURES)
	$(BIN)/langchain-moa draw --layers 2 --aggregator openai:gpt-6.1-sol --output $(PICTURES)/moa.svg \
		--proposer openai:gpt-6-luna --proposer openai:gpt-6.1-terra --proposer together:zai-org/GLM-5.3
	$(BIN)/langchain-moa models pull
	$(BIN)/python -m tests.pictures $(PICTURES) # needs Chromium

clean: ## Remove all that was made here, the virtual environment too
	rm -rf $(VENV) build dist htmlcov mutants site .import_linter_cache .benchmarks .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What is installed is remembered by stamps, so that a second run starts at once. --upgrade-deps brings a pip that
# knows dependency groups.
# Where PYTHON is given and has another version, the environment is made anew.
GIVEN := $(filter-out file,$(origin PYTHON))
$(VENV)/.made: FORCE
	@if [ ! -f $@ ] || { [ -n "$(GIVEN)" ] && [ "$$(cat $@)" != "$$($(PYTHON) -V)" ]; }; then \
		$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1)' || { \
			echo "langchain-moa needs Python 3.11 or newer, and $(PYTHON) is not. Name another: make PYTHON=python3.12 ..." >&2; \
			exit 1; }; \
		echo "Making $(VENV) with $$($(PYTHON) -V) ..."; \
		$(PYTHON) -m venv --clear --upgrade-deps $(VENV) && $(PYTHON) -V > $@; \
	fi

.PHONY: FORCE
FORCE:

$(VENV)/.user: pyproject.toml $(VENV)/.made
	@echo "Installing langchain-moa into $(VENV) (once; a minute or so) ..."
	$(BIN)/python -m pip install --quiet --editable ".[cli,local]"
	@touch $@

$(VENV)/.developer: pyproject.toml $(VENV)/.user
	@echo "Installing what tests and checks need into $(VENV) (once; a minute or so) ..."
	$(BIN)/python -m pip install --quiet --editable ".[cli,local,draw,eval,serve,studio,batch,ray]" --group dev
	@touch $@

$(VENV)/.mutants: pyproject.toml $(VENV)/.developer
	$(BIN)/python -m pip install --quiet --group mutants
	@touch $@
