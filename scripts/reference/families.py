#!/usr/bin/env python3
"""Writes tests/golden/: a tiny seeded model of each family beyond plain CLIP, with what the family's own implementation makes of
it at every block and at the end.

    .venv/bin/python scripts/reference/families.py

The values are taken by hooks from transformers, open_clip and timm themselves; nothing is computed a second time here, but for
TinyCLIP's pruned blocks, whose implementation is no package.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import open_clip
import timm
import torch
import torch.nn.functional as F
from open_clip.transformer import text_global_pool
from timm.models.vision_transformer import VisionTransformer
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPVisionConfig, CLIPVisionModelWithProjection, SiglipConfig, SiglipModel

from golden import CONTEXT, VOCABULARY, inputs, randomise, write

SIZES = dict(size=33, eos=VOCABULARY - 1)


def blocks(taps, modules, name):
    """Records what each block makes, as [batch, tokens, width]."""
    def record(i, _module, _args, out):
        taps[f"{name}.block.{i}.out"] = (out[0] if isinstance(out, tuple) else out).detach().clone()
    for i, module in enumerate(modules):
        module.register_forward_hook(partial(record, i))


def expected(taps, image=None, text=None, scores=None, last="proj"):
    """`last` is what the image tower's last step but one is called here: SigLIP's has no projection."""
    for tower, projected in (("vision", image), ("text", text)):
        if projected is not None:
            taps[f"{tower}.{last if tower == 'vision' else 'proj'}"] = projected
            taps[f"{tower}.embedding"] = F.normalize(projected, dim=-1)
    if scores is not None:
        scale, bias = scores
        taps["logits"] = scale.exp() * taps["vision.embedding"] @ taps["text.embedding"].T + bias
    return taps


def hf_config(config, name):
    return {"architectures": [name], **json.loads(config.to_json_string(use_diff=False))}


def one_tower(out, seed):
    """CLIPVisionModelWithProjection and CLIPTextModelWithProjection, with an activation that only transformers' configs name."""
    vision = CLIPVisionModelWithProjection(CLIPVisionConfig(hidden_size=36, intermediate_size=70, num_hidden_layers=2, num_attention_heads=3,
                                                            image_size=33, patch_size=10, hidden_act="silu", projection_dim=27)).eval()
    text = CLIPTextModelWithProjection(CLIPTextConfig(hidden_size=30, intermediate_size=54, num_hidden_layers=2, num_attention_heads=3,
                                                      vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, hidden_act="relu", projection_dim=27,
                                                      eos_token_id=VOCABULARY - 1, bos_token_id=0, pad_token_id=1)).eval()
    given = inputs(SIZES, seed)
    for name, model, run in (("hf_vision_only", vision, lambda m: dict(image=m(pixel_values=given[0]).image_embeds)),
                             ("hf_text_only", text, lambda m: dict(text=m(input_ids=given[1]).text_embeds))):
        randomise(model, seed + 1)
        taps = {}
        tower = model.vision_model if name == "hf_vision_only" else model.text_model
        blocks(taps, tower.encoder.layers, name.split("_")[1])
        state = {k: v.detach() for k, v in model.state_dict().items() if not k.endswith("position_ids")}
        files = {"config.json": hf_config(model.config, type(model).__name__)}
        write(out, name, {}, {"model.safetensors": state}, files, expected(taps, **run(model)), given)


def siglip_hf(out, seed):
    """SiglipModel: no class token, a pooling head, texts padded to the context, a bias of the scores."""
    common = dict(num_hidden_layers=2, hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6)
    config = SiglipConfig(vision_config=dict(hidden_size=36, intermediate_size=70, num_attention_heads=3, image_size=33, patch_size=10, **common),
                          text_config=dict(hidden_size=30, intermediate_size=54, num_attention_heads=2, vocab_size=VOCABULARY,
                                           max_position_embeddings=CONTEXT, projection_size=36, pad_token_id=1, bos_token_id=0, eos_token_id=1, **common))
    model = SiglipModel(config).eval()
    randomise(model, seed)
    with torch.no_grad():
        model.logit_bias.fill_(-9.5)
    given = padded(seed + 1, 1)
    taps = {}
    blocks(taps, model.vision_model.encoder.layers, "vision")
    blocks(taps, model.text_model.encoder.layers, "text")
    with torch.no_grad():
        image = model.get_image_features(pixel_values=given[0])
        text = model.get_text_features(input_ids=given[1])
        image, text = (x if torch.is_tensor(x) else x.pooler_output for x in (image, text))
        theirs = model(pixel_values=given[0], input_ids=given[1]).logits_per_image
    state = {k: v.detach() for k, v in model.state_dict().items() if not k.endswith("position_ids")}
    taps = expected(taps, image, text, (model.logit_scale, model.logit_bias), "pool")
    assert (taps["logits"] - theirs).abs().max() < 1e-4
    write(out, "siglip_hf", {}, {"model.safetensors": state}, {"config.json": hf_config(config, "SiglipModel")}, taps, given)


