#!/usr/bin/env python3
"""Writes assets/imagenet/: OpenAI's 1,000 class names and its 80 and 7 prompts for zero-shot ImageNet (github.com/openai/CLIP,
notebooks/Prompt_Engineering_for_ImageNet.ipynb, MIT), from open_clip's copy.

    .venv/bin/python scripts/reference/sets.py
"""

from pathlib import Path

from open_clip import zero_shot_metadata as sets

FOLDER = Path(__file__).parents[2] / "assets/imagenet"
PROMPTS = {"templates-80.txt": sets.OPENAI_IMAGENET_TEMPLATES, "templates-7.txt": sets.SIMPLE_IMAGENET_TEMPLATES}


def main():
    FOLDER.mkdir(exist_ok=True)
    for name, lines in {"labels.txt": sets.IMAGENET_CLASSNAMES, **{n: [t("{}") for t in ts] for n, ts in PROMPTS.items()}}.items():
        assert all(line.strip() == line for line in lines)
        (FOLDER / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
