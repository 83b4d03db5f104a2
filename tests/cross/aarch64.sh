#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds for 64-bit Arm and runs the tests under qemu-user: the portable kernels are NEON's there.
#
#     dpkg --add-architecture arm64 && apt-get update
#     apt-get install gcc-aarch64-linux-gnu qemu-user check:arm64 libsubunit-dev:arm64 libopenblas-dev:arm64 libjpeg-dev:arm64
#     sh tests/cross/aarch64.sh [BUILD FOLDER]
#
# Slow under qemu, so not part of CI, and with the short lists of cases.
set -eu
cd "$(dirname "$0")/../.."
build=${1:-build-aarch64}
[ -f "$build/build.ninja" ] ||
    meson setup "$build" --cross-file tests/cross/aarch64.ini -Dshort_tests=true -Donednn=disabled -Dopenblas=enabled
ninja -C "$build"
meson test -C "$build" --no-rebuild --print-errorlogs --timeout-multiplier 10 --suite unit --suite ops \
    --suite golden --no-suite large