def padded(seed, pad):
    """Pictures, and texts whose rows are filled up with `pad`; the last position is pooled."""
    pixels, ids, _ = inputs(SIZES, seed)
    for row, length in enumerate((CONTEXT, 3, 8)):
        ids[row, length:] = pad
    return pixels, ids, torch.full((3,), CONTEXT - 1)


def open_clip_family(out, name, seed, cfg, given, preprocess, trunk=None, bias=None):
    """An open_clip model of `cfg`; `trunk` stands in for timm's tower of the name in it, which would be of full size."""
    create = timm.create_model
    if trunk:
        timm.create_model = lambda _name, **kwargs: trunk(**{k: v for k, v in kwargs.items() if k in ("num_classes", "global_pool")})
    model = (open_clip.CustomTextCLIP if cfg.get("custom_text") else open_clip.CLIP)(**{k: v for k, v in cfg.items() if k != "custom_text"}).eval()
    timm.create_model = create
    randomise(model, seed)
    if bias is not None:
        with torch.no_grad():
            model.logit_bias.fill_(bias)
    taps = {}
    visual = model.visual.trunk.blocks if trunk else model.visual.transformer.resblocks
    text = model.text if cfg.get("custom_text") else model
    blocks(taps, visual, "vision")
    blocks(taps, text.transformer.resblocks, "text")
    with torch.no_grad():
        image, texts = model.encode_image(given[0]), model.encode_text(given[1])
        taps = expected(taps, image, texts, (model.logit_scale, model.logit_bias if bias is not None else torch.tensor(0.0)), "pool" if bias is not None else "proj")
        theirs = model.get_logits(given[0], given[1])[0]
    assert (taps["logits"] - theirs).abs().max() < 1e-4
    state = {k: v.detach() for k, v in model.state_dict().items() if k != "attn_mask"}
    for size in (50, 20) if not trunk else ():
        taps |= resized(cfg, state, size)
    config = dict(model_cfg=cfg, preprocess_cfg=dict(size=[33, 33], mode="RGB", **preprocess))
    write(out, name, {}, {"open_clip_model.safetensors": state}, {"open_clip_config.json": config}, taps, given)


def resized(cfg, state, size):
    """The embedding of a picture of another size, the positions resampled by open_clip."""
    cfg = {**cfg, "vision_cfg": {**cfg["vision_cfg"], "image_size": size}}
    model, state = open_clip.CLIP(**cfg).eval(), dict(state)
    open_clip.model.resize_pos_embed(state, model)
    model.load_state_dict(state)
    pixels = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(size))
    return {f"resized{size}.pixels": pixels, f"resized{size}.embedding": model.encode_image(pixels, normalize=True)}


