#!/usr/bin/env python3
"""Writes what tests/input.rs and the tests in src/input compare with: tests/input/tokens.json, texts with the ids of transformers' CLIPTokenizer and, where
they differ, of open_clip's SimpleTokenizer; tests/input/mended.json, odd texts with what open_clip's `basic_clean` (ftfy, and HTML
unescaped twice) makes of them; tests/input/cleaned.json, texts as each tokenizer cleans them before it cuts them."""

import gzip
import json
import random
import sys
from pathlib import Path

import ftfy.bad_codecs  # noqa: F401: the sloppy character sets
import open_clip
from ftfy.chardata import CHARMAP_ENCODINGS, HTML_ENTITIES, LIGATURES
from open_clip.tokenizer import basic_clean, get_clean_fn
from transformers import CLIPTokenizer, Siglip2Tokenizer
from transformers.models.siglip.tokenization_siglip import SiglipTokenizer

TEXTS = [
    "", " ", "a", "Hello World!", "a photo of a cat", "a diagram", "A DOG", "two  spaces\tand\ttabs\nand lines\r\n", "it's we're I'll they've I'd I'm don't",
    "IT'S", "rock'n'roll", "3.14159 + 2 = 5.14159", "1234567890", "x2 x² ½ Ⅷ ①", "$9.99 #hashtag @user 100%", "e-mail: a@b.co, https://example.org/?q=1&r=2",
    "naïve café façade", "nai\u0308ve cafe\u0301", "Straße STRASSE ẞ", "İstanbul ıI", "Ελληνικά ΣΊΣΥΦΟΣ", "Привет, мир", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया",
    "你好，世界", "こんにちは世界", "안녕하세요", "ไทย", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "😀", "👩‍👩‍👧‍👦 family", "👍🏽 ok", "🇫🇷🇩🇪", "❤️ heart", "a\u00a0b", "a\u200bb", "zero\u200dwidth", "\u3000wide\u3000space",
    "<|startoftext|>", "<|endoftext|>", "a <|endoftext|> b", "(parentheses) [brackets] {braces}", "!!!???...", "……", "—–-", "'quoted' \"double\"", "under_score snake_case_name", "CamelCaseWord",
    "supercalifragilisticexpialidocious", "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis", "word " * 100, "7" * 90, "日" * 80, "\x01control", "tab\there",
    "&amp; &lt;b&gt;", "<start_of_text> a <end_of_text> b", "naÃ¯ve mojibake", "a&b", "AT&T", "1st 2nd 3rd", "ﬁ ligature ﬀ", "ª º µ Å Ω K", "…", "“curly” ‘quotes’", "10:30pm", "C++ C# .NET", "O'Brien", "e̊", "ǅ ǆ", "ŉ",
]
TEMPLATES = ["a photo of a {}.", "a bad photo of the {}.", "itap of a {}.", "a {} in a video game.", "art of the {}."]
NAMES = ["tench", "great white shark", "T-shirt", "jack-o'-lantern", "café au lait", "St. Bernard", "fire truck", "iPod", "crossword puzzle", "barn spider", "7-Eleven", "Yorkshire terrier"]



PHRASES = [
    "naïve café façade", "Ünïcödé “quotes” and ‘more’ – dashes — and …", "voilà à la mode", "às àquele", "El Niño, año", "Привет, мир!", "Ελληνικά κείμενα",
    "こんにちは世界", "你好，世界", "안녕하세요", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "ไทย", "łódź żółw", "Žluťoučký kůň", "İstanbul ığüşöç", "Ærøskøbing ßtraße",
    "€ 100 £ 50 ¥ 7 ½ ² ° ±", "😀👍🏽 ok", "❤️ heart™ © ® •", "Å a word Å", "l’été, qu’il", "𝔘𝔫𝔦", "×÷¿¡", "œuvre cœur", "a\u00a0b", "Š š Ž ž", "ģimene ļoti",
]


