#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mfrgn eval: a data set made here, the cache, missing and damaged pictures, wrong use.
. "$(dirname "$0")/lib.sh"
cd "$scratch" || exit 1

mkdir -p mine
"$MAKE_PICTURES" mine 4 || exit 1
# shellcheck disable=SC2086
"$MAKE_MODEL" model.safetensors $tiny_keys || exit 1
{
    echo "ground,aerial,latitude,longitude"
    for i in 0 1 2 3; do
        echo "ground-$i.ppm,aerial-$i.ppm,51.50$i,-0.1"
    done
} >mine/pairs.csv
run="eval --dataset pairs --root mine --model model.safetensors --backend $backend"

# shellcheck disable=SC2086
{
    expect 0 $run --json out.json --batch 2
    silent
    says '^ground->aerial: 4 queries, 4 references'
    says 'this model'
    valid_json out.json
    json out.json 'd["dataset"] == "pairs" and d["missing"] == 0'
    json out.json 'all(d[t]["queries"] == 4 and d[t]["recall@5"] == 100 and d[t]["recall@1%"] == 0
        for t in ("ground->aerial", "aerial->ground"))'
    json out.json 'd["ground->aerial"]["metres"]["located"] == 4'
    json out.json 'abs(d["ground->aerial"]["metres"]["median"] % 111.26) < 60'

    # the same from descriptors
    expect 0 embed --model model.safetensors --backend $backend --view ground -o q.npy mine/ground-0.ppm \
        mine/ground-1.ppm mine/ground-2.ppm mine/ground-3.ppm
    expect 0 embed --model model.safetensors --backend $backend --view aerial -o r.npy mine/aerial-0.ppm \
        mine/aerial-1.ppm mine/aerial-2.ppm mine/aerial-3.ppm
    printf '0\n1\n2\n3\n' >labels.csv
    expect 0 eval --descriptors q.npy r.npy --labels labels.csv --json -
    cp out files.json
    json files.json 'all(d[t][k] == json.load(open("out.json"))[t][k] for t in ("ground->aerial", "aerial->ground")
        for k in ("recall@1", "recall@5", "recall@10", "recall@1%", "hit_rate", "ap"))'
    expect 0 eval --descriptors q.npy r.npy --labels labels.csv --dataset u1652 --json -
    json out '"drone->satellite" in d and "satellite->drone" in d'

    # the cache: made, used, not used for another model or changed pictures
    expect 0 $run --cache cache --json -
    cp out first.json
    is "$(find cache -name '*.npy' | wc -l)" 2 "files in the cache"
    expect 0 $run --cache cache --json -
    is "$(cat out)" "$(cat first.json)" "figures from the cache"
    is "$(find cache -name '*.npy' | wc -l)" 2 "files in the cache"
    touch -d '2001-01-01' mine/aerial-1.ppm
    expect 0 $run --cache cache --json -
    is "$(find cache -name '*.npy' | wc -l)" 3 "files after a picture has changed"
    expect 0 $run --cache cache --json - --precrop
    is "$(find cache -name '*.npy' | wc -l)" 4 "files after a pre-crop"
    expect 0 $run --cache cache --json - --gelu tanh
    is "$(find cache -name '*.npy' | wc -l)" 6 "files after another GELU"
    for file in cache/*.npy; do
        echo "damaged" >"$file"
    done
    expect 0 $run --cache cache --json -
    complains 'made again'
    is "$(cat out)" "$(cat first.json)" "figures after the cache was damaged"
    expect 1 $run --cache mine/pairs.csv/below
    complains 'cannot be made'

    # missing and damaged pictures
    cp -r mine some
    rm some/ground-2.ppm
    expect 3 eval --dataset pairs --root some/pairs.csv --model model.safetensors --backend $backend --json -
    complains 'some/ground-2.ppm: not there'
    json out 'd["missing"] == 1 and d["ground->aerial"]["queries"] == 3 and d["ground->aerial"]["references"] == 4'
    echo "not a picture" >some/aerial-0.ppm
    expect 3 eval --dataset pairs --root some --model model.safetensors --backend $backend --json -
    complains 'some/aerial-0.ppm.*skipped'
    json out 'd["skipped"] == 1 and d["ground->aerial"]["queries"] == 2 and d["ground->aerial"]["references"] == 3'
    json out 'd["aerial->ground"]["queries"] == 2 and d["aerial->ground"]["references"] == 3'

    # bad input and wrong use
    echo "ground-0.ppm,aerial-0.ppm,95,0" >>some/pairs.csv
    expect 1 eval --dataset pairs --root some --model model.safetensors
    complains 'some/pairs.csv, line 6: latitude 95 is out of range'
    expect 1 eval --dataset cvusa --root nowhere --model model.safetensors
    complains 'nowhere: there is no such folder'
    expect 1 eval --dataset cvusa --root mine --model model.safetensors --split test
    complains 'val|train'
    expect 1 eval --dataset cvusa --root mine --model model.safetensors
    complains 'val-19zl.csv'
    expect 2 eval --dataset moon --root mine --model model.safetensors
    complains 'cvusa, cvact, vigor, u1652 or pairs'
    expect 2 eval --dataset pairs --root mine
    expect 2 eval --dataset pairs --model model.safetensors
    expect 2 eval --descriptors q.npy --labels labels.csv
    expect 2 eval --descriptors q.npy r.npy
    expect 2 eval --descriptors q.npy r.npy --labels labels.csv --model model.safetensors
    expect 1 eval --descriptors q.npy none.npy --labels labels.csv
    complains 'none.npy'
    expect 1 $run --json /nowhere/out.json
    complains '/nowhere/out.json'
}

# The real data sets, where they are.
real=${REAL-}
if [ -d "$real" ]; then
    # shellcheck disable=SC2086
    for set in cvusa cvact:train u1652=university1652-mini pairs=london; do
        name=${set%%[:=]*} folder=$set split=
        case $set in
        *=*) folder=${set#*=} ;;
        *:*) folder=$name split="--split ${set#*:}" ;;
        esac
        wanted=0
        [ "$name" != cvact ] || wanted=3
        expect $wanted eval --dataset "$name" --root "$real/$folder" --model model.safetensors --backend $backend \
            $split --batch 8 --json "$name.json"
        valid_json "$name.json"
    done
    json pairs.json 'd["ground->aerial"]["queries"] == 10 and d["ground->aerial"]["metres"]["located"] == 10'
    json u1652.json 'd["drone->satellite"]["queries"] == 70'
    # the paper's figures are those of the other split
    json cvact.json 'd["missing"] == 2 and d["ground->aerial"]["paper"] == []'
    json cvusa.json 'd["ground->aerial"]["paper"][0]["recall@1"] == 98.24'
else
    echo "skipped: no real photographs at '$real'"
fi
finish
