# Two commands need nothing but Python >= 3.11 and make: `make demo` and `make test`. Both are safe to repeat.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := build/demo
NATIVE := pipeline/mining/backends/native/csrc
COMPARE := --config jobs/configs/demo.yaml --workspace build/compare --training.num_steps 1200 --training.steps_per_round 400 \
    --training.batch.num_labels 45
# In the order of the files: those of many short tests come last, and leave no process idle for long.
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install demo compare test test-quick test-slow test-faults test-native audit benchmark lint format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv and install Motherlode with all it needs for development
$(INSTALLED): pyproject.toml constraints.txt $(wildcard $(NATIVE)/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed: make PYTHON=python3.11 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu,dev]'
	@touch $@

demo: $(INSTALLED) ## Draw characters, mine and train three rounds, and write a report (a few minutes)
	$(BIN)/python -m jobs.prepare --config jobs/configs/demo.yaml
	$(BIN)/python -m jobs.loop --config jobs/configs/demo.yaml
	@echo "The triplets are Parquet files under $(DEMO)/runs/main/generations/data"

compare: $(INSTALLED) ## Train as long on mined, random and in-batch triplets, and evaluate side by side (some 20 minutes)
	$(BIN)/python -m jobs.prepare $(COMPARE)
	$(BIN)/python -m jobs.loop $(COMPARE)
	$(BIN)/python -m jobs.train $(COMPARE) --run random --training.source random
	$(BIN)/python -m jobs.train $(COMPARE) --run in-batch --training.source online
	$(BIN)/python -m jobs.evaluate $(COMPARE) --checkpoint main:0 random in-batch main

test: $(INSTALLED) ## Run the whole test suite, then the linters
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'not slow and not faults'
	$(MAKE) --no-print-directory lint

test-quick: $(INSTALLED) ## Run the unit tests only
	$(BIN)/python -m pytest tests/unit

test-slow: $(INSTALLED) ## Run training runs whose outcome is judged, and installs
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m slow

test-faults: $(INSTALLED) ## Kill processes, break the store, fill the disk, and see that nothing is lost or torn
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/faults

test-native: $(INSTALLED) ## Fuzz the compiled scan in a build with address and undefined-behaviour sanitizers
	mkdir -p build/sanitized
	$(CC) -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -shared -fPIC -Wall -Wextra \
	    -Wno-psabi -Werror -I$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))') \
	    -ffp-contract=off $(NATIVE)/*.c -o build/sanitized/_native.abi3.so -lm
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
	    PYTHONMALLOC=malloc MOTHERLODE_SANITIZED_NATIVE=build/sanitized/_native.abi3.so MOTHERLODE_FUZZ_EXAMPLES=$${MOTHERLODE_FUZZ_EXAMPLES:-2000} \
	    $(BIN)/python -m pytest -s tests/native

audit: $(INSTALLED) ## Look for known vulnerabilities of what is installed, where a vulnerability service is reached
	$(BIN)/python -m pip install --quiet --constraint constraints.txt 'pip-audit>=2.9,<3'
	$(BIN)/python infra/audit.py

benchmark: $(INSTALLED) ## Measure mining here against FAISS, torch and this machine's matrix product (about 15 minutes)
	$(BIN)/python -m jobs.benchmark mine

lint: $(INSTALLED) ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## Put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what the targets made: .venv, build, caches
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
