"""clip.cpp through its C interface, on weights converted by its own script.

clip.cpp (github.com/monatis/clip.cpp, with the ggml that it pins) is built beside:

    cmake -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON && cmake --build build --target clip
"""

import ctypes
import json
import subprocess
import sys
from ctypes import POINTER, Structure, byref, c_bool, c_char_p, c_float, c_int, c_int32, c_size_t, c_void_p
from pathlib import Path

import numpy as np


class Tokens(Structure):
    _fields_ = [("data", POINTER(c_int32)), ("size", c_size_t)]


class Pixels(Structure):
    _fields_ = [("nx", c_int), ("ny", c_int), ("data", POINTER(c_float)), ("size", c_size_t)]


def converted(folder, built):
    """The folder's weights in f32 as GGUF; its script wants files that a folder of weights alone does not have."""
    import open_clip
    import transformers
    out = built / "models" / folder.name
    found = list(out.glob("*.gguf"))
    if found:
        return found[0]
    whole = built / "hf" / folder.name
    whole.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        (whole / name).unlink(missing_ok=True)
        (whole / name).symlink_to((folder / name).resolve())
    tokenizer = open_clip.SimpleTokenizer()
    (whole / "vocab.json").write_text(json.dumps(tokenizer.encoder))
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.get)
    (whole / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges))
    size = json.loads((folder / "config.json").read_text())["vision_config"]["image_size"]
    image = transformers.CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    tokens = transformers.CLIPTokenizer(str(whole / "vocab.json"), str(whole / "merges.txt"))
    transformers.CLIPProcessor(image, tokens).save_pretrained(whole)
    (whole / "vocab.json").write_text(json.dumps(tokenizer.encoder))
    out.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, built / "models/convert_hf_to_gguf.py", "-m", str(whole), "--use-f32", "-o", str(out)], check=True, stdout=subprocess.DEVNULL)
    return next(out.glob("*.gguf"))


class ClipCpp:
    """One item at a time: its memory is for one."""

    def __init__(self, folder, built, threads):
        self.lib = ctypes.CDLL(str(next(built.glob("build/**/libclip.so"))))
        self.lib.clip_model_load.restype = c_void_p
        self.lib.clip_model_load.argtypes = [c_char_p, c_int]
        for name, kind in (("clip_image_encode", Pixels), ("clip_text_encode", Tokens)):
            encode = getattr(self.lib, name)
            encode.restype, encode.argtypes = c_bool, [c_void_p, c_int, POINTER(kind), POINTER(c_float), c_bool]
        self.net = self.lib.clip_model_load(str(converted(folder, built)).encode(), 0)
        self.threads = threads
        self.width = json.loads((folder / "config.json").read_text())["projection_dim"]

    def one(self, tower, row):
        out = np.zeros(self.width, np.float32)
        to = out.ctypes.data_as(POINTER(c_float))
        if tower == "image":
            row = np.ascontiguousarray(row.transpose(1, 2, 0), np.float32)
            item = Pixels(row.shape[1], row.shape[0], row.ctypes.data_as(POINTER(c_float)), row.size)
            done = self.lib.clip_image_encode(self.net, self.threads, byref(item), to, False)
        else:
            row = np.ascontiguousarray(row[: row.argmax() + 1], np.int32)  # it pools the last one
            item = Tokens(row.ctypes.data_as(POINTER(c_int32)), row.size)
            done = self.lib.clip_text_encode(self.net, self.threads, byref(item), to, False)
        assert done, "clip.cpp refused"
        return out

    def run(self, tower, array):
        return np.stack([self.one(tower, row) for row in array])
