#!/bin/sh
# Check the project on a machine with a GPU and without a network: install from carried wheels, run tests/gpu, measure.
#
#   scripts/gpu_check.sh --collect DIR   where there is a network: fetch the wheels of all but torch into DIR
#   scripts/gpu_check.sh [DIR]           on the GPU's machine (default DIR: gpu-wheels); safe to run again
#
# PYTHON          the Python with torch and torchvision; with --collect, any with pip [python3]
# PYTHON_VERSION  the Python that wheels are collected for [3.12]
# OUT             folder of the results: summary.txt, bench.md and a log of each step [gpu-results]
# VENV            folder of the environment [.venv-gpu]
# CHECK_DEVICE    cuda, or cpu: a short form that shows whether this script works [cuda]
# TEST_SECONDS, BENCH_SECONDS   the most that these two steps may take [840, 660]
set -u
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
OUT=${OUT:-gpu-results}
VENV=${VENV:-.venv-gpu}
CHECK_DEVICE=${CHECK_DEVICE:-cuda}
export PIP_DISABLE_PIP_VERSION_CHECK=1

requirements() { # what the project and tests/gpu need, without what the GPU's machine has
    "$PYTHON" - <<'END'
import re, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
testing = {"pytest", "hypothesis", "typeguard"}
name = lambda text: re.match(r"[\w.-]+", text)[0].lower()
keep = lambda text: name(text) not in {"torch", "torchvision"} and (text in project["dependencies"] or name(text) in testing)
print("\n".join(filter(keep, wanted)))
END
}

collect() {
    folder=$1
    target="--only-binary=:all: --python-version ${PYTHON_VERSION:-3.12}"
    mkdir -p "$folder" && requirements >"$folder/requirements.txt" || return 1
    # These are published as sources; what is built of them runs anywhere.
    "$PYTHON" -m pip wheel --quiet --no-deps --wheel-dir "$folder" fvcore iopath 'antlr4-python3-runtime==4.9.*' || return 1
    # shellcheck disable=SC2086
    "$PYTHON" -m pip install --quiet --dry-run --ignore-installed --target "$folder/none" --report "$folder/report.json" \
        --find-links "$folder" $target -r "$folder/requirements.txt" || return 1
    "$PYTHON" - "$folder" >"$folder/wheels.txt" <<'END' || return 1
import json, re, sys
there = re.compile(r"(torch|torchvision|triton|nvidia-.*|cuda-.*)$")
found = [one["metadata"] for one in json.load(open(f"{sys.argv[1]}/report.json"))["install"]]
print("\n".join(f"{one['name']}=={one['version']}" for one in found if not there.match(one["name"].lower())))
END
    # shellcheck disable=SC2086
    "$PYTHON" -m pip download --quiet --no-deps $target --find-links "$folder" --dest "$folder" -r "$folder/wheels.txt" || return 1
    "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.10 --require-hashes --dest "$folder" \
        -r dp3d_data/detection/detectron2.txt || return 1
    rm -rf "$folder/report.json" "$folder/none"
    echo "collected $(ls "$folder"/*.whl | wc -l) wheels, $(du -sh "$folder" | cut -f1), in $folder"
}

if [ "${1:-}" = --collect ]; then
    collect "${2:?which folder? scripts/gpu_check.sh --collect DIR}" || { echo "gpu_check: the wheels could not be collected" >&2; exit 1; }
    exit
fi

WHEELS=${1:-gpu-wheels}
[ -f "$WHEELS/requirements.txt" ] || {
    echo "gpu_check: no wheels in $WHEELS; mend: scripts/gpu_check.sh --collect $WHEELS, on a machine with a network" >&2
    exit 1
}
WHEELS=$(cd "$WHEELS" && pwd)
mkdir -p "$OUT" && OUT=$(cd "$OUT" && pwd) || exit 1
: >"$OUT/summary.txt"
failed=""

say() { echo "$*" | tee -a "$OUT/summary.txt"; }

step() { # step NAME COMMAND...: its output goes to NAME.log, and how it ended to the summary
    name=$1
    shift
    began=$(date +%s)
    "$@" >"$OUT/$name.log" 2>&1
    code=$?
    took=$(($(date +%s) - began))
    if [ $code -eq 0 ]; then
        say "ok      $name, $took s"
    else
        [ $code -eq 124 ] && say "FAILED  $name: not done after $took s" || say "FAILED  $name: exit $code after $took s, see $OUT/$name.log"
        tail -n 15 "$OUT/$name.log" | sed 's/^/        /'
        failed="$failed $name"
    fi
    return $code
}

finish() {
    [ -z "$failed" ] && say "all is well" && exit 0
    say "failed:$failed"
    exit 1
}

device() {
    command -v nvidia-smi >/dev/null && nvidia-smi
    "$PYTHON" -c "
import sys, torch, torchvision
print(sys.version, torch.__version__, torchvision.__version__, torch.version.cuda)
if '$CHECK_DEVICE' != 'cpu':
    print(torch.cuda.get_device_name(0), torch.cuda.mem_get_info(0))
    assert torch.ones(3, device='$CHECK_DEVICE').sum().item() == 3"
}

environment() { # also what the given Python has where it is itself a virtual environment, which its children do not see
    [ -x "$VENV/bin/python" ] || "$PYTHON" -m venv --without-pip --system-site-packages "$VENV" || return 1
    site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib")); print(sysconfig.get_path("platlib"))' | sort -u >"$site/given.pth"
    "$VENV/bin/python" -c 'import torch, torchvision, pip'
}

install() { "$VENV/bin/python" -m pip install --no-index --find-links "$WHEELS" -r "$WHEELS/requirements.txt"; }

detectron2() { PIP_NO_INDEX=1 PIP_FIND_LINKS=$WHEELS PYTHONPATH=. "$VENV/bin/python" -m pipelines.cli.data install-detectron2; }

step device device || finish
step environment environment || finish
step install install || finish
step detectron2 detectron2 || finish
if [ "$CHECK_DEVICE" = cpu ]; then
    tests="not gpu and not slow" bench="--device cpu --short"
else
    tests=gpu bench="--device $CHECK_DEVICE"
fi
export PYTHONPATH=. PYTHONUNBUFFERED=1
step tests timeout "${TEST_SECONDS:-840}" "$VENV/bin/python" -m pytest -q -rs --durations=10 -p no:cacheprovider -m "$tests" tests/gpu
tail -n 3 "$OUT/tests.log"
# shellcheck disable=SC2086
step bench timeout "${BENCH_SECONDS:-660}" "$VENV/bin/python" -m tests.bench.gpu $bench
grep -v '^\(Traceback\|  \)' "$OUT/bench.log" | grep '^|\|torch' >"$OUT/bench.md"
cat "$OUT/bench.md"
finish
