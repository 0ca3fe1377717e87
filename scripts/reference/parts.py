#!/usr/bin/env python3
"""Adds `parts.safetensors` to models of tests/golden/: what each patch gives to its picture's unit embedding.

    .venv/bin/python scripts/reference/parts.py

From the attention weights and values of transformers' and open_clip's own models. For CLIP, what each patch brings into the class
token in every block (Gandelsman et al. 2024, arXiv 2310.05916); for SigLIP, into the pooling head's query; for an average, each
patch by itself. The rest (biases, MLPs, the class token) is computed, too, and all of it together asserted to be the embedding.
"""

import json
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, SiglipModel

GOLDEN = Path(__file__).parents[2] / "tests/golden"


def split(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # [batch, heads, tokens, head]


def norm_parts(parts, row, norm):
    """What parts `[batch, tokens, width]` give to the layer norm of `row` `[batch, width]`."""
    scale = (row.var(-1, unbiased=False) + norm.eps).rsqrt()[:, None, None]
    return (parts - parts.mean(-1, keepdim=True)) * scale * norm.weight


def clip(folder, pixels):
    model = CLIPModel.from_pretrained(folder, attn_implementation="eager").eval()
    tower = model.vision_model
    seen = tower(pixel_values=pixels, output_hidden_states=True, output_attentions=True)
    parts, rest = 0, seen.hidden_states[0][:, 0]
    for layer, x, attention in zip(tower.encoder.layers, seen.hidden_states, seen.attentions):
        h, attn = layer.layer_norm1(x), layer.self_attn
        given = attention[:, :, 0, :, None] * split(attn.v_proj(h), attn.num_heads)  # [batch, heads, tokens, head]
        given = F.linear(given.transpose(1, 2).flatten(2), attn.out_proj.weight)
        between = x[:, 0] + given.sum(1) + attn.out_proj.bias
        parts, rest = parts + given, rest + attn.out_proj.bias + layer.mlp(layer.layer_norm2(between))
    row = seen.hidden_states[-1][:, 0]
    projected = model.visual_projection(tower.post_layernorm(row))
    of = lambda x: model.visual_projection(norm_parts(x, row, tower.post_layernorm))
    whole = of(parts).sum(1) + of(rest[:, None])[:, 0] + model.visual_projection(tower.post_layernorm.bias)
    assert (whole - projected).abs().max() < 1e-4
    return of(parts)[:, 1:] / projected.norm(dim=-1)[:, None, None]


def siglip(folder, pixels):
    tower = SiglipModel.from_pretrained(folder, attn_implementation="eager").eval().vision_model
    x, head = tower(pixel_values=pixels).last_hidden_state, tower.head
    pooled, attn = head(x), head.attention
    probe = head.probe.repeat(len(x), 1, 1)
    row, weights = attn(probe, x, x, average_attn_weights=False)
    values = F.linear(x, attn.in_proj_weight.chunk(3)[2], attn.in_proj_bias.chunk(3)[2])
    given = weights[:, :, 0, :, None] * split(values, attn.num_heads)
    parts = F.linear(given.transpose(1, 2).flatten(2), attn.out_proj.weight)
    assert (parts.sum(1) + attn.out_proj.bias - row[:, 0]).abs().max() < 1e-4
    return parts / pooled.norm(dim=-1)[:, None, None]


def averaged(folder, pixels):
    cfg = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    model = open_clip.CLIP(**{k: v for k, v in cfg.items() if k != "custom_text"}).eval()
    model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    visual, seen = model.visual, []
    visual.transformer.register_forward_hook(lambda _module, _args, out: seen.append(out))
    projected, patches = visual(pixels), seen[0][:, 1:]
    parts = norm_parts(patches / patches.shape[1], patches.mean(1), visual.ln_post) @ visual.proj
    assert (parts.sum(1) + visual.ln_post.bias @ visual.proj - projected).abs().max() < 1e-4
    return parts / projected.norm(dim=-1)[:, None, None]


def main():
    with torch.no_grad():
        for name, parts in (("hf_quick", clip), ("siglip_hf", siglip), ("clipa", averaged)):
            made = parts(GOLDEN / name, load_file(GOLDEN / name / "expected.safetensors")["pixels"])
            save_file({"parts": made.contiguous()}, GOLDEN / name / "parts.safetensors")
            print(name, list(made.shape))


if __name__ == "__main__":
    main()
