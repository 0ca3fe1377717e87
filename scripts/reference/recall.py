#!/usr/bin/env python3
"""2,000 drawn pictures and what PyTorch finds among them: tests/search/.

    .venv/bin/python scripts/reference/recall.py

The pictures are views of the names that pico knows, as scripts/pico draws them, in one sheet of 50 x 40 (lossy WebP, so that they
are small); a test cuts it up, indexes the pieces and searches. Prints the recall, and what the least fit of
src/bin/clip-wgpu/everyday.rs keeps and refuses, and which tags `clip-wgpu tag` gives.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import CLIPImageProcessor, CLIPModel

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts/pico"))
from names import names  # noqa: E402
from pieces import encode  # noqa: E402
from scenes import SEEN, draw  # noqa: E402
from views import Glyphs, views  # noqa: E402

OUT, PICO = ROOT / "tests/search", ROOT / "assets/pico"
COUNT, ACROSS, SIDE, STRENGTH = 2000, 50, 64, 1.0  # pico was trained at strengths up to 0.8
LEAST, LEAST_TAG = 2.4, 2.8


def drawn():
    """The pictures as one sheet, and their captions."""
    generator = torch.Generator().manual_seed(7)
    known, kept = names(), (PICO / "names.txt").read_text().split("\n")
    at = {name.text: i for i, name in enumerate(known)}
    which = torch.tensor([at[name] for name in kept if name] * 4)[:COUNT - 4 * len(SEEN)]
    pairs = (SEEN * 4)[:COUNT - len(which)]
    glyphs = Glyphs([name.character for name in known])
    pixels = torch.cat([views(glyphs, which, SIDE, STRENGTH, generator), draw(pairs, SIDE, STRENGTH, generator)])
    pieces = (pixels * 255).round().byte().permute(0, 2, 3, 1).numpy()
    sheet = pieces.reshape(-1, ACROSS, SIDE, SIDE, 3).swapaxes(1, 2).reshape(-1, ACROSS * SIDE, 3)
    return Image.fromarray(sheet), [known[i].text for i in which.tolist()] + [" ".join(pair) for pair in pairs]


def unit(rows):
    return rows / rows.norm(dim=1, keepdim=True)


@torch.no_grad()
def main():
    OUT.mkdir(exist_ok=True)
    sheet, captions = drawn()
    sheet.save(OUT / "pictures.webp", quality=60, method=6)
    sheet = np.asarray(Image.open(OUT / "pictures.webp").convert("RGB"))
    pieces = sheet.reshape(-1, SIDE, ACROSS, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)

    model = CLIPModel.from_pretrained(PICO, dtype=torch.float32).eval()
    pixels = CLIPImageProcessor.from_pretrained(PICO)([Image.fromarray(p) for p in pieces], return_tensors="pt")["pixel_values"]
    images = unit(torch.cat([model.get_image_features(pixel_values=part).pooler_output for part in pixels.split(250)]))
    tokenizer = Tokenizer.from_file(str(PICO / "tokenizer.json"))
    texts = lambda lines: unit(model.get_text_features(input_ids=encode(tokenizer, lines, model.config.text_config.eos_token_id)).pooler_output)

    queries = sorted(set(captions))
    scores = texts(queries) @ images.T
    best = scores.sort(dim=1, descending=True, stable=True)
    right = torch.tensor([[captions[i] == query for i in row[:10]] for query, row in zip(queries, best.indices.tolist())])
    hits = {k: int(right[:, :k].any(1).sum()) for k in (1, 10)}
    print(f"{len(queries)} captions, {COUNT} pictures: recall at 1 {hits[1] / len(queries):.4f}, at 10 {hits[10] / len(queries):.4f}")

    everyday = texts((ROOT / "assets/search/everyday.txt").read_text().splitlines())
    shown = torch.tensor([queries.index(caption) for caption in captions])
    found = {}
    for every in (1, 10):  # all captions have pictures, or each tenth
        there = torch.arange(len(queries)) % every == 0
        among = images[there[shown]]
        nearest, at = (texts(queries) @ among.T).max(1)
        of_things = everyday @ among.T
        fit = (nearest - of_things.mean(0)[at]) / of_things.std(0)[at]
        found[every] = {"there": int((fit[there] >= LEAST).sum()), "not_there": int((fit[~there] >= LEAST).sum())}
        print(f"with pictures of {int(there.sum())}: found {found[every]['there']}; of {int((~there).sum())} without: {found[every]['not_there']}")

    labels = torch.arange(0, len(queries), 10)
    of_things = everyday @ images.T
    given = ((scores[labels] - of_things.mean(0)) / of_things.std(0)).T >= LEAST_TAG
    true = shown[:, None] == labels
    tags = {"given": int(given.sum()), "right": int((given & true).sum())}
    print(f"{len(labels)} labels: {tags['given']} tags are given, {tags['right']} of them the {int(true.sum())} right ones")

    (OUT / "expected.json").write_text(json.dumps({
        "sha256": hashlib.sha256(np.ascontiguousarray(pieces).tobytes()).hexdigest(), "captions": captions, "queries": queries,
        "recall": hits, "found": found, "tags": tags,
        "best": best.indices[:, :11].tolist(), "scores": [[round(s, 5) for s in row] for row in best.values[:, :11].tolist()],
    }, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
