"""MFRGN in PyTorch, written from the specification, as the other side of benchmarks: names and shapes of the state dict are
the published ones, so that it loads what `mfrgn convert` writes as .pth.

    /usr/bin/python3 tests/bench/torch_mfrgn.py build/tools/mfrgn      checks its descriptors against mfrgn's
"""
import math
import os
import subprocess
import sys
import tempfile

import torch
from torch import nn
from torch.nn import functional as F

BACKBONES = {
    "convnext_atto": ((2, 2, 6, 2), (40, 80, 160, 320)),
    "convnext_nano": ((2, 2, 8, 2), (80, 160, 320, 640)),
    "convnext_tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "convnext_small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "convnext_base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
}
LEVELS = {"sat": ((1, 1), (6, 6), (12, 12), (21, 21)), "grd": ((1, 1), (3, 12), (6, 24), (7, 63))}
D = 128


class Norm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Linear(nn.Linear):
    """Takes the 1x1 convolutions that the small ConvNeXts' files have."""

    def _load_from_state_dict(self, state, prefix, *rest):
        key = prefix + "weight"
        if key in state:
            state[key] = state[key].reshape(self.weight.shape)
        super()._load_from_state_dict(state, prefix, *rest)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv_dw = nn.Conv2d(c, c, 7, padding=3, groups=c)
        self.norm = nn.LayerNorm(c, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": Linear(c, 4 * c), "fc2": Linear(4 * c, c)})
        self.gamma = nn.Parameter(torch.full((c,), 1e-6))

    def forward(self, x):
        y = self.norm(self.conv_dw(x).permute(0, 2, 3, 1))
        y = self.mlp["fc2"](F.gelu(self.mlp["fc1"](y))) * self.gamma
        return x + y.permute(0, 3, 1, 2)


class Stage(nn.Module):
    def __init__(self, before, c, depth):
        super().__init__()
        self.downsample = nn.Sequential()
        if before:
            self.downsample = nn.Sequential(Norm2d(before, eps=1e-6), nn.Conv2d(before, c, 2, stride=2))
        self.blocks = nn.Sequential(*[Block(c) for _ in range(depth)])

    def forward(self, x):
        return self.blocks(self.downsample(x))


class ConvNeXt(nn.Module):
    def __init__(self, depths, dims):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, dims[0], 4, stride=4), Norm2d(dims[0], eps=1e-6))
        self.stages = nn.ModuleList(
            [Stage(dims[i - 1] if i else 0, dims[i], depths[i]) for i in range(4)])

    def forward(self, x):
        maps = []
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[1:]


def position_encoding(h, w):
    k = torch.arange(D // 4)
    frequency = torch.exp(-2 * k * math.log(10000.0) / (D / 2))
    y = (torch.arange(h) + 1.0)[None, :, None] * frequency[:, None, None]
    x = (torch.arange(w) + 1.0)[None, None, :] * frequency[:, None, None]
    out = torch.empty(D, h, w)
    out[0::4], out[1::4] = torch.sin(x).expand(-1, h, w), torch.cos(x).expand(-1, h, w)
    out[2::4], out[3::4] = torch.sin(y).expand(-1, h, w), torch.cos(y).expand(-1, h, w)
    return out


class Embedding(nn.Module):
    def __init__(self, channels):
        super().__init__()
        convs = [nn.Conv2d(c, D, 1) for c in channels] + [nn.Conv2d(channels[2], D, 3, stride=2, padding=1)]
        self.input_proj = nn.ModuleList([nn.Sequential(c, nn.GroupNorm(32, D)) for c in convs])

    def forward(self, maps):
        raw = [p(m) for p, m in zip(self.input_proj, [*maps, maps[2]])]
        return [x + position_encoding(*x.shape[2:]).to(x) for x in raw], raw[3]


class Layer(nn.Module):
    def __init__(self, ffn=1024, heads=4):
        super().__init__()
        self.heads = heads
        self.query_proj, self.key_proj, self.value_proj = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, D)
        self.merge = nn.Linear(D, D, bias=False)
        self.mlp = nn.Sequential(nn.Linear(D, ffn, bias=False), nn.GELU(), nn.Dropout(0.3),
                                 nn.Linear(ffn, D, bias=False))
        self.norm1, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.drop = nn.Dropout(0.3)

    def split(self, x):
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1)

    def forward(self, q, kv):
        Q, K = F.elu(self.split(self.query_proj(q))) + 1, F.elu(self.split(self.key_proj(kv))) + 1
        V = self.split(self.value_proj(kv))
        KV = torch.einsum("nshd,nshv->nhdv", K, V)
        z = 1 / (torch.einsum("nthd,nhd->nth", Q, K.sum(1)) + 1e-6)
        att = torch.einsum("nthd,nhdv,nth->nthv", Q, KV, z).flatten(2)
        x = self.norm1(q + self.drop(self.merge(att)))
        return self.norm2(x + self.drop(self.mlp(x)))


