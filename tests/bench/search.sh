#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Searching beside FAISS: tests/bench/search.sh BUILD [options of search_faiss.py]
# Needs python3-faiss (apt-get install python3-faiss) and some 4 GB of memory.
set -eu
build=$(realpath "${1:?the build folder}")
shift
here=$(dirname "$(realpath "$0")")
/usr/bin/python3 -c 'import faiss' 2>/dev/null || {
    echo "no python3-faiss: apt-get install python3-faiss" >&2
    exit 77
}
ninja -C "$build" tests/bench/bench_search >/dev/null
MFRGN_BACKEND_PATH=${MFRGN_BACKEND_PATH:-$build/backends} exec /usr/bin/python3 "$here/search_faiss.py" \
    "$build/tests/bench/bench_search" "$@"
