#!/usr/bin/env python3
"""The command beside PyTorch, open_clip, onnxruntime, candle, burn, meganeura and clip.cpp on one machine: the same weights and
pictures, rounds alternating, and the cosine to ours beside each time.

    python scripts/reference/full_size.py target/full/ViT-B-32-hf --model ViT-B-32 --layout hf
    python examples/peers/onnx_export.py target/full/ViT-B-32-hf target/peers/ViT-B-32-hf
    cargo build --release
    cargo build --release --manifest-path examples/peers/rust/Cargo.toml --target-dir target/peers-rust
    python examples/peers/native.py target/full/ViT-B-32-hf --onnx target/peers --rust candle,burn-flex --devices 'cpu,cpu int8' --out docs/peers

Medians over the rounds; every one of a round runs for a second. On a machine with CUDA PyTorch also runs there, in f32 and f16.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

THREADS = os.cpu_count()
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.numpy import load_file, save_file

from clip_cpp import ClipCpp

ROOT = Path(__file__).parents[2]
PICTURES = sorted((ROOT / "assets/samples").glob("*.png"))  # not JPEG, whose decoders differ
TEXTS = ["a photo of a tiger", "a red circle on a table", "two people walking a dog along the beach at sunset", "x"]


def ours(folder, how, tower, batch, seconds):
    """Milliseconds, texts filling the context; `how` is a device, or "cpu int8"."""
    command = [str(ROOT / "target/release/clip-wgpu"), "bench", "-q", "--json", "-m", str(folder), *flags(how), "--tower", tower,
               "--batches", str(batch), "--seconds", str(seconds)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["lines"][0]["median_ms"]


def flags(how):
    device, *compute = how.split()
    return ["--device", device, *(["--compute", *compute] if compute else [])]


def embedded(folder, how, kind, inputs):
    command = [str(ROOT / "target/release/clip-wgpu"), "embed", kind, "-q", "--json", "-m", str(folder), *flags(how), *map(str, inputs)]
    return np.array([e["embedding"] for e in json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["embeddings"]])


def timed(call, seconds):
    call()
    times, began = [], time.perf_counter()
    while not times or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def time_of(peer, tower, x, seconds):
    """Milliseconds."""
    return peer.time(tower, x, seconds) if isinstance(peer, Rust) else timed(lambda: peer.run(tower, x), seconds)


class Rust:
    """An engine of examples/peers/rust, which is a command as ours is."""

    def __init__(self, folder, engine):
        self.folder, self.engine = folder, engine

    def call(self, scratch, tower, x, *what):
        given = f"{scratch}/input.safetensors"
        save_file({"pixels": x} if tower == "image" else {"ids": x.astype(np.int32)}, given)
        command = [str(ROOT / "target/peers-rust/release/clip-peers"), self.engine, str(self.folder), given, *what]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def run(self, tower, x):
        with tempfile.TemporaryDirectory() as scratch:
            self.call(scratch, tower, x, "embed", f"{scratch}/output.safetensors")
            return load_file(f"{scratch}/output.safetensors")["embedding"]

    def time(self, tower, x, seconds):
        with tempfile.TemporaryDirectory() as scratch:
            printed = self.call(scratch, tower, x, "time", str(len(x)), str(seconds))
        return json.loads(printed)[str(len(x))]


class Torch:
    def __init__(self, folder, attention, device="cpu", dtype=torch.float32, compiled=False):
        self.net = transformers.CLIPModel.from_pretrained(folder, attn_implementation=attention).eval().to(device, dtype)
        self.device, self.dtype = device, dtype
        vision = lambda p: self.net.visual_projection(self.net.vision_model(p).pooler_output)
        text = lambda i: self.net.text_projection(self.net.text_model(i).pooler_output)
        self.vision, self.text = (torch.compile(vision), torch.compile(text)) if compiled else (vision, text)

    @torch.inference_mode()
    def run(self, tower, array):
        x = torch.from_numpy(array).to(self.device)
        y = self.vision(x.to(self.dtype)) if tower == "image" else self.text(x)
        return y.float().cpu().numpy()


class OpenClip:
    """open_clip's model of the same name, which computes the same however its weights are."""

    def __init__(self, name):
        import open_clip
        self.net = open_clip.create_model(name, pretrained=None).eval()

    @torch.inference_mode()
    def run(self, tower, array):
        encode = self.net.encode_image if tower == "image" else self.net.encode_text
        return encode(torch.from_numpy(array)).numpy()


