#!/usr/bin/env python3
"""Indexing a folder of photographs: `clip-wgpu index` beside PyTorch's DataLoader with open_clip, the same files and weights, rounds
alternating.

    python scripts/reference/full_size.py target/full/ViT-B-32-open_clip --model ViT-B-32 --layout open_clip
    cargo build --release
    python examples/peers/index.py target/full/ViT-B-32-open_clip --out docs/peers-index.md

The photographs are drawn: the samples enlarged, with noise, as JPEG of a given size. Times are without loading the models; ours has
hashing and writing the index in it. DataLoader takes each number of workers up to the cores, the best counts.
"""

import argparse
import datetime
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

THREADS = os.cpu_count()
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))

import numpy as np
import open_clip
import torch
from open_clip.transform import image_transform
from PIL import Image
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
COMMAND = str(ROOT / "target/release/clip-wgpu")
BATCH = 32


def photographs(folder, count, size):
    random = np.random.default_rng(1)
    samples = [Image.open(p).convert("RGB") for p in sorted((ROOT / "assets/samples").iterdir())]
    for i in range(count):
        picture = samples[i % len(samples)].resize(size, Image.BICUBIC).rotate(float(random.uniform(0, 360)), expand=False)
        noise = random.normal(0, 6, (size[1], size[0], 1)).astype(np.float32)
        Image.fromarray((np.asarray(picture, np.float32) + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{i:05}.jpg", quality=90)


class Files(torch.utils.data.Dataset):
    def __init__(self, paths, transform):
        self.paths, self.transform = paths, transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        return self.transform(Image.open(self.paths[i]).convert("RGB"))


def ours(model, folder, more):
    with tempfile.TemporaryDirectory() as scratch:
        db = Path(scratch) / "index.sqlite"
        said = subprocess.run([COMMAND, "index", "-q", "--json", "--profile", "-m", str(model), "--device", "cpu", "--batch", str(BATCH), *more,
                               str(folder), "--db", str(db)], check=True, capture_output=True).stdout
        said = json.loads(said)
        rows = [np.frombuffer(row, np.float16) for row, in sqlite3.connect(db).execute("SELECT embedding FROM file JOIN picture ON picture = id ORDER BY path")]
    return said["took_s"], np.array(rows, np.float32), said["spent_s"]


@torch.inference_mode()
def theirs(net, files, workers):
    began = time.perf_counter()
    rows = [net.encode_image(batch, normalize=True) for batch in torch.utils.data.DataLoader(files, BATCH, num_workers=workers)]
    return time.perf_counter() - began, torch.cat(rows).numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--size", default="1600x1200")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a Markdown file")
    options = parser.parse_args()
    config = json.loads((options.model / "open_clip_config.json").read_text())
    net = open_clip.CLIP(**config["model_cfg"]).eval()
    net.load_state_dict(load_file(options.model / "open_clip_model.safetensors"))
    pre = config["preprocess_cfg"]
    transform = image_transform(config["model_cfg"]["vision_cfg"]["image_size"], is_train=False, mean=pre["mean"], std=pre["std"])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        photographs(folder, options.pictures, tuple(map(int, options.size.split("x"))))
        files = Files(sorted(folder.iterdir()), transform)
        runs = {"clip-wgpu index": lambda: ours(options.model, folder, []), "clip-wgpu index --compute int8": lambda: ours(options.model, folder, ["--compute", "int8"])}
        runs |= {f"DataLoader, {n} workers, open_clip": lambda n=n: theirs(net, files, n) for n in range(1, THREADS + 1)}
        times, made, spent = {name: [] for name in runs}, {}, {}
        for _ in range(options.rounds):
            for name, run in runs.items():
                took, made[name], *spent[name] = run()
                times[name].append(took)
    first = next(iter(runs))
    best = min(statistics.median(times[name]) for name in runs if name.startswith("DataLoader"))
    lines = [f"# Indexing beside PyTorch, {datetime.date.today()}", "", f"`python {' '.join(os.sys.argv)}`", "",
             f"{options.pictures} JPEGs of {options.size}, batches of {BATCH}; {THREADS} threads of {cpu()}; PyTorch {torch.__version__}, open_clip {open_clip.__version__}. Medians of {options.rounds} alternating rounds.", "",
             "| | pictures a second | of DataLoader's best time | cosine to ours, least |", "|---|---|---|---|"]
    for name in runs:
        took = statistics.median(times[name])
        rows = made[name] / np.linalg.norm(made[name], axis=1, keepdims=True)
        cosine = (rows * (made[first] / np.linalg.norm(made[first], axis=1, keepdims=True))).sum(1).min()
        lines.append(f"| {name} | {options.pictures / took:.1f} | {took / best:.2f} | {cosine:.5f} |")
    steps = ", ".join(f"{step} {seconds:.2f}" for step, seconds in spent[first][0].items())
    lines += ["", "JPEG is decoded by zune-jpeg here and by libjpeg-turbo there, which differ by a level or two: whence the cosines of f32."]
    lines += ["", f"Seconds of the last `clip-wgpu index`, of {times[first][-1]:.2f}, by `--profile` (the first four summed over threads, waiting for a core included): {steps}."]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


def cpu():
    names = [l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
