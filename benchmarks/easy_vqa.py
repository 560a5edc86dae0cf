#!/usr/bin/env python3
"""VQA on easy-VQA: benchmarks/easy_vqa.py [--init CHECKPOINT] [--steps N] [--rate R] [--precision P]

Holds out the images whose number ends in 7 (400 of 4,000) with all of their questions, fine-tunes on the others, and
prints the score on the held-out ones with its interval (95 %), over all questions and by kind, every --every steps.
easy-VQA (PyPI, MIT) is expected in PIXELBERT_SHARED_DATA/easy-vqa in the form of VQA v2. Published: 99.5 %; from the text alone 67 %.
"""

import argparse
import collections
import gzip
import json
import os
import subprocess
from pathlib import Path

from jobs import FINETUNE, OUT, PIXELBERT, ROOT, TINY, launch, minutes_of, precision, scenes, with_interval

DATA = Path(os.environ.get("PIXELBERT_SHARED_DATA", ROOT.parent / "shared/data")) / "easy-vqa"


def is_held_out(entry):
    return entry["image_id"] % 10 == 7


def split(name, list_name):
    """The official file in two: training and held out."""
    whole = json.loads(gzip.decompress((DATA / f"{name}.json.gz").read_bytes()))
    files = []
    for held_out in (False, True):
        file = OUT / "easy-vqa" / f"{name}-{'test' if held_out else 'train'}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        part = [entry for entry in whole[list_name] if is_held_out(entry) == held_out]
        file.write_text(json.dumps({**whole, list_name: part}))
        files.append(file)
    return files


def shards():
    folders = [OUT / "easy-vqa/train", OUT / "easy-vqa/test"]
    questions = split("OpenEnded_easyvqa_train_questions", "questions")
    annotations = split("easyvqa_train_annotations", "annotations")
    for folder, question, annotation in zip(folders, questions, annotations):
        if not (folder / "manifest.json").exists():
            subprocess.run([PIXELBERT, "shard", "vqa", "--questions", question, "--annotations", annotation, "--answers",
                            DATA / "answers.txt", "--images", DATA / "images", "--image-pattern", "{image_id}.png", "--out",
                            folder], check=True)
    return *folders, annotations[1]


def by_kind(results, annotations):
    """Share of right answers by the first words of the question."""
    kind = {a["question_id"]: (a["question_type"], a["multiple_choice_answer"])
            for a in json.loads(annotations.read_text())["annotations"]}
    right = collections.defaultdict(list)
    for entry in json.loads(results.read_text()):
        question_type, answer = kind[entry["question_id"]]
        right[question_type].append(entry["answer"] == answer)
    return {name: sum(found) / len(found) for name, found in sorted(right.items())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--init", default="none", help="pre-training checkpoint; none: random weights")
    parser.add_argument("--name", default="run", help="of the run below runs/learning/easy-vqa")
    parser.add_argument("--steps", type=int, default=3000, help="of 128 questions")
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--rate", default="3e-4")
    parser.add_argument("--precision", type=precision, default="float32", help="float32 or bf16")
    options = parser.parse_args()

    train, test, annotations = shards()
    images = len({entry["image_id"] for entry in json.loads(annotations.read_text())["annotations"]})  # observations
    run = OUT / "easy-vqa" / options.name
    # From random weights: the vocabulary that a pre-training on scenes would have.
    begin = [*TINY, "--text.vocab", scenes(1, 1, 20000) / "vocab.txt"] if options.init == "none" else []
    print("| steps | minutes | all | yes/no | other |\n| --- | --- | --- | --- | --- |", flush=True)
    for steps in range(options.every, options.steps + 1, options.every):
        launch("finetune", "--task", "vqa", "--init", options.init, "--data.shards", train, "--run.dir", run, *FINETUNE,
               *begin, "--data.texts-per-image", 4, "--optim.backbone-rate", options.rate,
               "--optim.transformer-rate", options.rate, "--train.epochs", 1000, "--train.steps", steps,
               "--train.precision", options.precision)
        out, results = run / f"{steps}.json", run / f"{steps}-results.json"
        launch("evaluate", "--checkpoint", run, "--data.shards", test, "--out", out, "--predictions", results)
        scores = json.loads(out.read_text())["metrics"]
        shares = [with_interval(scores[name], images) for name in ("vqa_score", "vqa_score_yes_no", "vqa_score_other")]
        print(f"| {steps} | {minutes_of(run):.1f} | {' | '.join(shares)} |", flush=True)
    print(json.dumps(by_kind(results, annotations), indent=1))


main()
