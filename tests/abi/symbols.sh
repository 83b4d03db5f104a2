#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the shared library exports is what symbols.txt says.  After a function has been added on purpose:
#     tests/abi/symbols.sh build/libmfrgn.so --update
# A function that goes away, or changes, needs another soname (CHANGELOG.md, "ABI").
set -eu
library=$1
expected=$(dirname "$0")/symbols.txt
command -v nm >/dev/null 2>&1 || {
    echo "skipped: there is no nm"
    exit 77
}
symbols() {
    nm -D --defined-only "$library" | awk '$2 ~ /^[BDRTVWi]$/ { print $3 }' | LC_ALL=C sort
}
if [ "${2-}" = --update ]; then
    symbols >"$expected"
    exit
fi
scratch=$(mktemp)
trap 'rm -f "$scratch"' EXIT
symbols >"$scratch"
[ -s "$scratch" ] || {
    echo "FAILED: no symbol in $library"
    exit 1
}
if diff -u "$expected" "$scratch"; then
    echo "$(wc -l <"$scratch") symbols, as listed"
else
    echo "FAILED: the symbols differ from $expected"
    exit 1
fi
