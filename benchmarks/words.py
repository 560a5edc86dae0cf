#!/usr/bin/env python3
"""Measures which attributes a model sees: benchmarks/words.py CHECKPOINT [--level 1|3] [--scenes N]

Masks each colour, shape, size and relation word in the captions of unseen scenes, one at a time, and counts how often the
model's first choice is the original word. Words that no image tells are left out. Level 1 has one object, level 3 two to four and
captions that relate two. Chance is one in 8 (colour, shape), one in 3 (size) or one in 2 (relation: "left" or "right" before
"of"). The interval (95 %, Wilson) takes a scene as one observation, because the captions of a scene have the same words.
"""

import argparse
import re

from captions import RELATION, WORDS, captioned_images, predictions, print_share
from jobs import scenes

COLOUR = f"({'|'.join(WORDS['colour'])})"
# No image tells the word: "[MASK] red circle at the top" may be "a red circle ...", and "a [MASK] circle and a red square"
# may name a colour or a size.
AMBIGUOUS = re.compile(rf"\[MASK\] {COLOUR} \w+ |a \[MASK\] \w+ and a {COLOUR} \w+$")


def maskings(caption):
    """(kind, caption with [MASK], the word)"""
    words = caption.split()
    for kind, known in WORDS.items():
        for i, word in enumerate(words):
            masked = " ".join([*words[:i], "[MASK]", *words[i + 1:]])
            if word in known and not AMBIGUOUS.match(masked):
                yield kind, masked, word
    for found in RELATION.finditer(caption):
        yield "relation", f"{caption[:found.start()]}[MASK]{caption[found.end():]}", found[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--level", type=int, choices=(1, 3), default=1)
    parser.add_argument("--scenes", type=int, default=60)
    options = parser.parse_args()
    kinds = [*WORDS] if options.level == 1 else [*WORDS, "relation"]
    jpegs, masked = [], []  # of a scene: [(kind, caption with [MASK], the word), ...]
    for jpeg, captions in captioned_images(scenes(options.level, 2, 500), options.scenes):
        jpegs.append(jpeg)
        masked.append(sorted({masking for caption in captions for masking in maskings(caption)}))
    right = {kind: [] for kind in kinds}
    seen = {kind: set() for kind in kinds}
    texts = [[text for _, text, _ in of_scene] for of_scene in masked]
    for scene, printed in enumerate(predictions(options.checkpoint, zip(jpegs, texts, strict=True))):
        chosen = re.findall(r"^\[MASK\] at \d+: (\S+)", printed, re.MULTILINE)
        for (kind, _, word), choice in zip(masked[scene], chosen, strict=True):
            right[kind].append(choice == word)
            seen[kind].add(scene)
    for kind, hits in right.items():
        print_share(kind, hits, len(seen[kind]))


main()
