#!/usr/bin/env python3
"""Compares our speed with the reference's: benchmarks/run.py [ROW...] [--rounds N] [--precision P] [--out FILE.json] [--quick]

Each row runs ours and the reference in turn, --rounds times, and compares the medians. benchmarks/README.md says what
is compared. ./tests/run.sh installs what the references need.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from jobs import HAS_BF16, precision

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".deps/venv"
if Path(sys.prefix) != VENV and (VENV / "bin/python").exists():
    os.execv(VENV / "bin/python", [str(VENV / "bin/python"), *sys.argv])

HERE = ROOT / "benchmarks"
BUILD = Path(os.environ.get("PIXELBERT_BUILD", ROOT / "build"))
PIXELBERT = BUILD / "bin/pixelbert"
DATA = Path(os.environ.get("PIXELBERT_SHARED_DATA", ROOT.parent / "shared/data"))
VOCABULARY = DATA / "bert-base-uncased-vocab/vocab.txt"
COCO, FLICKR = DATA / "coco-train2017", DATA / "flickr8k"
LAUNCH = [ROOT / "launch/local.sh", "-n", 2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
CORES = sorted(os.sched_getaffinity(0))[:2]
SKIPPED_STEPS = 2  # at the start of a run: memory is touched for the first time, kernels are compiled
ROWS = ["loader", "allreduce", "step", "photos", "start", "memory", "tree", "save", "read", "retrieval"]


def pinned(command, cores=CORES):
    return ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)]


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "PIXELBERT": str(PIXELBERT), "GLOO_SOCKET_IFNAME": "lo"}


def output(command, cores=CORES):
    """Standard output of a program on `cores`; its messages on failure."""
    done = subprocess.run(pinned(command, cores), env=environment(), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def numbers(command, cores=CORES):
    """The numbers that a program prints, per line."""
    return [[float(word) for word in line.split()] for line in output(command, cores).splitlines()]


def shard(source, out, *options):
    output([PIXELBERT, "shard", source, "--out", out, *options])
    return out


class Report:
    def __init__(self, options):
        self.out = options.out
        self.result = {"machine": machine(), "rounds": options.rounds, "quick": options.quick, "rows": []}
        if options.quick:
            print("tiny sizes: the numbers below are no measurements")
        print(f"{'':54}{'ours':>10}{'reference':>11}{'ratio':>8}   goal")

    def add(self, name, unit, ours, reference, goal, **details):
        """`ours`, `reference`: one number per round. `goal`: "<= 0.6" or ">= 4" of the reference."""
        ratio = statistics.median(ours) / statistics.median(reference)
        bound = float(goal.split()[1])
        reached = ratio >= bound if goal.startswith(">=") else ratio <= bound
        self.result["rows"].append(dict(name=name, unit=unit, ours=ours, reference=reference, ratio=ratio, goal=goal,
                                        reached=reached, **details))
        verdict = "" if reached or self.result["quick"] else "  MISSED"
        print(f"{name + ', ' + unit:54}{statistics.median(ours):10.4g}{statistics.median(reference):11.4g}{ratio:8.3f}"
              f"   {goal}{verdict}", flush=True)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(self.result, indent=1))


def machine():
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    packages = ["torch", "torchvision", "transformers", "tokenizers", "pillow", "numpy"]
    return {"cpu": cpu[1] if cpu else platform.processor(), "cores": os.cpu_count(), "pinned_to": CORES,
            "kernel": platform.release(), "load_before": os.getloadavg()[0],
            "python": platform.python_version(), "packages": {name: metadata.version(name) for name in packages},
            "pixelbert": output([PIXELBERT, "--version"]).splitlines(), "time": time.strftime("%Y-%m-%d %H:%M:%S %z")}


def loader(report, options, work):
    short, long, probe = (64, 107, 16) if options.quick else (800, 1333, 64)
    pairs = 32 if options.quick else 0  # 0: all, once
    shards = [shard("coco", work / "coco", "--captions", COCO / "captions_train2017.json", "--images", COCO / "images"),
              shard("karpathy", work / "flickr", "--karpathy", FLICKR / "dataset_flickr8k.json", "--splits", "val",
                    "--images", FLICKR / "images")]
    sources = [f"{COCO}/captions_train2017.json:{COCO}/images", f"{FLICKR}/dataset_flickr8k.json:{FLICKR}/images"]
    one_core = CORES[:1]

    def ours(texts_per_image):
        program = BUILD / "bin/benchmark_loader"
        return numbers([program, VOCABULARY, texts_per_image, short, long, pairs, *shards], one_core)[0][0]

    def reference(workers, pairs=pairs):
        script = [sys.executable, HERE / "loader_reference.py", VOCABULARY, workers, short, long, pairs, *sources]
        return numbers(script, one_core)[0][0]

    workers = max([0, 1], key=lambda workers: reference(workers, probe))
    rounds = [(ours(1), ours(4), reference(workers)) for _ in range(options.rounds)]
    one, four, others = map(list, zip(*rounds))
    report.add("loader, 1 text per image", "pairs/s", one, others, ">= 12", reference_workers=workers)
    report.add("loader, ours with 4 texts per image", "pairs/s", four, others, ">= 25", reference_workers=workers)


def allreduce(report, options, work):
    floats, repeats = (4_000_000, 2) if options.quick else (110_000_000, 7)
    ours, one, buckets = [], [], []
    for _ in range(options.rounds):
        seconds = numbers([*LAUNCH, BUILD / "bin/benchmark_allreduce", floats, repeats])
        ours.append(statistics.median(line[0] for line in seconds))
        seconds = numbers([*TORCHRUN, HERE / "allreduce_reference.py", floats, repeats])
        one.append(statistics.median(line[0] for line in seconds))
        buckets.append(statistics.median(line[1] for line in seconds))
    faster = min(one, buckets, key=statistics.median)
    report.add(f"all-reduce of {floats / 1e6:.0f} M float32", "s", ours, faster, "<= 0.6",
               reference_one_tensor=one, reference_buckets=buckets)


def text_shape(shards, batch):
    """Padded length and number of masked tokens of an average batch of a shard folder's texts."""
    import h5py
    import tokenizers
    texts = []
    for path in sorted(shards.glob("*.h5")):
        with h5py.File(path) as file:
            table, content = file["texts"], file["texts/bytes"][:].tobytes()
            texts += [content[start:start + length].decode() for start, length in zip(table["offset"], table["length"])]
    tokenizer = tokenizers.BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)
    lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
    longest = statistics.mean(max(lengths[i:i + batch]) for i in range(0, len(lengths), batch))
    return round(longest), max(1, round(0.15 * (statistics.mean(lengths) - 2) * batch))


