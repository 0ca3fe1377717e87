#!/usr/bin/env python3
"""The command beside PyTorch, open_clip and onnxruntime on one machine: the same weights and pictures, rounds alternating, and the
cosine to ours beside each time.

    python scripts/reference/full_size.py target/full/ViT-B-32-hf --model ViT-B-32 --layout hf
    python examples/peers/onnx_export.py target/full/ViT-B-32-hf target/peers
    cargo build --release
    python examples/peers/native.py target/full/ViT-B-32-hf --onnx target/peers --batches 1,8 --out docs/peers

Medians over the rounds; every one of a round runs for a second. On a machine with CUDA PyTorch also runs there, in f32 and f16.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path

THREADS = os.cpu_count()
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))

import numpy as np
import torch
import transformers
from PIL import Image

ROOT = Path(__file__).parents[2]
PICTURES = sorted((ROOT / "assets/samples").glob("*.png"))  # not JPEG, whose decoders differ
TEXTS = ["a photo of a tiger", "a red circle on a table", "two people walking a dog along the beach at sunset", "x"]


def ours(folder, device, batches, seconds):
    """Milliseconds by (tower, batch), texts filling the context."""
    command = [str(ROOT / "target/release/clip-wgpu"), "bench", "-q", "--json", "-m", str(folder), "--device", device,
               "--batches", ",".join(map(str, batches)), "--seconds", str(seconds)]
    document = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {(line["tower"], line["batch"]): line["median_ms"] for line in document["lines"]}


def embedded(folder, device, kind, inputs):
    command = [str(ROOT / "target/release/clip-wgpu"), "embed", kind, "-q", "--json", "-m", str(folder), "--device", device, *map(str, inputs)]
    return np.array([e["embedding"] for e in json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["embeddings"]])


def timed(call, seconds):
    call()
    times, began = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


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


class Onnx:
    def __init__(self, folder, suffix=""):
        import onnxruntime as ort
        options = ort.SessionOptions()
        options.intra_op_num_threads = THREADS
        self.of = {t: ort.InferenceSession(folder / f"{t}{suffix}.onnx", options, providers=["CPUExecutionProvider"]) for t in ("image", "text")}

    def run(self, tower, array):
        return self.of[tower].run(None, {"pixels" if tower == "image" else "ids": array})[0]


def quantised(folder):
    from onnxruntime.quantization import QuantType, quantize_dynamic
    for tower in ("image", "text"):
        if not (folder / f"{tower}.int8.onnx").exists():
            quantize_dynamic(folder / f"{tower}.onnx", folder / f"{tower}.int8.onnx", weight_type=QuantType.QUInt8, op_types_to_quantize=["MatMul", "Gemm"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--onnx", type=Path, help="where onnx_export.py wrote to")
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--compile", action="store_true", help="torch.compile as well, which takes minutes")
    parser.add_argument("--devices", default="cpu", help="ours: cpu, gpu, or both with a comma")
    parser.add_argument("--out", type=Path, help="a name without its ending: .md and .json are written")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    batches = [int(b) for b in options.batches.split(",")]
    processor = transformers.CLIPImageProcessor.from_pretrained(options.model) if (options.model / "preprocessor_config.json").exists() else transformers.CLIPImageProcessor()
    size, context = processor.crop_size["height"], 77
    noise = (np.arange(max(batches) * 3 * size * size) * 7919 % 1009 / 504.5 - 1).astype(np.float32).reshape(-1, 3, size, size)
    ids = (np.arange(max(batches))[:, None] * 31 + np.arange(context) * 17) % 49000
    ids[:, -1] = 49407

    peers = {"PyTorch, eager": Torch(options.model, "eager"), "PyTorch, SDPA (transformers' default)": Torch(options.model, "sdpa")}
    if options.compile:
        peers["PyTorch, torch.compile"] = Torch(options.model, "sdpa", compiled=True)
    if torch.cuda.is_available():
        peers["PyTorch, SDPA, CUDA f32"] = Torch(options.model, "sdpa", "cuda")
        peers["PyTorch, SDPA, CUDA f16"] = Torch(options.model, "sdpa", "cuda", torch.float16)
    if options.onnx:
        quantised(options.onnx)
        peers["onnxruntime, f32"], peers["onnxruntime, int8 weights"] = Onnx(options.onnx), Onnx(options.onnx, ".int8")

    # The same pictures and texts to everybody, each by its own path.
    pixels = processor([Image.open(p) for p in PICTURES], return_tensors="np")["pixel_values"].astype(np.float32)
    token = json.loads(subprocess.run([str(ROOT / "target/release/clip-wgpu"), "tokenize", "-m", str(options.model), "--json", *TEXTS], check=True, capture_output=True).stdout)
    rows = [t["ids"] for t in token["texts"]]
    padded = np.array([r + [49407] * (context - len(r)) for r in rows])
    reference = {"image": embedded(options.model, "cpu", "image", PICTURES), "text": embedded(options.model, "cpu", "text", TEXTS)}
    unit = lambda a: a / np.linalg.norm(a, axis=1, keepdims=True)
    cosine = lambda peer: min((unit(peer.run(t, x)) * unit(reference[t])).sum(1).min() for t, x in (("image", pixels), ("text", padded)))
    cosines = {name: float(cosine(peer)) for name, peer in peers.items()}

    devices = options.devices.split(",")
    names = [f"clip-wgpu, {d}" for d in devices] + list(peers)
    times = {(name, t, b): [] for name in names for t in ("image", "text") for b in batches}
    for r in range(options.rounds):
        for device in devices:
            for (tower, batch), ms in ours(options.model, device, batches, options.seconds).items():
                times[f"clip-wgpu, {device}", tower, batch].append(ms)
        for name, peer in peers.items():
            for batch in batches:
                for tower, x in (("image", noise), ("text", ids)):
                    times[name, tower, batch].append(timed(lambda: peer.run(tower, x[:batch]), options.seconds))
        print(f"round {r + 1} of {options.rounds}", flush=True)
    for device in devices[1:]:
        both = {k: embedded(options.model, device, k, v) for k, v in (("image", PICTURES), ("text", TEXTS))}
        cosines[f"clip-wgpu, {device}"] = float(min((both[k] * reference[k]).sum(1).min() for k in both))

    columns = [(t, b) for t in ("image", "text") for b in batches]
    middle = {key: statistics.median(v) for key, v in times.items()}
    base = f"clip-wgpu, {devices[0]}"
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    if options.onnx:
        import onnxruntime
        versions["onnxruntime"] = onnxruntime.__version__
    head = [f"# {options.model.name}, {datetime.date.today()}", "",
            f"{cpu}, {THREADS} threads; {', '.join(f'{k} {v}' for k, v in versions.items())}. Medians of {options.rounds} alternating rounds in ms; in brackets the time in ours ({devices[0]}).", "",
            "| | " + " | ".join(f"{t}, batch {b}" for t, b in columns) + " | cosine to ours |", "|---" * (len(columns) + 2) + "|"]
    for name in names:
        cells = [f"{middle[name, t, b]:.0f}" + ("" if name == base else f" ({middle[name, t, b] / middle[base, t, b]:.2f})") for t, b in columns]
        head.append(f"| {name} | " + " | ".join(cells) + f" | {cosines.get(name, 1.0):.6f} |")
    head += ["", f"`python {' '.join(os.sys.argv)}`"]
    print("\n".join(head))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.with_suffix(".md").write_text("\n".join(head) + "\n")
        rows = [{"name": n, "tower": t, "batch": b, "ms": middle[n, t, b], "rounds": times[n, t, b], "cosine": cosines.get(n, 1.0)} for n in names for t, b in columns]
        options.out.with_suffix(".json").write_text(json.dumps({"date": str(datetime.date.today()), "cpu": cpu, "threads": THREADS, "versions": versions, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
