#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mfrgn convert: there and back without a bit changed; what goes wrong leaves no file.
. "$(dirname "$0")/lib.sh"
cd "$scratch" || exit 1

# shellcheck disable=SC2086
"$MAKE_MODEL" one.safetensors $tiny_keys || exit 1
expect 0 convert one.safetensors two.pth
says '^two.pth: [0-9]+ tensors'
expect 0 convert -q two.pth three.safetensors --aerial-size 64x64 --ground-size 32x128
no_output
silent
checks=$((checks + 1))
cmp one.safetensors three.safetensors || check_failed "a model changed on its way through .pth"
expect 0 info --model two.pth --aerial-size 64x64 --ground-size 32x128 --json
json out 'd["config"]["backbone"] == "convnext_atto"'

expect 0 convert --dtype f16 one.safetensors half.safetensors
expect 0 convert half.safetensors half-again.safetensors
cmp half.safetensors half-again.safetensors || check_failed "f16 is not kept"
is "$(($(wc -c <half.safetensors) * 100 / $(wc -c <one.safetensors) < 60))" 1 "f16 takes about half"
expect 0 convert --dtype bf16 one.safetensors brain.safetensors
expect 0 convert --dtype f32 half.safetensors wide.safetensors
is "$(wc -c <wide.safetensors)" "$(wc -c <one.safetensors)" "size as f32 again"

# onto itself
cp one.safetensors self.safetensors
expect 0 convert self.safetensors self.safetensors
cmp one.safetensors self.safetensors || check_failed "a model changed on its way onto itself"

# shellcheck disable=SC2086
expect 0 convert --untrained $tiny random.safetensors
cmp one.safetensors random.safetensors || check_failed "random weights of the same seed differ"
# shellcheck disable=SC2086
expect 0 convert --untrained $tiny --seed 2 random.safetensors
cmp -s one.safetensors random.safetensors && check_failed "another seed gives the same weights"

expect 1 convert missing.safetensors out.pth
complains 'missing.safetensors'
head -c 100000 one.safetensors >short.safetensors
expect 1 convert short.safetensors out.pth
complains 'short.safetensors'
echo 'this is no model' >text.pth
expect 1 convert text.pth out.safetensors
is "$(ls out.* 2>/dev/null)" "" "no file after a failure"
expect 1 convert one.safetensors no/such/folder/out.safetensors
complains 'no/such/folder'

if [ "$(id -u)" != 0 ]; then
    mkdir locked && chmod a-w locked
    expect 1 convert one.safetensors locked/out.safetensors
    complains 'locked/out.safetensors'
    is "$(ls -A locked)" "" "nothing half in the locked folder"
else
    # root may write anywhere but to /proc
    expect 1 convert one.safetensors /proc/out.safetensors
    complains '/proc/out.safetensors'
fi
finish
