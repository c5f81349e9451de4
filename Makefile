# `make run` and `make test` set up the environment on first use; a second call does not.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
JOBS ?= 2

.PHONY: help run test lab lint unit test-portable bench refresh assignments constraints clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

run: $(STAMP) ## execute all labs in the quick profile and build the report (ARGS="--only 03")
	$(BIN)/labs run $(ARGS)

lab: $(STAMP) ## open the labs in JupyterLab
	cd notebooks && ../$(BIN)/jupyter lab

test: $(STAMP) lint unit ## everything that must pass: lint, types, unit tests, the labs

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Threads that wait let others compute: with as many tests as cores, spinning takes seven times as long.
unit: $(STAMP) # of all tests, also which lines they reach
	OMP_WAIT_POLICY=PASSIVE \
	$(BIN)/pytest -m "not benchmark and not portable" -n $(JOBS) --dist loadfile --no-loadscope-reorder $(or $(ARGS),--cov)

test-portable: $(STAMP) ## the quick verdicts under other instruction sets, threads and seeds
	$(BIN)/pytest -m portable tests/portable $(ARGS)

bench: $(STAMP) ## the clocked comparisons, alone on a quiet machine
	$(BIN)/pytest -m benchmark -s tests/benchmarks $(ARGS)

refresh: $(STAMP) ## execute the committed notebooks again, in place (ARGS="notebooks/03_profiling.ipynb")
	cd notebooks && for lab in $(or $(notdir $(ARGS)),$(notdir $(wildcard notebooks/*.ipynb))); do \
		../$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
			--ExecutePreprocessor.record_timing=False --ExecutePreprocessor.timeout=1200 $$lab || exit 1; \
		../$(BIN)/nbstripout --keep-output --keep-count --extra-keys \
			"metadata.papermill metadata.language_info.version cell.metadata.papermill cell.metadata.execution" $$lab || exit 1; \
	done

assignments: $(STAMP) ## the student version of every lab, and a ZIP of each, in course/release/
	$(BIN)/labs course release --to course/release $(ARGS)

constraints: $(STAMP) ## resolve constraints.txt anew from pyproject.toml
	$(BIN)/uv pip compile -q pyproject.toml --all-extras --universal --python-version 3.11 --upgrade \
		--no-annotate --no-header --no-emit-index-url -o constraints.txt

clean: ## remove the environment and the runs
	rm -rf $(VENV) runs

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip install --python $(BIN)/python -c constraints.txt -e ".[test,docs,course,cluster]"
	touch $(STAMP)