def of_open_clip(out):
    half = dict(mean=[0.5] * 3, std=[0.5] * 3, interpolation="bicubic", resize_mode="squash")
    text = dict(context_length=CONTEXT, vocab_size=VOCABULARY, width=30, heads=2, layers=2)
    # bigG's heads of 104 and its MLP's ratio; more than one head, so that a wrong width shows.
    open_clip_family(out, "open_clip_ratio", 100, dict(embed_dim=27, vision_cfg=dict(image_size=33, layers=2, width=52, head_width=26, mlp_ratio=4.9231,
                     patch_size=10), text_cfg=text), inputs(SIZES, 101), dict(interpolation="bicubic", resize_mode="shortest"))
    # CLIPA: no norm before the blocks, the mean of the patches, its norm after; texts see their padding, the last row counts.
    open_clip_family(out, "clipa", 110, dict(embed_dim=27, vision_cfg=dict(image_size=33, layers=2, width=36, head_width=12, patch_size=10, no_ln_pre=True,
                     pool_type="avg", final_ln_after_pool=True), text_cfg=dict(text, pool_type="last", no_causal_mask=True)), padded(111, 0),
                     dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], interpolation="bilinear", resize_mode="squash"))
    # SigLIP as open_clip has it: timm's tower, the text tower under `text.`, the sigmoid's bias.
    siglip = partial(VisionTransformer, img_size=33, patch_size=10, embed_dim=36, depth=2, num_heads=12, mlp_ratio=2.2, class_token=False, weight_init="skip",
                     norm_layer=partial(torch.nn.LayerNorm, eps=1e-6))
    open_clip_family(out, "siglip_open_clip", 120, dict(embed_dim=36, init_logit_bias=-10, custom_text=True,
                     vision_cfg=dict(image_size=33, timm_model_name="vit_base_patch10_siglip_224", timm_model_pretrained=False, timm_pool="map", timm_proj="none"),
                     text_cfg=dict(text, no_causal_mask=True, proj_bias=True, pool_type="last", norm_kwargs=dict(eps=1e-6), act_kwargs=dict(approximate="tanh"))),
                     padded(121, 0), half, siglip, -9.5)
    # MobileCLIP2-L/14: timm's CLIP tower with its own head; texts see their padding, the end of text counts.
    mobile = partial(VisionTransformer, img_size=33, patch_size=10, embed_dim=32, depth=2, num_heads=16, mlp_ratio=3.5, pre_norm=True,
                     norm_layer=partial(torch.nn.LayerNorm, eps=1e-5))
    open_clip_family(out, "mobileclip2", 130, dict(embed_dim=27, custom_text=True,
                     vision_cfg=dict(image_size=33, timm_model_name="vit_large_patch10_clip_224", timm_model_pretrained=False, timm_pool="token", timm_proj=None),
                     text_cfg=dict(text, no_causal_mask=True)), inputs(SIZES, 131), dict(interpolation="bicubic", resize_mode="shortest"), mobile)