class Transformer(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.layers = nn.ModuleList([Layer() for _ in range(count)])


def pool(x, levels):
    return torch.cat([F.adaptive_avg_pool2d(x, level).flatten(2) for level in levels], 2)


class MFRGN(nn.Module):
    """Published configuration with PPS, a head a view."""

    def __init__(self, backbone="convnext_tiny", sizes=None):
        super().__init__()
        sizes = sizes or {"sat": (128, 128), "grd": (64, 256)}
        depths, dims = BACKBONES[backbone]
        channels = [*dims[1:], D]
        self.backbone = nn.ModuleDict({"backbone": ConvNeXt(depths, dims)})
        self.embed = Embedding(dims[1:])
        self.norm1, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)
        for view, (h, w) in sizes.items():
            s = [(h // 8, w // 8), (h // 16, w // 16), (h // 32, w // 32)]
            s.append(((s[2][0] + 1) // 2, (s[2][1] + 1) // 2))
            tokens = sum(a * b for a, b in LEVELS[view]) + sum(a * b for a, b in s[1:])
            self.add_module(f"transformer_{view}_H", Transformer(2))
            self.add_module(f"transformer_{view}_L", Transformer(1))
            self.add_module(f"proj_{view}", nn.Linear(tokens, 14))
            gl, ch, sp = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
            first = (81, 1) if view == "sat" else (91, 1)
            kernels = [first] + ([(7, 7), (5, 5), (3, 3)] if view == "sat" else [(7, 13)] * 3)
            for c, k in zip(channels, kernels):
                gl.append(nn.Sequential(nn.Conv1d(D, D, 5, padding=2), nn.BatchNorm1d(D), nn.Conv1d(D, c, 5, padding=2),
                                        nn.GELU(), nn.BatchNorm1d(c)))
                ch.append(nn.Conv2d(c, c, 1))
                sp.append(nn.Conv2d(1, 1, k, padding=(k[0] // 2, k[1] // 2)))
            self.add_module(f"proj_gl_{view}", gl)
            self.add_module(f"ch_{view}", ch)
            self.add_module(f"sp_{view}", sp)
            self.add_module(f"proj_local_{view}", nn.Linear(sum(channels), 256))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def part(self, name):
        return getattr(self, name)

    def forward(self, image, view):
        maps = self.backbone["backbone"](image)
        e, s4 = self.embed(maps)
        low = (self.norm1 if view == "sat" else self.norm2)(pool(e[0], LEVELS[view]).transpose(1, 2))
        high = torch.cat([x.flatten(2).transpose(1, 2) for x in e[1:]], 1)
        for layer in self.part(f"transformer_{view}_H").layers:
            high = layer(high, torch.cat([low, high], 1))
        for layer in self.part(f"transformer_{view}_L").layers:
            low = layer(low, torch.cat([low, high], 1))
        tokens = torch.cat([low, high], 1)
        g = self.part(f"proj_{view}")(tokens.transpose(1, 2)).flatten(1)
        local, at = [], 0
        for i, s in enumerate([*maps, s4]):
            if i == 0:
                prompt, s, shape = low, pool(s, LEVELS[view])[..., None], (low.shape[1], 1)
            else:
                shape = s.shape[2:]
                prompt = high[:, at:at + shape[0] * shape[1]]
                at += shape[0] * shape[1]
            p = self.part(f"proj_gl_{view}")[i](prompt.transpose(1, 2)).unflatten(2, shape)
            ch = torch.sigmoid(self.part(f"ch_{view}")[i](p.mean((2, 3), keepdim=True)))
            sp = torch.sigmoid(self.part(f"sp_{view}")[i](p.amax(1, keepdim=True)))
            local.append((s * ch * sp + s).mean((2, 3)))
        return F.normalize(torch.cat([g, self.part(f"proj_local_{view}")(torch.cat(local, 1))], 1))

    def loss(self, ground, aerial, smoothing=0.1):
        r, q = self(aerial, "sat"), self(ground, "grd")
        logits = self.logit_scale.exp() * q @ r.T
        labels = torch.arange(len(q), device=q.device)
        return (F.cross_entropy(logits, labels, label_smoothing=smoothing) +
                F.cross_entropy(logits.T, labels, label_smoothing=smoothing)) / 2


def main():
    import numpy
    mfrgn, small = sys.argv[1], ["--set", "sat_size=128x128", "--set", "grd_size=64x256", "--set", "backbone=convnext_atto"]
    with tempfile.TemporaryDirectory() as folder:
        weights, picture = os.path.join(folder, "w.pth"), os.path.join(folder, "p.ppm")
        subprocess.run([mfrgn, "convert", "--untrained", "--preset", "cvusa", *small, weights], check=True)
        network = MFRGN("convnext_atto")
        print(network.load_state_dict(torch.load(weights), strict=False))
        network.eval()
        for view, (h, w) in {"sat": (128, 128), "grd": (64, 256)}.items():
            pixels = numpy.random.default_rng(1).integers(0, 256, (h, w, 3), dtype=numpy.uint8)
            with open(picture, "wb") as file:
                file.write(b"P6 %d %d 255\n" % (w, h) + pixels.tobytes())
            out = os.path.join(folder, view + ".npy")
            subprocess.run([mfrgn, "embed", "--untrained", "--preset", "cvusa", *small, "--view",
                            "aerial" if view == "sat" else "ground", "-o", out, picture], check=True)
            x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
            x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
            with torch.no_grad():
                theirs = network(x, view)[0].numpy()
            ours = numpy.load(out)[0]
            error = numpy.linalg.norm(ours - theirs) / numpy.linalg.norm(theirs)
            print(f"{view}: relative error {error:.1e}")
            assert error < 1e-5
    return 0


if __name__ == "__main__":
    sys.exit(main())
