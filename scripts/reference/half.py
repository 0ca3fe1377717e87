#!/usr/bin/env python3
"""Writes tests/golden/hf_*/half.safetensors: the embeddings of PyTorch's own f16 on the CPU, by transformers, of the same
pictures and texts.

    .venv/bin/python scripts/reference/half.py
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

for name in ("hf_quick", "hf_gelu", "hf_tanh"):
    folder = Path(__file__).parents[2] / "tests/golden" / name
    given = load_file(folder / "expected.safetensors")
    net = CLIPModel.from_pretrained(folder).eval().half()
    with torch.inference_mode():
        vision = net.visual_projection(net.vision_model(given["pixels"].half()).pooler_output)
        text = net.text_projection(net.text_model(given["ids"].long()).pooler_output)
    found = {"vision.embedding": vision.float(), "text.embedding": text.float()}
    for key, rows in found.items():
        apart = 1 - torch.cosine_similarity(rows.double(), given[key].double(), dim=1)
        print(f"{name} {key}: 1 - cosine {apart.max():.1e}")
    save_file(found, folder / "half.safetensors")
