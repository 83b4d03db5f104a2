#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Help, versions, and what is said of a wrong command line.
. "$(dirname "$0")/lib.sh"

expect 2
no_output
complains '^Usage: mfrgn COMMAND'
for word in --help -h help; do
    expect 0 $word
    says '^Usage: mfrgn COMMAND'
    says 'Exit codes: 0 done'
    silent
done
expect 0 --version
says '^mfrgn [0-9]+\.[0-9]+\.[0-9]+'
for command in info convert embed compare eval train ablate synth bench selftest; do
    for word in --help -h; do
        expect 0 $command $word
        says "^Usage: mfrgn $command "
        says '^Examples:'
        says "^  mfrgn $command"
        says 'Exit codes: 0 done'
        silent
    done
    expect 0 help $command
    says "^Usage: mfrgn $command "
    expect 2 $command --no-such-option
    complains "mfrgn $command: unknown option '--no-such-option'"
    complains "Try 'mfrgn $command --help'"
    no_output
    expect 2 $command -Z
    complains "unknown option '-Z'"
    expect 2 $command --help=yes
    complains "'--help' takes no value"
done
expect 2 fly
complains "there is no command 'fly'"
expect 2 help fly
complains "there is no command 'fly'"
expect 2 --fly
complains "unknown option '--fly'"

expect 2 info --model
complains "option '--model' needs a value"
expect 2 info --preset nowhere
complains "no 'nowhere'"
complains '^  cvusa'
expect 2 info surplus
complains "'surplus' is not expected"
expect 2 info --graph --dot
expect 2 info --backend ref
expect 2 info --preset cvusa --graph --view sideways
complains "ground or aerial, not 'sideways'"

expect 2 convert
complains 'two files are needed'
expect 2 convert one
expect 2 convert --untrained
complains 'one file is needed'
expect 2 convert --set a=1 in.pth out.pth
expect 2 convert a b c
expect 2 convert in.pth out.onnx
complains 'must end in .safetensors'
expect 2 convert --dtype f8 in.pth out.pth
complains "not 'f8'"

expect 2 embed --model m.safetensors picture.jpg
complains 'view is needed'
expect 2 embed --model m.safetensors --view ground
complains 'no picture'
expect 2 embed --view ground picture.jpg
complains 'model FILE is needed'
expect 2 embed --untrained --model m.safetensors --view ground picture.jpg
complains 'exclude each other'
expect 2 embed --untrained --view ground -o out.csv picture.jpg
complains 'must end in .npy or .json'
expect 2 embed --untrained --view ground --threads -1 picture.jpg
complains "threads takes a number from 0 to [0-9]+, not '-1'"
expect 2 embed --untrained --view ground --batch 0 picture.jpg
expect 2 embed --untrained --view ground --batch 1x picture.jpg
expect 2 embed --untrained --view ground --precision f8 picture.jpg
expect 2 embed --untrained --view ground --gelu erf picture.jpg
complains "gelu takes exact or tanh, not 'erf'"
expect 2 embed --untrained --view ground --quiet --verbose picture.jpg

expect 2 compare --untrained one.jpg
complains 'at least one aerial picture'
expect 2 bench surplus
expect 2 bench --repeat 0
expect 2 bench --seed x
expect 2 bench --train --gelu tanh
complains 'for embedding'
expect 2 bench --model m.safetensors --set a=1
complains 'goes with random weights'
expect 2 selftest surplus
expect 2 selftest --max-parameters 5
expect 2 selftest --dtype bf16

# values that only the library can judge are failures of the work
expect 1 info --set backbone=vgg
complains 'backbone'
expect 1 info --set wings=2
complains 'no such key; the keys are backbone'
expect 1 info --aerial-size 10by10
expect 1 info --set heads=7

if [ -w /dev/full ]; then
    checks=$((checks + 1))
    code=0
    "$MFRGN" --help >/dev/full 2>"$scratch/err" || code=$?
    is "$code" 1 "exit code on a full disk"
    complains 'cannot write the output'
fi
code=0
"$MFRGN" --help >&- 2>"$scratch/err" || code=$?
is "$code" 1 "exit code when stdout is closed"
complains 'cannot write the output'
finish
