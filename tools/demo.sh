#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the project in build/ and shows what it does.  On Debian 12 and Ubuntu 24.04 it installs what is missing first.
#
#     sh tools/demo.sh [MODEL]
#
# The model is examples/demo.safetensors, which this project trained on a synthetic world (examples/train-demo); the town
# of the demo is one that it never saw.  MODEL is another weights file (.pth or .safetensors): what it was trained on is
# not this world, and the demo says so.
set -eu
case ${1-} in /* | '') ;; *) set -- "$PWD/$1" ;; esac
cd "$(dirname "$0")/.."
word=demo
. tools/prepare.sh

say "installs what is missing, builds in build/, makes a town, builds its gallery and locates photographs in it"
install_packages
build

out=build/demo
mfrgn=build/tools/mfrgn
rm -rf "$out"
mkdir -p "$out"
# The build's own plug-ins, not those of an installation.
MFRGN_BACKEND_PATH=$PWD/build/backends
export MFRGN_BACKEND_PATH

say "this build:"
$mfrgn info

town=norrvik
places=200
model=${1-examples/demo.safetensors}
size="--aerial-size 128x128 --ground-size 64x256"
[ $# = 0 ] || size="--aerial-size 256x256 --ground-size 128x512"

say "$places places of the town $town, each seen from above and from the ground, in $out/town"
# shellcheck disable=SC2086 # two options
$mfrgn synth --out "$out/town" --city "$town" --pairs 0 --test-pairs "$places" $size

say "the weights: $model"
[ $# = 0 ] || say "(not trained on this world: expect little of what follows)"

say "a gallery of the $places tiles"
awk -F, 'NR == 1 { print "path,latitude,longitude,width_m,height_m" } NR > 1 { print $2 "," $5 "," $6 ",80,80" }' \
    "$out/town/pairs.csv" >"$out/town/tiles.csv"
$mfrgn index build -m "$model" --batch 8 --storage f32+f16 --tiles "$out/town/tiles.csv" -o "$out/town.mfi"

# Every second place calibrates the probabilities; the others are what is located.
awk -F, 'NR == 1 || NR % 2 == 0' "$out/town/pairs.csv" >"$out/town/known.csv"
awk -F, 'NR == 1 || NR % 2 == 1' "$out/town/pairs.csv" >"$out/town/held-out.csv"
say "probabilities are fitted on half of the photographs:"
$mfrgn index calibrate -m "$model" --batch 8 --pairs "$out/town/known.csv" "$out/town.mfi"
$mfrgn index info "$out/town.mfi"

say "where were these three taken?"
photographs=$(awk -F, -v folder="$out/town/" 'NR > 1 && NR < 5 { print folder $1 }' "$out/town/held-out.csv")
# shellcheck disable=SC2086 # three names
$mfrgn locate -m "$model" -q -i "$out/town.mfi" -k 3 --tiles "$out/town" --truth "$out/town/held-out.csv" \
    --mosaic "$out/mosaic.png" --report "$out/report.html" $photographs
say "pictures of that: $out/mosaic.png, $out/report.html"

say "all photographs of the town against all tiles: recall, and the error in metres"
$mfrgn eval -m "$model" -q --batch 8 --dataset pairs --root "$out/town/pairs.csv" --split test --json "$out/eval.json"
build/examples/histogram "$out/town/pairs.csv" test "$out/histogram" >/dev/null
say "for comparison, matching colour histograms:"
$mfrgn eval -q --descriptors "$out/histogram-ground.npy" "$out/histogram-aerial.npy" --labels "$out/histogram-labels.csv"

say "how fast this machine does it:"
$mfrgn bench -m "$model"
say "done: $(sed -n 's/.*"recall@1": *\([0-9.]*\).*/\1/p' "$out/eval.json" | head -n 1) % of the photographs find their tile first"
