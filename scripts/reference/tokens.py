#!/usr/bin/env python3
"""Writes tests/input/tokens.json: texts with the ids of transformers' CLIPTokenizer and of open_clip's SimpleTokenizer.

open_clip also mends mojibake (ftfy) and unescapes HTML; texts where that makes a difference carry only transformers' ids.
"""

import gzip
import json
from pathlib import Path

import open_clip
from transformers import CLIPTokenizer

TEXTS = [
    "", " ", "a", "Hello World!", "a photo of a cat", "a diagram", "A DOG", "two  spaces\tand\ttabs\nand lines\r\n", "it's we're I'll they've I'd I'm don't",
    "IT'S", "rock'n'roll", "3.14159 + 2 = 5.14159", "1234567890", "x2 x² ½ Ⅷ ①", "$9.99 #hashtag @user 100%", "e-mail: a@b.co, https://example.org/?q=1&r=2",
    "naïve café façade", "nai\u0308ve cafe\u0301", "Straße STRASSE ẞ", "İstanbul ıI", "Ελληνικά ΣΊΣΥΦΟΣ", "Привет, мир", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया",
    "你好，世界", "こんにちは世界", "안녕하세요", "ไทย", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "😀", "👩‍👩‍👧‍👦 family", "👍🏽 ok", "🇫🇷🇩🇪", "❤️ heart", "a\u00a0b", "a\u200bb", "zero\u200dwidth", "\u3000wide\u3000space",
    "<|startoftext|>", "<|endoftext|>", "a <|endoftext|> b", "(parentheses) [brackets] {braces}", "!!!???...", "……", "—–-", "'quoted' \"double\"", "under_score snake_case_name", "CamelCaseWord",
    "supercalifragilisticexpialidocious", "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis", "word " * 100, "7" * 90, "日" * 80, "\x01control", "tab\there",
    "&amp; &lt;b&gt;", "naÃ¯ve mojibake", "a&b", "AT&T", "1st 2nd 3rd", "ﬁ ligature ﬀ", "ª º µ Å Ω K", "…", "“curly” ‘quotes’", "10:30pm", "C++ C# .NET", "O'Brien", "e̊", "ǅ ǆ", "ŉ",
]
TEMPLATES = ["a photo of a {}.", "a bad photo of the {}.", "itap of a {}.", "a {} in a video game.", "art of the {}."]
NAMES = ["tench", "great white shark", "T-shirt", "jack-o'-lantern", "café au lait", "St. Bernard", "fire truck", "iPod", "crossword puzzle", "barn spider", "7-Eleven", "Yorkshire terrier"]


def main():
    lines = gzip.open(Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz").read().decode().split("\n")
    merges = [tuple(l.split()) for l in lines[1 : 49152 - 256 - 2 + 1]]
    simple = open_clip.SimpleTokenizer()
    # open_clip spells the two special tokens its own way; the ids are the same.
    special = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    theirs = CLIPTokenizer(vocab={special.get(piece, piece): id for piece, id in simple.encoder.items()}, merges=merges)
    cases = []
    for text in TEXTS + [t.format(n) for t in TEMPLATES for n in NAMES]:
        ids = theirs(text)["input_ids"]
        plain = [simple.sot_token_id] + simple.encode(text) + [simple.eot_token_id]
        cases.append({"text": text, "ids": ids, "open_clip": plain == ids})
    differ = [c["text"] for c in cases if not c["open_clip"]]
    print(f"{len(cases)} texts; open_clip differs on {len(differ)}:", *map(repr, differ), sep="\n  ")
    target = Path(__file__).parents[2] / "tests/input/tokens.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
