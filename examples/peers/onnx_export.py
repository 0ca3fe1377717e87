#!/usr/bin/env python3
"""Exports both towers of a Hugging Face CLIP folder to ONNX, as transformers.js' models are made.

    python examples/peers/onnx_export.py target/full/ViT-B-32-hf target/peers/ViT-B-32-hf
"""

import sys
from pathlib import Path

import torch
from transformers import CLIPModel


class Image(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, pixels):
        return self.net.visual_projection(self.net.vision_model(pixels).pooler_output)


class Text(torch.nn.Module):
    """The pooled row is the one of the greatest id, as CLIP's legacy text ids say."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, ids):
        hidden = self.net.text_model(ids).last_hidden_state
        return self.net.text_projection(hidden[torch.arange(ids.shape[0]), ids.argmax(-1)])


def main():
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    net = CLIPModel.from_pretrained(folder, attn_implementation="eager").eval()
    size = net.config.vision_config.image_size
    ids = torch.randint(1, 1000, (2, 77))
    ids[:, -1] = net.config.text_config.vocab_size - 1
    torch.backends.mha.set_fastpath_enabled(False)
    for name, tower, inputs, key in [("image", Image(net), torch.randn(2, 3, size, size), "pixels"), ("text", Text(net), ids, "ids")]:
        axes = {key: {0: "batch"}} if key == "pixels" else {key: {0: "batch", 1: "tokens"}}
        torch.onnx.export(tower.eval(), (inputs,), out / f"{name}.onnx", input_names=[key], output_names=["embedding"],
                          dynamic_axes={**axes, "embedding": {0: "batch"}}, opset_version=17, dynamo=False)
        print(out / f"{name}.onnx", f"{(out / f'{name}.onnx').stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
