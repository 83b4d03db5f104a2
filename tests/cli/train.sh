#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mfrgn train: a run, its folder, resuming after a signal, and what is refused.
. "$(dirname "$0")/lib.sh"

pictures="$scratch/pictures"
mkdir "$pictures"
"$MAKE_PICTURES" "$pictures" 10 >/dev/null
{
    echo "ground,aerial,latitude,longitude,split"
    for i in 0 1 2 3 4 5 6 7; do echo "ground-$i.ppm,aerial-$i.ppm,52,13.00$i,train"; done
    for i in 8 9; do echo "ground-$i.ppm,aerial-$i.ppm,52,13.00$i,val"; done
} >"$pictures/pairs.csv"

small="--preset baseline --backend $backend --threads 1 --set backbone=convnext_atto --set sat_size=32x32
    --set grd_size=32x32 --set dim_l=32 --batch 4 --set warmup=0 --set evaluate_every=1 --quiet"
data="--dataset pairs --root $pictures/pairs.csv"
run="$scratch/run"

# a run and what it leaves
# shellcheck disable=SC2086
expect 0 train $data $small --epochs 2 --out "$run" --set sampler.kind=gps+dss --set select=2 --set range=4
says 'epoch 2/2  ground->aerial  R@1'
says 'epoch 1/2  loss [0-9.]+'
says 'best R@1'
silent
for file in recipe.json run.json last.json; do valid_json "$run/$file"; done
json "$run/recipe.json" 'd["preset"] == "baseline" and d["run"]["epochs"] == 2 and d["network"]["dim_l"] == 32 and d["augment"]["flip"] == 0.5'
json "$run/run.json" 'd["train"]["ground"] == 8 and d["validation"]["aerial"] == 2 and d["pairs"] == 8 and len(d["train"]["hash"]) == 16'
json "$run/last.json" 'd["step"] == 4 and d["epoch"] == 2'
is "$(grep -c '"kind": "step"' "$run/metrics.jsonl")" 4 "lines of steps"
is "$(grep -c '"kind": "evaluation"' "$run/metrics.jsonl")" 2 "lines of evaluations"
sed -n 1p "$run/metrics.jsonl" >"$scratch/line.json"
json "$scratch/line.json" 'd["step"] == 1 and d["loss"] > 0 and d["rate"] == 1e-4'
is "$(head -c 4 "$run/plot.png" | tail -c 3)" PNG "plot.png"
expect 0 info --model "$run/best.safetensors"
says 'convnext_atto'
# shellcheck disable=SC2086
expect 0 eval $data --split val --model "$run/last.safetensors" --backend $backend

# the folder is not overwritten, and goes on only with its own recipe
# shellcheck disable=SC2086
expect 1 train $data $small --epochs 2 --out "$run"
complains 'holds a run'
# shellcheck disable=SC2086
expect 0 train $data --out "$run" --resume --quiet
says 'best R@1'
# shellcheck disable=SC2086
expect 1 train $data --out "$run" --resume --epochs 3 --quiet
complains 'run.epochs = 2, not 3'

# a signal: a checkpoint, and the same bits after going on
# shellcheck disable=SC2086
expect 0 train $data $small --epochs 6 --out "$scratch/a" --set evaluate_every=3
# shellcheck disable=SC2086
"$MFRGN" train $data $small --epochs 6 --out "$scratch/b" --set evaluate_every=3 >"$scratch/out" 2>"$scratch/err" &
pid=$!
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ "$(grep -c step "$scratch/b/metrics.jsonl" 2>/dev/null)" -ge 3 ] 2>/dev/null && break
    sleep 0.2
done
kill -TERM $pid
wait $pid
code=$?
is "$code" 143 "the exit code after SIGTERM"
complains 'stopped after step [0-9]+; .*--resume'
# shellcheck disable=SC2086
expect 0 train $data --out "$scratch/b" --resume --quiet
checks=$((checks + 1))
cmp "$scratch/a/last.safetensors" "$scratch/b/last.safetensors" || check_failed "a resumed run gives other bits"
is "$(wc -l <"$scratch/b/metrics.jsonl")" "$(wc -l <"$scratch/a/metrics.jsonl")" "lines of metrics"

# weights to begin with
# shellcheck disable=SC2086
expect 0 train $data --init "$run/best.safetensors" --out "$scratch/c" --epochs 1 --batch 4 --rate 1e-5 --backend $backend \
    --threads 1 --set warmup=0 --quiet
json "$scratch/c/recipe.json" 'd["network"]["dim_l"] == 32 and d["train"]["learning_rate"] == 1e-5'
# shellcheck disable=SC2086
expect 0 train $data $small --backbone-weights "$run/best.safetensors" --out "$scratch/d" --epochs 1 --set dim_l=16
json "$scratch/d/run.json" 'd["weights"].endswith("best.safetensors")'

# the same from C
checks=$((checks + 1))
"$EXAMPLE_FINETUNE" "$run/best.safetensors" "$pictures/pairs.csv" "$scratch/own" run.epochs=1 run.batch=4 \
    train.backend=$backend train.threads=1 >"$scratch/out" 2>"$scratch/err" || check_failed "example-finetune"
says 'epoch 1 of 1: R@1 .*the best'

# a configuration file, and settings over it
echo '{"preset": "baseline", "network": {"backbone": "convnext_atto"}, "run": {"epochs": 9}}' >"$scratch/c.json"
expect 0 train --config "$scratch/c.json" --epochs 5 --settings
says '^ *run.epochs +5 '
says '^ *network.backbone +convnext_atto '
says '^ *mfrgn\+ '

# broken pictures
cp "$pictures/ground-3.ppm" "$scratch/whole.ppm"
echo "P6 nothing" >"$pictures/ground-3.ppm"
# shellcheck disable=SC2086
expect 3 train $data $small --epochs 1 --out "$scratch/e"
complains 'ground-3.ppm.*skipped'
cp "$scratch/whole.ppm" "$pictures/ground-3.ppm"
rm "$pictures/aerial-9.ppm"
# shellcheck disable=SC2086
expect 3 train $data $small --epochs 1 --out "$scratch/f"
complains 'aerial-9.ppm: not there'

# wrong use
expect 2 train
complains '--dataset NAME, --root DIR and --out DIR'
# shellcheck disable=SC2086
expect 2 train $data --out "$scratch/g" --preset nothing
complains 'mfrgn\+'
# shellcheck disable=SC2086
expect 2 train $data --out "$scratch/g" --set epoch=3
complains '"epoch"'
# shellcheck disable=SC2086
expect 2 train $data --out "$scratch/g" --set epochs
# shellcheck disable=SC2086
expect 2 train $data --out "$scratch/g" --batch 1
complains 'run.batch'
# shellcheck disable=SC2086
expect 1 train $data $small --out "$scratch/g" --set run.batch=9
complains '8 places'
# shellcheck disable=SC2086
expect 1 train $data $small --out "$scratch/g" --init "$scratch/none.pth"
complains 'none.pth'
finish
