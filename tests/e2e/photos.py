"""Real photographs: COCO and Flickr together, stopped, resumed on one rank, and opened in Python."""

import sys

from references import check_opens_in_python
from support import SHARED_DATA, check, finish, metrics, pixelbert, run_tests, start, wait_for, weights

LAYERS, HIDDEN, HEADS = 2, 128, 2
STEPS = 60


def test_coco_and_flickr(folder):
    check(SHARED_DATA.is_dir(), f"the real data is missing: expected it in {SHARED_DATA}")
    coco, flickr = folder / "coco", folder / "flickr"
    pixelbert("shard", "coco", "--captions", SHARED_DATA / "coco-train2017/captions_train2017.json", "--images",
              SHARED_DATA / "coco-train2017", "--out", coco)
    pixelbert("shard", "karpathy", "--karpathy", SHARED_DATA / "flickr8k/dataset_flickr8k.json", "--images",
              SHARED_DATA / "flickr8k", "--splits", "train", "--out", flickr)

    run = folder / "run"
    command = ["pretrain", "--run.dir", run, "--data.shards", coco, "--data.shards", flickr, "--text.vocab",
               SHARED_DATA / "bert-base-uncased-vocab/vocab.txt", "--model.backbone", "resnet18", "--model.frozen-stages", 0,
               "--model.visual-order", "conv", "--model.layers", LAYERS, "--model.hidden", HIDDEN, "--model.heads", HEADS,
               "--image.short-side", 64, "--image.long-side", 96, "--data.global-batch", 32, "--data.micro-batch", 16,
               "--optim.transformer-rate", "1e-3", "--optim.warmup-steps", 10, "--train.device", "cpu",
               "--train.steps", STEPS, "--train.threads", 1]
    process = start(*command, ranks=2)
    wait_for(lambda: (run / "metrics.jsonl").exists() and len(metrics(run)) >= 20, "20 steps", 240)
    (run / "stop").touch()
    finish(process, expect=75, seconds=60)
    stopped = len(metrics(run))
    check(20 <= stopped < STEPS, f"stopped in the middle, found {stopped} steps")
    output = pixelbert(*command)
    check("resuming from" in output, output)

    losses = [line["loss"] for line in metrics(run)]
    check([line["step"] for line in metrics(run)] == list(range(1, STEPS + 1)), "every step once")
    first, last = sum(losses[:5]) / 5, sum(losses[-10:]) / 10
    print(f"loss {first:.2f} in the first 5 steps, {last:.2f} in the last 10", flush=True)
    check(last < first - 2, f"the loss falls clearly: {first} to {last}")
    check_opens_in_python(weights(run), LAYERS, HIDDEN, HEADS)
    check_visual_names(weights(run))


def check_visual_names(tensors):
    rest = {name: tuple(tensor.shape) for name, tensor in tensors.items()
            if not name.startswith(("backbone.", "bert.", "cls."))}
    check(rest == {"visual.conv.weight": (HIDDEN, 512, 1, 1), "visual.conv.bias": (HIDDEN,),
                   "visual.semantic_embedding": (HIDDEN,), "itm.weight": (1, HIDDEN), "itm.bias": (1,)}, rest)


run_tests(sys.modules[__name__])
