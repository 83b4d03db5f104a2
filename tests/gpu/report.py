#!/usr/bin/env python3
"""The JSON of tests/gpu/run.sh: parts, one a stage, and the report that is made of them.

    report.py passed PART ITEM                 exit status 0: the item passed before
    report.py put PART ITEM STATUS SECONDS LOG   adds an item; a last line of LOG that is JSON becomes its result
    report.py value PART ITEM KEY            prints a number of the item's result
    report.py merge FOLDER                   writes FOLDER/report.json, prints a summary; exit status 1: something failed
"""
import json
import os
import sys

STAGES = ("build", "selftest", "ops", "bench", "sanitizers")
TAIL = 12  # lines of a log that are kept


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def write(path, document):
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, sort_keys=True)
        file.write("\n")
    os.replace(path + ".new", path)


def put(part, item, status, seconds, log):
    lines = []
    if os.path.exists(log):
        with open(log, encoding="utf-8", errors="replace") as file:
            lines = [line.rstrip("\n")[:400] for line in file]
    entry = {"status": status, "seconds": float(seconds), "failed_lines": [x for x in lines if "FAIL" in x][:20],
             "tail": lines[-TAIL:]}
    for line in reversed(lines):
        if line.startswith("{") and line.endswith("}"):
            try:
                entry["result"] = json.loads(line)
                del entry["tail"]
                break
            except ValueError:
                pass
    document = read(part)
    document[item] = entry
    write(part, document)


def find(parts, item, key):
    """A number, or None."""
    entry = parts.get("bench", {}).get(item, {})
    value = entry.get("result", {}).get(key) if entry.get("status") == "passed" else None
    return value if isinstance(value, (int, float)) else None


def best(parts, items, key, choose):
    found = [(find(parts, item, key), item) for item in items]
    found = [x for x in found if x[0]]
    return choose(found) if found else (None, None)


def goals(parts):
    """What is to be reached: each the ratio of two medians of one machine."""
    no_graphs = ["torch-embed-1-max-autotune-no-cudagraphs", "torch-embed-1-default"]
    graphs = ["torch-embed-1-max-autotune", "torch-embed-1-reduce-overhead"]
    many = ["torch-embed-128-" + m for m in ("max-autotune-no-cudagraphs", "max-autotune", "default", "reduce-overhead")]
    steps = ["torch-train-64-" + m for m in ("max-autotune-no-cudagraphs", "max-autotune", "default")]
    table = [
        ("latency of batch 1, bf16, to torch.compile without CUDA graphs", "at most", 0.5,
         find(parts, "mfrgn-embed-1-bf16", "latency_ms"), best(parts, no_graphs, "latency_ms", min)),
        ("latency of batch 1, bf16, to torch.compile with CUDA graphs", "at most", 0.9,
         find(parts, "mfrgn-embed-1-bf16", "latency_ms"), best(parts, graphs, "latency_ms", min)),
        ("images a second of batch 128, bf16, to torch.compile", "at least", 1.3,
         find(parts, "mfrgn-embed-128-bf16", "images_per_second"), best(parts, many, "images_per_second", max)),
        ("images a second of batch 128, fp8 to bf16", "at least", 1.2,
         find(parts, "mfrgn-embed-128-fp8", "images_per_second"),
         best(parts, ["mfrgn-embed-128-bf16"], "images_per_second", max)),
        ("steps a second of 64 pairs, bf16, to torch.compile", "at least", 1.2,
         None, best(parts, steps, "step_ms", min)),
        ("time of a search, to torch's matmul and topk in bf16", "at most", 1.0,
         find(parts, "mfrgn-search", "search_ms"), best(parts, ["torch-search"], "search_ms", min)),
    ]
    rows = []
    step = find(parts, "mfrgn-train-64-bf16", "step_ms_median")
    for what, kind, goal, ours, (theirs, item) in table:
        ratio = ours / theirs if ours and theirs else None
        if what.startswith("steps"): # times, the other way round
            ours = step
            ratio = theirs / step if step and theirs else None
        met = None if ratio is None else (ratio <= goal if kind == "at most" else ratio >= goal)
        rows.append({"what": what, "goal": f"{kind} {goal}", "ours": ours, "theirs": theirs, "against": item,
                     "ratio": ratio, "met": met})
    return rows


def merge(folder):
    parts = {stage: read(os.path.join(folder, stage + ".json")) for stage in STAGES}
    failed = [f"{stage}: {item}" for stage in STAGES for item, entry in parts[stage].items()
              if entry["status"] == "failed" and not item.startswith("torch")]
    report = {"parts": parts, "goals": goals(parts), "failed": failed,
              "missing": [stage for stage in STAGES if not parts[stage]]}
    write(os.path.join(folder, "report.json"), report)
    for stage in STAGES:
        for item, entry in parts[stage].items():
            print(f"{stage:<11} {item:<44} {entry['status']:<8} {entry['seconds']:7.1f} s")
    for row in report["goals"]:
        ratio = "not measured" if row["ratio"] is None else f"{row['ratio']:.3f} ({'met' if row['met'] else 'NOT MET'})"
        print(f"{row['what']}: {row['goal']}: {ratio}")
    for line in failed:
        print("FAILED " + line)
    return 1 if failed else 0


def main():
    command, *rest = sys.argv[1:] or [""]
    if command == "passed":
        return 0 if read(rest[0]).get(rest[1], {}).get("status") == "passed" else 1
    if command == "put":
        return put(*rest) or 0
    if command == "value":
        value = read(rest[0]).get(rest[1], {}).get("result", {}).get(rest[2])
        print("" if value is None else value)
        return 0
    if command == "merge":
        return merge(rest[0])
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main())
