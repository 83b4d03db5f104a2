#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`mfrgn eval --descriptors` against evaluate.py: equal to the last printed digit.  MFRGN is the command."""
import json
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    print("skipped: this Python has no numpy")
    sys.exit(77)

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import evaluate  # noqa: E402

MFRGN = os.environ["MFRGN"]
rng = np.random.default_rng(7)
failures = checks = 0


def fail(text):
    global failures
    failures += 1
    print("FAILED:", text)


def unit(n, size):
    x = rng.standard_normal((n, size))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def coarse(n, size, most):
    """Multiples of 1/64: every product and sum is exact in float32, so that many scores are equal."""
    return (rng.integers(-most, most + 1, (n, size)) / 64).astype(np.float32)


def near(references, rows, noise):
    x = references[rows] + noise * rng.standard_normal((len(rows), references.shape[1])).astype(np.float32)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def command(scratch, q, r, labels, extra=()):
    paths = [os.path.join(scratch, name) for name in ("q.npy", "r.npy", "labels.csv")]
    for path, matrix in zip(paths, (q, r)):
        np.save(path, matrix)
    with open(paths[2], "w", encoding="ascii") as file:
        file.writelines(",".join(map(str, row)) + "\n" for row in labels)
    arguments = [MFRGN, "eval", "--descriptors", paths[0], paths[1], "--labels", paths[2], "--json", "-", "-q", *extra]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def compare(name, q, r, labels, all_true=False):
    global checks
    wanted = evaluate.evaluate(q, r, labels, all_true)
    for threads in ("1", "3"):
        with tempfile.TemporaryDirectory() as scratch:
            extra = ["--threads", threads] + (["--dataset", "u1652"] if all_true else [])
            done = command(scratch, q, r, labels, extra)
        checks += 1
        if done.returncode:
            fail(f"{name}: exit code {done.returncode}: {done.stderr}")
            continue
        got = json.loads(done.stdout, parse_float=str, parse_int=str)
        for task, figures in wanted.items():
            for key, value in figures.items():
                checks += 1
                if got[task][key] != f"{value:.12g}":
                    fail(f"{name}, {threads} threads: {task} {key}: {got[task][key]}, not {value:.12g}")


def refused(name, q, r, labels, words):
    global checks
    checks += 1
    with tempfile.TemporaryDirectory() as scratch:
        done = command(scratch, q, r, labels)
    if done.returncode != 1 or not all(word in done.stderr for word in words) or done.stdout:
        fail(f"{name}: exit code {done.returncode}, {done.stderr!r}")


def one(rows):
    return [[int(row)] for row in rows]


def main():
    # Random ones; sizes that are no multiple of anything; more tiles than queries; 1 % of them.
    r = unit(1234, 96)
    rows = rng.integers(0, 1234, 700)
    compare("random", near(r, rows, 0.15), r, one(rows))
    compare("one value", unit(50, 1), unit(170, 1), one(rng.integers(0, 170, 50)))
    compare("one of each", unit(1, 5), unit(1, 5), [[0]])
    compare("lengths of all sizes", near(r, rows, 0.1) * np.float32(1e15), r * np.float32(1e-15), one(rows))
    compare("f32 would overflow", near(r, rows, 0.1) * np.float32(1e25), r * np.float32(1e25), one(rows))
    compare("f32 would underflow", near(r, rows, 0.1) * np.float32(1e-25), r * np.float32(1e-25), one(rows))

    # VIGOR: a true tile, three semi-positives, tiles without a query.
    labels = [[int(a) for a in rng.choice(1234, 4, replace=False)] for _ in rows]
    compare("semi-positives", near(r, np.array([a[0] for a in labels]), 0.2), r, labels)
    mixed = [0.6 * r[a[0]] + 0.6 * r[a[1]] + 0.5 * r[a[2]] for a in labels]
    compare("semi-positives above", np.array(mixed, np.float32), r, labels)

    # Ties: coarse values, duplicates, all the same, zeros.
    q, g = coarse(300, 6, 2), coarse(500, 6, 2)
    compare("ties", q, g, [[int(a) for a in rng.choice(500, 3, replace=False)] for _ in q])
    compare("many ties", coarse(120, 2, 1), coarse(333, 2, 1), one(rng.integers(0, 333, 120)))
    compare("ties, all true", q, g, [[int(a) for a in rng.choice(500, 1 + i % 9, replace=False)] for i in range(300)],
            True)
    double = np.concatenate([r[:400], r[:400], r[100:300]])
    compare("duplicates", near(r, rows[:300] % 400, 0.2), double, one(rows[:300] % 400 + 400))
    compare("all the same", np.repeat(r[:1], 64, axis=0), np.repeat(r[:1], 200, axis=0), one(range(64)))
    compare("zeros", np.zeros((9, 16), np.float32), np.zeros((201, 16), np.float32), one(range(9)))
    # Scores that f32 cannot tell apart, though they differ.
    close = np.repeat(r[:1], 260, axis=0)
    close[:, 0] += np.arange(260, dtype=np.float32) * np.float32(2e-8)
    compare("closer than f32", np.repeat(r[:1], 40, axis=0), close, one(rng.integers(0, 260, 40)))

    # University-1652: several true rows on either side.
    ids = rng.integers(0, 60, 400)
    places = unit(60, 64)
    drones = near(places, ids, 0.25)
    compare("drone to satellite", drones, places, one(ids), True)
    compare("satellite to drone", places, drones, [[int(i) for i in np.flatnonzero(ids == p)] or [0] for p in range(60)],
            True)

    # Refused.
    for value in (np.nan, np.inf, -np.inf):
        bad = r.copy()
        bad[17, 5] = value
        refused("not finite", near(r, rows, 0.1), bad, one(rows), ["r.npy", "descriptor 17", "NaN"])
        refused("not finite", bad[:30], r, one(range(30)), ["q.npy", "descriptor 17"])
    refused("a row too far", r[:2], r[:9], [[0], [9]], ["labels.csv, line 2", "9 references"])
    refused("no number", r[:2], r[:9], [[0], ["x"]], ["line 2", "x"])
    refused("negative", r[:2], r[:9], [[-1], [0]], ["line 1"])
    refused("twice", r[:2], r[:9], [[0, 3, 0], [1]], ["line 1", "twice"])
    refused("too few", r[:3], r[:9], [[0], [1]], ["labels of 2 queries", "3"])
    refused("too many", r[:1], r[:9], [[0], [1]], ["line 2"])
    refused("an empty line", r[:3], r[:9], [[0], [], [1]], ["line 2"])
    refused("other sizes", r[:2], r[:9, :50], [[0], [1]], ["96", "50"])
    refused("doubles", r[:2].astype(np.float64), r[:9], [[0], [1]], ["q.npy", "float32"])
    refused("Fortran", np.asfortranarray(r[:2]), r[:9], [[0], [1]], ["q.npy", "Fortran"])
    refused("a vector", r[0], r[:9], [[0]], ["q.npy", "shape"])
    print(f"{checks} checks, {failures} failed")
    return failures != 0


sys.exit(main())
