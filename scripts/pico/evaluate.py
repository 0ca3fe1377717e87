#!/usr/bin/env python3
"""What assets/pico knows: names that stay below a half are taken out of names.txt and listed, and the card gets the numbers.

    .venv/bin/python scripts/pico/evaluate.py --command target/release/clip-wgpu
"""

import argparse
import json
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import torch
from transformers import CLIPModel

from pieces import encode
from scenes import NAMES, UNSEEN, draw
from train import EMOJI, FULL, MEAN, PAINTS, ROOT, SCENES, SIZE, STD, STEPS, Data
from views import views

PROMPT = "a photo of a {}"
VIEWS = 20  # of each name


@torch.no_grad()
def pictures(net, pixels):
    return torch.cat([net.get_image_features(pixel_values=(p - MEAN) / STD).pooler_output for p in pixels.split(256)])


@torch.no_grad()
def texts(net, data, names):
    return unit(net.get_text_features(input_ids=encode(data.tokenizer, [PROMPT.format(n) for n in names], data.end)).pooler_output)


def unit(rows):
    return rows / rows.norm(dim=1, keepdim=True)


def of_names(net, data, strength, seed):
    """Unit embeddings of VIEWS views of each name, and which name each shows."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.arange(len(data.names)).repeat(VIEWS)
    return unit(torch.cat([pictures(net, views(data.glyphs, part, SIZE, strength, generator)) for part in which.split(256)])), which


def share(hits):
    return f"{100 * hits.float().mean().item():.1f} %"


def top(image, text, which, k):
    return (image @ text.T).topk(k).indices.eq(which[:, None]).any(1)


def through_command(command, net, data, kept):
    """Top-1 of the same 8-bit pictures by the command and by PyTorch."""
    from PIL import Image
    generator = torch.Generator().manual_seed(77)
    which = torch.tensor(kept)[torch.randint(len(kept), (1000,), generator=generator)]
    pixels = (views(data.glyphs, which, SIZE, FULL, generator) * 255).round().byte()
    names = [data.names[i].text for i in kept]
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for i, p in enumerate(pixels):
            files.append(f"{folder}/{i:04}.png")
            Image.fromarray(p.permute(1, 2, 0).numpy()).save(files[-1])
        rows = lambda *arguments: torch.tensor([r["embedding"] for r in json.loads(subprocess.run(
            [command, "embed", *arguments, "-q", "-m", str(ROOT / "assets/pico"), "--json", "--device", "cpu"], check=True, capture_output=True).stdout)["embeddings"]])
        image, text = rows("image", *files), rows("text", *[PROMPT.format(n) for n in names])
    want = torch.tensor([kept.index(i) for i in which.tolist()])
    mine = pictures(net, pixels.float() / 255)
    return share(top(image, text, want, 1)), share(top(unit(mine), texts(net, data, names), want, 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "assets/pico")
    parser.add_argument("--command", default=str(ROOT / "target/release/clip-wgpu"))
    options = parser.parse_args()
    torch.manual_seed(0)
    data = Data()
    net = CLIPModel.from_pretrained(options.model, dtype=torch.float32).eval()

    image, which = of_names(net, data, FULL, 1)
    hits = top(image, texts(net, data, [n.text for n in data.names]), which, 1)
    right = Counter(which[hits].tolist())
    kept = [i for i in range(len(data.names)) if right[i] >= VIEWS / 2]
    out = [n.text for i, n in enumerate(data.names) if i not in kept]
    (options.model / "names.txt").write_text("".join(f"{data.names[i].text}\n" for i in kept))

    image, which = of_names(net, data, FULL, 2)
    whole = top(image, texts(net, data, [n.text for n in data.names]), which, 1)
    at = torch.isin(which, torch.tensor(kept))
    image, which = image[at], torch.tensor([kept.index(i) for i in which[at].tolist()])
    text = texts(net, data, [data.names[i].text for i in kept])
    guesses = (image @ text.T).argmax(1)
    wrong = Counter((kept[a], kept[b]) for a, b in zip(which.tolist(), guesses.tolist()) if a != b)
    harder, which_harder = of_names(net, data, 1.0, 3)

    generator = torch.Generator().manual_seed(4)
    scenes = [NAMES[i] for i in torch.randint(len(NAMES), (2000,), generator=generator)]
    unseen = [UNSEEN[i] for i in torch.randint(len(UNSEEN), (2000,), generator=generator)]
    scene_text = texts(net, data, [f"{c} {s}" for c, s in NAMES])
    drawn = lambda names: top(unit(pictures(net, draw(names, SIZE, FULL, generator))), scene_text, torch.tensor([NAMES.index(n) for n in names]), 1)

    # 1,000 pictures, 880 of them emoji, against the captions of what they show.
    pick = torch.randperm(len(image), generator=generator)[:880]
    mixed = [NAMES[i] for i in torch.randint(len(NAMES), (120,), generator=generator)]
    both = torch.cat([image[pick], unit(pictures(net, draw(mixed, SIZE, FULL, generator)))])
    shown = which[pick].tolist() + [len(kept) + NAMES.index(n) for n in mixed]
    captions = sorted(set(shown))
    scores = both @ torch.cat([text, scene_text])[captions].T
    target = torch.tensor([captions.index(s) for s in shown])
    found = torch.tensor([shown[i] for i in scores.argmax(0).tolist()]) == torch.tensor(captions)
    command, torch_ = through_command(options.command, net, data, kept)

    rows = [
        (f"top-1 of the {len(kept)} names kept, on {len(image):,} new views at full strength", share(guesses == which)),
        ("top-5", share(top(image, text, which, 5))),
        (f"top-1 of all {len(data.names)} names that it was taught", share(whole)),
        ("the same at a quarter more strength than it was taught", share(top(harder, texts(net, data, [n.text for n in data.names]), which_harder, 1))),
        ("top-1 of the 80 colours and shapes, on 2,000 drawings", share(drawn(scenes))),
        (f"the same on {len(UNSEEN)} pairs of colour and shape that no training picture showed", share(drawn(unseen))),
        ("recall at 1 of 1,000 pictures: picture to caption", share(scores.argmax(1) == target)),
        ("recall at 1 of 1,000 pictures: caption to picture", share(found)),
        ("top-1 of 1,000 views through the command, and by PyTorch", f"{command}, {torch_}"),
    ]
    worst = ", ".join(f"{data.names[a].text} taken for {data.names[b].text} ({n})" for (a, b), n in wrong.most_common(10))
    c = net.config
    card = f"""---
