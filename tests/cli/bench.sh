#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mfrgn bench and selftest: their form.  (What they find is no matter of this test.)
. "$(dirname "$0")/lib.sh"

# shellcheck disable=SC2086
{
    expect 0 bench $tiny --backend $backend --threads 1 --batch 2 --repeat 3 --view ground --json
    silent
    valid_json "$scratch/out"
    for key in ms_per_image_min ms_per_image_median gflops fma_peak_gflops fma_fraction read_gbps planned_bytes \
        peak_rss_bytes load_ms first_descriptor_ms weights_bytes; do
        json "$scratch/out" "d['$key'] > 0"
    done
    json "$scratch/out" 'd["threads"] == 1 and d["batch"] == 2 and d["runs"] == 3 and d["view"] == "ground"'
    json "$scratch/out" 'd["ms_per_image_min"] <= d["ms_per_image_median"]'
    expect 0 bench $tiny --backend $backend --repeat 1 --dtype f16
    says '^  speed +[0-9.]+ GFLOP/s'
    expect 1 bench $tiny --backend nonesuch
}

expect 0 selftest --backend "$backend" --threads 1
says '^selftest of [a-z]+: [0-9]+ passed, 0 failed, 0 skipped: ok$'
expect 0 selftest --backend "$backend" --json
valid_json "$scratch/out"
json "$scratch/out" 'd["ok"] and d["failed"] == 0 and len(d["cases"]) == d["passed"]'
expect 0 selftest --backend "$backend" --gelu tanh
says 'ok$'
expect 1 selftest --case no-such-case
complains 'there is no case'
expect 1 selftest --golden "$scratch/nowhere"
complains 'nowhere'
mkdir "$scratch/golden"
expect 1 selftest --golden "$scratch/golden"
complains 'there is no case in'
echo "this is no safetensors file" >"$scratch/golden/broken.safetensors"
printf '\377\377\377\377\377\377\377\177{}' >"$scratch/golden/huge.safetensors"
printf '\002\000\000\000\000\000\000\000{}' >"$scratch/golden/empty.safetensors"
printf '\040\000\000\000\000\000\000\000{"__metadata__":{"lr":"0.0001"}}' >"$scratch/golden/train-x.safetensors"
expect 1 selftest --golden "$scratch/golden" --backend "$backend"
says '^broken .* FAILED .*safetensors'
says '^huge .* FAILED .*safetensors'
says '^empty .* FAILED'
says '^train-x .* FAILED .*no configuration'
says '0 passed, 4 failed, 0 skipped'
expect 1 selftest --golden "$scratch/golden" --case train-x
finish