def random_mojibake(seed: int) -> str:
    """A phrase or a run of characters, wrongly decoded once or twice, sometimes damaged or among other text."""
    pick = random.Random(seed)
    text = pick.choice(PHRASES)
    if pick.random() < 0.3:
        text = "".join(chr(pick.choice([pick.randrange(0xA0, 0x250), pick.randrange(0x370, 0x530), pick.randrange(0x2000, 0x2200)])) for _ in range(6))
    for _ in range(pick.choice([1, 1, 1, 2])):
        name = pick.choice(CHARMAP_ENCODINGS)
        data = text.encode("utf-8", "surrogatepass" if pick.random() < 0.1 else "strict")
        text = data.decode(name, pick.choice(["strict", "replace"]) if name == "cp437" else "replace")
    change = pick.random()
    if change < 0.15:
        text = text.replace("\u00a0", " ")
    elif change < 0.3:
        at = pick.randrange(len(text) + 1)
        text = text[:at] + pick.choice(["\ufffd", "?", "\x85", "&amp;", "<b>", "\x1a", " A "]) + text[at + 1 :]
    elif change < 0.4:
        text = pick.choice(PHRASES) + pick.choice([" ", "\n"]) + text
    elif change < 0.5:
        text = "".join(c for c in text if pick.random() < 0.95)
    return text


def odd_texts() -> list[str]:
    entities = sorted(HTML_ENTITIES)
    texts = [phrase.encode().decode(name, "replace") for phrase in PHRASES for name in CHARMAP_ENCODINGS[:9:2]]
    texts += [random_mojibake(seed) for seed in range(250)]
    texts += ["".join(entities[i::101]) for i in range(0, 101, 10)]
    texts += [e for e in entities if e.isupper()][::9]
    texts += [f"&#{n};" for n in (0, 1, 9, 11, 13, 38, 59, 127, 128, 129, 150, 160, 8217, 55296, 64976, 65534, 128512, 1114111, 1114112, 10**12)]
    texts += ["&#x1F600;&#X41;&#65&#x42", "&amp;amp;amp; &ampx &notit; &notin; &copy2024 &COPY &sup2;&SUP2;", "a&b AT&T &c; &;&&", "&lt;b&gt; <i>&eacute;</i>\n&eacute;",
        "&EACUTE;&NTILDE; &nTILDE; &SZLIG; &HilbertSpace; &semi; &fjlig; &NotEqualTilde;", "one\r\ntwo\rthree\u2028four\u2029five\x85six", "\x1b[36;44mblue\x1b[0m",
        "\ufeffbom \u206a\ufff9\ufffc\x07\x7f\x0b.", "ＬＯＵＤ　ＮＯＩＳＥＳ ﾀｰﾝ ｶﾞ ￠￣￪", "".join(map(chr, LIGATURES)), "ŉ ʼn ‚low‘ „low“ ‟", "e\u0301 \u1100\u1161 Å",
        "C1 \x80 alone", "caf\xe9 \x93quoted\x94", "â€œ like this â€�", "ðŸ˜€ ok", "Ã la mode", "voilÃ  le travail", "Ã quele", "fÃ cil", "â€™s ÃƒÂ©", "\xc0\x80\xed\xa0\xbd\xed\xb8\x80", "í\xa0½í¸\x80 é"]
    return list(dict.fromkeys(texts))


def cleaned(text: str) -> list[str]:
    """By open_clip's whitespace, lower and canonicalize, by SiglipTokenizer, by Siglip2Tokenizer."""
    siglip = SiglipTokenizer.__new__(SiglipTokenizer)  # without a vocabulary
    siglip.__dict__["do_lower_case"] = True
    siglip2 = Siglip2Tokenizer().backend_tokenizer.normalizer
    return [get_clean_fn(kind)(text) for kind in ("whitespace", "lower", "canonicalize")] + [
        siglip.canonicalize_text(text),
        siglip2.normalize_str(text).replace("▁", " "),
    ]


def write(name: str, rows: list):
    target = Path(__file__).parents[2] / "tests/input" / name
    target.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    print(f"{target}: {len(rows)} texts")


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
        cases.append({"text": text, "ids": ids} | ({} if plain == ids else {"open_clip": plain}))
    write("tokens.json", cases)
    write("cleaned.json", [[text, cleaned(text)] for text in TEXTS])
    many = sys.argv[1:]  # how many more, to look further than the test does
    texts = [random_mojibake(seed) for seed in range(1000, 1000 + int(many[0]))] if many else odd_texts()
    write("mended.json", [[text, basic_clean(text)] for text in texts])


if __name__ == "__main__":
    main()
