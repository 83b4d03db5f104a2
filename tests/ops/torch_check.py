#!/usr/bin/env python3
"""Holds `ref` to PyTorch in float64.

    ops --dump FOLDER && torch_check.py FOLDER

Prints the worst relative error of each operation, in f64 and in f32; exit status 1 if one is above 1e-12 or 2e-6
(2e-5 where a norm is taken over fewer than 16 values).  Needs numpy and torch; no part of the test suite.
"""
import json
import math
import sys

import numpy as np
import torch
import torch.nn.functional as F

ACTS = [lambda x: x, lambda x: F.gelu(x), F.relu, torch.sigmoid]


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def epilogue(op, v, scale, residual):
    v = ACTS[op["act"]](v)
    v = v if scale is None else v * scale
    return v if residual is None else v + residual


def matmul(op, a, b, bias, scale, residual):
    a = a.transpose(-1, -2) if op["ta"] else a
    v = F.linear(a, b if op["tb"] else b.t(), bias)
    return epilogue(op, v, scale, residual)


def conv2d(op, x, w, bias, scale, residual):
    v = nhwc(F.conv2d(nchw(x), w, bias, stride=op["stride"], padding=op["pad"]))
    return epilogue(op, v, scale, residual)


def dwconv2d(op, x, w, bias, gamma, beta):
    v = nhwc(F.conv2d(nchw(x), w, bias, padding=op["pad"], groups=w.shape[0]))
    return F.layer_norm(v, v.shape[-1:], gamma, beta, op["eps"]) if op["norm"] else v


def layernorm(op, x, gamma, beta):
    return F.layer_norm(x, x.shape[-1:], gamma, beta, op["eps"])


def groupnorm(op, x, gamma, beta):
    # F.group_norm refuses groups of one value; torch.group_norm does not
    return nhwc(torch.group_norm(nchw(x), op["groups"], gamma, beta, op["eps"]))


def batchnorm(op, x, gamma, beta, mean, var):
    rows = x.reshape(-1, x.shape[-1])
    y = F.batch_norm(rows, mean, var, gamma, beta, False, 0.0, op["eps"])
    return ACTS[op["act"]](y).reshape(x.shape)


def pyramid_pool(op, x):
    cells = [F.adaptive_avg_pool2d(nchw(x), level).flatten(2) for level in op["levels"]]
    return torch.cat(cells, 2).transpose(1, 2)


def maxpool(op, x):
    # PyTorch wants a padding of at most half the kernel
    ph, pw = op["pad"]
    x = F.pad(nchw(x), (pw, pw, ph, ph), value=-math.inf)
    return nhwc(F.max_pool2d(x, op["kernel"], op["stride"]))


def attention(op, q, k, v):
    n, t, c = q.shape
    d = c // op["heads"]
    q, k, v = (x.reshape(n, -1, op["heads"], d) for x in (q, k, v))
    if op["attention"]:
        weights = torch.softmax(torch.einsum("nthd,nshd->nhts", q, k) / math.sqrt(d), -1)
        return torch.einsum("nhts,nshd->nthd", weights, v).reshape(n, t, c)
    q, k = F.elu(q) + 1, F.elu(k) + 1
    kv = torch.einsum("nshd,nshe->nhde", k, v)
    z = 1 / (torch.einsum("nthd,nhd->nth", q, k.sum(1)) + op["eps"])
    return (torch.einsum("nthd,nhde->nthe", q, kv) * z[..., None]).reshape(n, t, c)


def gated_mean(op, s, channel, position):
    s = s.reshape(s.shape[0], -1, s.shape[-1])
    return (s * channel * position + s).mean(1, keepdim=True)


OPS = {
    "matmul": matmul,
    "conv2d": conv2d,
    "dwconv2d": dwconv2d,
    "layernorm": layernorm,
    "groupnorm": groupnorm,
    "batchnorm": batchnorm,
    "act": lambda op, x: ACTS[op["act"]](x),
    "add": lambda op, a, b: ACTS[op["act"]](a + b),
    "mul": lambda op, a, b: ACTS[op["act"]](a * b),
    "pyramid_pool": pyramid_pool,
    "maxpool": maxpool,
    "concat": lambda op, *x: torch.cat(x, op["axis"]),
    "slice": lambda op, x: x.narrow(op["axis"], op["begin"], op["end"] - op["begin"]),
    "attention": attention,
    "channel_max": lambda op, x: x.max(-1, keepdim=True).values,
    "gated_mean": gated_mean,
    "l2norm": lambda op, x: F.normalize(x, dim=-1, eps=op["eps"]),
}


def relative(got, want):
    return float((got - want).norm() / max(float(want.norm()), 1e-300))


def main(folder):
    worst, failures, count = {}, 0, 0
    for line in open(f"{folder}/cases.jsonl"):
        op = json.loads(line)

        def load(what):
            return torch.from_numpy(np.load(f"{folder}/{op['id']}.{what}.npy"))

        inputs = [load(f"in{i}") if present else None for i, present in enumerate(op["inputs"])]
        want = OPS[op["kind"]](op, *inputs)
        count += 1
        for name, tolerance in (("f64", 1e-12), ("f32", 2e-5 if "norm" in op["kind"] or op["norm"] else 2e-6)):
            got = load(name)
            error = relative(got, want) if got.shape == want.shape else math.inf
            worst.setdefault(op["kind"], {}).setdefault(name, 0.0)
            worst[op["kind"]][name] = max(worst[op["kind"]][name], error)
            if not error <= tolerance:
                print(f"FAIL {name} {op['name']}: {error:.3g}, {tuple(got.shape)} {tuple(want.shape)}")
                failures += 1
    for kind, error in worst.items():
        print(f"{kind:13} f64 {error['f64']:.2e}  f32 {error['f32']:.2e}")
    print(f"{count} cases, {failures} failures")
    return failures != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
