#!/usr/bin/env python3
"""Measures whether a model binds colours to objects: benchmarks/swaps.py CHECKPOINT [--scenes N]

Takes the captions of unseen scenes of two to four objects that name two objects with two colours, and swaps the colours: the words are
the same, only what they belong to differs. Counts how often the model gives the right text a higher score than the swapped one, and a
right and a swapped one the right label. Chance is 0.5. Seldom two other objects of the scene make the swapped text true, too.
The intervals (95 %, Wilson) take a scene as one observation.
"""

import argparse
import re

from captions import RELATION, WORDS, captioned_images, predictions, print_share
from jobs import scenes


def swapped(caption):
    """The caption with its two colours swapped; None if it has not two different ones, or says the same then."""
    words = caption.split()
    at = [i for i, word in enumerate(words) if word in WORDS["colour"]]
    if len(at) != 2 or words[at[0]] == words[at[1]]:
        return None
    shapes = [word for word in words if word in WORDS["shape"]]
    if len(set(shapes)) == 1 and not RELATION.search(caption):  # a red circle and a blue circle
        return None
    words[at[0]], words[at[1]] = words[at[1]], words[at[0]]
    return " ".join(words)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--scenes", type=int, default=200)
    options = parser.parse_args()
    examples = []  # (JPEG, [caption, the same with swapped colours, ...])
    for jpeg, captions in captioned_images(scenes(3, 2, 500), options.scenes):
        texts = [text for caption in captions if swapped(caption) for text in (caption, swapped(caption))]
        if texts:
            examples.append((jpeg, texts))
    higher, labelled = [], []
    for printed in predictions(options.checkpoint, examples):
        scores = [float(score) for score in re.findall(r"^match ([\d.]+)$", printed, re.MULTILINE)]
        for right, wrong in zip(scores[::2], scores[1::2], strict=True):
            higher.append(right > wrong)
            labelled += [right > 0.5, wrong < 0.5]
    for what, hits in (("right text above the swapped one", higher), ("right label", labelled)):
        print_share(what, hits, len(examples))


main()
