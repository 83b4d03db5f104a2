#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each public header compiles alone, and included twice, without a warning: as C89, C11, C17 and C++.
#     run.sh INCLUDE-FOLDER C-COMPILER [C++-COMPILER]
set -eu
include=$1
cc=$2
cxx=${3-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
compiled=0

try() {
    unit=$1
    shift
    compiled=$((compiled + 1))
    if ! "$@" -pedantic -Wall -Wextra -Werror -Wundef -I"$include" -fsyntax-only "$scratch/$unit"; then
        echo "FAILED: $* $unit"
        failed=$((failed + 1))
    fi
}

for header in "$include"/mfrgn/*.h; do
    name=$(basename "$header" .h)
    for times in once twice; do
        for language in c cc; do
            {
                echo "#include <mfrgn/$name.h>"
                [ "$times" = once ] || echo "#include <mfrgn/$name.h>"
                echo "int the_unit_is_not_empty;"
            } >"$scratch/$name-$times.$language"
        done
        for standard in c89 c99 c11 c17; do
            # shellcheck disable=SC2086 # a compiler and its options
            try "$name-$times.c" $cc -std=$standard -Wstrict-prototypes -Wmissing-prototypes
        done
        [ -z "$cxx" ] || for standard in c++98 c++11 c++17; do
            # shellcheck disable=SC2086
            try "$name-$times.cc" $cxx -std=$standard
        done
    done
done
echo "$compiled compilations, $failed failed${cxx:+, C++ with $cxx}"
[ -n "$cxx" ] || echo "no C++ compiler: C++ was left out"
[ "$compiled" -gt 0 ] && [ "$failed" = 0 ]