license: apache-2.0
library_name: clip-wgpu
---
# pico

A CLIP of {sum(p.numel() for p in net.parameters()) / 1e6:.1f} M parameters that knows {len(kept)} things by name (animals, plants, food, vehicles, places, clothes, tools,
instruments: [names.txt](names.txt)), as emoji draw them, and ten colours of eight shapes. It lets the program answer, and the
tests run, where no real model is. It knows drawings, not photographs.

| | |
|---|---|
| image tower | ViT, {SIZE} px in patches of 16, width {c.vision_config.hidden_size}, {c.vision_config.num_hidden_layers} layers, {c.vision_config.num_attention_heads} heads |
| text tower | width {c.text_config.hidden_size}, {c.text_config.num_hidden_layers} layers, {c.text_config.num_attention_heads} heads, context {c.text_config.max_position_embeddings}, {c.text_config.vocab_size} pieces |
| joint space | {c.projection_dim} |
| trained on | {STEPS:,} batches of {EMOJI} views of glyphs and {SCENES + PAINTS} drawings, all made by `scripts/pico/`, nothing else |
""" + "".join(f"| {a} | {b} |\n" for a, b in rows) + f"""
`scripts/pico/train.py` makes all of it, the pictures included, in about 40 minutes on two cores; `scripts/pico/evaluate.py`
prints the table and writes this card.

Most often taken for another, of {VIEWS} views each: {worst}.

Taught, but taken out, because fewer than half of its views are told: {", ".join(out) or "none"}.

Colours: red, green, blue, yellow, orange, purple, black, white, pink, brown. Shapes: circle, square, triangle, star, heart,
diamond, cross, ring. Anything else gets an answer without meaning.

The glyphs are those of Noto Color Emoji (Google; SIL Open Font License 1.1), the names Unicode's and CLDR's (Unicode License V3),
as Debian packages them.
"""
    (options.model / "README.md").write_text(card)
    print(card)


if __name__ == "__main__":
    main()
