#!/usr/bin/env python3
"""Trains the CLIP in the box on emoji glyphs and drawn shapes, and writes assets/pico/.

    apt-get install fonts-noto-color-emoji unicode-data unicode-cldr-core
    .venv/bin/pip install -r scripts/pico/requirements.txt
    nice .venv/bin/python scripts/pico/train.py        # about 40 minutes on two cores
    .venv/bin/python scripts/pico/evaluate.py          # names that stay unknown are taken out; the card's numbers

Symmetric contrastive loss (Radford et al. 2021) over batches of different names, a caption being right for every picture that
it is true of. The strength of every variation rises from 0.2 to FULL over half of the steps: at full strength from the start the
loss stays where it is. A stopped run goes on from its checkpoint.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

from names import names
from pieces import encode, tokenizer
from scenes import COLOURS, NAMES, SEEN, SHAPES, UNSEEN, any_paint, draw
from views import Glyphs, views

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "target/pico.pt"
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
CONTEXT, SIZE, MERGES = 32, 64, 1600
EMOJI, SCENES, PAINTS = 180, 44, 32  # of each in a batch: glyphs, named colours of shapes, shapes in any colour
STEPS, RATE = 2600, 1e-3
FULL = 0.8  # of what views.py can do to a picture: beyond it people, too, lose many of the glyphs
PHRASES = ["{}", "a {}", "a photo of a {}", "a photo of the {}", "a picture of a {}", "a drawing of a {}", "an image of a {}", "the {}", "this is a {}", "a photo of a {}."]
COMMON = "person man woman child hand face house street sky water grass room table wall light dark small large big two three one left right above below of and on in with under next".split()


class Data:
    """Names, glyphs and the tokenizer that goes with them."""

    def __init__(self):
        self.names = names()
        self.glyphs = Glyphs([n.character for n in self.names])
        spoken = [p.format(n.text) for n in self.names for p in PHRASES[:3]] + [k for n in self.names for k in n.keywords]
        shapes = [f"{c} {s}" for c in COLOURS for s in SHAPES]
        self.tokenizer, self.start, self.end = tokenizer(spoken + shapes + COMMON * 5, MERGES)
        self.known_as = {}  # second name → the names that have it
        for i, n in enumerate(self.names):
            for k in n.keywords:
                self.known_as.setdefault(k, set()).add(i)

    def batch(self, strength, generator):
        """Pixels, ids, and which caption is true of which picture `[n, n]`."""
        chance = lambda: torch.rand(1, generator=generator).item()
        pick = lambda items: items[int(chance() * len(items))]
        which = torch.randperm(len(self.names), generator=generator)[:EMOJI]
        captions, truths = [], []
        for i in which.tolist():
            second = self.names[i].keywords and chance() < 0.12
            text = pick(self.names[i].keywords) if second else self.names[i].text
            captions.append((pick(PHRASES) if chance() < 0.5 else "{}").format(text))
            truths.append(("name", self.known_as[text] if second else {i}))
        pairs = [SEEN[i] for i in torch.randperm(len(SEEN), generator=generator)[:SCENES]]
        for colour, shape in pairs:
            kind = chance()
            if kind < 0.1:  # the colour alone, or the shape alone: what a pair is made of
                text, truth = pick([f"{colour} thing", f"something {colour}", f"{colour} shape"]), (colour, None)
            elif kind < 0.2:
                text, truth = shape, (None, shape)
            else:
                text, truth = f"{colour} {shape}", (colour, shape)
            captions.append(pick(PHRASES).format(text).replace("a something", "something"))
            truths.append(("scene", truth))
        for shape in (SHAPES[i % len(SHAPES)] for i in range(PAINTS)):  # a shape is the same in every colour
            pairs.append((any_paint(shape, generator), shape))
            captions.append(pick(PHRASES).format(shape))
            truths.append(("scene", (None, shape)))
        pixels = torch.cat([views(self.glyphs, which, SIZE, strength, generator), draw(pairs, SIZE, strength, generator)])
        true = torch.zeros(len(captions), len(captions))
        for j, (kind, truth) in enumerate(truths):
            if kind == "name":
                true[:EMOJI, j] = torch.tensor([float(i in truth) for i in which.tolist()])
            else:
                true[EMOJI:, j] = torch.tensor([float(truth[0] in (None, c) and truth[1] in (None, s)) for c, s in pairs])
        return (pixels - MEAN) / STD, encode(self.tokenizer, captions, self.end), true


def model(data):
    return CLIPModel(CLIPConfig(
        projection_dim=128, attn_implementation="eager",  # its backward pass takes a third of the fused one's time here
        vision_config=dict(hidden_size=192, intermediate_size=768, num_hidden_layers=6, num_attention_heads=6, image_size=SIZE, patch_size=16, hidden_act="quick_gelu"),
        text_config=dict(hidden_size=128, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4, vocab_size=data.tokenizer.get_vocab_size(),
                         max_position_embeddings=CONTEXT, hidden_act="quick_gelu", bos_token_id=data.start, eos_token_id=data.end, pad_token_id=data.end)))


def embed(net, pixels, ids):
    out = net(pixel_values=pixels, input_ids=ids)
    return out.image_embeds.float(), out.text_embeds.float()


@torch.no_grad()
def unseen(net, data, count, seed):
    """Top-1 over every colour and shape, on pairs that no training picture shows."""
    generator = torch.Generator().manual_seed(seed)
    shown = [UNSEEN[i] for i in torch.randint(len(UNSEEN), (count,), generator=generator)]
    ids = encode(data.tokenizer, [f"a photo of a {c} {s}" for c, s in NAMES], data.end)
    image, text = embed(net.eval(), (draw(shown, SIZE, FULL, generator) - MEAN) / STD, ids)
    net.train()
    return ((image @ text.T).argmax(1) == torch.tensor([NAMES.index(n) for n in shown])).float().mean().item()


@torch.no_grad()
def accuracy(net, data, count, seed):
    """Top-1 over every name, on new views at full strength."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(len(data.names), (count,), generator=generator)
    ids = encode(data.tokenizer, [f"a photo of a {n.text}" for n in data.names], data.end)
    image, text = embed(net.eval(), (views(data.glyphs, which, SIZE, FULL, generator) - MEAN) / STD, ids)
    net.train()
    return ((image @ text.T).argmax(1) == which).float().mean().item()


