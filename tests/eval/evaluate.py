#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An evaluator of its own: the metrics from their definitions, slowly, with the whole matrix of scores.

    evaluate.py QUERIES.npy REFERENCES.npy LABELS.csv [--all-true]

prints what `mfrgn eval --descriptors QUERIES.npy REFERENCES.npy --labels LABELS.csv --json -` prints of each direction.
It shares nothing with the library; run.py compares the two.
"""
import json
import sys

import numpy as np


def scores(queries, references):
    """Inner products in float64.  A row at a time: equal rows then have equal sums, whatever NumPy does."""
    r = references.astype(np.float64)
    return np.stack([(r * q).sum(axis=1) for q in queries.astype(np.float64)])


def average_precision(row, truth):
    """Trapezoids under precision over recall; of equal scores the true ones come first."""
    false = np.ones(len(row), bool)
    false[truth] = False
    total = 0.0
    for i, t in enumerate(sorted(truth, key=lambda t: -row[t])):
        place = int((row[false] > row[t]).sum()) + i
        behind = (i + 1) / (place + 1)
        before = i / place if place else 1.0
        total += (behind + before) / 2
    return total / len(truth)


def direction(matrix, truth, semi):
    """matrix: query x reference; truth, semi: lists of references, by query."""
    asked = [q for q in range(len(truth)) if truth[q]]
    count, references = len(asked), matrix.shape[1]
    limits = {"recall@1": 1, "recall@5": 5, "recall@10": 10, "recall@1%": references // 100}
    found = dict.fromkeys(limits, 0)
    hits, precision = 0, 0.0
    for q in asked:
        row = matrix[q]
        best = max(row[t] for t in truth[q])
        above = set(np.flatnonzero(row > best).tolist())
        for name, k in limits.items():
            found[name] += len(above) < k
        hits += not (above - set(semi[q]))
        precision += average_precision(row, truth[q])
    result = {"queries": count, "references": references}
    result.update({name: 100.0 * n / count for name, n in found.items()})
    result["hit_rate"] = 100.0 * hits / count
    result["ap"] = 100.0 * (precision / count)
    return result


def turned(lists, count):
    back = [[] for _ in range(count)]
    for i, row in enumerate(lists):
        for k in row:
            back[k].append(i)
    return back


def evaluate(queries, references, labels, all_true):
    truth = [row if all_true else row[:1] for row in labels]
    semi = [[] if all_true else row[1:] for row in labels]
    matrix = scores(queries, references)
    n = len(references)
    names = ("drone->satellite", "satellite->drone") if all_true else ("ground->aerial", "aerial->ground")
    return {names[0]: direction(matrix, truth, semi),
            names[1]: direction(matrix.T, turned(truth, n), turned(semi, n))}


def main():
    paths = [a for a in sys.argv[1:] if not a.startswith("--")]
    with open(paths[2], encoding="ascii") as file:
        labels = [[int(field) for field in line.split(",") if field.strip()] for line in file]
    json.dump(evaluate(np.load(paths[0]), np.load(paths[1]), labels, "--all-true" in sys.argv), sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
