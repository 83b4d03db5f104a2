#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mfrgn info: every preset, JSON, tensors, graphs.
. "$(dirname "$0")/lib.sh"

expect 0 info
says '^presets'
says '^  cvusa '
says '^  sample4geo '
says '^  ref +yes'
silent
cp "$scratch/out" "$scratch/list"
expect 0 info --json
valid_json "$scratch/out"
json "$scratch/out" '"cvusa" in d["presets"] and d["backends"][-1]["name"] == "ref" and d["backends"][-1]["available"]'

presets=$(sed -n '/^presets/,/^$/s/^  \([^ ]*\) .*/\1/p' "$scratch/list")
is "$(echo "$presets" | wc -w)" "$(echo "$presets" | sort -u | wc -w)" "presets are listed once"
count=0
for preset in $presets; do
    count=$((count + 1))
    expect 0 info --preset "$preset" --set backbone=convnext_atto
    says '^  backbone +convnext_atto'
    says '^  parameters +[0-9,]+ learnt'
    says '^  aerial +[0-9]+x[0-9]+ +[0-9.]+ GFLOP'
    silent
    expect 0 info --preset "$preset" --set backbone=convnext_atto --json --tensors
    valid_json "$scratch/out"
    json "$scratch/out" 'd["config"]["backbone"] == "convnext_atto" and len(d["tensors"]) == d["tensor_count"]'
    json "$scratch/out" 'd["views"]["ground"]["flops"] > 1e8'
done
is "$((count >= 10))" 1 "at least ten presets"

# the published network, of which the paper's numbers are known
expect 0 info --preset cvusa --json
json "$scratch/out" 'd["parameters"] == 97874557 and d["running_statistics"] == 9728 and d["descriptor_size"] == 2048'
json "$scratch/out" 'abs(d["views"]["aerial"]["flops"] / 41.9e9 - 1) < 0.01'

# shellcheck disable=SC2086
{
    expect 0 info $tiny --tensors
    says '^  backbone.backbone.stem.0.weight +40 x 3 x 4 x 4 +f32'
    says 'running_mean .*running statistics'
    for view in ground aerial; do
        expect 0 info $tiny --graph --view $view
        is "$(($(wc -l <"$scratch/out") > 20))" 1 "lines of the graph"
        expect 0 info $tiny --dot --view $view
        says '^digraph'
        says '^}'
        expect 0 info $tiny --graph --view $view --backend ref
        exact=$(grep -cw gelu "$scratch/out")
        is "$((exact > 0))" 1 "there are GELUs"
        expect 0 info $tiny --graph --view $view --backend ref --gelu tanh
        is "$(grep -cw gelu_tanh "$scratch/out") $(grep -cw gelu "$scratch/out")" "$exact 0" "every GELU by its tanh form"
    done
}
expect 1 info --model "$scratch/nothing.safetensors"
complains 'nothing.safetensors'
no_output
finish
