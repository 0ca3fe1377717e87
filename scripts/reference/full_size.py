#!/usr/bin/env python3
"""Writes a seeded random CLIP of real size, in the layout users have, with PyTorch's results for it.

    python full_size.py OUT_DIR --model ViT-B-32 --layout hf

The weights are random, so nothing is downloaded; only sizes, names and numbers are as in the real checkpoints. Both layouts
hold the same weights, and transformers and open_clip are asserted to agree on them before anything is written.
"""

import argparse
import json
import sys
import time
from pathlib import Path

try:
    import open_clip
    import torch
    import torch.nn.functional as F
    import transformers
    from safetensors.torch import save_file
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    from golden import hf_names
except ImportError as error:
    sys.exit(f"full_size.py: {error}; install what scripts/reference/requirements.txt lists")

SEED = 2021
VOCABULARY, CONTEXT = 49408, 77
SOT, EOT = 49406, 49407
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
# Embedding width, (picture, patch), (vision width, heads, layers, MLP), (text width, heads, layers, MLP), activation.
MODELS = {
    "ViT-B-32": (512, (224, 32), (768, 12, 12, 3072), (512, 8, 12, 2048), "quick_gelu"),
    "ViT-B-16": (512, (224, 16), (768, 12, 12, 3072), (512, 8, 12, 2048), "quick_gelu"),
    "ViT-L-14": (768, (224, 14), (1024, 16, 24, 4096), (768, 12, 12, 3072), "quick_gelu"),
    "ViT-L-14-336": (768, (336, 14), (1024, 16, 24, 4096), (768, 12, 12, 3072), "quick_gelu"),
    # One block of each tower.
    "ViT-bigG-14-block": (1280, (224, 14), (1664, 16, 1, 8192), (1280, 20, 1, 5120), "gelu"),
    "SigLIP2-B-16": (768, (224, 16), (768, 12, 12, 3072), (768, 12, 12, 3072), "gelu_pytorch_tanh"),
}
SIGLIP_VOCABULARY, SIGLIP_CONTEXT, SIGLIP_EOS, SIGLIP_PAD = 256000, 64, 1, 0
LOGIT_SCALE = 4.6052  # where the trained ones end: ln 100
AGREE = 1e-6  # of an element of a normalised embedding: the two libraries sum in different orders


def progress(started, text):
    print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True)


def is_siglip(name):
    return name.startswith("SigLIP")


def hf_config(name):
    """config.json with the fields of the openai/clip-vit-* repositories (legacy text ids: bos 0, pad 1, eos 2)."""
    embed, (size, patch), (v_width, v_heads, v_layers, v_hidden), (t_width, t_heads, t_layers, t_hidden), act = MODELS[name]
    if is_siglip(name):
        common = {"hidden_act": act, "layer_norm_eps": 1e-06}
        return {"architectures": ["SiglipModel"], "model_type": "siglip", "torch_dtype": "float32",
                "text_config": {**common, "hidden_size": t_width, "intermediate_size": t_hidden, "num_attention_heads": t_heads,
                                "num_hidden_layers": t_layers, "vocab_size": SIGLIP_VOCABULARY, "max_position_embeddings": SIGLIP_CONTEXT,
                                "projection_size": embed, "bos_token_id": 2, "eos_token_id": SIGLIP_EOS, "pad_token_id": SIGLIP_PAD,
                                "model_type": "siglip_text_model"},
                "vision_config": {**common, "hidden_size": v_width, "intermediate_size": v_hidden, "num_attention_heads": v_heads,
                                  "num_hidden_layers": v_layers, "image_size": size, "patch_size": patch,
                                  "model_type": "siglip_vision_model"}}
    common = {"attention_dropout": 0.0, "dropout": 0.0, "hidden_act": act, "initializer_factor": 1.0,
              "initializer_range": 0.02, "layer_norm_eps": 1e-05, "projection_dim": embed}
    text = {**common, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "hidden_size": t_width,
            "intermediate_size": t_hidden, "max_position_embeddings": CONTEXT, "model_type": "clip_text_model",
            "num_attention_heads": t_heads, "num_hidden_layers": t_layers, "vocab_size": VOCABULARY}
    vision = {**common, "hidden_size": v_width, "image_size": size, "intermediate_size": v_hidden,
              "model_type": "clip_vision_model", "num_attention_heads": v_heads, "num_channels": 3,
              "num_hidden_layers": v_layers, "patch_size": patch}
    return {"architectures": ["CLIPModel"], "initializer_factor": 1.0, "logit_scale_init_value": 2.6592, "model_type": "clip",
            "projection_dim": embed, "text_config": text, "text_config_dict": None, "torch_dtype": "float32",
            "transformers_version": None, "vision_config": vision, "vision_config_dict": None}


