"""Real photographs, of many sizes: COCO and Flickr together, stopped, resumed, and opened in Python."""

import functools
import json
import pathlib
import re
import sys

from references import check_opens_in_python
from support import (SHARED_DATA, check, check_same_weights, finish, losses, metrics, pixelbert, run_tests, start, temporary_folder,
                     wait_for, weights)

LAYERS, HIDDEN, HEADS = 2, 128, 2
STEPS = 60
COMMON = temporary_folder()  # for all tests


@functools.cache
def photographs():
    check(SHARED_DATA.is_dir(), f"the real data is missing: expected it in {SHARED_DATA}")
    coco, flickr = (pathlib.Path(COMMON.name) / name for name in ("coco", "flickr"))
    pixelbert("shard", "coco", "--captions", SHARED_DATA / "coco-train2017/captions_train2017.json", "--images",
              SHARED_DATA / "coco-train2017", "--out", coco)
    pixelbert("shard", "karpathy", "--karpathy", SHARED_DATA / "flickr8k/dataset_flickr8k.json", "--images",
              SHARED_DATA / "flickr8k", "--splits", "train", "--out", flickr)
    return coco, flickr


def pretrain(run, *options):
    coco, flickr = photographs()
    return ["pretrain", "--run.dir", run, "--data.shards", coco, "--data.shards", flickr, "--text.vocab",
            SHARED_DATA / "bert-base-uncased-vocab/vocab.txt", "--model.backbone", "resnet18", "--model.frozen-stages", 0,
            "--model.visual-order", "conv", "--model.layers", LAYERS, "--model.hidden", HIDDEN, "--model.heads", HEADS,
            "--image.short-side", 64, "--image.long-side", 96, "--data.global-batch", 32, "--data.micro-batch", 16,
            "--optim.transformer-rate", "1e-3", "--optim.warmup-steps", 10, "--train.device", "cpu", "--train.threads", 1,
            *options]


def padding_of(output):
    """What the log says of sizes: their number, pixels with padding, and those of the busiest rank."""
    found = re.search(r"image sizes: (\d+) in the next \d+ micro-batches; with padding ([\d.]+) times the pixels, on the "
                      r"busiest of \d+ ranks ([\d.]+) times its share", output)
    check(found, f"says what padding costs:\n{output}")
    return int(found[1]), float(found[2]), float(found[3])


def test_coco_and_flickr(folder):
    run = folder / "run"
    command = pretrain(run, "--train.steps", STEPS)
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


def test_the_same_bits_at_any_number_of_ranks(folder):
    """With micro-batches of other sizes in each step, and a step of five that no number of ranks divides."""
    options = ["--data.global-batch", 80, "--image.size-multiple", 16, "--train.steps", 4]
    pixelbert(*pretrain(folder / "one", *options))
    for ranks in (2, 3, 4):
        run = folder / f"ranks-{ranks}"
        pixelbert(*pretrain(run, *options), ranks=ranks)
        check(losses(run) == losses(folder / "one"), f"{ranks} ranks: losses {losses(run)} and {losses(folder / 'one')}")
        check_same_weights(folder / "one", run, f"{ranks} ranks")


def test_images_of_like_shape_share_a_micro_batch(folder):
    sizes, padded, busiest = padding_of(pixelbert(*pretrain(folder / "grouped", "--train.steps", 1), ranks=2))
    check(padded < 1.05 and busiest < 1.1, f"little padding, found {padded} and {busiest}")
    _, shuffled, _ = padding_of(pixelbert(*pretrain(folder / "shuffled", "--data.group-shapes", "false", "--train.steps", 1)))
    check(shuffled > 1.5, f"much padding in random order, found {shuffled}")
    rounded, *_ = padding_of(pixelbert(*pretrain(folder / "rounded", "--image.size-multiple", 32, "--train.steps", 1)))
    check(1 < rounded <= 5 and rounded < sizes, f"fewer sizes than {sizes}, found {rounded}")


def crc32c(content):
    crc = 0xffffffff
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def make_older(checkpoint):
    """As of a version without these options."""
    path, manifest = checkpoint / "trainer.json", checkpoint / "manifest.json"
    trainer = json.loads(path.read_text())
    for option in ("data.group-shapes", "image.size-multiple"):
        del trainer["config"][option]
    path.write_text(json.dumps(trainer))
    files = json.loads(manifest.read_text())
    files["files"]["trainer.json"] |= {"bytes": path.stat().st_size, "crc32c": crc32c(path.read_bytes())}
    manifest.write_text(json.dumps(files))


def planned_padding(run, *options):
    output = pixelbert("plan", *pretrain(run, "--train.steps", 4, *options)[1:])
    return re.search(r"^padding .*", output, re.M)[0]


def test_a_run_of_an_older_version_goes_on_in_its_old_order(folder):
    pixelbert(*pretrain(folder / "whole", "--data.group-shapes", "false", "--train.steps", 4))
    run = folder / "run"
    pixelbert(*pretrain(run, "--data.group-shapes", "false", "--train.steps", 2))
    make_older((run / "checkpoints" / "latest").resolve())
    (run / "config.ini").unlink()
    check(planned_padding(run) == planned_padding(folder / "new", "--data.group-shapes", "false") != planned_padding(folder / "new"),
          "plan knows the order of an older run")
    for option, value, before in (("data.group-shapes", "true", "false"), ("image.size-multiple", 64, 1)):
        output = pixelbert(*pretrain(run, f"--{option}", value, "--train.steps", 4), expect=2)
        check(f"it was trained with --{option} '{before}', now it is '{value}'" in output, output)
    pixelbert(*pretrain(run, "--train.steps", 4), ranks=2)
    check(losses(run) == losses(folder / "whole"), f"{losses(run)} and {losses(folder / 'whole')}")
    check_same_weights(folder / "whole", run)


def check_visual_names(tensors):
    rest = {name: tuple(tensor.shape) for name, tensor in tensors.items()
            if not name.startswith(("backbone.", "bert.", "cls."))}
    check(rest == {"visual.conv.weight": (HIDDEN, 512, 1, 1), "visual.conv.bias": (HIDDEN,),
                   "visual.semantic_embedding": (HIDDEN,), "itm.weight": (1, HIDDEN), "itm.bias": (1,)}, rest)


run_tests(sys.modules[__name__])
