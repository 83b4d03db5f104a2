#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Peak memory and time of `mfrgn eval` on descriptors of VIGOR's size, 52,605 x 90,618.  No test: it takes minutes.

    MFRGN=build/tools/mfrgn python3 tests/eval/memory.py [VALUES [FOLDER]]

VALUES of a descriptor (2048: 1.2 GB of files), FOLDER for the files (/tmp).  Fails if the process is larger than the
descriptors and 200 MB.
"""
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

QUERIES, REFERENCES, BLOCK = 52605, 90618, 4096


def write(path, rows, size, make):
    with open(path, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, size)}
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, rows, BLOCK):
            x = make(first, min(BLOCK, rows - first)).astype(np.float32)
            file.write((x / np.linalg.norm(x, axis=1, keepdims=True)).astype("<f4").tobytes())


def main():
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 2048
    folder = sys.argv[2] if len(sys.argv) > 2 else "/tmp"
    rng = np.random.default_rng(1)
    labels = rng.integers(0, REFERENCES, (QUERIES, 4))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        q, r, csv = (os.path.join(scratch, name) for name in ("q.npy", "r.npy", "labels.csv"))
        write(r, REFERENCES, size, lambda first, n: rng.standard_normal((n, size), dtype=np.float32))
        tiles = np.load(r, mmap_mode="r")
        # Similarities of the truth are 3.5 standard deviations of the others': some are first, most are among the best.
        write(q, QUERIES, size, lambda first, n: tiles[labels[first:first + n, 0]] +
              rng.standard_normal((n, size), dtype=np.float32) / np.float32(3.5))
        with open(csv, "w", encoding="ascii") as file:
            file.writelines(",".join(map(str, dict.fromkeys(row.tolist()))) + "\n" for row in labels)
        start = time.time()
        subprocess.run([os.environ["MFRGN"], "eval", "--descriptors", q, r, "--labels", csv], check=True)
        seconds = time.time() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    files = (QUERIES + REFERENCES) * size * 4
    print(f"{seconds:.0f} s, {2e-9 * QUERIES * REFERENCES * size / seconds:.1f} GFLOP/s; peak {peak / 1e6:.0f} MB, "
          f"descriptors {files / 1e6:.0f} MB, beside them {(peak - files) / 1e6:.0f} MB")
    return peak > files + 200e6


if __name__ == "__main__":
    sys.exit(main())
