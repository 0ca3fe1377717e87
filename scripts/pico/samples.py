#!/usr/bin/env python3
"""Sample pictures for assets/samples/: drawn shapes, and glyphs in clutter, alone or two of them."""

import torch
import torch.nn.functional as F
from PIL import Image

from names import glyph, names
from scenes import draw
from train import ROOT
from views import grounds

SHAPES = [("red", "circle", "png"), ("blue", "square", "png"), ("green", "star", "jpg"), ("yellow", "heart", "png"), ("purple", "triangle", "jpg")]
# File → what it shows: name, side of the glyph and its place in a picture of 256 pixels.
SCENES = {
    "tiger": [("tiger", 170, 50, 40)],
    "guitar": [("guitar", 190, 30, 30)],
    "teapot-and-apple": [("teapot", 160, 15, 70), ("red apple", 84, 165, 8)],
    "fish": [("tropical fish", 180, 40, 50)],
}


def save(picture, file):
    Image.fromarray((picture.permute(1, 2, 0) * 255).round().byte().numpy()).save(ROOT / "assets/samples" / file, quality=90)


def main():
    (ROOT / "assets/samples").mkdir(parents=True, exist_ok=True)
    for seed, (colour, shape, kind) in enumerate(SHAPES):
        size = 128 if kind == "png" else 240  # noise does not compress without loss
        save(draw([(colour, shape)], size, 0.5, torch.Generator().manual_seed(100 + seed))[0], f"{colour}-{shape}.{kind}")
    characters = {n.text: n.character for n in names()}
    for seed, (file, things) in enumerate(SCENES.items()):
        generator = torch.Generator().manual_seed(200 + seed)
        picture = grounds(1, 256, 0.7, lambda *shape: torch.rand(*shape, generator=generator))[0]
        for name, side, left, top in things:
            pixels = F.pad(glyph(characters[name], side), (left, 256 - left - side, top, 256 - top - side))
            picture = pixels[:3] + (1 - pixels[3:]) * picture
        save((picture + torch.randn(picture.shape, generator=generator) * 0.02).clamp(0, 1), f"{file}.jpg")


if __name__ == "__main__":
    main()
