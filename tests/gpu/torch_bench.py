#!/usr/bin/env python3
"""MFRGN in PyTorch on a GPU, the other side of tests/gpu/run.sh: one measurement a process, one line of JSON.

    torch_bench.py embed --batch N [--mode MODE]     the aerial view: median latency, and images a second
    torch_bench.py train --batch PAIRS [--mode MODE] a step of both views, InfoNCE and AdamW: median time
    torch_bench.py search [--write FOLDER]           the best 10 of 90,618 rows of 2,048 for 1,000 queries

MODE: eager, or a mode of torch.compile: default, reduce-overhead, max-autotune (with CUDA graphs),
max-autotune-no-cudagraphs.  bf16 (training: autocast), channels-last.  The input lies on the device in bf16 already.
--write leaves the rows and queries of the search there as .npy, for bench_search.
"""
import argparse
import contextlib
import json
import os
import statistics
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))

import torch  # noqa: E402

import torch_mfrgn  # noqa: E402


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def compiled(what, mode):
    if mode == "eager":
        return what
    return torch.compile(what, mode=None if mode == "default" else mode)


def times_of(run, device, repeat, warm):
    """Seconds of runs that are waited for one by one."""
    begin = time.perf_counter()
    for _ in range(warm):
        run()
        wait(device)
    first = time.perf_counter() - begin
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        run()
        wait(device)
        times.append(time.perf_counter() - begin)
    return times, first


class Embedding(torch_mfrgn.Embedding):
    """With its position encodings as buffers: computing them on the CPU in each run would be no fair comparison."""

    def add(self, sizes):
        for h, w in sizes.values():
            maps = [(h // 8, w // 8), (h // 16, w // 16), (h // 32, w // 32)]
            for size in [*maps, ((maps[2][0] + 1) // 2, (maps[2][1] + 1) // 2)]:
                name = f"encoding_{size[0]}_{size[1]}"
                if not hasattr(self, name):
                    self.register_buffer(name, torch_mfrgn.position_encoding(*size), persistent=False)

    def forward(self, maps):
        raw = [p(m) for p, m in zip(self.input_proj, [*maps, maps[2]])]
        return [x + getattr(self, f"encoding_{x.shape[2]}_{x.shape[3]}") for x in raw], raw[3]


def make_network(options):
    sizes = {"sat": options.aerial, "grd": options.ground}
    network = torch_mfrgn.MFRGN(options.backbone, sizes)
    network.embed.__class__ = Embedding
    network.embed.add(sizes)
    return network


def embed(options):
    h, w = options.aerial
    network = make_network(options).eval().to(options.device, torch.bfloat16)
    network = network.to(memory_format=torch.channels_last)
    image = torch.randn(options.batch, 3, h, w, device=options.device, dtype=torch.bfloat16)
    image = image.to(memory_format=torch.channels_last)
    forward = compiled(lambda x: network(x, "sat"), options.mode)
    with torch.inference_mode():
        times, first = times_of(lambda: forward(image), options.device, options.repeat, 5)
        wait(options.device)
        begin = time.perf_counter()
        for _ in range(options.repeat):
            forward(image)
        wait(options.device)
        rate = options.batch * options.repeat / (time.perf_counter() - begin)
    return {"latency_ms": 1e3 * statistics.median(times), "images_per_second": rate, "warm_s": first}


def train(options):
    network = make_network(options).train().to(options.device)
    network = network.to(memory_format=torch.channels_last)
    fused = options.device == "cuda"
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.01, **({"fused": True} if fused else {}))
    views = [torch.randn(options.batch, 3, *size, device=options.device).to(memory_format=torch.channels_last)
             for size in (options.ground, options.aerial)]
    loss_of = compiled(lambda ground, aerial: network.loss(ground, aerial), options.mode)

    def step():
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16) if options.device == "cuda" else contextlib.nullcontext():
            loss = loss_of(*views)
        loss.backward()
        torch.nn.utils.clip_grad_value_(network.parameters(), 100)
        optimiser.step()

    times, first = times_of(step, options.device, options.repeat, 3)
    peak = torch.cuda.max_memory_allocated() if options.device == "cuda" else 0
    return {"step_ms": 1e3 * statistics.median(times), "warm_s": first, "peak_bytes": peak}


def write_npy(path, tensor):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(tensor.shape)}, }}"
    header += " " * (63 - (len(header) + 10) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        for part in tensor.float().cpu().contiguous().split(4096):
            file.write(bytes(part.untyped_storage())[4 * part.storage_offset():][:4 * part.numel()]
                       if hasattr(part, "untyped_storage") else part.numpy().tobytes())


def search(options):
    torch.manual_seed(1)
    make = lambda n: torch.nn.functional.normalize(torch.randn(n, 2048, device=options.device))  # noqa: E731
    rows, queries = make(options.rows), make(options.queries)
    if options.write:
        write_npy(os.path.join(options.write, "rows.npy"), rows)
        write_npy(os.path.join(options.write, "queries.npy"), queries)
    rows, queries = rows.bfloat16(), queries.bfloat16()
    host = torch.empty(options.queries, 10, dtype=torch.int64, pin_memory=options.device == "cuda")

    def run():
        host.copy_(torch.topk(queries @ rows.T, 10, dim=1).indices)

    with torch.inference_mode():
        times, first = times_of(run, options.device, options.repeat, 3)
    return {"search_ms": 1e3 * statistics.median(times), "warm_s": first}


def pair(text):
    h, w = text.split("x")
    return int(h), int(w)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("embed", "train", "search"))
    parser.add_argument("--mode", default="eager")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=50)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backbone", default="convnext_base")
    parser.add_argument("--aerial", type=pair, default=(256, 256))
    parser.add_argument("--ground", type=pair, default=(128, 512))
    parser.add_argument("--rows", type=int, default=90618)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--write")
    options = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(1)
    result = {"embed": embed, "train": train, "search": search}[options.what](options)
    name = torch.cuda.get_device_name() if options.device == "cuda" else "the CPU"
    print(json.dumps({"torch": torch.__version__, "device": name, "mode": options.mode, "batch": options.batch,
                      "repeat": options.repeat, **result}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
