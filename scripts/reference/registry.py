#!/usr/bin/env python3
"""Writes assets/open_clip.json: open_clip's names and tags of the models that the engine runs, from the installed open_clip.

Each tag has its repository, its activation and its preprocessing (`open_clip/pretrained.py`), each architecture its
configuration (`open_clip/model_configs`) and its parameters, counted on a model without memory. Zero-shot ImageNet accuracies are
those of open_clip's docs/openclip_results.csv and, for SigLIP 2 and MobileCLIP 2, of their papers. Licences are those that the
repositories' model cards name; where timm's registry names one for the same weights, the two must agree.
"""

import json
import re
from pathlib import Path

import open_clip
import timm
import torch
from open_clip.pretrained import _PRETRAINED

TOP1 = {
    "timm/vit_base_patch32_clip_224.openai": 63.32, "timm/vit_base_patch16_clip_224.openai": 68.34, "timm/vit_large_patch14_clip_224.openai": 75.54,
    "timm/vit_large_patch14_clip_336.openai": 76.56, "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": 66.56, "laion/CLIP-ViT-B-16-laion2B-s34B-b88K": 70.23,
    "laion/CLIP-ViT-L-14-laion2B-s32B-b82K": 75.25, "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": 77.96, "laion/CLIP-ViT-g-14-laion2B-s34B-b88K": 78.47,
    "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k": 80.09, "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K": 69.17,
    "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K": 72.81, "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K": 73.49,
    "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K": 79.21, "apple/DFN2B-CLIP-ViT-B-16": 76.24, "apple/DFN2B-CLIP-ViT-L-14": 81.41,
    "apple/DFN5B-CLIP-ViT-H-14": 83.44, "apple/DFN5B-CLIP-ViT-H-14-378": 84.37, "timm/vit_base_patch32_clip_224.metaclip_400m": 65.58,
    "timm/vit_base_patch32_clip_224.metaclip_2pt5b": 67.66, "timm/vit_base_patch16_clip_224.metaclip_2pt5b": 72.12,
    "timm/vit_large_patch14_clip_224.metaclip_2pt5b": 79.17, "timm/vit_huge_patch14_clip_224.metaclip_2pt5b": 80.51,
    "timm/vit_base_patch32_clip_224.laion400m_e32": 62.93, "timm/ViT-B-16-SigLIP": 76.04, "timm/ViT-B-16-SigLIP-256": 76.53,
    "timm/ViT-SO400M-14-SigLIP": 82.03, "timm/ViT-SO400M-14-SigLIP-384": 83.08, "timm/ViT-B-32-SigLIP2-256": 74.0, "timm/ViT-B-16-SigLIP2": 78.2,
    "timm/ViT-B-16-SigLIP2-256": 79.1, "timm/ViT-B-16-SigLIP2-384": 80.6, "timm/ViT-B-16-SigLIP2-512": 81.2, "timm/ViT-L-16-SigLIP2-256": 82.5,
    "timm/ViT-L-16-SigLIP2-384": 83.1, "timm/ViT-L-16-SigLIP2-512": 83.5, "timm/ViT-SO400M-14-SigLIP2": 83.2, "timm/ViT-SO400M-14-SigLIP2-378": 84.1,
    "timm/ViT-SO400M-16-SigLIP2-256": 83.4, "timm/ViT-SO400M-16-SigLIP2-384": 84.1, "timm/ViT-SO400M-16-SigLIP2-512": 84.3,
    "timm/ViT-gopt-16-SigLIP2-256": 84.5, "timm/ViT-gopt-16-SigLIP2-384": 85.0, "timm/MobileCLIP2-L-14-OpenCLIP": 81.9,
}
# open_clip flags it as QuickGELU since 84f7d2f, but its published accuracy was measured with GELU, and timm's registry lists
# DFN's L-14, H-14 and H-14-378 as QuickGELU, not this one.
GELU = {"apple/DFN2B-CLIP-ViT-B-16"}
# By publisher and name, the first that matches.
LICENCES = [
    (r"timm/.*\.openai$", "apache-2.0"), (r"timm/.*\.laion(400m|2b)_", "mit"), (r"timm/.*\.metaclip", "cc-by-nc-4.0"), (r"timm/.*SigLIP", "apache-2.0"),
    (r"timm/MobileCLIP2", "apple-amlr"), (r"laion/", "mit"), (r"apple/DFN", "apple-amlr"), (r"UCSC-VLAA/.*CLIPA", "apache-2.0"),
]
TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "pad_id", "eos_id", "no_causal_mask", "pool_type", "proj_bias", "proj_type",
        "act_kwargs", "norm_kwargs", "hf_tokenizer_name", "tokenizer_kwargs"}


def runs(c):
    """Whether the engine runs this architecture: a plain or timm's plain ViT, and a plain text tower."""
    vision, text = c["vision_cfg"], c["text_cfg"]
    timm = vision.get("timm_model_name")
    plain = re.match(r"vit_\w+_patch\d+_(clip|siglip)_", timm) and "gap" not in timm if timm else isinstance(vision["layers"], int)
    return plain and set(text) <= TEXT and not vision.get("attentional_pool") and "multimodal_cfg" not in c and "ls_init_value" not in vision


def parameters(name):
    config = open_clip.get_model_config(name)
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    with torch.device("meta"):
        return sum(p.numel() for p in kind(**config).parameters())


def licence(repo):
    named = next((licence for pattern, licence in LICENCES if re.match(pattern, repo)), None)
    assert named, f"{repo}: no licence"
    name = repo.removeprefix("timm/")
    known = timm.models.get_pretrained_cfg(name) if timm.models.is_model_pretrained(name) else None
    assert known is None or known.license == named, f"{repo}: {named} here, {known.license} in timm's registry"
    return named


def main():
    configs = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    used = {name for name in _PRETRAINED if name in configs and runs(configs[name])}
    used |= {name for name in configs if runs(configs[name]) and name.startswith("ViT-")}
    architectures = [json.dumps(name) + ": " + json.dumps(dict(parameters=parameters(name), config=configs[name])) for name in sorted(used)]
    tags = []
    for name in sorted(used & set(_PRETRAINED)):
        for tag, c in _PRETRAINED[name].items():
            repo = c["hf_hub"].rstrip("/")
            if repo:
                quick = bool(c.get("quick_gelu", False)) and repo not in GELU
                row = dict(name=name, tag=tag, repo=repo, quick_gelu=quick, top1=TOP1.get(repo), licence=licence(repo), mean=c["mean"], std=c["std"],
                           interpolation=c["interpolation"], resize_mode=c["resize_mode"])
                tags.append(json.dumps(row))
    target = Path(__file__).parents[2] / "assets/open_clip.json"
    lines = ",\n".join
    target.write_text('{"architectures": {\n' + lines(architectures) + '\n},\n"pretrained": [\n' + lines(tags) + "\n]}\n")
    print(f"{target.name}: {len(architectures)} architectures, {len(tags)} tags, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