class Onnx:
    def __init__(self, folder, suffix=""):
        import onnxruntime as ort
        options = ort.SessionOptions()
        options.intra_op_num_threads = THREADS
        self.of = {t: ort.InferenceSession(folder / f"{t}{suffix}.onnx", options, providers=["CPUExecutionProvider"]) for t in ("image", "text")}

    def run(self, tower, array):
        return self.of[tower].run(None, {"pixels" if tower == "image" else "ids": array})[0]


NAMES = {"candle": "candle", "burn-flex": "burn, flex (CPU)", "burn-wgpu": "burn, wgpu", "meganeura": "meganeura, one at a time"}


def quantised(folder):
    from onnxruntime.quantization import QuantType, quantize_dynamic
    for tower in ("image", "text"):
        if not (folder / f"{tower}.int8.onnx").exists():
            quantize_dynamic(folder / f"{tower}.onnx", folder / f"{tower}.int8.onnx", weight_type=QuantType.QUInt8, op_types_to_quantize=["MatMul", "Gemm"])


def peers_of(folder, options):
    """By name."""
    of_torch = {"eager": ("PyTorch, eager", "eager", False), "sdpa": ("PyTorch, SDPA (transformers' default)", "sdpa", False),
                "compile": ("PyTorch, torch.compile", "sdpa", True)}
    chosen = [of_torch[kind] for kind in options.torch.split(",") if kind]
    peers = {name: Torch(folder, attention, compiled=compiled) for name, attention, compiled in chosen}
    if chosen and torch.cuda.is_available():
        peers["PyTorch, SDPA, CUDA f32"] = Torch(folder, "sdpa", "cuda")
        peers["PyTorch, SDPA, CUDA f16"] = Torch(folder, "sdpa", "cuda", torch.float16)
        peers["PyTorch, SDPA, CUDA bf16"] = Torch(folder, "sdpa", "cuda", torch.bfloat16)
    if options.open_clip:
        peers["open_clip"] = OpenClip(folder.name.removesuffix("-hf") + "-quickgelu")
    if options.onnx:
        quantised(options.onnx / folder.name)
        peers["onnxruntime, f32"] = Onnx(options.onnx / folder.name)
        peers["onnxruntime, int8 weights"] = Onnx(options.onnx / folder.name, ".int8")
    for engine in filter(None, options.rust.split(",")):
        peers[NAMES.get(engine, engine)] = Rust(folder, engine)
    if options.clip_cpp:
        peers["clip.cpp, f32, one at a time"] = ClipCpp(folder, options.clip_cpp, THREADS)
    return peers


def cosines_of(folder, peers, hows, processor, context):
    """The least cosine to ours, of the same pictures and texts to everybody, each by its own path."""
    pixels = processor([Image.open(p) for p in PICTURES], return_tensors="np")["pixel_values"].astype(np.float32)
    tokenize = [str(ROOT / "target/release/clip-wgpu"), "tokenize", "-m", str(folder), "--json", *TEXTS]
    rows = [t["ids"] for t in json.loads(subprocess.run(tokenize, check=True, capture_output=True).stdout)["texts"]]
    padded = np.array([r + [49407] * (context - len(r)) for r in rows])
    unit = lambda a: a / np.linalg.norm(a, axis=1, keepdims=True)
    mine = {how: {"image": embedded(folder, how, "image", PICTURES), "text": embedded(folder, how, "text", TEXTS)} for how in hows}
    least = lambda of: float(min((unit(of(t, x)) * unit(mine[hows[0]][t])).sum(1).min() for t, x in (("image", pixels), ("text", padded))))
    return {ours_named(how): least(lambda t, _: mine[how][t]) for how in hows} | {
        name: least(peer.run) for name, peer in peers.items() if not isinstance(peer, OpenClip)}


def ours_named(how):
    return "clip-wgpu, " + how.replace(" ", ", ")


