#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The CUDA backend on a machine that has a GPU.  It needs gcc, nvcc, Python, meson and ninja, and nothing from the net.
#
#   sh tests/gpu/run.sh [STAGE ..]      build selftest ops bench sanitizers report; default: all, about 25 minutes
#
# Each stage takes less than 10 minutes and may be run by itself.  What passed is kept in a part, $OUT/STAGE.json, and is
# not run again (FORCE=1 runs it again); `report` merges the parts into $OUT/report.json.  Exit status: 0, or 1 if something
# failed.  A machine without a device builds, and the rest declines.
#   OUT      folder of the parts (build-gpu/report)       BUILD    folder of the build (build-gpu)
#   GOLDEN   folder of golden cases (../shared/golden)    LIMIT    seconds of a stage (570)
#   PYTHON   that has torch (python3)                     EVERY    ops: every Nth case (1)
set -u
self=tests/gpu/run.sh
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
cd "$root" || exit 1
BUILD=${BUILD:-$root/build-gpu}
OUT=${OUT:-$BUILD/report}
GOLDEN=${GOLDEN:-$root/../shared/golden}
PYTHON=${PYTHON:-python3}
LIMIT=${LIMIT:-570}
EVERY=${EVERY:-1}
FORCE=${FORCE:-0}
export MFRGN_BACKEND_PATH="$BUILD/backends"
mkdir -p "$OUT" "$BUILD/logs" || exit 1
failures=0
stage=none
stage_end=0

now() {
    date +%s
}

report() {
    python3 tests/gpu/report.py "$@"
}

begin_stage() {
    stage=$1
    stage_end=$(($(now) + LIMIT))
    echo "== $stage"
}

# note ITEM STATUS SECONDS: what became of it; the log is its own.
note() {
    report put "$OUT/$stage.json" "$1" "$2" "$3" "$BUILD/logs/$stage-$1.log"
    echo "$stage $1: $2, $3 s"
    if [ "$2" = failed ]; then
        case $1 in
        torch*) ;; # the other side's: said, not counted
        *) failures=$((failures + 1)) ;;
        esac
        tail -n 15 "$BUILD/logs/$stage-$1.log"
    fi
}

skip() {
    echo "$2" >"$BUILD/logs/$stage-$1.log"
    note "$1" skipped 0
    echo "    $2"
}

# item NAME SECONDS COMMAND ..: runs it within that time and what the stage has left, unless it passed before.
item() {
    name=$1
    most=$2
    shift 2
    if [ "$FORCE" = 0 ] && report passed "$OUT/$stage.json" "$name"; then
        echo "$stage $name: passed before"
        return 0
    fi
    begin=$(now)
    left=$((stage_end - begin))
    if [ "$left" -lt 5 ]; then
        skip "$name" "no time is left in this stage: run it again"
        return 1
    fi
    [ "$most" -lt "$left" ] || most=$left
    code=0
    timeout -k 5 "$most" "$@" >"$BUILD/logs/$stage-$name.log" 2>&1 || code=$?
    [ "$code" = 0 ] || echo "exit status $code (124: more than $most s): $*" >>"$BUILD/logs/$stage-$name.log"
    case $code in
    0) status=passed ;;
    77) status=skipped ;;
    *) status=failed ;;
    esac
    note "$name" "$status" "$(($(now) - begin))"
    return "$code"
}

meson() {
    if command -v meson >/dev/null 2>&1; then
        command meson "$@"
    else
        python3 -m mesonbuild.mesonmain "$@"
    fi
}

ninja_command() {
    command -v ninja || command -v ninja-build || python3 -c 'import ninja, os; print(os.path.join(ninja.BIN_DIR, "ninja"))'
}

# Says the machine's GPU and exits with 0, or says why there is none.
device() {
    [ -x "$BUILD/tools/mfrgn" ] || {
        echo "$BUILD/tools/mfrgn is not there: run the stage build first"
        return 1
    }
    "$BUILD/tools/mfrgn" info >"$BUILD/logs/info.log" 2>&1
    line=$(grep -E '^ +cuda ' "$BUILD/logs/info.log")
    echo "$line"
    echo "$line" | grep -Eq '^ +cuda +yes'
}

need_device() {
    why=$(device) && return 0
    skip device "no CUDA device for this stage: $why"
    failures=$((failures + 1))
    return 1
}

do_configure() {
    if [ -f "$BUILD/build.ninja" ]; then
        meson configure "$BUILD" -Dcuda=enabled
    else
        meson setup "$BUILD" -Dcuda=enabled -Donednn=disabled -Dopenblas=disabled -Dexamples=false
    fi
}

