"""What pico knows: names of emoji from Unicode's list, their second names from CLDR, and their glyphs from Noto Color Emoji.

The files are Debian's: fonts-noto-color-emoji, unicode-data, unicode-cldr-core.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

EMOJI_LIST = Path("/usr/share/unicode/emoji/emoji-test.txt")
ANNOTATIONS = Path("/usr/share/unicode/cldr/common/annotations/en.xml")
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")

GROUPS = ["Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects"]
# Signs, and things that look alike.
LEFT_OUT = ["time", "sky & weather", "office", "sound", "writing", "mail", "book-paper", "money", "light & video", "computer", "phone", "place-geographic",
            "transport-sign", "event", "award-medal", "sport", "medical", "other-object", "lock", "hotel"]


@dataclass
class Name:
    text: str
    character: str
    keywords: list = field(default_factory=list)  # second names, shared by three names at most


def spoken(text):
    """A CLDR name as a person would say it."""
    return re.sub(r"\s+", " ", text.lower().replace("’", "'").replace("“", "").replace("”", "").replace(":", "")).strip()


def keywords_of():
    """Character → its CLDR keywords."""
    found = {}
    for a in ElementTree.parse(ANNOTATIONS).getroot().iter("annotation"):
        if a.get("type") is None:
            found[a.get("cp")] = [spoken(k) for k in a.text.split("|")]
    return found


def names():
    """Every name, in Unicode's order."""
    group = subgroup = None
    found = []
    for line in EMOJI_LIST.read_text().splitlines():
        if line.startswith("# group:"):
            group = line.split(":", 1)[1].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.split(":", 1)[1].strip()
        elif "; fully-qualified" in line and group in GROUPS and subgroup not in LEFT_OUT:
            points = [int(p, 16) for p in line.split(";")[0].split()]
            if len(points) <= 2:
                found.append(Name(spoken(re.split(r"E\d+\.\d+ ", line.split("#", 1)[1])[1]), "".join(map(chr, points))))
    annotations = keywords_of()
    taken = {n.text for n in found}
    for n in found:
        n.keywords = [k for k in annotations.get(n.character.replace("\ufe0f", ""), []) if k not in taken]
    shared = Counter(k for n in found for k in n.keywords)
    for n in found:
        n.keywords = [k for k in n.keywords if shared[k] <= 3]
    return found


def glyph(character, size):
    """`[4, size, size]` in 0 … 1: premultiplied RGB and coverage."""
    import numpy
    import torch
    from PIL import Image, ImageDraw, ImageFont
    font = ImageFont.truetype(str(FONT), 109)  # the font's one bitmap size
    picture = Image.new("RGBA", (136, 136), (0, 0, 0, 0))
    left, top, right, bottom = font.getbbox(character)
    ImageDraw.Draw(picture).text(((136 - left - right) / 2, (136 - top - bottom) / 2), character, font=font, embedded_color=True)
    rgba = torch.from_numpy(numpy.array(picture)).permute(2, 0, 1).float() / 255
    pixels = torch.cat([rgba[:3] * rgba[3:], rgba[3:]])
    return torch.nn.functional.interpolate(pixels[None], size=(size, size), mode="bilinear", antialias=True)[0].clamp(0, 1)
