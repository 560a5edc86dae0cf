#!/usr/bin/env python3
"""Measures which statements about two images a model judges correctly: benchmarks/statements.py CHECKPOINT

Prints the accuracy on new pairs of scenes of one object, by form of statement: {c} stands for a colour, {s} for a shape, {z} for
a size and {p} for a place. CHECKPOINT is fine-tuned for NLVR2, for example runs/learning/table6/tiny/step-000002100/nlvr2.
"""

import argparse
import collections
import re
import subprocess
import tempfile
from pathlib import Path

import h5py

from captions import WORDS
from jobs import PIXELBERT, scenes

PLACE = re.compile(r"(at the (top|bottom)( left| right)?|on the (left|right)|in the middle)(?= of the)")


def form_of(statement):
    slots = {word: f"{{{'z' if kind == 'size' else kind[0]}}}" for kind, words in WORDS.items() for word in words}
    return " ".join(slots.get(word, word) for word in PLACE.sub("{p}", statement).split())


def truths(folder):
    """id -> (form, whether it is true)"""
    with h5py.File(folder / "shard-00000.h5") as file:
        texts, answers = file["texts"], file["answers"]
        said = texts["bytes"][:].tobytes()
        rows = zip(texts["id"][:], texts["offset"][:], texts["length"][:], answers["index"][:], strict=True)
        return {int(name): (form_of(said[begin:begin + length].decode()), answer == 1)
                for name, begin, length, answer in rows}


def verdicts(checkpoint, folder):
    with tempfile.TemporaryDirectory() as temporary:
        predictions = Path(temporary) / "predictions.csv"
        subprocess.run([PIXELBERT, "evaluate", "--checkpoint", checkpoint, "--data.shards", folder, "--predictions",
                        predictions], check=True, stdout=subprocess.DEVNULL)
        for line in predictions.read_text().split():
            name, verdict = line.split(",")
            yield int(name), verdict == "True"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    options = parser.parse_args()
    pairs = scenes(1, 2, 1000, "nlvr2")
    known = truths(pairs)
    right = collections.defaultdict(list)
    for name, verdict in verdicts(options.checkpoint, pairs):
        form, truth = known[name]
        right[form].append(verdict == truth)
    for form, hits in sorted(right.items()):
        print(f"{sum(hits) / len(hits):.3f} of {len(hits)}: {form}")


main()
