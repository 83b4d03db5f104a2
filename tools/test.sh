#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the project in build/ and runs its tests.  On Debian 12 and Ubuntu 24.04 it installs what is missing first.
#
#     sh tools/test.sh
#
# Ends with "N passed, N failed", and 0 if none failed.
set -eu
cd "$(dirname "$0")/.."
word="test"
. tools/prepare.sh

say "installs what is missing, builds in build/, runs the tests"
install_packages
build

log=build/test-output.txt
status=build/test-status.txt
{
    code=0
    meson test -C build --no-rebuild --print-errorlogs || code=$?
    echo "$code" >"$status"
} 2>&1 | tee "$log"
code=$(cat "$status")

# meson's summary: "Ok:  12", "Expected Fail: ..", "Fail: ..", "Unexpected Pass: ..", "Skipped: ..", "Timeout: .."
total() {
    sed -n "s/^$1: *\([0-9][0-9]*\).*/\1/p" "$log" | tail -n 1 | grep . || echo 0
}
passed=$(($(total Ok) + $(total 'Expected Fail')))
failed=$(($(total Fail) + $(total 'Unexpected Pass') + $(total Timeout)))
skipped=$(total Skipped)

[ "$skipped" = 0 ] || {
    say "skipped, for want of something on this machine or of files that do not belong to the sources:"
    sed -n 's/^ *[0-9]*\/[0-9]* \(.*[^ ]\)  *SKIP .*/  \1/p' "$log"
}
if [ "$code" != 0 ] && [ "$failed" = 0 ]; then
    give_up "meson test ended with $code before the tests were counted"
fi
if [ "$passed" = 0 ] && [ "$failed" = 0 ]; then
    give_up "no test ran"
fi
if [ "$failed" = 0 ]; then
    say "all passed"
else
    say "FAILED (build/meson-logs/testlog.txt tells more)"
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$code" = 0 ]
