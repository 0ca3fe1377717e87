#!/usr/bin/env python3
"""Writes small pictures of every kind and what PIL makes of them: tests/input/pictures/ and tests/input/pixels.safetensors.

    .venv/bin/python scripts/reference/pixels.py

Expected values are 8-bit squares `[size, size, 3]`, named "recipe/file". Each picture is turned upright and brought to RGB first
(`ImageOps.exif_transpose(Image.open(f)).convert("RGB")`), then goes through open_clip's own inference transform (torchvision on PIL
pictures) without its last two steps. `hf/...` is transformers' `CLIPImageProcessorPil` on a crop without ties in rounding.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image, ImageDraw, ImageOps
from safetensors.torch import save_file
from transformers import CLIPImageProcessorPil

OUT = Path(__file__).parents[2] / "tests/input"
PICTURES = OUT / "pictures"
RECIPES = {
    "shortest": dict(size=32, resize_mode="shortest", interpolation="bicubic"),
    "bilinear": dict(size=40, resize_mode="shortest", interpolation="bilinear"),
    "squash": dict(size=40, resize_mode="squash", interpolation="bicubic"),
    "longest": dict(size=40, resize_mode="longest", interpolation="bicubic", fill_color=0),
    "filled": dict(size=40, resize_mode="longest", interpolation="bilinear", fill_color=99),
}


def scene(width, height, seed):
    """Slow gradients, sharp edges and a corner of noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    a, b, c = random.uniform(1, 4, 3)
    waves = [np.sin(a * x / width + b * y / height), np.cos(b * x / width - c * y / height), np.sin(c * x / width) * np.cos(a * y / height)]
    picture = Image.fromarray(((np.stack(waves, -1) + 1) * 127.5).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(4):
        x0, y0, w, h = random.uniform(0, 1, 4) * [width, height, width / 2, height / 2]
        draw.rectangle([x0, y0, x0 + w, y0 + h], fill=tuple(int(v) for v in random.integers(0, 256, 3)))
    pixels = np.array(picture)
    pixels[: height // 4, : width // 4] = random.integers(0, 256, pixels[: height // 4, : width // 4].shape)
    return Image.fromarray(pixels)


def with_alpha(picture, seed):
    alpha = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (picture.height, picture.width), dtype=np.uint8))
    picture = picture.convert("LA" if picture.mode == "L" else "RGBA")
    picture.putalpha(alpha)
    return picture


