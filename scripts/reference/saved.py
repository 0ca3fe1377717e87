#!/usr/bin/env python3
"""Writes tests/real_files/saved/: golden models as people's programs save them with `torch.save`.

    .venv/bin/python scripts/reference/saved.py
"""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
GOLDEN, OUT = ROOT / "tests/golden", ROOT / "tests/real_files/saved"


def converted():
    """As transformers' `convert_clip_original_pytorch_to_hf.py` made its first models: projections are views, transposed; here in two
    files with an index, as `save_pretrained` wrote large ones."""
    state = load_file(GOLDEN / "hf_quick/model.safetensors")
    for name in ("text_projection.weight", "visual_projection.weight"):
        state[name] = state[name].T.contiguous().T
        assert not state[name].is_contiguous()
    parts = {"pytorch_model-00001-of-00002.bin": "vision", "pytorch_model-00002-of-00002.bin": ""}
    place = lambda name: next(file for file, word in parts.items() if word in name)
    for file in parts:
        torch.save({k: v for k, v in state.items() if place(k) == file}, OUT / file)
    index = {"metadata": {"total_size": sum(v.nbytes for v in state.values())}, "weight_map": {k: place(k) for k in sorted(state)}}
    (OUT / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1) + "\n")


def trained():
    """As openai/CLIP#83 saves, from a Lightning module; and a module that is saved whole."""
    config = json.loads((GOLDEN / "open_clip_quick/open_clip_config.json").read_text())["model_cfg"]
    state = load_file(GOLDEN / "open_clip_quick/open_clip_model.safetensors")
    wrapped = {f"model.{k}": v for k, v in state.items()}
    torch.save({"epoch": 3, "model_state_dict": wrapped, "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 1e-5}]}, "loss": torch.tensor(0.5)},
               OUT / "model_state_dict.pt")
    model = open_clip.CLIP(**config).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all("attn_mask" in k for k in missing), (missing, unexpected)
    torch.save(model, OUT / "whole_module.pt")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    converted()
    trained()
