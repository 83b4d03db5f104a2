#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Search speed beside FAISS (Debian's python3-faiss), alternating in one run; see search.sh.

For each number of queries: the least time of each side over the rounds, and their ratio.  The answers are compared: the
ten best of every query, in order (FAISS computes in f32: neighbours whose scores differ by less than 1e-5 may change
places).
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time

import faiss
import numpy as np


class Side:
    """bench_search on one storage, asked line by line."""

    def __init__(self, arguments, folder, storage):
        self.name = "mfrgn " + storage
        self.process = subprocess.Popen(
            [arguments.bench, folder + "/rows.npy", folder + "/queries.npy", storage, arguments.backend,
             str(arguments.threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line, lines=1):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = [self.process.stdout.readline() for _ in range(lines)]
        if not answer[-1]:
            sys.exit(self.name + " has stopped")
        return answer

    def search(self, n, k):
        return float(self.ask(f"search {n} {k}")[0])

    def answer(self, n, k):
        return np.array([[int(v) for v in line.split()] for line in self.ask(f"answer {n} {k}", n)])


def unit_rows(rng, count, size):
    rows = rng.standard_normal((count, size), dtype=np.float32)
    rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return rows


def compare(rows, queries, ours, theirs):
    """Queries whose lists differ by more than FAISS's rounding."""
    bad = 0
    for q, a, b in zip(queries, ours, theirs):
        if (a != b).any():
            scores = rows[a].astype(np.float64) @ q.astype(np.float64), rows[b].astype(np.float64) @ q.astype(np.float64)
            bad += bool(np.abs(scores[0] - scores[1]).max() > 1e-5)
    return bad


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--rows", type=int, default=90618)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--storage", nargs="*", default=["f32+f16", "f32", "f32+i8"])
    arguments = parser.parse_args()
    k = 10
    faiss.omp_set_num_threads(arguments.threads)
    rng = np.random.default_rng(1)
    rows, queries = unit_rows(rng, arguments.rows, arguments.size), unit_rows(rng, 1000, arguments.size)
    with tempfile.TemporaryDirectory() as folder:
        np.save(folder + "/rows.npy", rows)
        np.save(folder + "/queries.npy", queries)
        sides = [Side(arguments, folder, storage) for storage in arguments.storage]
        flat = faiss.IndexFlatIP(arguments.size)
        flat.add(rows)
        for side in sides:
            side.search(1, k)  # waits until the gallery is built
        peak, bandwidth = (float(v) for v in sides[0].ask("machine")[0].split())
        print(f"{arguments.rows} x {arguments.size}, {arguments.threads} threads, k {k}, "
              f"FMA peak {peak:.0f} GFLOP/s, reading {bandwidth:.1f} GB/s, FAISS {faiss.__version__}")
        print(f"{'queries':>7} {'side':14} {'ms':>9} {'of FAISS':>9} {'GFLOP/s':>8} {'of peak':>8} {'GB/s':>6} {'of read':>8}  answers")
        bytes_of = {"f32": 4, "f32+f16": 2, "f32+i8": 1, "f16": 2, "i8": 1}
        for n in (1, 16, 1000):
            rounds = arguments.rounds if n < 1000 else max(3, arguments.rounds // 2)
            theirs, best = 1e30, [1e30] * len(sides)
            for _ in range(rounds):
                time.sleep(0.1)  # idle threads of the other side stop spinning
                start = time.perf_counter()
                _, found = flat.search(queries[:n], k)
                theirs = min(theirs, 1e3 * (time.perf_counter() - start))
                for i, side in enumerate(sides):
                    time.sleep(0.1)
                    best[i] = min(best[i], side.search(n, k))
            flops = 2e-6 * n * arguments.rows * arguments.size
            print(f"{n:7} {'FAISS':14} {theirs:9.1f} {'':9} {flops / theirs:8.1f} {flops / theirs / peak:8.2f}")
            for storage, side, ms in zip(arguments.storage, sides, best):
                rate = 1e-6 * arguments.rows * arguments.size * bytes_of[storage] / ms
                bad = compare(rows, queries[:n], side.answer(n, k), found)
                print(f"{n:7} {side.name:14} {ms:9.1f} {ms / theirs:9.3f} {flops / ms:8.1f} {flops / ms / peak:8.2f} "
                      f"{rate:6.1f} {rate / bandwidth:8.2f}  {'equal' if not bad else str(bad) + ' differ'}")
            sys.stdout.flush()


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main()