def measure(folder, options):
    """Rows: name, tower, batch, milliseconds of each round, cosine (none where the weights are others)."""
    hows = options.devices.split(",")
    batches = {"image": [int(b) for b in options.batches.split(",")], "text": [int(b) for b in options.texts.split(",")]}
    own = folder / "preprocessor_config.json"
    processor = transformers.CLIPImageProcessor.from_pretrained(folder) if own.exists() else transformers.CLIPImageProcessor()
    size, context = processor.crop_size["height"], 77
    noise = (np.arange(max(batches["image"]) * 3 * size * size) * 7919 % 1009 / 504.5 - 1).astype(np.float32).reshape(-1, 3, size, size)
    ids = (np.arange(max(batches["text"]))[:, None] * 31 + np.arange(context) * 17) % 49000
    ids[:, -1] = 49407
    peers = peers_of(folder, options)
    cosines = cosines_of(folder, peers, hows, processor, context)
    times = {(name, t, b): [] for name in [*map(ours_named, hows), *peers] for t in batches for b in batches[t]}
    for r in range(options.rounds):
        for tower, x in (("image", noise), ("text", ids)):
            for batch in batches[tower]:  # everybody in turn on each: a shared machine is another after a minute
                for how in hows:
                    times[ours_named(how), tower, batch].append(ours(folder, how, tower, batch, options.seconds))
                for name, peer in peers.items():
                    times[name, tower, batch].append(time_of(peer, tower, x[:batch], options.seconds))
        print(f"{folder.name}: round {r + 1} of {options.rounds}", flush=True)
    return [{"model": folder.name, "name": n, "tower": t, "batch": b, "ms": statistics.median(v), "rounds": v, "cosine": cosines.get(n)}
            for (n, t, b), v in times.items()]


def table(folder, rows):
    columns = list(dict.fromkeys((r["tower"], r["batch"]) for r in rows))
    names = list(dict.fromkeys(r["name"] for r in rows))
    at = {(r["name"], r["tower"], r["batch"]): r for r in rows}
    lines = ["", f"## {folder.name}", "", "| | " + " | ".join(f"{t}, batch {b}" for t, b in columns) + " | cosine to ours |", "|---" * (len(columns) + 2) + "|"]
    for name in names:
        ratio = lambda t, b: statistics.median(x / y for x, y in zip(at[name, t, b]["rounds"], at[names[0], t, b]["rounds"]))
        cells = [f"{at[name, t, b]['ms']:.0f}" + ("" if name == names[0] else f" ({ratio(t, b):.2f})") for t, b in columns]
        cosine = at[name, *columns[0]]["cosine"]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {'other weights' if cosine is None else f'{cosine:.6f}'} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--onnx", type=Path, help="where onnx_export.py wrote to, a folder per model")
    parser.add_argument("--open-clip", action="store_true", help="open_clip as well")
    parser.add_argument("--torch", default="eager,sdpa", help="of eager, sdpa, compile, with commas; compile takes minutes")
    parser.add_argument("--rust", default="", help="of candle, burn-flex, burn-wgpu, meganeura, with commas")
    parser.add_argument("--clip-cpp", type=Path, help="clip.cpp's folder, built: see clip_cpp.py")
    parser.add_argument("--batches", default="1,8", help="of pictures")
    parser.add_argument("--texts", default="1,8", help="batches of texts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--devices", default="cpu", help="ours, with commas: cpu, gpu, 'cpu int8'")
    parser.add_argument("--out", type=Path, help="a name without its ending: .md and .json are written after each model")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    for module in ["onnxruntime"] * bool(options.onnx) + ["open_clip"] * options.open_clip:
        versions[module] = __import__(module).__version__
    if options.rust:
        lock = (ROOT / "examples/peers/rust/Cargo.lock").read_text().split("\n\n")
        versions |= {name: p.split('version = "')[1].split('"')[0] for name in ("candle-core", "burn", "meganeura") for p in lock if f'name = "{name}"\n' in p}
    lines = [f"# Beside others, {datetime.date.today()}", "",
             f"{cpu}, {THREADS} threads; {', '.join(f'{k} {v}' for k, v in versions.items())}. Medians of {options.rounds} alternating rounds "
             f"in ms; in brackets the time in that of the first row, the median of the rounds' ratios.", "", f"`python {' '.join(os.sys.argv)}`"]
    rows = []
    for folder in options.models:
        found = measure(folder, options)
        rows += found
        lines += table(folder, found)
        if options.out:
            options.out.with_suffix(".md").write_text("\n".join(lines) + "\n")
            document = {"date": str(datetime.date.today()), "cpu": cpu, "threads": THREADS, "versions": versions, "rows": rows}
            options.out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