class Pretraining:
    """Runs the same training with ours and with the reference: time of each step, end of the first step, memory."""

    def __init__(self, options, work, shards=None):
        self.steps = 4 if options.quick else 8
        self.side, self.backbone, self.layers, self.hidden, self.heads = (
            (128, "resnet18", 2, 128, 2) if options.quick else (256, "resnet50", 12, 768, 12))
        self.short, self.long = self.side, self.side
        self.micro_batch = 16  # on each of two ranks
        self.run_dir = work / "run"
        self.log = work / "log"
        self.shards = shards or shard("scenes", work / "scenes", "--size", self.side, "--level", 3, "--count", 256)
        self.text_tokens, self.masked = text_shape(self.shards, self.micro_batch)

    def watch(self, command, step_lines, at_step=lambda: None):
        """Runs `command`; calls `at_step` when all steps but the last, which saves a checkpoint, are done."""
        start, first, done = time.monotonic(), None, False
        with open(self.log, "w") as log:
            process = subprocess.Popen(pinned(command), env=environment(), stdout=log, stderr=subprocess.STDOUT)
        while True:
            ended = process.poll() is not None
            steps = len(step_lines())
            if first is None and steps > 0:
                first = time.monotonic() - start
            if not done and steps >= self.steps - 1:
                at_step()
                done = True
            if ended:
                break
            time.sleep(0.02)
        if process.returncode != 0 or not done:
            sys.exit(f"{' '.join(map(str, command))}: exit {process.returncode}\n{self.log.read_text()[-3000:]}")
        return first

    def ours(self, precision, save_every=0):
        shutil.rmtree(self.run_dir, ignore_errors=True)
        metrics = self.run_dir / "metrics.jsonl"
        peaks = []

        def step_lines():
            return metrics.read_text().splitlines() if metrics.exists() else []

        def measure():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    mine = (process / "exe").resolve().parent == PIXELBERT.resolve().parent  # it becomes another program
                    if mine and str(self.run_dir) in (process / "cmdline").read_text():
                        peaks.append(int(re.search(r"VmHWM:\s+(\d+)", (process / "status").read_text())[1]) / 1024)
                except OSError:
                    pass  # it has ended

        first = self.watch(
            [*LAUNCH, "pixelbert", "pretrain", "--run.dir", self.run_dir, "--data.shards", self.shards,
             "--text.vocab", VOCABULARY, "--image.short-side", self.short, "--image.long-side", self.long,
             "--model.backbone", self.backbone, "--model.layers", self.layers, "--model.hidden", self.hidden,
             "--model.heads", self.heads, "--model.visual-order", "conv-pool", "--model.frozen-stages", 2,
             "--data.global-batch", 2 * self.micro_batch, "--data.micro-batch", self.micro_batch,
             "--data.texts-per-image", 4,
             "--train.precision", precision, "--train.steps", self.steps, "--train.device", "cpu",
             "--checkpoint.every-steps", save_every, "--checkpoint.keep", 1], step_lines, measure)
        steps = [json.loads(line) for line in step_lines()]
        shutil.rmtree(self.run_dir)
        return {"step": [step["seconds"] - step["phase_seconds"]["checkpoint"] for step in steps], "start": first,
                "memory": max(peaks), "phases": [step["phase_seconds"] for step in steps],
                "percent_of_peak": [int(share) for share in re.findall(r"(\d+)% of peak", self.log.read_text())]}

    def reference(self, precision, save_every=0, more=()):
        def step_lines():
            return re.findall(r'^\{"step".*$', self.log.read_text(), re.M)

        first = self.watch(
            [*TORCHRUN, HERE / "ddp_reference.py", "--steps", self.steps, "--backbone", self.backbone,
             "--layers", self.layers, "--hidden", self.hidden, "--heads", self.heads, "--side", self.side,
             "--text-tokens", self.text_tokens, "--masked", self.masked, "--precision", precision,
             "--save-every", save_every, "--save-to", self.log.parent, *more], step_lines)
        peaks = re.findall(r'"peak_mib": ([\d.]+)', self.log.read_text())
        steps = [json.loads(line) for line in step_lines()]
        return {"step": [step["seconds"] for step in steps], "stalled": [step["stalled"] for step in steps], "start": first,
                "memory": max(map(float, peaks))}


