"""Views of glyphs by the batch, as tensors: placed, scaled, turned, sheared, on grounds of every kind, recoloured and noisy."""

import math

import torch
import torch.nn.functional as F

from names import glyph

LEVELS = [96, 48, 24]  # sides of a glyph's copies: a view takes the one nearest above its own size, which keeps it from aliasing


class Glyphs:
    """All glyphs at every level, as bytes."""

    def __init__(self, characters):
        whole = [glyph(c, LEVELS[0]) for c in characters]
        shrink = lambda g, side: F.interpolate(g[None], size=(side, side), mode="bilinear", antialias=True)[0]
        self.levels = [torch.stack([(shrink(g, side).clamp(0, 1) * 255).round().byte() for g in whole]) for side in LEVELS]

    def placed(self, which, scale, angle, shear, stretch, cx, cy, flip, size):
        """`[n, 4, size, size]` premultiplied: glyph `which[i]`, `scale[i]` of the picture's side wide, about (cx, cy) in −1 … 1."""
        c, s = angle.cos(), angle.sin()
        # From picture to glyph: the inverse of flip · stretch · shear · rotation · scale.
        rows = torch.stack([torch.stack([c, s], 1), torch.stack([-s, c], 1)], 1)  # [n, 2, 2]
        sheared = torch.stack([torch.stack([flip * stretch, shear], 1), torch.stack([torch.zeros_like(shear), 1 / stretch], 1)], 1)
        matrix = sheared @ rows / scale[:, None, None]
        shift = -(matrix @ torch.stack([cx, cy], 1)[:, :, None])
        theta = torch.cat([matrix, shift], 2)
        out = torch.zeros(len(which), 4, size, size)
        level = (scale * size < 48).int() + (scale * size < 24).int()
        for i, glyphs in enumerate(self.levels):
            at = (level == i).nonzero()[:, 0]
            if len(at):
                grid = F.affine_grid(theta[at], (len(at), 4, size, size), align_corners=False)
                out[at] = F.grid_sample(glyphs[which[at]].float() / 255, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return out


def grounds(n, size, strength, rand):
    """`[n, 3, size, size]`: plain, graded, blotched, striped."""
    grid = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    pale = 0.9 + (rand(n, 3) - 0.5) * 0.2
    base = torch.where(rand(n, 1) < 0.15 + 0.75 * strength, rand(n, 3), pale)[:, :, None, None]
    slope = (rand(n, 3, 2) - 0.5) * 0.8 * strength
    out = base + slope[:, :, :1, None] * x + slope[:, :, 1:, None] * y
    blotches = F.interpolate(rand(n, 3, 5, 5) - 0.5, size=(size, size), mode="bicubic", align_corners=False)
    fine = F.interpolate(rand(n, 3, 20, 20) - 0.5, size=(size, size), mode="bilinear", align_corners=False)
    out = out + blotches * 0.5 * strength * (rand(n, 1, 1, 1) < 0.5) + fine * 0.3 * strength * (rand(n, 1, 1, 1) < 0.25)
    turn, period = rand(n, 1, 1, 1) * math.pi, 3 + rand(n, 1, 1, 1) * 12
    stripes = torch.sin((x * turn.cos() + y * turn.sin()) * period * math.pi)
    return (out + stripes * (rand(n, 3, 1, 1) - 0.5) * 0.4 * strength * (rand(n, 1, 1, 1) < 0.15)).clamp(0, 1)


def views(glyphs, which, size, strength, generator):
    """`[n, 3, size, size]` in 0 … 1: one picture per glyph of `which`; `strength` 0 … 1 scales every variation."""
    n = len(which)
    rand = lambda *shape: torch.rand(*shape, generator=generator)
    spread = lambda width: (rand(n) * 2 - 1) * width * strength
    scale = 0.92 - 0.37 * strength * rand(n)
    room = (1 - scale).clamp(min=0.05) * strength
    flip = torch.where(rand(n) < 0.2 * strength, -1.0, 1.0)
    front = glyphs.placed(which, scale, spread(0.26), spread(0.12), 1 + spread(0.1), spread(1) * room, spread(1) * room, flip, size)
    ground = grounds(n, size, strength, rand)
    out = ground
    # Now and then something smaller stands behind.
    at = (rand(n) < 0.12 * strength).nonzero()[:, 0]
    if len(at):
        other = torch.randint(len(glyphs.levels[0]), (n,), generator=generator)[at]
        side, one = torch.where(rand(n) < 0.5, -0.7, 0.7)[at], torch.ones(len(at))
        behind = glyphs.placed(other, (0.18 + 0.12 * rand(n))[at], spread(0.5)[at], 0 * one, one, side, spread(0.7)[at], one, size)
        out[at] = behind[:, :3] + (1 - behind[:, 3:]) * out[at]
    out = front[:, :3] + (1 - front[:, 3:]) * out
    # Light and colour of the whole picture, then the camera's noise and softness.
    gain, shift = 1 + (rand(n, 3, 1, 1) - 0.5) * 0.2 * strength, (rand(n, 1, 1, 1) - 0.5) * 0.2 * strength
    grey = out.mean(1, keepdim=True)
    out = grey + (out - grey) * (1 + (rand(n, 1, 1, 1) - 0.6) * 0.5 * strength)
    out = out * gain + shift
    soft = F.avg_pool2d(F.pad(out, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    out = torch.where(rand(n, 1, 1, 1) < 0.15 * strength, soft, out)
    out = out + torch.randn(out.shape, generator=generator) * 0.05 * strength * rand(n, 1, 1, 1)
    return out.clamp(0, 1)
