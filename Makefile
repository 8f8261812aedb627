# Two commands do all set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# Pure functions and the layer test: nothing here loads a model.
FAST := tests/test_layers.py tests/util tests/scoring tests/views tests/analysis tests/data/test_cards.py \
        tests/data/test_signs.py tests/localisation/test_agreement.py -k "not hostile_characters" \
        --ignore tests/util/test_torchvision_repair.py --ignore tests/analysis/test_metrics.py --ignore tests/views/test_fuzz.py

.PHONY: demo check test evidence lint docs clean

# One install for everything; repeated only when its inputs change.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || { echo "gapbench needs Python 3.11.4 or newer; found $$($(PYTHON) --version). Use: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

demo: .venv/installed
	$(BIN)/gapbench demo

check: lint
	$(PYTEST) -q -m "not slow and not evidence and not gpu and not network and not browser" $(FAST)

test: .venv/installed
	$(PYTEST) -m "not evidence and not gpu and not network"

# Simulations, kill tests, large runs, vLLM and its server, timings: an hour. The output goes to reports/evidence.
evidence: .venv/installed
	.ci/vllm-environment || echo "WARNING: no vLLM environment could be made, so its tests are skipped"
	$(BIN)/python scripts/evidence.py $(JOBS)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/rooms.py

# The documentation site, in site/. A link that leads nowhere is an error. `make docs MKDOCS=serve` shows it while you write.
MKDOCS ?= build --strict
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs $(MKDOCS)

clean:
	rm -rf .venv runs build dist site