def pretraining(report, options, work):
    training = Pretraining(options, work)
    shape = {"text_tokens": training.text_tokens, "masked_tokens": training.masked}
    for precision in options.precisions:
        rounds = [(training.ours(precision), training.reference(precision)) for _ in range(options.rounds)]
        ours, reference = map(list, zip(*rounds))
        if "step" in options.rows:
            report.add(f"training step, {precision}", "s",
                       *([statistics.median(run["step"][SKIPPED_STEPS:]) for run in side]
                         for side in (ours, reference)),
                       "<= 0.8" if precision == "float32" else "<= 0.72", **shape, runs=ours, reference_runs=reference)
        if "start" in options.rows:
            report.add(f"start to first step, {precision}", "s",
                       *([run["start"] for run in side] for side in (ours, reference)), "<= 0.5")
        if "memory" in options.rows:
            report.add(f"resident memory per rank, {precision}", "MiB",
                       *([run["memory"] for run in side] for side in (ours, reference)),
                       "<= 0.6" if precision == "float32" else "<= 0.7")


def photographs(work, count):
    """Real photographs with four captions each, and the same cropped to 4:3, as shards; and the sizes of the former."""
    from PIL import Image
    flickr = json.loads((FLICKR / "dataset_flickr8k.json").read_text())["images"]
    coco = json.loads((COCO / "captions_train2017.json").read_text())
    captions = {image["id"]: [a["caption"] for a in coco["annotations"] if a["image_id"] == image["id"]]
                for image in coco["images"]}
    found = [(COCO / "images" / image["file_name"], captions[image["id"]]) for image in coco["images"]]
    found += [(FLICKR / "images" / image["filename"], [sentence["raw"] for sentence in image["sentences"]])
              for image in flickr if image["split"] == "train"]
    folders = [work / "mixed-images", work / "cropped-images"]
    for folder in folders:
        folder.mkdir()
    images, annotations, sizes = [], [], []
    for path, texts in found[:count]:
        with Image.open(path) as photograph:
            width, height = photograph.size
            sizes.append((height, width))
            wide, tall = (width, width * 3 / 4) if width * 3 < height * 4 else (height * 4 / 3, height)
            left, top = (width - wide) / 2, (height - tall) / 2
            cropped = photograph.convert("RGB").crop([round(side) for side in (left, top, left + wide, top + tall)])
            cropped.resize((640, 480)).save(folders[1] / path.name, quality=90)
        (folders[0] / path.name).symlink_to(path)
        images.append({"id": len(images), "file_name": path.name})
        annotations += [{"image_id": images[-1]["id"], "id": 10 * len(images) + i, "caption": text}
                        for i, text in enumerate(texts[:4])]
    (work / "photographs.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return *[shard("coco", work / folder.name.removesuffix("-images"), "--captions", work / "photographs.json",
                   "--images", folder) for folder in folders], sizes


