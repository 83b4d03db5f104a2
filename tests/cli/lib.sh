# SPDX-License-Identifier: Apache-2.0
# Read by the tests of the command.  The environment gives MFRGN (the command), MAKE_PICTURES and MAKE_MODEL.
set -u
scratch=$(mktemp -d)
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
failures=0
checks=0
# A network that is small and complete.
tiny="--set backbone=convnext_atto --aerial-size 64x64 --ground-size 32x128"
tiny_keys="backbone=convnext_atto sat_size=64x64 grd_size=32x128"
backend=${BACKEND-ref}

check_failed() {
    failures=$((failures + 1))
    echo "FAILED: $*"
    echo "---- stdout"
    head -n 20 "$scratch/out"
    echo "---- stderr"
    head -n 20 "$scratch/err"
    echo "----"
}

# expect CODE ARGUMENTS..: runs the command; its output is in $scratch/out and err.
expect() {
    wanted=$1
    shift
    checks=$((checks + 1))
    code=0
    "$MFRGN" "$@" >"$scratch/out" 2>"$scratch/err" || code=$?
    [ "$code" = "$wanted" ] || check_failed "exit code $code, not $wanted: mfrgn $*"
}

# says PATTERN, complains PATTERN: of the last run's stdout, stderr (extended regular expression).
says() {
    checks=$((checks + 1))
    grep -Eq -e "$1" "$scratch/out" || check_failed "stdout does not say '$1'"
}

complains() {
    checks=$((checks + 1))
    grep -Eq -e "$1" "$scratch/err" || check_failed "stderr does not say '$1'"
}

silent() {
    checks=$((checks + 1))
    [ ! -s "$scratch/err" ] || check_failed "stderr is not empty"
}

no_output() {
    checks=$((checks + 1))
    [ ! -s "$scratch/out" ] || check_failed "stdout is not empty"
}

is() {
    checks=$((checks + 1))
    [ "$1" = "$2" ] || check_failed "$3: '$1' is not '$2'"
}

# valid_json FILE, json FILE EXPRESSION: by python3, where it is; `d` is the document.
if command -v python3 >/dev/null 2>&1; then
    valid_json() {
        checks=$((checks + 1))
        python3 -m json.tool "$1" >/dev/null 2>>"$scratch/err" || check_failed "$1 is not JSON"
    }
    json() {
        checks=$((checks + 1))
        python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); sys.exit(not eval(sys.argv[2]))' "$1" "$2" \
            2>>"$scratch/err" || check_failed "not so in $1: $2"
    }
else
    valid_json() { :; }
    json() { :; }
    echo "no python3: JSON is not looked into"
fi

finish() {
    echo "$checks checks, $failures failed"
    [ "$checks" -gt 0 ] && [ "$failures" = 0 ]
    exit
}
