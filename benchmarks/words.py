#!/usr/bin/env python3
"""Measures which attributes a model sees: benchmarks/words.py CHECKPOINT [--level 1|3] [--scenes N]

Masks each colour, shape, size and relation word in the captions of unseen scenes, one at a time, and counts how often the
model's first choice is the original word. Level 1 has one object, level 3 two to four and captions that relate two. Chance is
one in 8 (colour, shape), one in 3 (size) or one in 2 (relation: "left" or "right" before "of"). The interval (95 %, Wilson)
takes a scene as one observation, because the captions of a scene have the same words.
"""

import argparse
import re
import tempfile
from pathlib import Path

from captions import RELATION, WORDS, captioned_images, predict, print_share
from jobs import scenes


def maskings(caption):
    """(kind, caption with [MASK], the word)"""
    words = caption.split()
    for kind, known in WORDS.items():
        for i, word in enumerate(words):
            if word in known:
                yield kind, " ".join([*words[:i], "[MASK]", *words[i + 1:]]), word
    for found in RELATION.finditer(caption):
        yield "relation", f"{caption[:found.start()]}[MASK]{caption[found.end():]}", found[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--level", type=int, choices=(1, 3), default=1)
    parser.add_argument("--scenes", type=int, default=60)
    options = parser.parse_args()
    kinds = [*WORDS] if options.level == 1 else [*WORDS, "relation"]
    right = {kind: [] for kind in kinds}
    seen = {kind: set() for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        for scene, (jpeg, captions) in enumerate(captioned_images(scenes(options.level, 2, 500), options.scenes)):
            masked = sorted({masking for caption in captions for masking in maskings(caption)})
            printed = predict(options.checkpoint, jpeg, [text for _, text, _ in masked], Path(folder))
            chosen = re.findall(r"^\[MASK\] at \d+: (\S+)", printed, re.MULTILINE)
            for (kind, _, word), choice in zip(masked, chosen, strict=True):
                right[kind].append(choice == word)
                seen[kind].add(scene)
    for kind, hits in right.items():
        print_share(kind, hits, seen[kind])


main()
