#!/usr/bin/env python3
"""Writes assets/mojibake.json: the tables by which ftfy recognises and undoes mojibake, its patterns spelt as Rust's `regex` reads
them. ftfy is by Robyn Speer and others, under the Apache License 2.0."""

import json
import re._constants as op
import re._parser as parser
from pathlib import Path

import ftfy
from ftfy import badness, chardata

SPACE = r"\s\x1c-\x1f"  # Python's \s
WORD = r"\p{L}\p{N}_"  # and \w


def literal(code: int) -> str:
    """Marks, controls and what means something in a pattern are escaped."""
    return chr(code) if chr(code).isalnum() else f"\\x{code:02X}" if code < 0x100 else f"\\x{{{code:X}}}"


def category(kind) -> str:
    return {op.CATEGORY_SPACE: SPACE, op.CATEGORY_WORD: WORD, op.CATEGORY_DIGIT: r"\p{Nd}"}[kind]


def spell(items) -> str:
    """A parsed pattern in Rust's syntax."""
    out = ""
    for kind, value in items:
        if kind is op.LITERAL:
            out += literal(value)
        elif kind is op.NOT_LITERAL:
            out += f"[^{literal(value)}]"
        elif kind is op.ANY:
            out += "."
        elif kind is op.AT:
            assert value is op.AT_BEGINNING, value
            out += "^"
        elif kind is op.IN:
            out += "[" + "".join(spell_member(*v) for v in value) + "]"
        elif kind is op.BRANCH:
            out += "(?:" + "|".join(map(spell, value[1])) + ")"
        elif kind is op.SUBPATTERN:
            out += "(?:" + spell(value[3]) + ")"
        elif kind is op.MAX_REPEAT:
            low, high, inner = value
            out += f"(?:{spell(inner)}){{{low},{'' if high is op.MAXREPEAT else high}}}"
        else:
            raise ValueError(f"{kind} is not spelt")
    return out


def spell_member(kind, value) -> str:
    if kind is op.NEGATE:
        return "^"
    if kind is op.RANGE:
        return "-".join(map(literal, value))
    return category(value) if kind is op.CATEGORY else literal(value)


def pattern(compiled) -> str:
    spelt = spell(parser.parse(compiled.pattern, compiled.flags))
    escape = isinstance(compiled.pattern, bytes)  # no byte above 7F is a letter
    return "".join(f"\\x{ord(c):02X}" if escape and not c.isascii() else c for c in spelt)


def main():
    clues = parser.parse(chardata.UTF8_DETECTOR_RE.pattern, chardata.UTF8_DETECTOR_RE.flags)
    (kind, (direction, before)), *clues = clues  # Rust has no look-behind: (?<! [before]) clues
    assert kind is op.ASSERT_NOT and direction == -1
    tables = {
        "ftfy": ftfy.__version__,
        "bad": pattern(badness.BADNESS_RE),
        "clues": spell(clues),
        "not_before_clues": spell(before),
        "altered": pattern(chardata.ALTERED_UTF8_RE),
        "lossy": pattern(chardata.LOSSY_UTF8_RE),
        "ligatures": {chr(code): text for code, text in chardata.LIGATURES.items()},
        # What bytes 0x80 to 0xFF and 0x1A are in each.
        "encodings": [[name, (bytes(range(0x80, 0x100)) + b"\x1a").decode(name)] for name in chardata.CHARMAP_ENCODINGS],
    }
    target = Path(__file__).parents[2] / "assets/mojibake.json"
    target.write_text(json.dumps(tables, ensure_ascii=False, indent=0) + "\n")
    print(target, target.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
