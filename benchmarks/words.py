#!/usr/bin/env python3
"""Measures which attributes a model sees: benchmarks/words.py CHECKPOINT [--scenes N]

Masks each colour, shape and size word in the captions of unseen scenes of one object, one at a time, and counts how often
the model's first choice is the original word. Chance is one in 8 (colour, shape) or one in 3 (size). The interval (95 %,
Wilson) takes a scene as one observation, because the captions of a scene have the same words.
"""

import argparse
import math
import re
import subprocess
import tempfile
from pathlib import Path

from captions import WORDS, captioned_pictures
from jobs import PIXELBERT, scenes


def maskings(caption):
    """(kind, caption with [MASK], the word)"""
    words = caption.split()
    for kind, known in WORDS.items():
        for i, word in enumerate(words):
            if word in known:
                yield kind, " ".join([*words[:i], "[MASK]", *words[i + 1:]]), word


def first_choices(checkpoint, jpeg, texts, folder):
    picture = folder / "picture.jpg"
    picture.write_bytes(jpeg)
    command = [PIXELBERT, "predict", "--checkpoint", checkpoint, "--image", picture]
    for text in texts:
        command += ["--text", text]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return re.findall(r"^\[MASK\] at \d+: (\S+)", printed, re.MULTILINE)


def interval(share, observations, z=1.96):
    middle = share + z * z / (2 * observations)
    reach = z * math.sqrt(share * (1 - share) / observations + (z / (2 * observations)) ** 2)
    return [(middle + side * reach) / (1 + z * z / observations) for side in (-1, 1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--scenes", type=int, default=60)
    options = parser.parse_args()
    right = {kind: [] for kind in WORDS}
    seen = {kind: set() for kind in WORDS}
    with tempfile.TemporaryDirectory() as folder:
        for scene, (jpeg, captions) in enumerate(captioned_pictures(scenes(1, 2, 500), options.scenes)):
            masked = sorted({masking for caption in captions for masking in maskings(caption)})
            chosen = first_choices(options.checkpoint, jpeg, [text for _, text, _ in masked], Path(folder))
            for (kind, _, word), choice in zip(masked, chosen, strict=True):
                right[kind].append(choice == word)
                seen[kind].add(scene)
    for kind, hits in right.items():
        share = sum(hits) / len(hits)
        low, high = interval(share, len(seen[kind]))
        print(f"{kind}: {share:.3f} of {len(hits)} words in {len(seen[kind])} scenes, interval {low:.3f} to {high:.3f}")


main()
