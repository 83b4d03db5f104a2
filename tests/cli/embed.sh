#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mfrgn embed and compare: files and folders, order, formats, unreadable pictures, folders that cannot be written.
. "$(dirname "$0")/lib.sh"
cd "$scratch" || exit 1

mkdir -p pictures/deep
"$MAKE_PICTURES" pictures 3 || exit 1
cp pictures/aerial-0.ppm pictures/deep/again.ppm
cp pictures/aerial-1.ppm pictures/.hidden.ppm
echo "notes" >pictures/notes.txt
# shellcheck disable=SC2086
"$MAKE_MODEL" model.safetensors $tiny_keys || exit 1
run="--model model.safetensors --backend $backend"

# shellcheck disable=SC2086
{
    expect 0 embed $run --view aerial pictures
    silent
    valid_json out
    json out '[e["file"] for e in d] == ["pictures/aerial-0.ppm", "pictures/aerial-1.ppm", "pictures/aerial-2.ppm",
        "pictures/deep/again.ppm", "pictures/ground-0.ppm", "pictures/ground-1.ppm", "pictures/ground-2.ppm"]'
    json out 'all(len(e["descriptor"]) == 2048 for e in d)'
    json out 'all(abs(sum(v * v for v in e["descriptor"]) - 1) < 1e-4 for e in d)'
    json out 'd[0]["descriptor"] == d[3]["descriptor"] and d[0]["descriptor"] != d[1]["descriptor"]'
    cp out all.json

    # the place in a batch changes no bit; nor does the way out
    expect 0 embed $run --view aerial -o all-at-once.json pictures --batch 4
    no_output
    expect 0 embed $run --view aerial -o one.json pictures/aerial-2.ppm --batch 4
    json one.json 'd[0]["descriptor"] == [e for e in json.load(open("all-at-once.json"))
        if e["file"] == "pictures/aerial-2.ppm"][0]["descriptor"]'
    expect 0 embed $run --view aerial -o all.npy pictures
    no_output
    is "$(wc -c <all.npy)" "$((128 + 7 * 2048 * 4))" "size of the .npy file"
    is "$(head -n 4 all.txt | tail -n 1)" "pictures/deep/again.ppm" "fourth line of the list"
    is "$(wc -l <all.txt)" 7 "lines of the list"
    is "$(head -c 127 all.npy | tail -c +11 | sed 's/ *$//')" \
        "{'descr': '<f4', 'fortran_order': False, 'shape': (7, 2048), }" "header of the .npy file"
    json all.json '__import__("struct").unpack("<2048f", open("all.npy", "rb").read()[128:128 + 8192]) == tuple(
        __import__("array").array("f", d[0]["descriptor"]))'

    # what cannot be read
    echo "not a picture" >broken.jpg
    head -c 5000 pictures/aerial-0.ppm >short.ppm
    expect 3 embed $run --view aerial -o some.npy pictures/aerial-0.ppm broken.jpg missing.png short.ppm \
        pictures/aerial-1.ppm
    complains 'broken.jpg.*skipped'
    complains 'missing.png.*skipped'
    complains 'short.ppm.*skipped'
    complains '3 of 5 inputs were skipped'
    is "$(cat some.txt)" "pictures/aerial-0.ppm
pictures/aerial-1.ppm" "the list leaves out what was skipped"
    is "$(wc -c <some.npy)" "$((128 + 2 * 2048 * 4))" "size without what was skipped"
    mkdir empty
    expect 3 embed $run --view aerial -o some.json empty pictures/aerial-0.ppm
    complains 'empty: no picture'
    expect 1 embed $run --view aerial -o none.npy broken.jpg
    complains 'no picture could be read'
    expect 1 embed $run --view aerial empty
    is "$(ls none.* ./*.tmp 2>/dev/null)" "" "no file after a failure"

    # what cannot be written
    expect 1 embed $run --view aerial -o no/such/out.npy pictures/aerial-0.ppm
    complains 'no/such/out.npy: cannot be written'
    if [ "$(id -u)" != 0 ]; then
        mkdir locked && chmod a-w locked
        expect 1 embed $run --view aerial -o locked/out.npy pictures/aerial-0.ppm
        complains 'locked/out.npy: cannot be written'
    else
        expect 1 embed $run --view aerial -o /proc/out.npy pictures/aerial-0.ppm
        complains '/proc/out.npy: cannot be written'
    fi
    if [ -w /dev/full ]; then
        code=0
        "$MFRGN" embed $run --view aerial pictures/aerial-0.ppm >/dev/full 2>err || code=$?
        is "$code" 1 "exit code on a full disk"
        complains 'cannot write the output'
    fi
    expect 1 embed $run --view aerial --backend nonesuch pictures/aerial-0.ppm
    complains 'nonesuch'
    expect 1 embed --model broken.jpg --view aerial pictures/aerial-0.ppm

    # compare
    expect 0 compare $run pictures/ground-0.ppm pictures/aerial-0.ppm
    silent
    says '^-?[01]\.[0-9]{6}$'
    single=$(cat out)
    expect 0 compare $run pictures/ground-0.ppm pictures/aerial-?.ppm
    is "$(wc -l <out)" 3 "lines of a ranking"
    says "^    [123] +$single +pictures/aerial-0.ppm"
    is "$(awk '{ print $2 }' out)" "$(awk '{ print $2 }' out | sort -g -r)" "a ranking falls"
    expect 0 compare $run --json pictures/ground-0.ppm pictures/aerial-?.ppm
    valid_json out
    json out 'len(d["aerial"]) == 3 and d["aerial"][0]["rank"] == 1 and d["ground"] == "pictures/ground-0.ppm"'
    expect 3 compare $run pictures/ground-0.ppm pictures/aerial-0.ppm broken.jpg
    says '^ *1 '
    expect 1 compare $run broken.jpg pictures/aerial-0.ppm
    no_output
    expect 1 compare $run pictures/ground-0.ppm broken.jpg
}

# untrained weights are named so
# shellcheck disable=SC2086
expect 0 compare --untrained $tiny --backend $backend pictures/ground-0.ppm pictures/aerial-0.ppm
complains 'untrained'
# shellcheck disable=SC2086
expect 0 compare --untrained -q $tiny --backend $backend pictures/ground-0.ppm pictures/aerial-0.ppm
silent
finish
