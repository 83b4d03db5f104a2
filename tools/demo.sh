#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the project in build/ and shows what it does.  On Debian 12 and Ubuntu 24.04 it installs what is missing first.
#
#     sh tools/demo.sh [MODEL]
#
# MODEL is a weights file (.pth or .safetensors).  Without one the weights are random, and the demo says so.
set -eu
case ${1-} in /* | '') ;; *) set -- "$PWD/$1" ;; esac
cd "$(dirname "$0")/.."
word=demo
. tools/prepare.sh

say "installs what is missing, builds in build/, embeds generated pictures, compares and locates them"
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

say "4 places that do not exist, seen from above and from the ground, in $out"
build/examples/make-pictures "$out" 4

trained=yes
if [ $# -gt 0 ]; then
    model=$1
    say "the weights: $model"
else
    trained=no
    model=$out/untrained.safetensors
    $mfrgn convert -q --untrained --preset cvusa "$model"
    say "THE WEIGHTS ARE UNTRAINED (random): the similarities below mean nothing."
    say "With a published checkpoint: sh tools/demo.sh cvusa.pth"
fi

say "descriptors of the 4 ground and the 4 aerial pictures"
$mfrgn embed -m "$model" -q --view ground -o "$out/ground.npy" "$out"/ground-?.ppm
$mfrgn embed -m "$model" -q --view aerial -o "$out/aerial.npy" "$out"/aerial-?.ppm
ls -l "$out"/*.npy "$out"/*.txt

for i in 0 1 2 3; do
    say "ground-$i, and the aerial pictures by their similarity to it:"
    $mfrgn compare -m "$model" -q "$out/ground-$i.ppm" "$out"/aerial-?.ppm | sed "s|$out/||"
done

say "a gallery of the 4 aerial pictures at made-up coordinates, and where ground-0 would be:"
{
    echo path,latitude,longitude,width_m,height_m
    for i in 0 1 2 3; do
        echo "aerial-$i.ppm,51.50$i,-0.12,60,60"
    done
} >"$out/tiles.csv"
$mfrgn index build -m "$model" -q --tiles "$out/tiles.csv" -o "$out/gallery.mfi"
$mfrgn index info "$out/gallery.mfi"
$mfrgn locate -m "$model" -q -i "$out/gallery.mfi" -k 3 --mosaic "$out/mosaic.png" --report "$out/report.html" \
    "$out/ground-0.ppm"
say "pictures of that: $out/mosaic.png, $out/report.html"

say "how fast this machine does it:"
$mfrgn bench -m "$model"
if [ $trained = no ]; then
    rm -f "$model"
    say "as said: the weights are untrained, the similarities mean nothing"
fi
say "done"
