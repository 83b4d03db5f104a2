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

ACTS = [lambda x: x, lambda x: F.gelu(x), F.relu, torch.sigmoid, lambda x: F.gelu(x, approximate="tanh")]


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


def mlp(op, x, w, bias, scale, residual, first_w, first_bias):
    v = F.linear(ACTS[op["act"]](F.linear(x, first_w, first_bias)), w, bias)
    v = v if scale is None else v * scale
    return v if residual is None else v + residual.reshape(v.shape)


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
    "mlp": mlp,
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


# ---- training: the gradients are autograd's ----


def grads(forward, wanted, dy):
    """Of forward(), by the tensors `wanted`."""
    for x in wanted:
        x.requires_grad_(True)
    return torch.autograd.grad(forward(), wanted, dy)


def flat(parts):
    return torch.cat([p.reshape(-1) for p in parts])


def rows(x):
    return x.reshape(-1, x.shape[-1])


def column_sum(op, x, y=None):
    return rows(x if y is None else x * y).sum(0)


def by_row(s, a):
    return s.reshape(-1, *[1] * (a.dim() - 1))


def norm_grad(norm):
    def gradient(op, x, gamma, dy):
        return grads(lambda: norm(op, x, gamma, None), [x], dy)[0]

    return gradient


def norm_grad_affine(norm):
    def gradient(op, x, dy):
        gamma, beta = torch.ones(x.shape[-1]).to(x), torch.zeros(x.shape[-1]).to(x)
        return torch.stack(grads(lambda: norm(op, x, gamma, beta), [gamma, beta], dy))

    return gradient


def batch_stats(op, x):
    x = rows(x)
    return torch.stack([x.mean(0), x.var(0, unbiased=False), x.var(0, unbiased=True)])


def batchnorm_grad_affine(op, x, mean, var, dy):
    gamma, beta = torch.ones_like(mean), torch.zeros_like(mean)
    return torch.stack(grads(lambda: batchnorm(op, x, gamma, beta, mean, var), [gamma, beta], dy))


def batchnorm_grad(op, x, gamma, mean, var, dy, affine=None):
    # autograd has no statistics and sums that do not belong to x, as these: by the formula
    scale = 1 / torch.sqrt(var + op["eps"])
    if op["own"]:
        n = rows(x).shape[0]
        dy = dy - affine[1] / n - (x - mean) * scale * affine[0] / n
    return gamma * scale * dy


def conv2d_grad_input(op, dy, w):
    x = torch.zeros(dy.shape[0], *op["size"], w.shape[1]).to(dy)
    return grads(lambda: conv2d(op, x, w, None, None, None), [x], dy)[0]


def conv2d_grad_weight(op, x, dy):
    w = torch.zeros(dy.shape[-1], x.shape[-1], *op["kernel"]).to(x)
    return grads(lambda: conv2d(op, x, w, None, None, None), [w], dy)[0]


def dwconv2d_grad_input(op, dy, w):
    x = torch.zeros_like(dy)
    return grads(lambda: dwconv2d(op, x, w, None, None, None), [x], dy)[0]


def dwconv2d_grad_weight(op, x, dy):
    w = torch.zeros(x.shape[-1], 1, *op["kernel"]).to(x)
    return grads(lambda: dwconv2d(op, x, w, None, None, None), [w], dy)[0]


def pyramid_pool_grad(op, dy):
    x = torch.zeros(dy.shape[0], *op["size"], dy.shape[2]).to(dy)
    return grads(lambda: pyramid_pool(op, x), [x], dy)[0]


def pad(op, x):
    shape = list(x.shape)
    shape[op["axis"]] = op["end"]
    out = torch.zeros(shape).to(x)
    out.narrow(op["axis"], op["begin"], x.shape[op["axis"]]).copy_(x)
    return out


def three(forward):
    return lambda op, a, b, c, dy: flat(grads(lambda: forward(op, a, b, c), [a, b, c], dy))


def mix64(z):
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def dropout(op, x, key):
    """lib/graph/op.h, mf_dropout_keep(), said once more."""
    seed, step, first = (int(k) for k in key)
    golden, out = 0x9E3779B97F4A7C15, torch.zeros_like(x)
    for image in range(x.shape[0]):
        z = mix64((seed + golden) % 2**64)
        z = mix64((z + step * golden + op["drop_id"]) % 2**64)
        base = mix64((z + (first + image) * 0xD1342543DE82EF95) % 2**64)
        e = np.arange(x[image].numel(), dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(base % 2**32)
        e = (e ^ e >> np.uint32(16)) * np.uint32(0x7FEB352D)
        e = (e ^ e >> np.uint32(15)) + np.uint32(base >> 32)
        e = e * np.uint32(0x846CA68B)
        kept = e ^ e >> np.uint32(16) >= np.uint32(op["rate"] * 2**32)
        out[image] = x[image] / (1 - op["rate"]) * torch.from_numpy(kept).reshape(x[image].shape)
    return out


def infonce(op, q, r, scale):
    logits, diagonal = scale.exp() * q @ r.t(), torch.arange(len(q))
    losses = [F.cross_entropy(x, diagonal, label_smoothing=op["rate"]) for x in (logits, logits.t())]
    return (sum(losses) / 2).reshape(1)


OPS.update(
    {
        "transpose": lambda op, x: x.transpose(-1, -2),
        "column_sum": column_sum,
        "row_dot": lambda op, a, b: (a * b).reshape(len(a), -1).sum(1),
        "row_scale": lambda op, a, s: a * by_row(s, a),
        "act_grad": lambda op, x, dy: grads(lambda: ACTS[op["act"]](x), [x], dy)[0],
        "layernorm_grad": norm_grad(layernorm),
        "layernorm_grad_affine": norm_grad_affine(layernorm),
        "groupnorm_grad": norm_grad(groupnorm),
        "groupnorm_grad_affine": norm_grad_affine(groupnorm),
        "batch_stats": batch_stats,
        "batchnorm_grad_affine": batchnorm_grad_affine,
        "batchnorm_grad": batchnorm_grad,
        "conv2d_grad_input": conv2d_grad_input,
        "conv2d_grad_weight": conv2d_grad_weight,
        "dwconv2d_grad_input": dwconv2d_grad_input,
        "dwconv2d_grad_weight": dwconv2d_grad_weight,
        "pyramid_pool_grad": pyramid_pool_grad,
        "maxpool_grad": lambda op, x, dy: grads(lambda: maxpool(op, x), [x], dy)[0],
        "pad": pad,
        "attention_grad": three(attention),
        "channel_max_grad": lambda op, x, dy: grads(lambda: OPS["channel_max"](op, x), [x], dy)[0],
        "gated_mean_grad": three(gated_mean),
        "l2norm_grad": lambda op, x, dy: grads(lambda: OPS["l2norm"](op, x), [x], dy)[0],
        "dropout": dropout,
        "lerp": lambda op, a, b: torch.lerp(a, b, op["rate"]),
        "infonce": infonce,
        "infonce_grad": three(infonce),
    }
)


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
        print(f"{kind:21} f64 {error['f64']:.2e}  f32 {error['f32']:.2e}")
    print(f"{count} cases, {failures} failures")
    return failures != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
