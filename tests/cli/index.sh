#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mfrgn index: build, shards, merge, resume, add, info, verify, export; what is wrong is said.
. "$(dirname "$0")/lib.sh"
cd "$scratch" || exit 1

mkdir -p pictures
"$MAKE_PICTURES" pictures 5 || exit 1
rm pictures/ground-*
# shellcheck disable=SC2086
"$MAKE_MODEL" model.safetensors $tiny_keys || exit 1
# shellcheck disable=SC2086
"$MAKE_MODEL" other.safetensors $tiny_keys ffn=512 || exit 1
{
    echo path,latitude,longitude
    for i in 0 1 2 3 4; do echo "pictures/aerial-$i.ppm,51.50$i,-0.1$i"; done
} >tiles.csv
run="--model model.safetensors --backend $backend"

# shellcheck disable=SC2086
{
    expect 0 index build $run --tiles tiles.csv -o all.mfi
    silent
    no_output
    expect 0 index info --json all.mfi
    valid_json out
    json out 'd["tiles"] == 5 and d["located"] == 5 and d["size"] == 2048 and d["storage"] == "f32+f16" and d["exact"]'
    json out '"convnext_atto" in d["model"] and "64x64" in d["preparation"] and not d["calibrated"]'
    expect 0 index info all.mfi
    says '^tiles +5$'
    says 'f32\+f16, exact'
    expect 0 index verify all.mfi
    says 'all.mfi: whole'

    # shards, in whatever order
    for i in 1 2 3; do expect 0 index build $run --tiles tiles.csv --shard $i/3 -o part-$i.mfi; done
    expect 0 index info part-2.mfi
    says 'a shard: tiles 1 .. 2 of a build of 5'
    expect 0 index merge -o merged.mfi part-3.mfi part-1.mfi part-2.mfi
    cmp -s merged.mfi all.mfi || check_failed "shards do not make the whole"
    expect 1 index merge -o merged.mfi part-3.mfi part-1.mfi
    complains 'a shard between them is missing'
    cmp -s merged.mfi all.mfi || check_failed "the old file is not whole"

    # another model
    expect 1 index add --model other.safetensors --backend $backend --tiles tiles.csv -o all.mfi
    complains 'was built with the model convnext_atto'
    expect 0 index build --model other.safetensors --backend $backend --tiles tiles.csv -o theirs.mfi
    expect 1 index merge -o merged.mfi all.mfi theirs.mfi
    complains 'was built with the model'

    # adding
    echo 'path,latitude,longitude
pictures/more.ppm,52,0' >more.csv
    cp pictures/aerial-3.ppm pictures/more.ppm
    cp all.mfi more.mfi
    expect 0 index add $run --tiles more.csv -o more.mfi
    expect 0 index info --json more.mfi
    json out 'd["tiles"] == 6'
    expect 1 index add $run --tiles more.csv -o more.mfi
    complains 'would be in it twice'
    expect 0 index verify more.mfi

    # exports
    expect 0 index export all.mfi -o out.npy
    is "$(wc -c <out.npy)" "$((128 + 5 * 2048 * 4))" "size of the .npy file"
    is "$(wc -l <out.csv)" 6 "lines of the CSV"
    expect 0 index export all.mfi -o out.geojson
    valid_json out.geojson
    json out.geojson 'len(d["features"]) == 5 and d["features"][1]["geometry"]["coordinates"] == [-0.11, 51.501]'
    expect 2 index export all.mfi -o out.txt
    complains 'must end in .npy or .geojson'
    expect 2 index export all.mfi
    complains '--output is needed'
    expect 0 embed $run --view aerial -o one.npy pictures/aerial-2.ppm
    is "$(tail -c +129 out.npy | tail -c +$((2 * 8192 + 1)) | head -c 8192 | cksum)" "$(tail -c 8192 one.npy | cksum)" \
        "the descriptor is that of embed"

    # pictures that cannot be read
    echo "not a picture" >pictures/more.ppm
    expect 1 index build $run --tiles more.csv -o none.mfi
    complains 'none of the 1 tiles'
    expect 3 index build $run --tiles pictures -o some.mfi
    complains 'more.*skipped'
    complains '1 of 6 tiles were skipped'
    is "$(ls none.mfi ./*.tmp 2>/dev/null)" "" "no file after a failure"

    # damage
    head -c 30000 all.mfi >short.mfi
    expect 1 index info short.mfi
    complains 'short.mfi: cut short'
    { head -c 60000 all.mfi; printf x; tail -c +60002 all.mfi; } >flipped.mfi
    expect 1 index verify flipped.mfi
    complains 'flipped.mfi: damaged'
    expect 1 index merge -o merged.mfi flipped.mfi
    complains 'damaged'
    expect 1 index info tiles.csv
    complains 'is not a gallery'
    expect 1 index info missing.mfi
    complains 'missing.mfi'
    expect 1 index build $run --tiles missing -o none.mfi
    complains 'missing'

    # usage
    expect 2 index
    expect 0 index --help
    says 'verify'
    expect 0 index build --help
    says 'Examples:'
    expect 2 index frobnicate
    complains "no 'index frobnicate'"
    expect 2 index build $run -o none.mfi
    complains '--tiles is needed'
    expect 2 index build $run --tiles tiles.csv
    complains '--output is needed'
    expect 2 index build $run --tiles tiles.csv -o none.mfi --storage f64
    expect 2 index build $run --tiles tiles.csv -o none.mfi --shard 4/3
    expect 2 index build $run --tiles tiles.csv -o none.mfi --shard 1
    complains 'such as 1/4'
    expect 2 index build $run --tiles tiles.csv -o none.mfi --tile-size -3
    expect 2 index build --tiles tiles.csv -o none.mfi
}

# a build that is killed goes on
mkdir many
i=0
while [ $i -lt 60 ]; do
    cp pictures/aerial-$((i % 5)).ppm many/$i.ppm
    i=$((i + 1))
done
# shellcheck disable=SC2086
{
    expect 0 index build $run --tiles many -o many.mfi
    "$MFRGN" index build $run --tiles many -o killed.mfi >/dev/null 2>&1 &
    pid=$!
    while kill -0 $pid 2>/dev/null && [ "$(cat killed.mfi.partial 2>/dev/null | wc -c)" -lt 100000 ]; do sleep 0.02; done
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ -e killed.mfi ] && echo "the build was faster than its killer"
    expect 0 index build $run --tiles many --resume -o killed.mfi
    cmp -s many.mfi killed.mfi || check_failed "a resumed build differs"
    is "$(ls ./*.partial 2>/dev/null)" "" "nothing is left"
}
finish
