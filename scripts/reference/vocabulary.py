#!/usr/bin/env python3
"""Writes assets/clip-bpe.txt.gz: the merges of CLIP's tokenizer, from the BPE file inside the open_clip_torch wheel.

bpe_simple_vocab_16e6.txt.gz is OpenAI's (MIT licence), passed on by open_clip (MIT licence). CLIP uses its lines 1 to
48,894 (`simple_tokenizer.py`: 49152 - 256 - 2 merges); the rest of the file is left out here.
"""

import gzip
from pathlib import Path

import open_clip

source = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
merges = gzip.open(source).read().decode().split("\n")[1 : 49152 - 256 - 2 + 1]
target = Path(__file__).parents[2] / "assets/clip-bpe.txt.gz"
target.write_bytes(gzip.compress("\n".join(merges).encode(), 9, mtime=0))
print(f"{target}: {len(merges)} merges, {target.stat().st_size} bytes")
