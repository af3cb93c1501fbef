#!/bin/sh
# Makes the embedded lifters, dp3d_model/data/dog.pt and cow.pt, from nothing: a good hour on two cores.
# sh scripts/lifters.sh PLACES OUT
#   PLACES  folder of panoramas (.exr, Poly Haven, CC0), backgrounds and light of the renders
#   OUT     folder for worlds, shards and models; a run that was stopped goes on where it stopped
set -eu
places=$1
out=$2

world() { # category, count, seed, name: renders as the embedded network sees them, with their truth
    dp3d-data synth --annotate --category "$1" --count "$2" --seed "$3" --size 288 --set identity_images=1 --perspective 1 \
        --set companions=0.2 --environments "$places" --set overlays=0 --out "$out/$4"
}

lifter() { # category, split ratio, steps
    dp3d-data build-shards --category "$1" --input "$out/$1-world" --split-ratio "$2" --out "$out/$1-shards"
    dp3d-model train --category "$1" --preset photographs --steps "$3" --shards "$out/$1-shards" --out "$out/$1-model"
    dp3d-model calibrate --category "$1" --model "$out/$1-model" --shards "$out/$1-test" --small --out "dp3d_model/data/$1.pt"
}

world dog 11000 61 dog-world
world cow 6500 63 cow-world
world dog 300 71 dog-test
world cow 150 72 cow-test
lifter dog 0.98 2500
lifter cow 0.98 2500
