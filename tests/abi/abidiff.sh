#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The types and functions of the shared library are those of mfrgn.abi, by libabigail.  After a change on purpose:
#     tests/abi/abidiff.sh build/libmfrgn.so include --update
set -eu
library=$1
include=$2
expected=$(dirname "$0")/mfrgn.abi
for tool in abidw abidiff readelf; do
    command -v $tool >/dev/null 2>&1 || {
        echo "skipped: there is no $tool (Debian: abigail-tools, binutils)"
        exit 77
    }
done
library=$(readlink -f "$library")
readelf -S "$library" | grep -q '\.debug_info' || {
    echo "skipped: $library has no debugging information (meson configure -Ddebug=true)"
    exit 77
}
readelf -Ws "$library" | grep -q __asan_init && {
    echo "skipped: the library is built with AddressSanitizer"
    exit 77
}
dump() {
    abidw --headers-dir "$include" --drop-private-types --exported-interfaces-only --drop-undefined-syms \
        --no-corpus-path --no-comp-dir-path --no-show-locs --no-elf-needed --no-architecture --type-id-style hash \
        "$library"
}
if [ "${3-}" = --update ]; then
    dump >"$expected"
    exit
fi
[ -f "$expected" ] || {
    echo "skipped: there is no $expected yet"
    exit 77
}
scratch=$(mktemp)
trap 'rm -f "$scratch"' EXIT
dump >"$scratch"
if abidiff --no-unreferenced-symbols "$expected" "$scratch"; then
    echo "the ABI is that of mfrgn.abi"
else
    echo "FAILED: the ABI differs from $expected"
    exit 1
fi
