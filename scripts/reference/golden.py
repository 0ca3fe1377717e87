#!/usr/bin/env python3
"""Writes tests/golden/: tiny seeded CLIPs as users have them, with every intermediate from PyTorch.

    python -m venv .venv && .venv/bin/pip install -r scripts/reference/requirements.txt
    .venv/bin/python scripts/reference/golden.py

Sizes are odd on purpose: widths that are no multiple of 8, heads that are no power of two, a picture that is no whole
number of patches. Every intermediate is computed here from the weights, step by step, and the last ones are asserted equal
to what transformers or open_clip themselves return.
"""

import argparse
import json
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

CONTEXT, VOCABULARY = 12, 120
ACTS = {
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "gelu": F.gelu,
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
}


def hf_names(state, layers_v, layers_t):
    """Hugging Face's tensors under the names of OpenAI's clip/model.py."""
    out = {"visual.conv1.weight": state["vision_model.embeddings.patch_embedding.weight"],
           "visual.class_embedding": state["vision_model.embeddings.class_embedding"],
           "visual.positional_embedding": state["vision_model.embeddings.position_embedding.weight"],
           "visual.proj": state["visual_projection.weight"].T, "text_projection": state["text_projection.weight"].T,
           "token_embedding.weight": state["text_model.embeddings.token_embedding.weight"],
           "positional_embedding": state["text_model.embeddings.position_embedding.weight"],
           "logit_scale": state["logit_scale"]}
    for leaf in ("weight", "bias"):
        out[f"visual.ln_pre.{leaf}"] = state[f"vision_model.pre_layrnorm.{leaf}"]
        out[f"visual.ln_post.{leaf}"] = state[f"vision_model.post_layernorm.{leaf}"]
        out[f"ln_final.{leaf}"] = state[f"text_model.final_layer_norm.{leaf}"]
        for tower, prefix, layers in (("vision_model", "visual.", layers_v), ("text_model", "", layers_t)):
            for i in range(layers):
                src, dst = f"{tower}.encoder.layers.{i}", f"{prefix}transformer.resblocks.{i}"
                out[f"{dst}.attn.in_proj_{leaf}"] = torch.cat([state[f"{src}.self_attn.{p}_proj.{leaf}"] for p in "qkv"])
                for a, b in (("attn.out_proj", "self_attn.out_proj"), ("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"),
                             ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2")):
                    out[f"{dst}.{a}.{leaf}"] = state[f"{src}.{b}.{leaf}"]
    return out


def block(w, prefix, x, heads, act, causal, taps, tap):
    """One residual attention block, every step recorded."""
    def linear(name, h):
        return F.linear(h, w[f"{prefix}.{name}.weight"], w[f"{prefix}.{name}.bias"])

    def norm(name, h):
        return F.layer_norm(h, h.shape[-1:], w[f"{prefix}.{name}.weight"], w[f"{prefix}.{name}.bias"], 1e-5)

    n, t, d = x.shape
    h = taps[f"{tap}.ln_1"] = norm("ln_1", x)
    qkv = taps[f"{tap}.qkv"] = F.linear(h, w[f"{prefix}.attn.in_proj_weight"], w[f"{prefix}.attn.in_proj_bias"])
    q, k, v = (y.reshape(n, t, heads, d // heads).transpose(1, 2) for y in qkv.chunk(3, -1))
    s = q @ k.transpose(-1, -2) / (d // heads) ** 0.5
    if causal:
        s = s + torch.full((t, t), float("-inf"), dtype=s.dtype).triu(1)
    h = taps[f"{tap}.attn"] = (s.softmax(-1) @ v).transpose(1, 2).reshape(n, t, d)
    x = taps[f"{tap}.attn_out"] = x + linear("attn.out_proj", h)
    h = taps[f"{tap}.ln_2"] = norm("ln_2", x)
    h = taps[f"{tap}.mlp_fc"] = act(linear("mlp.c_fc", h))
    x = taps[f"{tap}.out"] = x + linear("mlp.c_proj", h)
    return x


def forward(w, c, pixels, ids, eot):
    """CLIP step by step; every intermediate under the name that the engine gives it."""
    taps = {}
    n = pixels.shape[0]
    norm = lambda name, h: F.layer_norm(h, h.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)
    x = F.conv2d(pixels, w["visual.conv1.weight"], stride=c["patch"]).flatten(2).transpose(1, 2)
    x = torch.cat([w["visual.class_embedding"].expand(n, 1, -1), x], 1) + w["visual.positional_embedding"]
    taps["vision.patch_embed"] = x
    x = taps["vision.ln_pre"] = norm("visual.ln_pre", x)
    for i in range(c["v_layers"]):
        x = block(w, f"visual.transformer.resblocks.{i}", x, c["v_heads"], ACTS[c["v_act"]], False, taps, f"vision.block.{i}")
    taps["vision.pool"] = x[:, 0]
    taps["vision.ln_post"] = norm("visual.ln_post", x[:, 0])
    taps["vision.proj"] = taps["vision.ln_post"] @ w["visual.proj"]
    x = taps["text.token_embed"] = w["token_embedding.weight"][ids] + w["positional_embedding"]
    for i in range(c["t_layers"]):
        x = block(w, f"transformer.resblocks.{i}", x, c["t_heads"], ACTS[c["t_act"]], True, taps, f"text.block.{i}")
    taps["text.pool"] = x[torch.arange(len(ids)), eot]
    taps["text.ln_final"] = norm("ln_final", taps["text.pool"])
    taps["text.proj"] = taps["text.ln_final"] @ w["text_projection"]
    for tower in ("vision", "text"):
        taps[f"{tower}.embedding"] = F.normalize(taps[f"{tower}.proj"], dim=-1)
    taps["logits"] = w["logit_scale"].exp() * taps["vision.embedding"] @ taps["text.embedding"].T
    return taps


def randomise(model, seed):
    """Values that all matter: default initialisations leave gains at 1 and biases at 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if name == "logit_scale":
                p.fill_(3.1)
            elif p.ndim >= 2 and "embedding" not in name:
                p.copy_(noise * 1.2 / p[0].numel() ** 0.5)
            elif name.endswith("bias"):
                p.copy_(noise * 0.2)
            elif "norm" in name or "layrnorm" in name or ".ln_" in name or name.startswith("ln_"):
                p.copy_(1 + noise * 0.3)
            else:
                p.copy_(noise * 0.5)


def inputs(c, seed):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(2, 3, c["size"], c["size"], generator=generator)
    ids = torch.randint(4, VOCABULARY - 5, (3, CONTEXT), generator=generator)
    ids[:, 0] = VOCABULARY - 2  # SOT
    eot = torch.tensor([CONTEXT - 1, 2, 7])
    for row, at in enumerate(eot):
        ids[row, at:] = c["eos"]
    return pixels, ids, eot


def plant(w):
    """Massive activations as trained towers have them (arXiv 2402.17762): channels of 1e3 and 7e4 in the residual stream
    of some tokens, attention logits near ±1e4, nearly constant rows."""
    with torch.no_grad():
        w["vision_model.encoder.layers.0.mlp.fc2.bias"][3] += 1e3
        w["vision_model.encoder.layers.0.mlp.fc2.bias"][17] -= 7e4
        w["text_model.embeddings.position_embedding.weight"][0, 5] += 7e4
        w["text_model.embeddings.position_embedding.weight"][2, 9] -= 1e3
        for tower in ("vision_model", "text_model"):
            w[f"{tower}.encoder.layers.1.self_attn.q_proj.weight"] *= 60
            w[f"{tower}.encoder.layers.1.self_attn.k_proj.weight"] *= 60
        w["text_model.embeddings.token_embedding.weight"][VOCABULARY - 2] = 0.25  # SOT: a nearly constant row


def write(out, name, c, weights, files, expected, inputs, print_row=True):
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / file).write_text(json.dumps(content, indent=1) + "\n")
    pixels, ids, eot = inputs
    tensors = {k: v.float().contiguous() for k, v in expected.items()}
    tensors |= {"pixels": pixels, "ids": ids, "eot": eot}
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "open_clip": open_clip.__version__}
    save_file(tensors, folder / "expected.safetensors", metadata=versions)
    for file, tensors in weights.items():
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, folder / file, metadata={"format": "pt"})
    size = sum(f.stat().st_size for f in folder.iterdir())
    sigma = next(v for k, v in expected.items() if k.endswith(".embedding")).std()
    most = max(v.abs().max() for k, v in expected.items() if k != "logits")
    print(f"{name:16} {size / 1024:6.0f} KiB   embedding sigma {sigma:.4f}   greatest activation {most:.3g}", flush=True)


def hf(out, name, seed, c, dtype=torch.float32, shards=1, planted=False):
    config = CLIPConfig(
        projection_dim=c["embed"],
        vision_config=dict(hidden_size=c["v_width"], intermediate_size=c["v_hidden"], num_hidden_layers=c["v_layers"],
                           num_attention_heads=c["v_heads"], image_size=c["size"], patch_size=c["patch"], hidden_act=c["v_act"]),
        text_config=dict(hidden_size=c["t_width"], intermediate_size=c["t_hidden"], num_hidden_layers=c["t_layers"],
                         num_attention_heads=c["t_heads"], vocab_size=VOCABULARY, max_position_embeddings=CONTEXT,
                         hidden_act=c["t_act"], bos_token_id=0, pad_token_id=1, eos_token_id=c["config_eos"]))
    model = CLIPModel(config).eval()
    randomise(model, seed)
    state = {k: v.detach() for k, v in model.state_dict().items() if not k.endswith("position_ids")}
    if planted:
        plant(state)
    state = {k: v.to(dtype) for k, v in state.items()}
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    given = inputs(c, seed + 1)
    wide = torch.float64 if planted else torch.float32
    named = {k: v.to(wide) for k, v in hf_names(state, c["v_layers"], c["t_layers"]).items()}
    expected = forward(named, c, given[0].to(wide), *given[1:])
    with torch.no_grad():
        theirs = model.to(wide)(pixel_values=given[0].to(wide), input_ids=given[1])
    for tap, mine in (("vision.embedding", theirs.image_embeds), ("text.embedding", theirs.text_embeds)):
        assert (expected[tap] - mine).abs().max() < (1e-5 if planted else 1e-6), (name, tap, (expected[tap] - mine).abs().max())
    if planted:  # what f32 itself loses, to judge bounds by
        narrow = forward({k: v.float() for k, v in named.items()}, c, *given)
        expected |= {f"f32.{k}": narrow[k] for k in ("vision.embedding", "text.embedding")}
    config_json = {"architectures": ["CLIPModel"], **json.loads(config.to_json_string(use_diff=False))}
    files = {"config.json": {k: config_json[k] for k in ("architectures", "model_type", "projection_dim", "vision_config", "text_config")}}
    if shards == 1:
        weights = {"model.safetensors": state}
    else:
        keys = sorted(state)
        parts = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
        where = {k: parts[i * shards // len(keys)] for i, k in enumerate(keys)}
        weights = {part: {k: state[k] for k in keys if where[k] == part} for part in parts}
        files["model.safetensors.index.json"] = {"metadata": {}, "weight_map": where}
    write(out, name, c, weights, files, expected, given)


def oc(out, name, seed, c):
    quick = c["v_act"] == "quick_gelu"
    cfg = dict(embed_dim=c["embed"], quick_gelu=quick,
               vision_cfg=dict(image_size=c["size"], layers=c["v_layers"], width=c["v_width"], patch_size=c["patch"],
                               head_width=c["v_width"] // c["v_heads"], mlp_ratio=c["v_hidden"] / c["v_width"]),
               text_cfg=dict(context_length=CONTEXT, vocab_size=VOCABULARY, width=c["t_width"], heads=c["t_heads"],
                             layers=c["t_layers"]))
    model = open_clip.CLIP(**cfg).eval()
    randomise(model, seed)
    state = {k: v.detach() for k, v in model.state_dict().items()}
    given = inputs(c, seed + 1)
    expected = forward(state, c, *given)
    with torch.no_grad():
        for tap, mine in (("vision.embedding", model.encode_image(given[0], normalize=True)),
                          ("text.embedding", model.encode_text(given[1], normalize=True))):
            assert (expected[tap] - mine).abs().max() < 1e-6, (name, tap)
    preprocess = dict(mean=[0.5] * 3, std=[0.5] * 3, interpolation="bicubic", resize_mode="shortest", size=[c["size"]] * 2, mode="RGB")
    write(out, name, c, {"open_clip_model.safetensors": state},
          {"open_clip_config.json": dict(model_cfg=cfg, preprocess_cfg=preprocess)}, expected, given)


BASE = dict(embed=27, size=33, patch=10, v_width=36, v_heads=3, v_hidden=70, v_layers=2, v_act="quick_gelu",
            t_width=30, t_heads=3, t_hidden=54, t_layers=2, t_act="quick_gelu", eos=VOCABULARY - 1, config_eos=VOCABULARY - 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "tests/golden")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    gelu = {**BASE, "v_act": "gelu", "t_act": "gelu"}
    hf(out, "hf_quick", 10, {**BASE, "config_eos": 2})
    # An EOS that is not the greatest id: the first position of it counts.
    hf(out, "hf_gelu", 20, {**gelu, "eos": 3, "config_eos": 3, "v_width": 104, "v_heads": 1, "v_hidden": 90, "embed": 32})
    hf(out, "hf_tanh", 30, {**gelu, "v_act": "gelu_pytorch_tanh", "v_width": 64, "v_heads": 4, "size": 32, "patch": 8}, shards=2)
    hf(out, "hf_f16", 40, BASE, dtype=torch.float16)
    hf(out, "hf_bf16", 50, BASE, dtype=torch.bfloat16)
    hf(out, "hf_planted", 60, gelu, planted=True)
    oc(out, "open_clip_quick", 70, {**BASE, "t_hidden": 120})
    oc(out, "open_clip_gelu", 80, {**gelu, "t_hidden": 120, "v_width": 66, "v_heads": 3, "v_hidden": 99})


if __name__ == "__main__":
    main()