do_compile() {
    ninja=$(ninja_command) || return 1
    "$ninja" -C "$BUILD" tools/mfrgn backends/libmfrgn-cuda.so tests/ops/ops tests/gpu/gpu-images \
        tests/gpu/gpu-scan tests/gpu/gpu-fp8 tests/bench/bench_device tests/bench/bench_search
}

# `item` runs functions as `sh run.sh --call FUNCTION`, so that its time limit holds for them too.
stage_build() {
    begin_stage build
    passed_before=$FORCE
    FORCE=1 # ninja knows what there is to do
    item configure 120 sh "$self" --call do_configure && item compile "$LIMIT" sh "$self" --call do_compile
    built=$?
    FORCE=$passed_before
    [ "$built" = 0 ] || return
    why=$(device) || skip device "no CUDA device: the other stages will decline: $why"
}

stage_selftest() {
    begin_stage selftest
    need_device || return
    tool=$BUILD/tools/mfrgn
    for precision in f32 tf32 bf16 f16; do
        item "built-in-$precision" 120 "$tool" selftest --backend cuda --precision "$precision"
    done
    item built-in-bf16-tanh 120 "$tool" selftest --backend cuda --precision bf16 --gelu tanh
    if ls "$GOLDEN"/*.safetensors >/dev/null 2>&1; then
        item golden-train 240 "$tool" selftest --backend cuda --golden "$GOLDEN" --case train
        item golden 400 "$tool" selftest --backend cuda --golden "$GOLDEN" --max-parameters 90000000
        item golden-bf16 200 "$tool" selftest --backend cuda --precision bf16 --golden "$GOLDEN" --case nano
    else
        skip golden "no golden cases in $GOLDEN (GOLDEN names the folder)"
    fi
}

# The three types beside each other: most of the time goes into `ref` on the CPU.
stage_ops() {
    begin_stage ops
    need_device || return
    for type in f32 bf16 f16; do
        sh "$self" --ops "$type" "$stage_end" &
    done
    wait
    for type in f32 bf16 f16; do
        report passed "$OUT/ops-$type.part" "$type" || failures=$((failures + 1))
    done
    python3 - "$OUT" <<'EOF'
import json, os, sys
folder, whole = sys.argv[1], {}
for t in ("f32", "bf16", "f16"):
    path = os.path.join(folder, f"ops-{t}.part")
    if os.path.exists(path):
        whole.update(json.load(open(path)))
        if whole[t]["status"] != "passed":
            os.remove(path)
path = os.path.join(folder, "ops.json")
whole = {**(json.load(open(path)) if os.path.exists(path) else {}), **whole}
json.dump(whole, open(path, "w"), indent=1, sort_keys=True)
EOF
    item images 60 "$BUILD/tests/gpu/gpu-images" cuda
    item scan 120 "$BUILD/tests/gpu/gpu-scan"
    item fp8 120 "$BUILD/tests/gpu/gpu-fp8"
}

# --ops TYPE END: one type, into a part of its own.
ops_of_type() {
    stage=ops-$1
    stage_end=$2
    part=$OUT/ops-$1.part
    if [ "$FORCE" = 0 ] && report passed "$part" "$1"; then
        echo "ops $1: passed before"
        return 0
    fi
    begin=$(now)
    code=0
    timeout -k 5 "$((stage_end - begin))" "$BUILD/tests/ops/ops" "--every=$EVERY" "--type=$1" cuda \
        >"$BUILD/logs/ops-$1.log" 2>&1 || code=$?
    [ "$code" = 0 ] && status=passed || status=failed
    [ "$code" != 124 ] || echo "more than the stage's time: EVERY=4 runs fewer cases" >>"$BUILD/logs/ops-$1.log"
    report put "$part" "$1" "$status" "$(($(now) - begin))" "$BUILD/logs/ops-$1.log"
    echo "ops $1: $status"
    [ "$status" = passed ] || grep -E 'FAIL|exit|more than' "$BUILD/logs/ops-$1.log" | head -n 20
}

# The sizes of the preset, for PyTorch: "--aerial HxW --ground HxW".
preset_sizes() {
    "$BUILD/tools/mfrgn" info --preset cvusa --json | python3 -c '
import json, sys
d = json.load(sys.stdin)["config"]
print("--aerial", d["sat_size"], "--ground", d["grd_size"])'
}

bench_mfrgn() {
    device_bench=$BUILD/tests/bench/bench_device
    tuning=$BUILD/tuning-
    for batch in 1 128; do
        for precision in bf16 f16 tf32; do
            repeat=$([ "$batch" = 1 ] && echo 200 || echo 20)
            item "mfrgn-embed-$batch-$precision" 60 "$device_bench" --precision "$precision" --batch "$batch" \
                --repeat "$repeat" --tuning "$tuning$precision"
        done
        item "mfrgn-embed-$batch-bf16-tanh" 60 "$device_bench" --precision bf16 --gelu tanh --batch "$batch" \
            --repeat "$repeat" --tuning "${tuning}bf16"
        item "mfrgn-embed-$batch-fp8" 60 "$device_bench" --precision fp8 --calibrate --batch "$batch" --repeat "$repeat" \
            --tuning "${tuning}fp8"
        item "mfrgn-host-$batch-bf16" 60 "$BUILD/tools/mfrgn" bench --backend cuda --precision bf16 --batch "$batch" --json
    done
    item mfrgn-train-64-bf16 90 "$BUILD/tools/mfrgn" bench --train --backend cuda --precision bf16 --batch 64 \
        --repeat 10 --json
}

# The same rows and queries as PyTorch's, by way of files.
bench_search() {
    folder=$(mktemp -d) || return
    if item torch-search 90 "$PYTHON" tests/gpu/torch_bench.py search --write "$folder" && [ -s "$folder/rows.npy" ]; then
        item mfrgn-search 90 sh "$self" --call do_search "$folder"
    elif [ -s "$folder/rows.npy" ] || report passed "$OUT/bench.json" mfrgn-search; then
        :
    else
        skip mfrgn-search "PyTorch did not write the rows"
    fi
    rm -rf "$folder"
}

# Ten searches of the bench program; the median.
do_search() {
    yes 'search 1000 10' | head -n 10 | TMPDIR=$1 "$BUILD/tests/bench/bench_search" "$1/rows.npy" "$1/queries.npy" f16 cuda 0 >"$1/times" || return 1
    sort -n "$1/times" | sed -n 5p | sed 's/.*/{"search_ms": &, "storage": "f16", "exact": true}/'
    [ -s "$1/times" ]
}

