#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mfrgn synth: three layouts that the readers read; the same bytes; what is wrong is said.
. "$(dirname "$0")/lib.sh"
cd "$scratch" || exit 1

small="--aerial-size 48x48 --ground-size 24x96"
untrained="--untrained $tiny --backend $backend"

expect 0 synth --list
says '^rosenfeld +an old town'
silent

# shellcheck disable=SC2086
{
    expect 0 synth --out one --city rosenfeld,sandoval --pairs 5 --test-pairs 3 $small -q --threads 1
    silent
    no_output
    is "$(wc -l <one/pairs.csv)" 17 "lines of pairs.csv"
    is "$(find one -name '*.png' | wc -l)" 32 "pictures"
    is "$(find one -name '*.tmp' | wc -l)" 0 "temporary files"
    expect 0 eval --dataset pairs --root one --split test $untrained -q
    says 'ground->aerial: 6 queries, 6 references'

    # the same with other threads; resumed; a longer set begins with the shorter one
    expect 0 synth --out two --city rosenfeld,sandoval --pairs 5 --test-pairs 3 $small -q --threads 3
    diff -r one two >/dev/null || check_failed "pictures depend on the number of threads"
    rm two/rosenfeld/ground/train-000002.png two/pairs.csv
    echo kept >two/rosenfeld/ground/train-000003.png
    expect 0 synth --out two --city rosenfeld,sandoval --pairs 5 --test-pairs 3 $small -q --resume
    is "$(cat two/rosenfeld/ground/train-000003.png)" kept "a picture that was there"
    cp one/rosenfeld/ground/train-000003.png two/rosenfeld/ground/
    diff -r one two >/dev/null || check_failed "a resumed set differs"
    expect 0 synth --out more --city rosenfeld --pairs 8 $small -q
    cmp -s one/rosenfeld/ground/train-000005.png more/rosenfeld/ground/train-000005.png ||
        check_failed "a longer set has other pictures"
    expect 0 synth --out day --city rosenfeld --pairs 5 --day 1 $small -q
    is "$(cut -d, -f3-8 day/pairs.csv)" "$(head -n 6 more/pairs.csv | cut -d, -f3-8)" "places of another day"
    cmp -s day/rosenfeld/aerial/train-000001.png more/rosenfeld/aerial/train-000001.png &&
        check_failed "another day looks the same"

    expect 0 synth --out turned --pairs 4 $small -q --heading random --fov 120 --offset 20
    awk -F, 'NR > 1 && ($7 == 0 || $3 == $5) { exit 1 }' turned/pairs.csv || check_failed "neither turned nor offset"

    expect 0 synth --out cvusa --layout cvusa --pairs 4 --test-pairs 2 $small -q
    is "$(wc -l <cvusa/split_locations/all.csv)" 6 "lines of all.csv"
    expect 0 eval --dataset cvusa --root cvusa --split val $untrained -q
    says 'ground->aerial: 2 queries, 2 references'
    says 'error of the first answer'

    expect 0 synth --out vigor --layout vigor --pairs 1 --test-pairs 1 $small -q
    expect 0 eval --dataset vigor --root vigor $untrained -q
    says 'ground->aerial: 4 queries'
    # within the middle quarter of the tile, of 48 pixels
    cat vigor/splits/*/pano_label_balanced.txt | awk 'NF != 13 || $3 > 12.1 || $3 < -12.1 || $4 > 12.1 || $4 < -12.1 { exit 1 }' ||
        check_failed "a panorama is not in the middle of its tile"
}

# wrong use
expect 2 synth
complains '--out is needed'
expect 2 synth --out none --city atlantis
complains "no 'atlantis'"
expect 2 synth --out none --city rosenfeld,rosenfeld
complains 'named twice'
expect 2 synth --out none --pairs 0
complains 'both 0'
expect 2 synth --out none --pairs -3
expect 2 synth --out none --layout csv
complains 'pairs, cvusa or vigor'
expect 2 synth --out none --layout vigor --city rosenfeld
complains 'takes four cities'
expect 2 synth --out none --ground-size 128
complains 'such as 128x512'
expect 2 synth --out none --size 5
complains 'from 10 to 1000'
expect 2 synth --out none --offset 60
complains 'beyond tiles'
expect 2 synth --out none --heading south
complains 'north or random'
expect 2 synth --out none surplus
is "$(ls -d none 2>/dev/null)" "" "no folder after wrong use"
echo file >none
expect 1 synth --out none --pairs 1
complains 'none: cannot be made'
finish
