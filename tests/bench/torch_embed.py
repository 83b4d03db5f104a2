#!/usr/bin/python3
"""One image through ConvNeXt-B: PyTorch in eager mode against `mfrgn bench`, alternating in one run.

    /usr/bin/python3 tests/bench/torch_embed.py build/tools/mfrgn [--threads 2] [--batch 1] [--rounds 5]

PyTorch computes the backbone alone (timm's ConvNeXt-B, written here from the specification), mfrgn the whole network:
backbone, both flows, descriptor.  Which BLAS PyTorch has loaded is read from the process's memory map and printed.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time


def loaded_blas():
    libraries = set()
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.split()[-1]
            if re.search(r"(blas|mkl|dnnl|lapack)[^/]*\.so", path):
                libraries.add(os.path.realpath(path))
    return sorted(libraries)


def convnext(torch, dims, depths):
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.conv_dw = nn.Conv2d(c, c, 7, padding=3, groups=c)
            self.norm = nn.LayerNorm(c, eps=1e-6)
            self.fc1, self.fc2 = nn.Linear(c, 4 * c), nn.Linear(4 * c, c)
            self.gamma = nn.Parameter(torch.full((c,), 1e-6))

        def forward(self, x):
            y = self.norm(self.conv_dw(x).permute(0, 2, 3, 1))
            y = self.fc2(nn.functional.gelu(self.fc1(y))) * self.gamma
            return x + y.permute(0, 3, 1, 2)

    class Norm2d(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    layers = [nn.Conv2d(3, dims[0], 4, stride=4), Norm2d(dims[0], eps=1e-6)]
    for i, (c, depth) in enumerate(zip(dims, depths)):
        if i:
            layers += [Norm2d(dims[i - 1], eps=1e-6), nn.Conv2d(dims[i - 1], c, 2, stride=2)]
        layers += [Block(c) for _ in range(depth)]
    return nn.Sequential(*layers).eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mfrgn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", default="onednn")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    network = convnext(torch, (128, 256, 512, 1024), (3, 3, 27, 3))
    image = torch.randn(options.batch, 3, 256, 256)
    theirs, ours, fractions = [], [], []
    with torch.no_grad():
        network(image)
        print("PyTorch", torch.__version__, "threads", torch.get_num_threads(), "with", ", ".join(loaded_blas()))
        for _ in range(options.rounds):
            for _ in range(3):
                start = time.perf_counter()
                network(image)
                theirs.append((time.perf_counter() - start) * 1e3 / options.batch)
            out = subprocess.run(
                [options.mfrgn, "bench", "--preset", "cvusa", "--backend", options.backend, "--view", "aerial", "--threads",
                 str(options.threads), "--batch", str(options.batch), "--json"], stdout=subprocess.PIPE, check=True)
            result = json.loads(out.stdout)
            ours.append(result["ms_per_image_median"])
            fractions.append(result["fma_fraction"])
    a, b = statistics.median(theirs), statistics.median(ours)
    print(f"PyTorch eager, backbone   {a:8.1f} ms an image (median of {len(theirs)}, min {min(theirs):.1f})")
    print(f"mfrgn {options.backend}, whole       {b:8.1f} ms an image (median of {len(ours)} medians)")
    print(f"ratio {b / a:.3f}; mfrgn at {statistics.median(fractions):.2f} of the FMA peak, batch {options.batch}")


if __name__ == "__main__":
    sys.exit(main())