def open_clip_config(name):
    embed, (size, patch), (v_width, v_heads, v_layers, v_hidden), (t_width, t_heads, t_layers, _), act = MODELS[name]
    model_cfg = {"embed_dim": embed, "quick_gelu": act == "quick_gelu",
                 "vision_cfg": {"image_size": size, "layers": v_layers, "width": v_width, "head_width": v_width // v_heads,
                                "mlp_ratio": v_hidden / v_width, "patch_size": patch},
                 "text_cfg": {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": t_width, "heads": t_heads,
                              "layers": t_layers}}
    preprocess_cfg = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    return {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}


def preprocessor(name):
    size = MODELS[name][1][0]
    if is_siglip(name):
        half = [0.5, 0.5, 0.5]
        return {"image_processor_type": "SiglipImageProcessor", "do_normalize": True, "do_rescale": True, "do_resize": True,
                "image_mean": half, "image_std": half, "resample": 2, "rescale_factor": 1 / 255, "size": {"height": size, "width": size}}
    return {"crop_size": size, "do_center_crop": True, "do_normalize": True, "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": MEAN, "image_std": STD, "resample": 3, "size": size}


def randomise(model):
    """Unit-variance products and gains and biases that matter.

    transformers' own initialisation lets every input end in nearly the same embedding, which would hide most faults. Queries
    and keys are doubled, for attention that chooses: rows averaged evenly forget which input they came from.
    """
    generator = torch.Generator().manual_seed(SEED)
    for name, p in sorted(model.named_parameters()):
        noise = torch.randn(p.shape, generator=generator)
        if name == "logit_scale":
            value = torch.full_like(p, LOGIT_SCALE)
        elif "norm" in name or "layrnorm" in name:
            value = noise * 0.1 + (0 if name.endswith("bias") else 1)
        elif name.endswith("bias"):
            value = noise * 0.1
        elif "patch_embedding" not in name and "embedding" in name:
            value = noise * 0.5
        else:
            gain = 2.0 if ("q_proj" in name or "k_proj" in name) else 1.0
            value = noise * gain / p[0].numel() ** 0.5
        with torch.no_grad():
            p.copy_(value)


def inputs(name):
    """Two pictures (noise; noise on a slow wave) and three texts (4 tokens, 20, full), padded after EOT: CLIP's with 0. SigLIP pools
    the last position, whatever is there."""
    generator = torch.Generator().manual_seed(SEED + 1)
    size = MODELS[name][1][0]
    pixels = torch.randn(2, 3, size, size, generator=generator)
    x = torch.linspace(0, 6, size)
    pixels[1] = 0.3 * pixels[1] + torch.sin(x)[None, :, None] * torch.cos(2 * x)[None, None, :]
    siglip = is_siglip(name)
    context, pad, end = (SIGLIP_CONTEXT, SIGLIP_PAD, SIGLIP_EOS) if siglip else (CONTEXT, 0, EOT)
    eot = torch.tensor([3, 19, context - 1])
    ids = torch.randint(320, 250_000 if siglip else 40_000, (3, context), generator=generator)
    if not siglip:
        ids[:, 0] = SOT
    for row, at in enumerate(eot):
        ids[row, at] = end
        ids[row, at + 1:] = pad
    return pixels, ids, torch.full((3,), context - 1) if siglip else eot


def run_transformers(model, pixels, ids):
    """Embeddings raw and normalised, and each block's output for the first picture and the first text."""
    taps, hooks = {}, []
    for tower, encoder in (("vision", model.vision_model.encoder), ("text", model.text_model.encoder)):
        for i, layer in enumerate(encoder.layers):
            def keep(_module, _inputs, output, name=f"{tower}.block.{i}.out"):
                taps[name] = (output[0] if isinstance(output, tuple) else output)[:1]
            hooks.append(layer.register_forward_hook(keep))
    siglip = isinstance(model, SiglipModel)
    last = (("vision.pool", model.vision_model.head), ("text.proj", model.text_model.head)) if siglip else \
        (("vision.proj", model.visual_projection), ("text.proj", model.text_projection))
    for name, module in last:
        hooks.append(module.register_forward_hook(lambda _m, _i, output, name=name: taps.update({name: output})))
    out = model(pixel_values=pixels, input_ids=ids)
    for hook in hooks:
        hook.remove()
    taps["vision.embedding"], taps["text.embedding"] = out.image_embeds, out.text_embeds
    return taps