def png16(path, samples):
    """A PNG of 16-bit RGB, which PIL cannot write."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    height, width, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def palette_tiff(path, picture, bits):
    """A big-endian TIFF of 1, 2 or 4 bits, which PIL reads and does not write."""
    width, height = picture.size
    indices = np.array(picture)
    rows = np.zeros((height, -(-width * bits // 8) * 8 // bits), np.uint8)
    rows[:, :width] = indices
    digits = (rows[..., None] >> np.arange(bits)[::-1]) & 1
    data = np.packbits(digits.reshape(height, -1), axis=1).tobytes()
    colours = np.zeros((1 << bits, 3), np.uint16)
    given = np.array(picture.getpalette(), np.uint16).reshape(-1, 3)[: 1 << bits]
    colours[: len(given)] = given * 257
    short = lambda tag, value: struct.pack(">HHIHH", tag, 3, 1, value, 0)
    at = 8 + 2 + 12 * 9 + 4
    colour_map = colours.T.astype(">u2").tobytes()
    directory = (short(256, width) + short(257, height) + short(258, bits) + short(259, 1) + short(262, 3)
                 + struct.pack(">HHII", 273, 4, 1, at + len(colour_map)) + short(278, height)
                 + struct.pack(">HHII", 279, 4, 1, len(data)) + struct.pack(">HHII", 320, 3, 3 << bits, at))
    path.write_bytes(b"MM\0*" + struct.pack(">IH", 8, 9) + directory + struct.pack(">I", 0) + colour_map + data)


def pictures():
    """Writes the pictures; returns the names of those whose pixels PIL reads as they are meant."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in PICTURES.iterdir():
        old.unlink()
    save = lambda picture, name, **options: picture.save(PICTURES / name, **options)
    rgb, grey = scene(75, 53, 1), scene(53, 70, 2).convert("L")
    save(rgb, "rgb.png")
    save(with_alpha(rgb, 3), "rgba.png")
    save(grey, "grey.png")
    save(with_alpha(grey, 4), "grey-alpha.png")
    save(rgb.quantize(64), "palette.png")
    save(rgb.quantize(16), "palette-transparent.png", transparency=3)
    save(grey.convert("1"), "bilevel.png")
    save(rgb, "rgb.bmp")
    save(grey, "grey.bmp")
    save(rgb.quantize(32), "palette.bmp")
    save(rgb, "lossless.webp", lossless=True)
    save(with_alpha(rgb, 5), "lossless-alpha.webp", lossless=True, exact=True)
    save(rgb.quantize(64), "animated.gif", save_all=True, append_images=[scene(75, 53, 6).quantize(64)], duration=100)
    save(rgb.quantize(16), "transparent.gif", transparency=2)
    save(rgb, "rgb.tif", compression="tiff_lzw")
    save(rgb, "deflate.tif", compression="tiff_adobe_deflate")
    save(grey, "grey.tif")
    save(rgb.quantize(64), "palette.tif", compression="tiff_lzw")
    palette_tiff(PICTURES / "palette-4.tif", scene(31, 22, 16).quantize(16), 4)
    palette_tiff(PICTURES / "palette-1.tif", scene(19, 22, 17).quantize(2), 1)
    numbers = np.array(grey).astype(np.float32) * 1.3 - 30.7
    save(Image.fromarray(numbers), "float.tif")
    save(Image.fromarray(numbers.astype(np.int32)), "int32.tif")
    save(rgb.resize((48, 48)), "rgb-png.ico", sizes=[(16, 16), (48, 48), (32, 32)])
    save(with_alpha(rgb.resize((64, 64)), 18), "alpha-bmp.ico", sizes=[(16, 16), (64, 64)], bitmap_format="bmp")
    save(rgb.quantize(16).resize((32, 32)), "palette-png.ico", sizes=[(32, 32)])
    for width, height in [(1, 1), (2, 3), (5, 300), (61, 400), (401, 60), (300, 203), (31, 33), (32, 32), (16, 11), (100, 37)]:
        save(scene(width, height, width), f"{width}x{height}.png")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(scene(60, 45, 7), f"turned-{orientation}.png", exif=exif)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(scene(60, 45, 8), "turned-6.webp", lossless=True, exif=exif)
    save(scene(60, 45, 8), "turned-6.tif", exif=exif, compression="tiff_lzw")
    # With a loss: decoders differ.
    save(scene(160, 120, 9), "420.jpg", quality=90, subsampling=2, exif=exif)
    save(scene(160, 120, 10), "444.jpg", quality=90, subsampling=0)
    save(scene(160, 120, 11), "progressive.jpg", quality=80, progressive=True)
    save(scene(160, 120, 12).convert("L"), "grey.jpg", quality=85)
    save(scene(160, 120, 13).convert("CMYK"), "cmyk.jpg", quality=90)
    save(scene(160, 120, 13).convert("CMYK"), "cmyk.tif")
    save(scene(160, 120, 14), "lossy.webp", quality=85)
    # LittleCMS interpolates in a table of its own.
    save(rgb.convert("LAB"), "lab.tif", compression="tiff_lzw")
    save(Image.frombytes("LAB", (60, 40), np.random.default_rng(19).integers(0, 256, 7200, np.uint8).tobytes()), "lab-noise.tif")
    # 16 bits: PIL clips grey of 16 bits and cannot write RGB of 16; the test compares with the upper bytes.
    upper = np.array(rgb).astype(np.uint16)
    low = np.random.default_rng(15).integers(0, 256, upper.shape)
    png16(PICTURES / "rgb16.png", upper * 256 + low)
    save(Image.fromarray(np.array(rgb.convert("L")).astype(np.uint16) * 256 + low[..., 0].astype(np.uint16)), "grey16.png")


def upright(path):
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def square(picture, recipe):
    transform = image_transform_v2(PreprocessCfg(mean=(0, 0, 0), std=(1, 1, 1), **RECIPES[recipe]), is_train=False)
    for step in transform.transforms[:-2]:
        picture = step(picture)
    return torch.from_numpy(np.array(picture).copy())


def main():
    pictures()
    expected = {}
    for path in sorted(PICTURES.iterdir()):
        if path.name.endswith("16.png"):
            picture = Image.open(PICTURES / "rgb.png").convert("L" if path.name.startswith("grey") else "RGB").convert("RGB")
        else:
            picture = upright(path)
        expected[f"shortest/{path.name}"] = square(picture, "shortest")
        if path.name in ["rgb.png", "61x400.png", "401x60.png", "300x203.png", "16x11.png", "5x300.png"]:
            for recipe in RECIPES:
                expected[f"{recipe}/{path.name}"] = square(picture, recipe)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 44}, crop_size={"height": 40, "width": 40})
    for name in ["rgb.png", "300x203.png"]:
        pixels = processor(upright(PICTURES / name), return_tensors="pt")["pixel_values"][0]
        expected[f"hf/{name}"] = pixels.float().contiguous()
    save_file(expected, OUT / "pixels.safetensors")
    (OUT / "pixels.safetensors").chmod(0o644)
    sizes = [f.stat().st_size for f in [*PICTURES.iterdir(), OUT / "pixels.safetensors"]]
    print(f"{len(sizes) - 1} pictures, {len(expected)} results, {sum(sizes) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
