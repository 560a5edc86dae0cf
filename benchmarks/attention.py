#!/usr/bin/env python3
"""Measures whether a word attends to what it names: benchmarks/attention.py CHECKPOINT [--scenes N]

Scenes of one object at 96 px have a grid of 3 x 3 pixels, and their captions name the object's place in a grid of 3 x 3.
For captions with a colour or a shape word, counts how often the pixel with the most attention from the word is the one at
the object's place; chance is one in nine. Means over heads, for each layer and over all layers.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from safetensors.torch import load_file

from captions import WORDS, captioned_images
from jobs import PIXELBERT, scenes

PLACES = ["at the top left", "at the top", "at the top right", "on the left", "in the middle", "on the right",
          "at the bottom left", "at the bottom", "at the bottom right"]
KINDS = ["colour", "shape"]


def examples(folder, count):
    """(JPEG, place, caption)"""
    for jpeg, captions in captioned_images(folder, count):
        named = [max((name for name in PLACES if name in caption), key=len, default=None) for caption in captions]
        places = {PLACES.index(name) for name in named if name}
        for caption in captions if len(places) == 1 else []:
            yield jpeg, min(places), caption


def attention_of(checkpoint, jpeg, caption, folder):
    """[layers, words, 9]"""
    picture, dump = folder / "picture.jpg", folder / "dump.safetensors"
    picture.write_bytes(jpeg)
    subprocess.run([PIXELBERT, "predict", "--checkpoint", checkpoint, "--image", picture, "--text", caption, "--dump", dump],
                   check=True, capture_output=True)
    return load_file(dump)["attention"].mean(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--scenes", type=int, default=100)
    options = parser.parse_args()
    found = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        for jpeg, place, caption in examples(scenes(1, 2, 500), options.scenes):
            words = caption.split()
            named = [(kind, words.index(word) + 1) for kind in KINDS for word in WORDS[kind] if word in words]
            if not named:
                continue
            attention = attention_of(options.checkpoint, jpeg, caption, Path(folder))  # [CLS] is word 0
            for kind, position in named:
                looks_at = attention[:, position].argmax(1).tolist() + [attention[:, position].mean(0).argmax().item()]
                found[kind].append([cell == place for cell in looks_at])
    for kind, rows in found.items():
        rates = [sum(column) / len(rows) for column in zip(*rows)]
        layers = ", ".join(f"layer {i + 1} {rate:.2f}" for i, rate in enumerate(rates[:-1]))
        print(f"{kind} words ({len(rows)}): {rates[-1]:.2f} over all layers; {layers}; chance 0.11")


if __name__ == "__main__":
    main()
