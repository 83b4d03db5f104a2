#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Golden cases on a backend:  run.sh COMMAND FOLDER OPTIONS..
set -u
mfrgn=$1
folder=$2
shift 2
ls "$folder"/*.safetensors >/dev/null 2>&1 || {
    echo "skipped: no golden cases in $folder"
    exit 77
}
exec ${MESON_EXE_WRAPPER:-} "$mfrgn" selftest --golden "$folder" "$@"
