# make            lists the targets
# make reproduce  a fresh clone to Figure 1: environment, runs, figure, verdicts
# make figures    a fresh clone to Figures 2 and 3, on digits
# make test       a fresh clone to a green suite
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
BASE ?= HEAD
# Without bytecode each start of Python compiles torch's sources anew, which takes a second.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install reproduce figures test gpu lint report notebooks release coverage same bench soak clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1|\2/' | column -t -s '|'

install: $(BIN)/.installed ## build the environment in .venv

$(BIN)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "Python 3.11 to 3.13 is needed, this is %d.%d; give one with make PYTHON=..." % v)'
	@echo "Building the environment in $(VENV) (about 6 GB; with uv a minute, with pip three) ..."
	@$(PYTHON) -m venv $(VENV)
	@command -v uv >/dev/null || $(PIP) uv 2>/dev/null || true
	@index=$$($(BIN)/pip config list | sed -n "s/.*[.]index-url='\(.*\)'/\1/p" | tail -n 1); \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; PATH="$$PATH:$(BIN)"; \
	uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]' \
	|| { echo "uv could not; pip goes on ..."; $(PIP) -e '.[dev]'; }
	@touch $@

reproduce: SEEDS ?= 5
reproduce: install ## Figure 1 from a fresh clone: train, draw, judge (SEEDS=5)
	@$(BIN)/python scripts/train.py study=fig1 study.seeds=$(SEEDS) retry=true
	@$(BIN)/python scripts/report.py study=fig1 study.seeds=$(SEEDS) out=runs/fig1

figures: SEEDS ?= 2
figures: install ## Figures 2 and 3 on digits from a fresh clone: train, draw, judge (SEEDS=2)
	@$(BIN)/python scripts/train.py study=fig3_digits study.seeds=$(SEEDS) retry=true
	@$(BIN)/python scripts/report.py study=fig3_digits study.seeds=$(SEEDS) out=runs/fig3_digits

test: install ## the whole suite
	@$(BIN)/python -m pytest -n 2 --dist worksteal

gpu: install ## the tests that need a GPU, where there is one
	@BN_REPRO_GPU=1 $(BIN)/python -m pytest -m gpu

lint: install ## ruff and pyright
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/python scripts/check_prose.py

report: install ## every study under results/, drawn and judged anew
	@$(BIN)/python scripts/report.py

notebooks: install ## run the notebooks, and keep what they show
	@$(BIN)/python scripts/notebooks.py

release: install ## what a release has, into dist: the wheel, the report, every claim
	@$(BIN)/python scripts/report.py
	@rm -rf dist && mkdir dist
	@$(BIN)/python -c 'from setuptools import build_meta; build_meta.build_wheel("dist")'
	@cp results/claims.csv results/report.html dist

coverage: install ## what each interval covers, simulated, into results/coverage
	@$(BIN)/python scripts/coverage.py

same: install ## compare smoke runs with those of another commit (BASE=<commit>)
	@$(BIN)/python scripts/same.py $(BASE)

bench: install ## what costs what, as ratios
	@$(BIN)/python scripts/benchmark.py
	@$(BIN)/python scripts/benchmark_runs.py
	@$(BIN)/python scripts/benchmark_scaling.py

soak: install ## kill runs at random and at every write, and compare (10 minutes)
	@$(BIN)/python tests/soak.py

clean: ## remove the environment and caches, never runs or results
	rm -rf $(VENV) .pytest_cache .ruff_cache
