#!/usr/bin/env python3
"""What a model learns to see on scenes, and what each choice does: benchmarks/learning.py [RECIPE...] [--steps N]

Pre-trains each recipe from random weights on two ranks, evaluates it on scenes it has never seen, with pictures and with
blank ones, and prints a row of a table; curves are in runs/learning/RECIPE/run/metrics.jsonl. Run again to go on.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIXELBERT = Path(os.environ.get("PIXELBERT", ROOT / "build/bin/pixelbert"))
OUT = ROOT / "runs/learning"

# Each is the tiny preset but for these options: one change, one row.
ONE_OBJECT = {
    "tiny": [],
    "pool": ["--model.visual-order", "conv-pool", "--image.short-side", 128],  # at 128 px a 2 x 2 grid is left
    "no-pool-128": ["--image.short-side", 128],  # what to compare it with
    "pixel-layernorm": ["--model.pixel-layernorm", "true"],
    "mlm-on-negatives": ["--data.mlm-on-negatives", "true"],
    "sgd-cnn": ["--optim.backbone-algorithm", "sgd", "--optim.backbone-rate", "1e-2"],
    "half-rates": ["--optim.backbone-rate", "3.5e-4", "--optim.transformer-rate", "3.5e-4"],
    "double-rates": ["--optim.backbone-rate", "1.4e-3", "--optim.transformer-rate", "1.4e-3"],
    "one-text": ["--data.texts-per-image", 1],
    "four-texts": ["--data.texts-per-image", 4],
    "dropout": ["--model.dropout", "0.1"],
    "small-micro-batch": ["--data.micro-batch", 32],
}
# Two to four objects, and texts that relate them: more pictures, a larger picture, more steps.
SEVERAL_OBJECTS = {
    "several": ["--image.short-side", 128, "--image.long-side", 172, "--train.epochs", 10, "--optim.drop-epochs", "6,8"],
}


def launch(*words):
    command = [ROOT / "launch/local.sh", "-n", 2, PIXELBERT, *words]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)


def scenes(level, seed, count):
    folder = OUT / f"scenes-{level}-{seed}-{count}"
    if not (folder / "manifest.json").exists():
        subprocess.run([PIXELBERT, "shard", "scenes", "--out", folder, "--level", str(level), "--seed", str(seed),
                        "--count", str(count), "--size", "96" if level == 1 else "128"], check=True)
    return folder


def evaluate(run, test, *blank):
    out = run / f"evaluate{''.join(blank)}.json"
    launch("evaluate", "--checkpoint", run, "--data.shards", test, "--out", out, *blank)
    return json.loads(out.read_text())["metrics"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help=" ".join([*ONE_OBJECT, *SEVERAL_OBJECTS]) + "; default: one object's")
    parser.add_argument("--steps", type=int, default=1500, help="steps of 128 pairs")
    parser.add_argument("--precision", default="float32", help="float32 or bf16")
    options = parser.parse_args()
    known = ONE_OBJECT | SEVERAL_OBJECTS
    if unknown := set(options.recipes) - set(known):
        sys.exit(f"no recipe {', '.join(unknown)}: there are {', '.join(known)}")

    print("| recipe | steps | minutes | ITM | MLM | MLM, blank pictures |\n| --- | --- | --- | --- | --- | --- |", flush=True)
    for name in options.recipes or ONE_OBJECT:
        level, count = (1, 20000) if name in ONE_OBJECT else (3, 50000)
        run = OUT / name / "run"
        launch("pretrain", "--config", ROOT / "configs/tiny.ini", "--data.shards", scenes(level, 1, count), "--run.dir", run,
               "--train.steps", options.steps, "--train.precision", options.precision, *known[name])
        steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        test = scenes(level, 2, 500)
        seen, blank = evaluate(run, test), evaluate(run, test, "--blank-images")
        print(f"| {name} | {len(steps)} | {sum(step['seconds'] for step in steps) / 60:.1f} | {seen['itm_accuracy']:.3f} "
              f"| {seen['mlm_accuracy']:.3f} | {blank['mlm_accuracy']:.3f} |", flush=True)


main()
