"""The presets at their full size: one step on one real photograph, forward and backward, through every layer."""

import json
import math
import shutil
import sys

from support import ROOT, SHARED_DATA, check, metrics, pixelbert, run_tests

PRESETS = ["pretrain-r50", "pretrain-x152-32x4d", "pretrain-x152-32x8d"]


def test_each_makes_a_step_at_full_size(folder):
    check(SHARED_DATA.is_dir(), f"the real data is missing: expected it in {SHARED_DATA}")
    whole = json.loads((SHARED_DATA / "coco-train2017/captions_train2017.json").read_text())
    widest = max(whole["images"], key=lambda image: image["width"] / image["height"])
    (folder / "one.json").write_text(json.dumps({
        "images": [widest], "annotations": [a for a in whole["annotations"] if a["image_id"] == widest["id"]]}))
    pixelbert("shard", "coco", "--captions", folder / "one.json", "--images", SHARED_DATA / "coco-train2017", "--out",
              folder / "shards")
    for preset in PRESETS:
        run = folder / preset
        said = pixelbert("pretrain", "--config", ROOT / f"configs/{preset}.ini", "--run.dir", run, "--data.shards",
                         folder / "shards", "--text.vocab", SHARED_DATA / "bert-base-uncased-vocab/vocab.txt",
                         "--data.global-batch", 2, "--data.micro-batch", 2, "--train.steps", 1, "--train.precision",
                         "float32", "--train.device", "cpu", "--train.threads", 2, "--metrics.port", 0, seconds=600)
        step = metrics(run)[0]
        check("skipped" not in step and math.isfinite(step["loss"]), step)
        check(0 < step["gradient_norm"] < math.inf, step)
        print(f"{preset}: loss {step['loss']:.2f}, {step['seconds']:.1f} s\n{said.splitlines()[-1]}", flush=True)
        shutil.rmtree(run)  # 3 GB


run_tests(sys.modules[__name__])
