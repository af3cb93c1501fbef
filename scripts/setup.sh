#!/bin/sh
# Install the project into .venv. Needs Python 3.11 with venv and the package registries; never a compiler.
# Safe to run again: what is installed stays.
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
TORCH=${TORCH:-torch torchvision}

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: Python 3.11 or later is needed, got $("$PYTHON" --version 2>&1); mend: make setup PYTHON=/path/to/python3.11" >&2
    exit 1
}
[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv

# Packages with compiled parts: an older wheel rather than a build from source.
wheels=numpy,scipy,torch,torchvision,embreex,faiss-cpu,robust-laplacian,potpourri3d,fast-simplification
wheels=$wheels,pycocotools,pyarrow,pillow,matplotlib,duckdb,pandas
export PIP_DISABLE_PIP_VERSION_CHECK=1

if ! .venv/bin/python -c 'from importlib.metadata import version; version("torch"); version("torchvision")' 2>/dev/null; then
    # shellcheck disable=SC2086
    .venv/bin/python -m pip install --quiet --only-binary "$wheels" $TORCH
fi
.venv/bin/python -m pip install --quiet --only-binary "$wheels" --editable '.[dev,docs]'
.venv/bin/python -m pipelines.cli.data install-detectron2
.venv/bin/python -m pipelines.cli.data doctor --brief
