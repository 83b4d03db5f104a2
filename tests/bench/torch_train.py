#!/usr/bin/python3
"""A training step (MFRGN, convnext_tiny, 128x128 and 64x256, AdamW): PyTorch in eager mode against `mfrgn bench --train`,
alternating in one run.  Each side of a round is a process of its own, so that the peak of its memory is its own.

    /usr/bin/python3 tests/bench/torch_train.py build/tools/mfrgn [--threads 2] [--batch 8] [--rounds 3]
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time


def theirs(options):
    import torch
    from torch_mfrgn import MFRGN

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    network = MFRGN(options.backbone).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.01)
    aerial, ground = torch.randn(options.batch, 3, 128, 128), torch.randn(options.batch, 3, 64, 256)
    times = []
    for _ in range(options.steps + 1):
        start = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        loss = network.loss(ground, aerial)
        loss.backward()
        torch.nn.utils.clip_grad_value_(network.parameters(), 100)
        optimiser.step()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"times": times[1:], "peak": peak, "torch": torch.__version__}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mfrgn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--backbone", default="convnext_tiny")
    parser.add_argument("--backend", default="openblas")
    parser.add_argument("--theirs", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
    if options.theirs:
        return theirs(options)
    a, b, peaks, fractions, rates = [], [], [[], []], [], []
    for _ in range(options.rounds):
        out = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--theirs"], stdout=subprocess.PIPE, check=True)
        result = json.loads(out.stdout)
        a += result["times"]
        peaks[0].append(result["peak"])
        out = subprocess.run(
            [options.mfrgn, "bench", "--train", "--preset", "cvusa", "--set", f"backbone={options.backbone}", "--aerial-size",
             "128x128", "--ground-size", "64x256", "--batch", str(options.batch), "--threads", str(options.threads),
             "--backend", options.backend, "--repeat", str(options.steps), "--json"], stdout=subprocess.PIPE, check=True)
        ours = json.loads(out.stdout)
        b.append(ours["step_ms_median"] / 1e3)
        peaks[1].append(ours["peak_rss_bytes"])
        fractions.append(ours["fma_fraction"])
        rates.append(ours["gflops"])
    print(f"PyTorch {result['torch']} eager   {statistics.median(a):7.2f} s a step (median of {len(a)}, min {min(a):.2f}), "
          f"peak {max(peaks[0]) / 1e6:.0f} MB")
    print(f"mfrgn {options.backend:<10} {statistics.median(b):11.2f} s a step (median of {len(b)} medians, min {min(b):.2f}), "
          f"peak {max(peaks[1]) / 1e6:.0f} MB, {statistics.median(rates):.0f} GFLOP/s, "
          f"{statistics.median(fractions):.2f} of the FMA peak")
    print(f"time {statistics.median(b) / statistics.median(a):.3f}, memory {max(peaks[1]) / max(peaks[0]):.3f}; batch "
          f"{options.batch}, {options.threads} threads")
    return 0


if __name__ == "__main__":
    sys.exit(main())
