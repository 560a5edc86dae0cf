#!/usr/bin/env python3
"""Measures what pre-training is good for: benchmarks/downstream.py [ROW...] [--tasks T,T] [--steps N] [--precision P]

Each row is pre-trained (or not), fine-tuned for VQA, NLVR2 and retrieval on scenes of one object, each task for the same
number of steps, and evaluated on scenes of another seed; recall is measured on texts that fit one image only. A row is a
row of the paper's ablation (Table 6), whose scores are printed too, or NAME=CHECKPOINT. Brackets hold the interval (95 %).
Runs are in runs/learning/table6; run the command again to continue. With the defaults, everything takes hours on two cores.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from captions import WORDS, captioned_images
from jobs import FINETUNE, OUT, PIXELBERT, TINY, evaluate, launch, precision, pretrain, scenes, with_interval

# Row: how pre-training differs from the tiny preset with 6 of 9 pixels; the paper's VQA, TR@1, IR@1 and NLVR2.
ROWS = {
    "none": (None, (63.50, 52.4, 39.6, 52.0)),
    "itm": (["--train.objectives", "itm", "--train.mlm-epochs", 0], (65.24, 69.0, 55.5, 51.9)),
    "mlm": (["--train.objectives", "mlm", "--train.mlm-epochs", 0], (71.13, 67.1, 52.7, 70.9)),
    "all-pixels": (["--model.sampled-pixels", 0], (70.84, 72.0, 57.7, 71.3)),
    "random-pixels": ([], (71.35, 75.7, 59.8, 71.7)),
    "larger-cnn": (["--model.backbone", "resnet34"], (74.45, 87.0, 71.5, 76.5)),
}
# Task: steps, images to train and to test on, options.
TASKS = {
    "vqa": (300, 20000, 500, []),
    "nlvr2": (1900, 40000, 1000, ["--data.texts-per-image", 4, "--optim.drop-epochs", 1, "--optim.drop-factor", 0.3]),
    "retrieval": (100, 20000, 500, ["--data.global-batch", 64, "--data.micro-batch", 32]),
}
# Keys of the JSON that `pixelbert evaluate` writes, in the paper's order.
FIGURES = [("vqa", "vqa_score"), ("retrieval", "tr_r1"), ("retrieval", "ir_r1"), ("nlvr2", "accuracy")]


def described(text):
    """What a text says of the object in a scene: colour, shape, size and place; None where it leaves one out."""
    words = text.split()
    attributes = [next((word for word in words if word in known), None) for known in WORDS.values()]
    place = [word for word in words if word in "top bottom left right middle".split()]
    return None if None in attributes or not place else (*attributes, *place)


def distinct_scenes(count):
    """Shards of new scenes whose objects all differ, with the texts that are true of one of them only."""
    folder = OUT / f"scenes-distinct-{count}"
    if (folder / "manifest.json").exists():
        return folder
    annotations, images = OUT / f"scenes-distinct-{count}.json", OUT / f"scenes-distinct-{count}-images"
    images.mkdir(parents=True, exist_ok=True)
    chosen = {}  # (JPEG, texts) by object
    for jpeg, texts in captioned_images(scenes(1, 2, 4 * count), 4 * count):
        whole = [text for text in texts if described(text)]
        if whole and len(chosen) < count:
            chosen.setdefault(described(whole[0]), (jpeg, whole))
    if len(chosen) < count:
        sys.exit(f"{4 * count} scenes have {len(chosen)} different objects, expected {count}")
    entries = []
    for image, (jpeg, texts) in enumerate(chosen.values()):
        (images / f"{image}.jpg").write_bytes(jpeg)
        sentences = [{"sentid": 4 * image + text, "raw": raw} for text, raw in enumerate(texts)]
        entries.append({"imgid": image, "filename": f"{image}.jpg", "split": "test", "sentences": sentences})
    annotations.write_text(json.dumps({"images": entries}))
    subprocess.run([PIXELBERT, "shard", "karpathy", "--karpathy", annotations, "--images", images, "--splits", "test",
                    "--out", folder], check=True)
    return folder


def finetune(task, init, run, precision):
    steps, images, unseen, changes = TASKS[task]
    kind = "pairs" if task == "retrieval" else task
    launch("finetune", "--task", task, "--init", init, "--data.shards", scenes(1, 1, images, kind), "--run.dir", run,
           *FINETUNE, *changes, *(TINY if init == "none" else []), "--train.steps", steps, "--train.precision", precision)
    return evaluate(run, distinct_scenes(unseen) if task == "retrieval" else scenes(1, 2, unseen, kind))


def newest_step(checkpoint):
    """The name of a run's newest checkpoint; of another folder or file, its own."""
    steps = sorted((Path(checkpoint) / "checkpoints").glob("step-*[0-9]"))
    return steps[-1].name if steps else Path(checkpoint).name


def checkpoint_of(row, options):
    name, _, given = row.partition("=")
    if given or ROWS[name][0] is None:
        return given or "none"
    return pretrain(OUT / "table6" / name / "pretrain", scenes(1, 1, 40000), options.steps, options.precision,
                    "--model.sampled-pixels", 6, *ROWS[name][0])


def figures(row, options):
    init = checkpoint_of(row, options)
    # A checkpoint that was trained further is another one.
    folder = OUT / "table6" / row.partition("=")[0] / ("none" if init == "none" else newest_step(init))
    found = {task: finetune(task, init, folder / task, options.precision) for task in options.tasks.split(",")}
    def cell(task, figure):
        if task not in found:
            return ""
        observations = TASKS[task][2] // (2 if task == "nlvr2" else 1)  # images, or pairs of them
        return with_interval(found[task][figure], observations)

    return [cell(task, figure) for task, figure in FIGURES]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help=" ".join(ROWS) + " NAME=CHECKPOINT; default: the paper's")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--steps", type=int, default=2100, help="of pre-training, 128 pairs each")
    parser.add_argument("--precision", type=precision, default="float32", help="float32 or bf16")
    options = parser.parse_args()
    if unknown := [row for row in options.rows if row not in ROWS and "=" not in row]:
        sys.exit(f"no row {', '.join(unknown)}: there are {', '.join(ROWS)}, and NAME=CHECKPOINT")
    if unknown := set(options.tasks.split(",")) - set(TASKS):
        sys.exit(f"no task {', '.join(unknown)}: there are {', '.join(TASKS)}")
    print("| pre-training | VQA | TR@1 | IR@1 | NLVR2 | paper: VQA | TR@1 | IR@1 | NLVR2 |\n" + "| --- " * 9 + "|", flush=True)
    for row in options.rows or ROWS:
        paper = map(str, ROWS[row][1]) if row in ROWS else [""] * 4
        print(f"| {' | '.join([row.partition('=')[0], *figures(row, options), *paper])} |", flush=True)


main()
