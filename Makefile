# Needs Python 3.11 or newer with pip and venv, and GNU make. `make` lists the targets.

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

demo: $(VENV)/.user ## Ask a mixture of local models; QUESTION="..." asks your own question
	$(BIN)/langchain-moa models pull
	$(BIN)/langchain-moa ask --preset local "$(QUESTION)"

test: unit integration ## Run all tests; ARGS="..." is passed to pytest, LANGCHAIN_MOA_DATA=... is a folder of recorded answers

unit: $(VENV)/.developer ## Run the tests that need no network; sockets are blocked
	$(PYTEST) tests/unit_tests --disable-socket --allow-unix-socket --numprocesses $(WORKERS) $(ARGS)

integration: $(VENV)/.developer ## Run the tests with servers and local models, all on this machine
	$(BIN)/langchain-moa models pull
	$(PYTEST) tests/integration_tests --allow-hosts=127.0.0.1,::1 --numprocesses $(WORKERS) \
		--dist loadfile --no-loadscope-reorder $(ARGS)

providers: $(VENV)/.developer ## Test all combinations of providers, turns, tools and thinking; `make test` covers all pairs
	LANGCHAIN_MOA_MATRIX=full $(PYTEST) tests/integration_tests/providers/test_matrix.py \
		--allow-hosts=127.0.0.1,::1 --numprocesses $(WORKERS) $(ARGS)

coverage: $(VENV)/.developer ## Run all tests and list the lines and branches that they do not cover
	$(BIN)/coverage erase
	$(MAKE) test WORKERS=0 PYTEST="$(BIN)/coverage run -m pytest"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

mutants: $(VENV)/.mutants ## List mutants of the engine that no test detects; ARGS="langchain_moa.limits.retry.*" selects some
	$(BIN)/mutmut run --max-children $(WORKERS) $(ARGS)
	$(BIN)/mutmut results

lint: $(VENV)/.developer ## Check format, style, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.developer ## Format the code and apply automatic fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

examples: $(VENV)/.developer ## Run all examples; without keys, they use the local models
	$(BIN)/langchain-moa models pull
	@set -e; for example in examples/[!_]*.py; do \
		echo; echo "==> $$example"; $(BIN)/python "$$example" </dev/null; \
	done

docs: $(VENV)/.developer ## Build the documentation into ./site; warnings are errors
	$(BIN)/zensical build --strict --clean

bench: $(VENV)/.developer ## Measure the overhead of a mixture over its calls; ARGS="--no-peers" skips other packages
	$(BIN)/python -m benchmarks.speed $(ARGS)

eval-local: $(VENV)/.developer ## Compare a mixture of the local models with its members on 100 sums: some 1,500 calls, half an hour
	$(BIN)/langchain-moa models pull
	$(BIN)/langchain-moa eval compare --config benchmarks/eval-local.yaml --task benchmarks/sums.jsonl --concurrency 2 $(ARGS)

pictures: $(VENV)/.developer ## Regenerate the pictures of the README and the documentation
	mkdir -p $(PICTURES)
	$(BIN)/langchain-moa draw --layers 2 --aggregator openai:gpt-6.1-sol --output $(PICTURES)/moa.svg \
		--proposer openai:gpt-6-luna --proposer openai:gpt-6.1-terra --proposer together:zai-org/GLM-5.3
	$(BIN)/langchain-moa models pull
	$(BIN)/python -m tests.pictures $(PICTURES) # needs Chromium

clean: ## Remove all generated files, including the virtual environment
	rm -rf $(VENV) build dist htmlcov mutants site .import_linter_cache .benchmarks .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamp files record what is installed, so that later runs start at once. --upgrade-deps installs a pip that supports
# dependency groups. If PYTHON is given and has another version, the environment is recreated.
GIVEN := $(filter-out file,$(origin PYTHON))
$(VENV)/.made: FORCE
	@if [ ! -f $@ ] || { [ -n "$(GIVEN)" ] && [ "$$(cat $@)" != "$$($(PYTHON) -V)" ]; }; then \
		$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1)' || { \
			echo "langchain-moa needs Python 3.11 or newer, but $(PYTHON) is older. Use another: make PYTHON=python3.12 ..." >&2; \
			exit 1; }; \
		echo "Creating $(VENV) with $$($(PYTHON) -V) ..."; \
		$(PYTHON) -m venv --clear --upgrade-deps $(VENV) && $(PYTHON) -V > $@; \
	fi

.PHONY: FORCE
FORCE:

$(VENV)/.user: pyproject.toml $(VENV)/.made
	@echo "Installing langchain-moa into $(VENV) (once; a minute or so) ..."
	$(BIN)/python -m pip install --quiet --editable ".[cli,local]"
	@touch $@

$(VENV)/.developer: pyproject.toml $(VENV)/.user
	@echo "Installing the development dependencies into $(VENV) (once; a minute or so) ..."
	$(BIN)/python -m pip install --quiet --editable ".[cli,local,draw,eval,serve,studio,batch,ray]" --group dev
	@touch $@

$(VENV)/.mutants: pyproject.toml $(VENV)/.developer
	$(BIN)/python -m pip install --quiet --group mutants
	@touch $@
