# make setup   installs everything into .venv, and nothing elsewhere
# make demo    the whole product on the embedded photographs, model and template
# make test    the checks: lint, types and the fast tests
# make docs    the page of all options, and the documents with the reference as a site: open site/index.html
# make test-gpu, make bench-gpu   what needs a GPU: its tests, and a table of times for docs/scale.md
#
# PYTHON  the Python 3.11 or later that makes .venv
# TORCH   the torch packages to install where .venv has none, such as TORCH="torch torchvision --index-url ..."
# JOBS    test processes

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH ?= torch==2.14.1 torchvision==0.29.1
JOBS ?= 2
DEMO_FLAGS ?=
BIN := .venv/bin

.PHONY: setup demo demo-short test test-slow test-gpu bench-gpu lint docs

setup: .venv/.ready

.venv/.ready: pyproject.toml scripts/setup.sh dp3d_data/detection/install_detectron2.py dp3d_data/detection/detectron2.txt
	PYTHON="$(PYTHON)" TORCH="$(TORCH)" sh scripts/setup.sh
	touch $@

demo: setup
	$(BIN)/python -m pipelines.demo $(DEMO_FLAGS)

demo-short:
	$(MAKE) demo DEMO_FLAGS=--short

# The tests start many processes, which read what the first one has compiled.
test test-slow: export PYTHONDONTWRITEBYTECODE =

test: setup lint
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

test-slow: setup
	$(BIN)/python -m pytest -q -m slow -n $(JOBS) --dist loadfile --no-loadscope-reorder

test-gpu: setup
	$(BIN)/python -m pytest -q -rs -m gpu tests/gpu

bench-gpu: setup
	$(BIN)/python -m tests.bench.gpu

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: setup
	$(BIN)/python scripts/write_command_line_docs.py
	$(BIN)/python scripts/build_site.py