bench_torch() {
    if ! "$PYTHON" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
        skip torch "$PYTHON has no PyTorch with CUDA (PYTHON names one that has)"
        return
    fi
    what="$PYTHON tests/gpu/torch_bench.py"
    sizes=$(preset_sizes)
    # those that the goals speak of first
    while read -r kind batch mode most repeat; do
        # shellcheck disable=SC2086
        item "torch-$kind-$batch-$mode" "$most" $what "$kind" $sizes --batch "$batch" --mode "$mode" --repeat "$repeat" \
            </dev/null
    done <<'EOF'
embed 1 max-autotune-no-cudagraphs 150 200
embed 1 max-autotune 100 200
embed 128 max-autotune-no-cudagraphs 150 20
train 64 default 150 10
embed 1 eager 60 200
embed 128 eager 60 20
embed 128 max-autotune 100 20
train 64 eager 60 10
train 64 max-autotune-no-cudagraphs 250 10
embed 1 default 100 200
embed 128 default 100 20
train 64 max-autotune 250 10
EOF
}

# Two calls may be needed: what has been measured is kept.
stage_bench() {
    begin_stage bench
    need_device || return
    export TORCHINDUCTOR_CACHE_DIR="$BUILD/inductor"
    item gpu 20 nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.max.sm --format=csv
    bench_mfrgn
    if "$PYTHON" -c 'import torch' 2>/dev/null; then
        bench_search
    fi
    bench_torch
}

stage_sanitizers() {
    begin_stage sanitizers
    need_device || return
    if ! command -v compute-sanitizer >/dev/null 2>&1; then
        skip memcheck "compute-sanitizer is not installed"
        skip racecheck "compute-sanitizer is not installed"
        return
    fi
    for type in f32 bf16; do
        for tool in memcheck racecheck; do
            item "$tool-$type" 200 compute-sanitizer --tool "$tool" --error-exitcode 9 "$BUILD/tests/ops/ops" --every=61 \
                "--type=$type" cuda
            if ! report passed "$OUT/$stage.json" "$tool-$type" &&
                grep -Eqi 'not supported|permission|debugger' "$BUILD/logs/$stage-$tool-$type.log" 2>/dev/null; then
                failures=$((failures - 1))
                skip "$tool-$type" "refused here: $(grep -Ei 'not supported|permission|debugger' "$BUILD/logs/$stage-$tool-$type.log" | head -n 1)"
            fi
        done
    done
}

case ${1:-} in
--call)
    shift
    "$@"
    exit
    ;;
--ops)
    ops_of_type "$2" "$3"
    exit
    ;;
esac

[ $# -gt 0 ] || set -- build selftest ops bench sanitizers report
for wanted in "$@"; do
    case $wanted in
    build | selftest | ops | bench | sanitizers) "stage_$wanted" ;;
    report) ;;
    *)
        echo "run.sh: no stage '$wanted': build selftest ops bench sanitizers report" >&2
        exit 2
        ;;
    esac
done
echo "== report, $OUT/report.json"
report merge "$OUT" || failures=$((failures + 1))
[ "$failures" = 0 ]
