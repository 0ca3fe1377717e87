#!/usr/bin/env python3
"""Adds `resized.safetensors` to models of tests/golden/ in transformers' layout: pictures of other sizes than the model was trained
with, and their embeddings by transformers (`interpolate_pos_encoding=True`).

    .venv/bin/python scripts/reference/resized.py
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import CLIPModel, SiglipModel

GOLDEN = Path(__file__).parents[2] / "tests/golden"


def main():
    for name, kind in (("hf_quick", CLIPModel), ("siglip_hf", SiglipModel)):
        model, out = kind.from_pretrained(GOLDEN / name).eval(), {}
        for size in (50, 20):
            pixels = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(size))
            with torch.no_grad():
                made = model.get_image_features(pixel_values=pixels, interpolate_pos_encoding=True)
            made = made if torch.is_tensor(made) else made.pooler_output
            out |= {f"resized{size}.pixels": pixels, f"resized{size}.embedding": F.normalize(made, dim=-1)}
        path = GOLDEN / name / "resized.safetensors"
        save_file(out, path)
        path.chmod(0o644)
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
