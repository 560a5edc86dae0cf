"""Runs pixelbert on two ranks for learning.py, downstream.py and easy_vqa.py. An existing run is continued."""

import argparse
import json
import math
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIXELBERT = Path(os.environ.get("PIXELBERT", ROOT / "build/bin/pixelbert"))
OUT = ROOT / "runs/learning"
HAS_BF16 = " avx512bw " in Path("/proc/cpuinfo").read_text()

# On two cores: AdamW for everything as in the tiny preset, at a lower rate, without dropout.
FINETUNE = ["--data.global-batch", 128, "--data.micro-batch", 64, "--data.texts-per-image", 2, "--data.threads", 1,
            "--optim.backbone-algorithm", "adamw", "--optim.backbone-rate", "3e-4", "--optim.transformer-rate", "3e-4",
            "--optim.warmup-steps", 50, "--optim.clip-norm", 1, "--finetune.head-dropout", 0, "--checkpoint.every-steps", 200]
# The model of the tiny preset, if there is no checkpoint to define it.
TINY = ["--model.backbone", "resnet18", "--model.frozen-stages", 0, "--model.visual-order", "conv", "--model.hidden", 256,
        "--model.layers", 3, "--model.heads", 4, "--model.dropout", 0, "--image.short-side", 96, "--image.long-side", 128,
        "--text.max-tokens", 24]


def precision(name):
    """For argparse. Without AVX-512, pixelbert computes in float32 what should be bf16."""
    if name not in ("float32", "bf16"):
        raise argparse.ArgumentTypeError(f"expected float32 or bf16, found {name}")
    if name == "bf16" and not HAS_BF16:
        raise argparse.ArgumentTypeError("this processor has no AVX-512, so pixelbert would compute in float32")
    return name


def launch(*words):
    command = [ROOT / "launch/local.sh", "-n", 2, PIXELBERT, *words]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)


def scenes(level, seed, count, task="pairs"):
    folder = OUT / f"scenes-{level}-{seed}-{count}{'' if task == 'pairs' else '-' + task}"
    if not (folder / "manifest.json").exists():
        subprocess.run([PIXELBERT, "shard", "scenes", "--out", folder, "--level", str(level), "--seed", str(seed),
                        "--count", str(count), "--task", task, "--size", "96" if level == 1 else "128"], check=True)
    return folder


def steps_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def minutes_of(run):
    return sum(step["seconds"] for step in steps_of(run)) / 60


def pretrain(run, shards, steps, precision, *options):
    launch("pretrain", "--config", ROOT / "configs/tiny.ini", "--data.shards", shards, "--run.dir", run, "--train.steps",
           steps, "--train.precision", precision, *options)
    return run


def interval(share, observations, z=1.96):
    """Wilson's interval (95 %) of a share."""
    middle = share + z * z / (2 * observations)
    reach = z * math.sqrt(share * (1 - share) / observations + (z / (2 * observations)) ** 2)
    return [(middle + side * reach) / (1 + z * z / observations) for side in (-1, 1)]


def with_interval(share, observations):
    low, high = interval(share, observations)
    return f"{100 * share:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def evaluate(run, test, *options):
    out = run / f"evaluate-{test.name}{''.join(map(str, options))}.json"
    launch("evaluate", "--checkpoint", run, "--data.shards", test, "--out", out, *options)
    return json.loads(out.read_text())["metrics"]
