#!/usr/bin/env python3
"""Trains the small CLIP in the box on drawn shapes and writes assets/pico/ and assets/samples/.

    .venv/bin/pip install -r scripts/pico/requirements.txt
    .venv/bin/python scripts/pico/train.py            # about 10 minutes on one core

Symmetric contrastive loss (Radford et al. 2021) over batches of different captions, with the strength of every variation
rising from 0.2 to 1 over the first half. A stopped run goes on from its checkpoint.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPModel

from scenes import COLOURS, NAMES, PHRASES, SHAPES, draw

ROOT = Path(__file__).parents[2]
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
CONTEXT, SIZE = 32, 64
WORDS = "dog cat bird fish tree house car flower sun moon person hand food water sky grass small large big two three one left right above below of and on in the with".split()


def merges(words, count):
    """The most frequent pairs, one after another; ties by spelling, so that every run gives the same (the library's trainer does not)."""
    spelled = {w: [*w[:-1], w[-1] + "</w>"] for w in words}
    found = []
    for _ in range(count):
        pairs = Counter()
        for w, parts in spelled.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[w]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        found.append(best)
        for parts in spelled.values():
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == best:
                    parts[i:i + 2] = ["".join(best)]
                i += 1
    return found


def tokenizer():
    """CLIP's kind of tokenizer over a small vocabulary of its own: any text has ids, because every byte has one."""
    texts = [p.format(c=c, s=s) for c, s in NAMES for p in PHRASES] + WORDS * 20
    found = merges(Counter(" ".join(texts).split()), 600)
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*bytes_, *(b + "</w>" for b in bytes_), *dict.fromkeys(a + b for a, b in found), "<|startoftext|>", "<|endoftext|>"]
    start, end = len(pieces) - 2, len(pieces) - 1
    t = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, found, end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    pattern = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    t.post_processor = processors.RobertaProcessing(("<|endoftext|>", end), ("<|startoftext|>", start), trim_offsets=False, add_prefix_space=False)
    return t, start, end


def encode(t, texts, end):
    rows = [e.ids for e in t.encode_batch(texts)]
    width = max(map(len, rows))
    return torch.tensor([r + [end] * (width - len(r)) for r in rows])


def model(vocabulary, start, end):
    return CLIPModel(CLIPConfig(
        projection_dim=96,
        vision_config=dict(hidden_size=128, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, image_size=SIZE, patch_size=16, hidden_act="quick_gelu"),
        text_config=dict(hidden_size=96, intermediate_size=384, num_hidden_layers=2, num_attention_heads=3, vocab_size=vocabulary, max_position_embeddings=CONTEXT,
                         hidden_act="quick_gelu", bos_token_id=start, eos_token_id=end, pad_token_id=end)))


def embed(net, pixels, ids):
    out = net(pixel_values=pixels, input_ids=ids)
    return out.image_embeds, out.text_embeds


@torch.no_grad()
def accuracy(net, t, end, count, seed):
    """Top-1 over every colour and shape, on new drawings at full strength."""
    generator = torch.Generator().manual_seed(seed)
    names = [NAMES[i] for i in torch.randint(len(NAMES), (count,), generator=generator)]
    ids = encode(t, [f"a {c} {s}" for c, s in NAMES], end)
    image, text = embed(net.eval(), (draw(names, SIZE, 1.0, generator) - MEAN) / STD, ids)
    net.train()
    return sum(NAMES[i] == n for i, n in zip((image @ text.T).argmax(1).tolist(), names)) / count


def train(net, t, end, steps, checkpoint):
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05)
    first = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(saved["net"])
        optimiser.load_state_dict(saved["optimiser"])
        first = saved["step"]
        print(f"going on from step {first}")
    began = time.time()
    for step in range(first, steps):
        generator = torch.Generator().manual_seed(step)
        rate = 1e-3 * min(1, step / 100) * (0.5 + 0.5 * torch.cos(torch.tensor(step / steps * 3.14159)).item())
        for group in optimiser.param_groups:
            group["lr"] = rate
        names = [NAMES[i] for i in torch.randperm(len(NAMES), generator=generator)]
        phrases = torch.randint(len(PHRASES), (len(names),), generator=generator).tolist()
        ids = encode(t, [PHRASES[p].format(c=c, s=s) for p, (c, s) in zip(phrases, names)], end)
        strength = min(1.0, 0.2 + 0.8 * step / (0.5 * steps))
        image, text = embed(net, (draw(names, SIZE, strength, generator) - MEAN) / STD, ids)
        logits = net.logit_scale.exp().clamp(max=100) * image @ text.T
        target = torch.arange(len(names))
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % 250 == 0:
            left = (time.time() - began) / (step + 1 - first) * (steps - step - 1)
            print(f"step {step + 1}/{steps}  loss {loss.item():.3f}  top-1 {accuracy(net, t, end, 400, 1):.1%}  {left / 60:.1f} minutes left", flush=True)
            torch.save({"net": net.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}, checkpoint)


def write(net, t, end, start):
    folder = ROOT / "assets/pico"
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.half().contiguous() for k, v in net.state_dict().items() if not k.endswith("position_ids")}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors leaves 0600
    full = json.loads(net.config.to_json_string(use_diff=False))
    keep = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act", "layer_norm_eps"]
    config = {"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": full["projection_dim"],
              "vision_config": {k: full["vision_config"][k] for k in [*keep, "image_size", "patch_size"]},
              "text_config": {k: full["text_config"][k] for k in [*keep, "vocab_size", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"]}}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": SIZE}, "resample": 3, "do_center_crop": True, "crop_size": SIZE,
        "do_normalize": True, "image_mean": MEAN.flatten().tolist(), "image_std": STD.flatten().tolist(), "do_convert_rgb": True}, indent=1) + "\n")
    (folder / "tokenizer.json").write_text(t.to_str())


def samples():
    """A few larger drawings, for the first command and the tests."""
    from PIL import Image
    folder = ROOT / "assets/samples"
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (colour, shape, kind) in enumerate([("red", "circle", "png"), ("blue", "square", "png"), ("green", "star", "jpg"), ("yellow", "heart", "png"), ("purple", "triangle", "jpg")]):
        size = 128 if kind == "png" else 240  # noise does not compress without loss
        picture = draw([(colour, shape)], size, 0.5, torch.Generator().manual_seed(100 + seed))[0]
        Image.fromarray((picture.permute(1, 2, 0) * 255).round().byte().numpy()).save(folder / f"{colour}-{shape}.{kind}", quality=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "target/pico.pt", help="where a stopped run goes on from")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    t, start, end = tokenizer()
    net = model(t.get_vocab_size(), start, end)
    print(f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters, {t.get_vocab_size()} pieces, {len(NAMES)} names", flush=True)
    options.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    samples()
    train(net, t, end, options.steps, options.checkpoint)
    write(net, t, end, start)
    print(f"top-1 of {len(COLOURS)} colours x {len(SHAPES)} shapes on 2,000 new drawings: {accuracy(net, t, end, 2000, 2):.1%}")


if __name__ == "__main__":
    main()
