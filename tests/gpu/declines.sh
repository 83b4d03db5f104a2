#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The real plug-in on a machine without a GPU: it loads, says why it declines, and `auto` goes on.
. "$(dirname "$0")/../cli/lib.sh"

expect 0 info
if grep -Eq '^  cuda +yes' "$scratch/out"; then
    echo "skipped: there is a CUDA device here"
    exit 77
fi
says '^  cuda +no.*(no NVIDIA driver is installed|driver is too old|no CUDA device|CUDA device is too old)'
# shellcheck disable=SC2086
{
    expect 1 bench $tiny --backend cuda --repeat 1
    complains 'backend cuda: (no NVIDIA driver|the NVIDIA driver|no CUDA device|the CUDA device)'
    expect 0 bench $tiny --repeat 1 --json
    says '"backend": "(onednn|openblas|ref)"'
}
finish
