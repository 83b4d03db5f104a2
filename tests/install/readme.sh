#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The C example of README.md is examples/embed.c, to the letter, and it runs.
#     readme.sh SOURCES EXAMPLE MAKE_MODEL MAKE_PICTURES
set -eu
sources=$1
example=$2
make_model=$3
make_pictures=$4
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# the first block of C in README.md
awk '/^```c$/ { inside = 1; next } /^```$/ { if (inside) exit } inside' "$sources/README.md" >"$scratch/readme.c"
diff -u "$sources/examples/embed.c" "$scratch/readme.c" || {
    echo "FAILED: README.md and examples/embed.c differ"
    exit 1
}
"$make_pictures" "$scratch" 1
"$make_model" "$scratch/model.safetensors" backbone=convnext_atto sat_size=64x64 grd_size=32x128
"$example" "$scratch/model.safetensors" "$scratch/ground-0.ppm" "$scratch/aerial-0.ppm" >"$scratch/said"
cat "$scratch/said"
grep -Eq '^similarity -?[01]\.[0-9]{4}$' "$scratch/said"
code=0
"$example" "$scratch/nothing.safetensors" "$scratch/ground-0.ppm" "$scratch/aerial-0.ppm" 2>"$scratch/said" || code=$?
[ "$code" = 1 ] && grep -q nothing.safetensors "$scratch/said"