def autocast():
    """bf16 where the processor multiplies it faster than f32; elsewhere it is a hundred times slower."""
    def seconds(dtype):
        a, b = torch.ones(512, 192, dtype=dtype), torch.ones(192, 768, dtype=dtype)
        a @ b
        began = time.perf_counter()
        for _ in range(5):
            a @ b
        return time.perf_counter() - began
    faster = seconds(torch.bfloat16) < seconds(torch.float32)
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=faster)


def train(net, data, steps, checkpoint):
    matrices = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], lr=RATE, betas=(0.9, 0.98))
    first, precision = 0, autocast()
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(saved["net"])
        optimiser.load_state_dict(saved["optimiser"])
        first = saved["step"]
        print(f"going on from step {first}", flush=True)
    began = kept = time.time()
    for step in range(first, steps):
        generator = torch.Generator().manual_seed(step)
        cosine = 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 150) * cosine
        pixels, ids, true = data.batch(min(FULL, 0.2 + 0.8 * step / (steps * 2 / 3)), generator)
        with precision:
            image, text = embed(net, pixels, ids)
        logits = net.logit_scale.exp().clamp(max=100) * image @ text.T
        by_image, by_text = true / true.sum(1, keepdim=True), true.T / true.T.sum(1, keepdim=True)
        loss = (F.cross_entropy(logits, by_image) + F.cross_entropy(logits.T, by_text)) / 2
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        if time.time() - kept > 120 or step + 1 == steps:
            kept = time.time()
            torch.save({"net": net.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}, checkpoint)
            left = (kept - began) / (step + 1 - first) * (steps - step - 1)
            print(f"step {step + 1}/{steps}  loss {loss.item():.3f}  top-1 of {len(data.names)} {accuracy(net, data, 600, 1):.1%}  unseen pairs {unseen(net, data, 600, 2):.1%}  {left / 60:.0f} minutes left", flush=True)


def write(net, data, folder):
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
    (folder / "tokenizer.json").write_text(data.tokenizer.to_str())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="where a stopped run goes on from")
    parser.add_argument("--out", type=Path, default=ROOT / "assets/pico")
    options = parser.parse_args()
    torch.manual_seed(0)
    data = Data()
    net = model(data)
    print(f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters, {data.tokenizer.get_vocab_size()} pieces, {len(data.names)} names", flush=True)
    options.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    train(net, data, options.steps, options.checkpoint)
    write(net, data, options.out)


if __name__ == "__main__":
    main()