def photos(report, options, work):
    """One epoch of mixed photographs; the same cropped; and the reference, whose images come in random order."""
    count, per_step = (24, 8) if options.quick else (384, 16)
    mixed, cropped, sizes = photographs(work, count)
    training = Pretraining(options, work, mixed)
    training.short, training.long, training.micro_batch = (60, 100, 16) if options.quick else (240, 400, 32)
    training.text_tokens, training.masked = text_shape(mixed, training.micro_batch)
    (work / "sizes.txt").write_text("".join(f"{height} {width}\n" for height, width in sizes))
    some, epoch = (3 if options.quick else 12), count // per_step
    more = ["--short-side", training.short, "--long-side", training.long, "--sizes", work / "sizes.txt",
            "--images", per_step // 2]

    def seconds(run):
        return statistics.mean(run["step"][SKIPPED_STEPS:])  # steps differ in their images

    for precision in options.precisions:
        ours, same_shape, reference = [], [], []
        for _ in range(options.rounds):
            training.shards, training.steps = mixed, epoch
            ours.append(seconds(training.ours(precision)))
            training.shards, training.steps = cropped, some
            same_shape.append(seconds(training.ours(precision)))
            reference.append(seconds(training.reference(precision, more=more)))
        report.add(f"photos: mixed against cropped to 4:3, {precision}", "s", ours, same_shape, "<= 1.08")
        report.add(f"photos: against padding in random order, {precision}", "s", ours, reference, "<= 0.62")


def tree(report, options, work):
    model = ["resnet18", 2, 128, 128] if options.quick else ["resnet50", 12, 768, 256]
    for micro_batches, goal in ((1, "<= 1.01"), (2, "<= 1.01"), (8, "<= 1.03")):
        lines = numbers([BUILD / "bin/benchmark_tree", *model, micro_batches, options.rounds], CORES[:1])
        ours, fold = map(list, zip(*lines))
        report.add(f"tree, forward and backward, micro-batches: {micro_batches}", "s", ours, fold, goal)


def saving(report, options, work):
    """Both save after each fifth step. Ours is waited for when it begins, and before the update of the next step."""
    training = Pretraining(options, work)
    every, training.steps = (2, 6) if options.quick else (5, 12)
    saves = range(every, training.steps - 1, every)  # the last step of ours ends with a save that is waited for
    stalls, reference, added = [], [], []
    for _ in range(options.rounds):
        ours = training.ours("float32", every)
        waits = [phases["checkpoint"] for phases in ours["phases"]]
        stalls.append(statistics.median(waits[step - 1] + waits[step] for step in saves))
        others = [ours["step"][i] for i in range(SKIPPED_STEPS, training.steps) if i not in saves]
        beside = [ours["step"][step] + waits[step] for step in saves]
        added.append(statistics.mean(beside) / statistics.median(others) - 1)
        stalled = training.reference("float32", every)["stalled"]
        reference.append(statistics.median(stalled[step - 1] for step in saves))
    report.add("training stands for a save", "s", stalls, reference, "<= 0.05",
               added_to_the_step_beside=[round(share, 4) for share in added])


def read(report, options, work):
    copies = 2 if options.quick else 40  # 40 x 6.5 MB: more than the caches hold
    captions = json.loads((COCO / "captions_train2017.json").read_text())
    folder = work / "images"
    folder.mkdir()
    images, annotations = [], []
    for copy in range(copies):
        for image in captions["images"]:
            name = f"{copy:02}-{image['file_name']}"
            (folder / name).symlink_to(COCO / "images" / image["file_name"])
            images.append(image | {"id": len(images), "file_name": name})
            annotations.append({"image_id": images[-1]["id"], "id": len(annotations), "caption": "an image"})
    (work / "captions.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    shards = shard("coco", work / "read", "--captions", work / "captions.json", "--images", folder)

    lines = numbers([BUILD / "bin/benchmark_read", shards, 4 * options.rounds])
    ours, raw, into_new = map(list, zip(*lines))
    report.add("reading a shard, 2 threads, checksums verified", "MB/s", ours, raw, ">= 0.9",
               reference_into_new_memory=into_new)


def retrieval(report, options, work):
    backbone, layers, hidden, side = ("resnet18", 2, 128, 128) if options.quick else ("resnet50", 12, 768, 800)
    captions = json.loads((COCO / "captions_train2017.json").read_text())
    image = captions["images"][0]
    # In COCO's 1K test, an image is scored with 5,000 texts; here with the first hundred.
    texts = [{**annotation, "image_id": image["id"]} for annotation in captions["annotations"][:100]]
    (work / "captions.json").write_text(json.dumps({"images": [image], "annotations": texts}))
    shards = shard("coco", work / "retrieval", "--captions", work / "captions.json", "--images", COCO / "images")
    lines = numbers([BUILD / "bin/benchmark_retrieval", shards, VOCABULARY, backbone, layers, hidden, side, options.rounds],
                    CORES[:1])
    ours, loop = map(list, zip(*lines))
    report.add("retrieval, pairs scored", "pairs/s", ours, loop, ">= 5")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=" ".join(ROWS) + "; default all")
    parser.add_argument("--rounds", type=int, help="runs of each side (5)")
    parser.add_argument("--precision", type=precision, help="of step, start, memory and photos (both)")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/benchmarks.json", help="all numbers, as JSON")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round: does it work?")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no row {', '.join(unknown)}: there are {', '.join(ROWS)}")
    options.rows = options.rows or ROWS
    options.precisions = [options.precision] if options.precision else ["float32", "bf16"] if HAS_BF16 else ["float32"]
    options.rounds = options.rounds or (1 if options.quick else 5)
    if not DATA.is_dir():
        sys.exit(f"expected real images and the vocabulary in {DATA}: set PIXELBERT_SHARED_DATA")

    programs = ["pixelbert"] + [f"benchmark_{name}" for name in ("loader", "allreduce", "tree", "read", "retrieval")
                                if name in options.rows]
    subprocess.run(["cmake", "--build", str(BUILD), "--target", *programs], check=True, stdout=subprocess.DEVNULL)
    (ROOT / "runs").mkdir(exist_ok=True)
    report = Report(options)
    for measure, rows in [(loader, ["loader"]), (allreduce, ["allreduce"]), (pretraining, ["step", "start", "memory"]),
                          (photos, ["photos"]), (tree, ["tree"]), (saving, ["save"]), (read, ["read"]),
                          (retrieval, ["retrieval"])]:
        if set(rows) & set(options.rows):
            with tempfile.TemporaryDirectory(dir=ROOT / "runs", prefix="benchmark-") as work:
                measure(report, options, Path(work))


main()