def assert_clear(taps):
    """The two libraries' numbers mean little if all inputs look alike or anything is not finite."""
    assert all(v.isfinite().all() for v in taps.values()), "a value is not finite"
    for tower in ("vision", "text"):
        e = taps[f"{tower}.embedding"]
        most = (e @ e.T - 2 * torch.eye(len(e))).max()
        assert most < 0.9, f"{tower}: two inputs have cosine {most:.3f}"
        print(f"          {tower}: sigma {e.std():.4f}, greatest cosine between inputs {most:.3f}", flush=True)


def assert_same(name, state, taps, pixels, ids):
    """open_clip with the converted weights gives what transformers gave. Returns its state."""
    model = open_clip.CLIP(**open_clip_config(name)["model_cfg"]).eval()
    _, _, (_, _, v_layers, _), (_, _, t_layers, _), _ = MODELS[name]
    model.load_state_dict(hf_names(state, v_layers, t_layers), strict=True)
    theirs = {"vision.embedding": model.encode_image(pixels, normalize=True), "text.embedding": model.encode_text(ids, normalize=True)}
    for tap, value in theirs.items():
        error = (value - taps[tap]).abs().max().item()
        assert error < AGREE, f"{tap}: transformers and open_clip differ by {error:.1e}"
        print(f"          {tap}: transformers and open_clip differ by {error:.1e}", flush=True)
    return model.state_dict()


def save(path, tensors, metadata):
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, path, metadata=metadata)
    path.chmod(0o644)  # safetensors leaves 0600


def write(out, name, layout, dtype, state, converted, expected):
    out.mkdir(parents=True, exist_ok=True)
    if layout == "hf":
        # Published openai/clip-vit-* files carry these two buffers.
        positions = {f"{tower}.embeddings.position_ids": torch.arange(len(state[f"{tower}.embeddings.position_embedding.weight"]))[None]
                     for tower in ("vision_model", "text_model")}
        weights = {k: v.to(dtype) for k, v in state.items()} | ({} if is_siglip(name) else positions)
        files = {"config.json": hf_config(name), "preprocessor_config.json": preprocessor(name)}
        if dtype == torch.float16:
            files["config.json"]["torch_dtype"] = "float16"
        save(out / "model.safetensors", weights, {"format": "pt"})
    else:
        files = {"open_clip_config.json": open_clip_config(name)}
        save(out / "open_clip_model.safetensors", {k: v.to(dtype) for k, v in converted.items()}, {"format": "pt"})
    for file, content in files.items():
        (out / file).write_text(json.dumps(content, indent=2) + "\n")
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "open_clip": open_clip.__version__}
    save(out / "expected.safetensors", expected, versions)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="folder to write, made if missing")
    parser.add_argument("--model", choices=MODELS, default="ViT-B-32")
    parser.add_argument("--layout", choices=["hf", "open_clip"], default="hf", help="SigLIP2 is in transformers' only")
    parser.add_argument("--dtype", choices=["f32", "f16"], default="f32",
                        help="storage; the results are f32 arithmetic on the weights as stored (default: f32)")
    args = parser.parse_args()
    torch.set_num_threads(1)  # one order of summation: the same bytes each time
    torch.use_deterministic_algorithms(True)
    dtype = {"f32": torch.float32, "f16": torch.float16}[args.dtype]
    started = time.monotonic()

    progress(started, f"{args.model}: random weights")
    siglip = is_siglip(args.model)
    if siglip and args.layout != "hf":
        parser.error("SigLIP2 is written in transformers' layout only")
    config = hf_config(args.model)
    model = (SiglipModel(SiglipConfig.from_dict(config)) if siglip else CLIPModel(CLIPConfig.from_dict(config))).eval()
    randomise(model)
    state = {k: v.to(dtype).float() for k, v in model.state_dict().items() if not k.endswith("position_ids")}
    model.load_state_dict(state, strict=False)
    pixels, ids, eot = inputs(args.model)
    with torch.no_grad():
        progress(started, "transformers")
        taps = run_transformers(model, pixels, ids)
        assert_clear(taps)
        converted = {}
        if not siglip:
            progress(started, "open_clip")
            converted = assert_same(args.model, state, taps, pixels, ids)
    progress(started, f"writing {args.out}")
    write(args.out, args.model, args.layout, dtype, state, converted, {**taps, "pixels": pixels, "ids": ids, "eot": eot})
    size = sum(f.stat().st_size for f in args.out.iterdir())
    progress(started, f"done: {size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
