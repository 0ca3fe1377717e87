"""CLIP's kind of tokenizer over a small vocabulary of its own: any text has ids, because every byte has one."""

from collections import Counter

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors


def merges(words, count):
    """The most frequent pairs, one after another; ties by spelling, so that every run gives the same (the library's trainer does not)."""
    spelled = {w: [*w[:-1], w[-1] + "</w>"] for w in words}
    found = []
    for _ in range(count):
        pairs = Counter()
        for w, parts in spelled.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[w]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        found.append(best)
        for parts in spelled.values():
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == best:
                    parts[i:i + 2] = ["".join(best)]
                i += 1
    return found


def tokenizer(texts, count):
    """The tokenizer of `count` merges, its start and its end of text."""
    found = merges(Counter(" ".join(texts).split()), count)
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*bytes_, *(b + "</w>" for b in bytes_), *dict.fromkeys(a + b for a, b in found), "<|startoftext|>", "<|endoftext|>"]
    start, end = len(pieces) - 2, len(pieces) - 1
    t = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, found, end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    pattern = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    t.post_processor = processors.RobertaProcessing(("<|endoftext|>", end), ("<|startoftext|>", start), trim_offsets=False, add_prefix_space=False)
    return t, start, end


def encode(t, texts, end):
    rows = [e.ids for e in t.encode_batch(texts)]
    width = max(map(len, rows))
    return torch.tensor([r + [end] * (width - len(r)) for r in rows])
