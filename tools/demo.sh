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

say "installs what is missing, builds in build/, embeds generated pictures and compares them"
install_packages
build

out=build/demo
mfrgn=build/tools/mfrgn
rm -rf "$out"
mkdir -p "$out"
# The build's own plug-ins, not those of an installation.
run() {
    meson devenv -C build "$PWD/$mfrgn" "$@"
}

say "this build:"
run info

say "4 places that do not exist, seen from above and from the ground, in $out"
build/examples/make-pictures "$out" 4
here=$PWD/$out

if [ $# -gt 0 ]; then
    set -- --model "$1"
    say "the weights: $2"
else
    set -- --untrained
    say "THE WEIGHTS ARE UNTRAINED (random): the similarities below mean nothing yet."
    say "With a published checkpoint: sh tools/demo.sh cvusa.pth"
fi

say "descriptors of the 4 ground and the 4 aerial pictures"
run embed "$@" -q --view ground -o "$here/ground.npy" "$here"/ground-?.ppm
run embed "$@" -q --view aerial -o "$here/aerial.npy" "$here"/aerial-?.ppm
ls -l "$out"/*.npy "$out"/*.txt

for i in 0 1 2 3; do
    say "ground-$i, and the aerial pictures by their similarity to it:"
    run compare "$@" -q "$here/ground-$i.ppm" "$here"/aerial-?.ppm | sed "s|$here/||"
done

say "how fast this machine does it:"
if [ "$1" = --untrained ]; then
    run bench -q
else
    run bench -q "$@"
fi
[ "$1" = --model ] || say "as said: the weights are untrained, the similarities mean nothing"
say "done"