class Pruned(torch.nn.Module):
    """A block of TinyCLIP after pruning (microsoft/Cream, TinyCLIP/src/open_clip/model.py: `use_naive_compute`)."""

    def __init__(self, width, heads, hidden):
        super().__init__()
        self.heads = heads
        if heads:
            self.ln_1 = torch.nn.LayerNorm(width)
            self.attn = torch.nn.Module()
            self.attn.in_proj_weight = torch.nn.Parameter(torch.zeros(3 * 64 * heads, width))
            self.attn.in_proj_bias = torch.nn.Parameter(torch.zeros(3 * 64 * heads))
            self.attn.out_proj = torch.nn.Linear(64 * heads, width)
        if hidden:
            self.ln_2 = torch.nn.LayerNorm(width)
            self.mlp = torch.nn.Module()
            self.mlp.c_fc, self.mlp.c_proj = torch.nn.Linear(width, hidden), torch.nn.Linear(hidden, width)

    def forward(self, x, attn_mask=None):
        if self.heads:
            qkv = F.linear(self.ln_1(x), self.attn.in_proj_weight, self.attn.in_proj_bias)
            q, k, v = (y.unflatten(-1, (self.heads, 64)).transpose(1, 2) for y in qkv.chunk(3, -1))
            s = q @ k.transpose(-1, -2) * 64**-0.5
            s = s if attn_mask is None else s + attn_mask
            x = x + self.attn.out_proj((s.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return x + self.mlp.c_proj(F.gelu(self.mlp.c_fc(self.ln_2(x)))) if hasattr(self, "mlp") else x


def tinyclip(out, seed):
    """Heads and MLPs of every block apart, and halves of blocks left out; under the names of TinyCLIP's checkpoints."""
    text = dict(context_length=CONTEXT, vocab_size=VOCABULARY, width=30, heads=2, layers=3)
    model = open_clip.CLIP(embed_dim=27, vision_cfg=dict(image_size=30, layers=3, width=36, head_width=12, patch_size=10), text_cfg=text).eval()
    for i, (heads, hidden) in enumerate(((2, 50), (1, 0), (0, 33))):
        model.visual.transformer.resblocks[i] = Pruned(36, heads, hidden)
        model.transformer.resblocks[i] = Pruned(30, heads, hidden + 7)
    randomise(model, seed)
    given = inputs({**SIZES, "size": 30}, seed + 1)
    taps = {}
    blocks(taps, model.visual.transformer.resblocks, "vision")
    blocks(taps, model.transformer.resblocks, "text")
    run_blocks = lambda blocks, x, mask=None: [x := b(x, mask) for b in blocks][-1]
    with torch.no_grad():
        visual = model.visual
        pooled, _ = visual._pool(run_blocks(visual.transformer.resblocks, visual._embeds(given[0])))
        x = model.token_embedding(given[1]) + model.positional_embedding
        x = model.ln_final(run_blocks(model.transformer.resblocks, x, model.attn_mask))
        taps = expected(taps, pooled @ visual.proj, text_global_pool(x, given[1], "argmax") @ model.text_projection, (model.logit_scale, 0.0))
    def name(k):
        return f"_logit_scale.module.{k}" if k == "logit_scale" else f"_{'image' if k.startswith('visual.') else 'text'}_encoder.module.{k}"
    state = {name(k): v.detach() for k, v in model.state_dict().items() if k != "attn_mask"}
    state["_image_encoder.module.l0_module.hidden_loga"] = torch.zeros(36)
    config = dict(model_cfg=dict(embed_dim=512, mask_image=True, mask_text=True, vision_cfg=dict(image_size=224, layers=12, width=768, patch_size=32),
                                 text_cfg=dict(context_length=77, vocab_size=49408, width=512, heads=8, layers=12)))
    write(out, "tinyclip", {}, {"open_clip_model.safetensors": state}, {"open_clip_config.json": config}, taps, given)


def torch_files(out):
    """PyTorch's own formats: OpenAI's TorchScript archive with its dtypes and buffers, a training checkpoint, a state dictionary."""
    c = dict(embed_dim=27, vision_cfg=dict(image_size=30, layers=2, width=64, head_width=64, patch_size=10),
             text_cfg=dict(context_length=CONTEXT, vocab_size=VOCABULARY, width=64, heads=1, layers=2))
    given = inputs({**SIZES, "size": 30}, 151)
    for name, quick in (("openai_script", True), ("training_checkpoint", False)):
        model = open_clip.CLIP(**c, quick_gelu=quick).eval()
        randomise(model, 150)
        if quick:  # clip/model.py: convert_weights
            for module in model.modules():
                if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear, torch.nn.MultiheadAttention)):
                    for p in module.parameters(recurse=False):
                        p.data = p.data.half().float()
            for p in (model.visual.proj, model.text_projection):
                p.data = p.data.half().float()
        taps = {}
        blocks(taps, model.visual.transformer.resblocks, "vision")
        blocks(taps, model.transformer.resblocks, "text")
        taps = expected(taps, model.encode_image(given[0]), model.encode_text(given[1]), (model.logit_scale, 0.0))
        files = {} if quick else {"open_clip_config.json": dict(model_cfg=c)}
        write(out, name, {}, {}, files, taps, given)
        for block in (*model.visual.transformer.resblocks, *model.transformer.resblocks):
            block._forward_hooks.clear()
        if quick:
            traced = torch.jit.trace(model, (given[0], given[1]))
            for key, p in traced.named_parameters():  # halved after tracing: half products on the CPU are not the point here
                if p.ndim >= 2 and "embedding" not in key or "in_proj" in key or "out_proj" in key or ".mlp." in key:
                    p.data = p.data.half()
            torch.jit.save(traced, out / name / "model.pt")
        else:
            state = {f"module.{k}": v for k, v in model.state_dict().items()}
            optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
            torch.save({"epoch": 32, "name": "run", "state_dict": state, "optimizer": optimiser.state_dict(), "scaler": None,
                        "args": argparse.Namespace(lr=0.1)}, out / name / "epoch_32.pt")
            state = {k: torch.nn.Parameter(v) for k, v in model.state_dict().items()}
            torch.save(state, out / name / "open_clip_pytorch_model.bin")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "tests/golden")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    with torch.no_grad():
        one_tower(out, 80)
        siglip_hf(out, 90)
        of_open_clip(out)
        tinyclip(out, 140)
        torch_files(out)


if __name__ == "__main__":
    main()
