"""Drawn shapes by the batch, as tensors: signed distances, antialiased, on plain, graded and noisy grounds."""

import math

import torch

SHAPES = ["circle", "square", "triangle", "star", "heart", "diamond", "cross", "ring"]
COLOURS = {
    "red": (220, 40, 40), "green": (40, 160, 60), "blue": (40, 80, 220), "yellow": (245, 215, 40), "orange": (245, 140, 30),
    "purple": (140, 50, 180), "black": (20, 20, 20), "white": (245, 245, 245), "pink": (250, 150, 190), "brown": (125, 75, 35),
}
NAMES = [(c, s) for c in COLOURS for s in SHAPES]
# Pairs that no training picture shows: one or two of each colour, one or two of each shape.
UNSEEN = [(c, SHAPES[(3 * i + 1) % len(SHAPES)]) for i, c in enumerate(COLOURS)] + [("red", "heart"), ("blue", "circle")]
SEEN = [n for n in NAMES if n not in UNSEEN]


def polygon(x, y, points):
    """Signed distance to a closed polygon (Quilez)."""
    best, sign = torch.full_like(x, 1e9), torch.ones_like(x)
    for i, (ax, ay) in enumerate(points):
        bx, by = points[i - 1]
        ex, ey, wx, wy = bx - ax, by - ay, x - ax, y - ay
        t = ((wx * ex + wy * ey) / (ex * ex + ey * ey)).clamp(0, 1)
        best = torch.minimum(best, (wx - ex * t) ** 2 + (wy - ey * t) ** 2)
        c1, c2, c3 = y >= ay, y < by, ex * wy > ey * wx
        sign = torch.where((c1 & c2 & c3) | (~c1 & ~c2 & ~c3), -sign, sign)
    return sign * best.sqrt()


def distance(shape, x, y):
    """Signed distance to a shape of about unit radius; y points down."""
    ring = [(math.cos(a), math.sin(a)) for a in (math.pi * (i / 5 - 0.5) for i in range(10))]
    if shape == "circle":
        return (x * x + y * y).sqrt() - 0.9
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.8
    if shape == "triangle":
        return polygon(x, y, [(0, -1), (0.95, 0.75), (-0.95, 0.75)])
    if shape == "star":
        return polygon(x, y, [(px * (1 if i % 2 == 0 else 0.42), py * (1 if i % 2 == 0 else 0.42)) for i, (px, py) in enumerate(ring)])
    if shape == "heart":
        curve = [(16 * math.sin(t) ** 3, 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) for t in (2 * math.pi * i / 40 for i in range(40))]
        return polygon(x, y, [(px / 17, -(py + 2) / 17) for px, py in curve])
    if shape == "diamond":
        return polygon(x, y, [(0, -1), (0.65, 0), (0, 1), (-0.65, 0)])
    if shape == "cross":
        return torch.minimum(torch.maximum(x.abs() - 0.9, y.abs() - 0.3), torch.maximum(x.abs() - 0.3, y.abs() - 0.9))
    return ((x * x + y * y).sqrt() - 0.7).abs() - 0.2  # ring


def any_paint(shape, generator):
    """A colour of no name for `shape`, which is not nearest to one that it is never shown in."""
    while True:
        paint = tuple(torch.randint(256, (3,), generator=generator).tolist())
        nearest = min(COLOURS, key=lambda c: sum((a - b) ** 2 for a, b in zip(COLOURS[c], paint)))
        if (nearest, shape) not in UNSEEN:
            return paint


def draw(names, size, strength, generator):
    """`[n, 3, size, size]` in 0 … 1: one picture per (colour, shape), a colour being a name or its bytes; `strength` 0 … 1 scales
    every variation."""
    n = len(names)
    rand = lambda *shape: torch.rand(*shape, generator=generator)
    grid = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    radius = 0.55 + (rand(n) - 0.6) * 0.6 * strength
    room = (1 - radius).clamp(min=0) * strength
    cx, cy = (rand(n) * 2 - 1) * room, (rand(n) * 2 - 1) * room
    angle = (rand(n) * 2 - 1) * 0.4 * strength
    ground = ground_of(names, size, strength, rand, x, y)
    out = torch.empty(n, 3, size, size)
    for shape in SHAPES:
        at = [i for i, (_, s) in enumerate(names) if s == shape]
        if not at:
            continue
        u, v = (x - cx[at, None, None]) / radius[at, None, None], (y - cy[at, None, None]) / radius[at, None, None]
        c, s = angle[at].cos()[:, None, None], angle[at].sin()[:, None, None]
        cover = (0.5 - distance(shape, c * u + s * v, c * v - s * u) * radius[at, None, None] * size / 2).clamp(0, 1)[:, None]
        paint = torch.tensor([COLOURS.get(names[i][0], names[i][0]) for i in at]) / 255.0
        paint = (paint + (rand(len(at), 3) - 0.5) * 0.12 * strength)[:, :, None, None] * (1 + (rand(len(at), 1, 1, 1) - 0.5) * 0.2 * strength * v[:, None])
        out[at] = cover * paint + (1 - cover) * ground[at]
    out = out + torch.randn(out.shape, generator=generator) * 0.06 * strength * rand(n, 1, 1, 1)
    return out.clamp(0, 1)


def ground_of(names, size, strength, rand, x, y):
    """Plain, graded or blotched grounds, far enough in colour from what stands on them."""
    n = len(names)
    paint = torch.tensor([COLOURS.get(c, c) for c, _ in names]) / 255.0
    best = rand(n, 3)
    for _ in range(6):
        other = rand(n, 3)
        farther = ((other - paint) ** 2).sum(1) > ((best - paint) ** 2).sum(1)
        best = torch.where((farther & (((best - paint) ** 2).sum(1) < 0.35))[:, None], other, best)
    plain = torch.tensor([0.93, 0.93, 0.93]).expand(n, 3)
    near_white = paint.min(1, keepdim=True).values > 0.9
    plain = torch.where(near_white, torch.tensor([0.25, 0.3, 0.35]), plain)
    base = torch.where(rand(n, 1) < 0.2 + 0.6 * strength, best, plain)[:, :, None, None]
    slope = (rand(n, 3, 2) - 0.5) * 0.5 * strength
    graded = base + slope[:, :, :1, None] * x + slope[:, :, 1:, None] * y
    blotches = torch.nn.functional.interpolate(rand(n, 3, 6, 6) - 0.5, size=(size, size), mode="bicubic")
    return (graded + blotches * 0.3 * strength * (rand(n, 1, 1, 1) < 0.5)).clamp(0, 1)
