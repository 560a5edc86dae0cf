"""pixelbert plan: compares its estimates with the run, and tests what it refuses."""

import glob
import json
import os
import re
import subprocess
import sys
import time

from support import PIXELBERT, SHARED_DATA, SMALL, check, finish, make_scenes, metrics, pixelbert, pretrain, run_tests, start

BATCH = ["--data.global-batch", 32, "--data.micro-batch", 16]
WORDS = SHARED_DATA / "bert-base-uncased-vocab/vocab.txt"


def plan(*arguments, expect=0, environment=None):
    """Runs `plan` alone, as on a login node. Returns (stdout, stderr)."""
    done = subprocess.run([PIXELBERT, "plan", *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, **(environment or {})})
    check(done.returncode == expect, f"exit code {done.returncode}, expected {expect}:\n{done.stdout}{done.stderr}")
    return done.stdout, done.stderr


def bytes_of(output, row):
    found = re.search(rf"^{row} +([\d.]+) (MB|GB)", output, re.M)
    check(found, f"a row '{row}':\n{output}")
    return float(found[1]) * (1e9 if found[2] == "GB" else 1e6)


def seconds_a_step(output):
    found = re.search(r"^time .*: ([\d.]+) (ms|s) a step", output, re.M)
    check(found, f"a time of a step:\n{output}")
    return float(found[1]) * (1e-3 if found[2] == "ms" else 1)


def peak_bytes(command, ranks):
    """Returns the most resident memory that any rank of a job has had (VmHWM)."""
    run = str(command[command.index("--run.dir") + 1]).encode()
    job = start(*command, ranks=ranks)
    peak = 0
    while job.poll() is None:
        for cmdline in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                words = open(cmdline, "rb").read().split(b"\0")
                if words[0] != PIXELBERT.encode() or run not in words:
                    continue
                status = open(cmdline.replace("cmdline", "status")).read()
            except OSError:
                continue  # it has just ended
            found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.M)
            peak = max(peak, int(found[1]) * 1024 if found else 0)
        time.sleep(0.05)
    finish(job)
    check(peak > 0, f"saw no rank of {command}")
    return peak


def check_memory(name, command, ranks=1):
    output, _ = plan("--ranks-per-node", ranks, *command[1:])
    planned, measured = bytes_of(output, "memory"), peak_bytes(command, ranks)
    print(f"{name}: planned {planned / 1e6:.0f} MB, measured {measured / 1e6:.0f} MB, ratio {planned / measured:.3f}",
          flush=True)
    check(0.85 <= planned / measured <= 1.15, f"{name}: within 15 %:\n{output}")


def test_memory_of_scenes(folder):
    shards = make_scenes(folder / "shards", 400)
    check_memory("small, 2 ranks", pretrain(folder / "a", shards, *BATCH, "--train.steps", 8), ranks=2)
    large = ["--image.short-side", 128, "--image.long-side", 128, "--data.global-batch", 64, "--data.micro-batch", 64]
    check_memory("bf16", pretrain(folder / "b", shards, *large, "--train.steps", 5, "--train.precision", "bf16"))
    bottleneck = ["--model.backbone", "resnet50", "--model.frozen-stages", 2, "--image.short-side", 224,
                  "--image.long-side", 224]
    check_memory("ResNet-50", pretrain(folder / "c", shards, *BATCH, *bottleneck, "--train.steps", 3))
    deep = ["--model.hidden", 512, "--model.layers", 6, "--model.heads", 8]
    check_memory("Transformer", pretrain(folder / "d", shards, *deep, "--data.global-batch", 64, "--data.micro-batch", 64,
                                         "--train.steps", 3))


def test_memory_of_vqa(folder):
    shards = folder / "shards"
    pixelbert("shard", "scenes", "--task", "vqa", "--out", shards, "--count", 300, "--seed", 1, "--size", 64)
    check_memory("VQA", ["finetune", "--task", "vqa", "--init", "none", *SMALL, "--run.dir", folder / "run",
                         "--data.shards", shards, "--model.hidden", 256, "--model.layers", 4, "--model.heads", 4,
                         "--data.global-batch", 64, "--data.micro-batch", 32, "--train.steps", 5])


def test_memory_of_photographs(folder):
    """With image sizes that vary."""
    photos = SHARED_DATA / "coco-train2017"
    check(photos.is_dir(), f"the real data is missing: expected it in {photos}")
    shards = folder / "shards"
    pixelbert("shard", "coco", "--captions", photos / "captions_train2017.json", "--images", photos, "--out", shards,
              "--max-bad", 1000000)
    size = ["--model.backbone", "resnet50", "--model.frozen-stages", 2, "--image.short-side", 128, "--image.long-side", 213]
    check_memory("photographs", pretrain(folder / "run", shards, *BATCH, *size, "--text.vocab", WORDS, "--train.steps", 24))


def test_arithmetic(folder):
    shards = make_scenes(folder / "shards")  # 96 images, 384 texts
    command = pretrain(folder / "run", shards, "--data.global-batch", 100, "--data.micro-batch", 25, "--train.epochs", 3)[1:]
    output, _ = plan("--nodes", 3, "--ranks-per-node", 2, *command)
    for text in ("6 ranks: 3 nodes with 2 ranks", "100 pairs in 4 micro-batches of 25: 0 to 1 on a rank",
                 "2 of 6 ranks have none", "384 pairs in 4 steps, the last one of 84 pairs on 4 ranks",
                 "12 steps, 3.00 epochs", "assumed for"):
        check(text in output, f"'{text}':\n{output}")
    output, _ = plan("--gpus-per-node", 4, "--train.precision", "bf16", *command, "--train.device", "auto")
    check("1 node with 4 GPUs each" in output and bytes_of(output, "GPU") > 1e9, output)
    images = re.search(r"a rank takes ([\d.e+-]+) images/s while", output)
    copied = re.search(r"about ([\d.e+-]+) GB/s to copy to each GPU", output)
    check(images and copied and abs(float(copied[1]) / (float(images[1]) * 3 * 64 * 64 / 1e9) - 1) < 0.02, output)


def test_a_checkpoint_has_the_size_that_was_planned_and_a_resumed_run_what_is_left(folder):
    command = pretrain(folder / "run", make_scenes(folder / "shards"), *BATCH, "--train.steps", 4)
    output, _ = plan(*command[1:])
    found = re.search(r"a checkpoint is ([\d.]+) MB", output)
    pixelbert(*command)
    saved = sum(file.stat().st_size for file in (folder / "run/checkpoints/latest").iterdir())
    check(abs(float(found[1]) * 1e6 / saved - 1) < 0.02, f"planned {found[1]} MB, {saved} bytes are there")
    output, _ = plan(*command[1:], "--train.steps", 10)
    check("10 steps" in output and "4 are done, 6 left" in output, output)


def test_every_problem_is_listed_at_once(folder):
    shards = make_scenes(folder / "shards")
    next(shards.glob("*.h5")).write_bytes(b"cut short")
    (folder / "file").write_text("")
    output, errors = plan(*pretrain(folder / "file" / "run", shards)[1:], "--nodes", 0, "--model.layerz", 3, "--optim.beta1", 2,
                          "--model.hidden", "wide", "--data.micro-batch", 0, "--data.shards", folder / "nowhere", "--out",
                          folder / "job.sbatch", "--calibration", folder / "none", "--train.device", "cuda",
                          environment={"PIXELBERT_ROOT": str(folder)}, expect=2)
    for problem in ("--nodes must be from 1 to 10000", "did you mean 'model.layers'?", "--optim.beta1", "wide",
                    "--data.micro-batch must be from 1", "nowhere", "shard-00000.h5", "--calibration",
                    "--train.device cuda needs GPUs"):
        check(problem in errors, f"'{problem}':\n{errors}")
    check(not (folder / "job.sbatch").exists(), "no file for sbatch")
    _, errors = plan(*pretrain(folder / "run", folder / "shards")[1:], "--init", folder / "none", expect=2)
    check("no checkpoint at" in errors and "shard-00000.h5" in errors, errors)


def test_numbers_of_nodes_and_ranks_have_limits(folder):
    job = pretrain(folder / "run", make_scenes(folder / "shards"), *BATCH)[1:]
    for option, number, most in (("--ranks-per-node", 0, 512), ("--nodes", 3_000_000_000, 10000)):
        _, errors = plan(*job, option, number, expect=2)
        check(f"{option} must be from 1 to {most}, found {number}" in errors, errors)


def test_a_disk_that_is_too_small_is_a_problem(folder):
    shards = make_scenes(folder / "shards")
    disk = folder / "disk"
    disk.mkdir()
    command = [PIXELBERT, "plan", *map(str, pretrain(disk / "run", shards, *BATCH)[1:])]
    small = 'mount -t tmpfs -o size=8m none "$0" && exec "$@"'
    done = subprocess.run(["unshare", "-m", "bash", "-c", small, disk, *command], capture_output=True, text=True)
    check(done.returncode == 2 and "needed for checkpoints" in done.stderr, done)
    read_only = 'mount -t tmpfs -o ro none "$0" && exec "$@"'
    done = subprocess.run(["unshare", "-m", "bash", "-c", read_only, disk, *command], capture_output=True, text=True)
    check(done.returncode == 2 and "cannot be written to" in done.stderr, done)


def test_the_file_for_sbatch_runs_the_job(folder):
    shards = make_scenes(folder / "shards")
    (folder / "slurm").mkdir()
    (folder / "slurm/job.sh").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    (folder / "slurm/job.sh").chmod(0o755)
    job = pretrain(folder / "a run", shards, *BATCH)[1:]
    out = folder / "job.sbatch"
    plan("--nodes", 2, "--gpus-per-node=4", *job, "--out", out, "--train.device", "auto",
         environment={"PIXELBERT_ROOT": str(folder)})
    script = out.read_text()
    for line in ("--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--cpus-per-task=", "--mem=", "--time=",
                 "--signal=B:USR1@", "--requeue", "--open-mode=append", "--output="):
        check(f"\n#SBATCH {line}" in script, f"{line}:\n{script}")
    (folder / "nodes.ini").write_text("nodes = 2\n")
    for more in ([], ["--nodes", 2]):
        _, errors = plan("--config", folder / "nodes.ini", *job, *more, "--out", folder / "other.sbatch",
                         environment={"PIXELBERT_ROOT": str(folder)}, expect=2)
        check("the job would refuse the key nodes of a --config file" in errors, errors)
    plan("--config", folder / "nodes.ini", *job)
    said = subprocess.run(["bash", out], capture_output=True, text=True, check=True).stdout
    check(said.splitlines() == ["pretrain", *map(str, job), "--train.device", "auto"], said)


def test_time_follows_from_an_earlier_run(folder):
    shards = make_scenes(folder / "shards")
    run = folder / "run"
    pixelbert(*pretrain(run, shards, *BATCH, "--train.steps", 16))
    steps = sorted(line["seconds"] - line["phase_seconds"]["checkpoint"] for line in metrics(run)[2:])
    other = pretrain(folder / "other", shards, "--data.micro-batch", 16)[1:]
    output, _ = plan(*other, "--data.global-batch", 32, "--calibration", run)
    predicted = seconds_a_step(output)
    # Medians of the phases need not add up to the median of the steps.
    check(0.7 < predicted / steps[len(steps) // 2] < 1.4, f"{predicted} s, measured {steps}")
    check("16 steps on 1 rank of" in output and "measured: when buckets" in output, output)
    stored = run / "calibration.json"
    speed = json.loads(stored.read_text())
    check(speed["flops_per_second"] > 1e6, speed)
    speed["updates_per_second"] = speed["exchange_per_second"] = 1e15  # then all is the work of the pairs
    stored.write_text(json.dumps(speed))
    once, twice = (seconds_a_step(plan(*other, "--data.global-batch", pairs, "--calibration", stored)[0])
                   for pairs in (64, 128))
    check(abs(twice / once / 2 - 1) < 0.1, f"twice the pairs: {once} s, {twice} s")
    halved = seconds_a_step(plan(*other, "--data.global-batch", 128, "--nodes", 2, "--network-gbit", 1e6, "--calibration",
                                 stored)[0])
    check(abs(halved / once - 1) < 0.1, f"twice the ranks: {twice} s, {halved} s")


def row_of(output, ranks):
    """Returns the numbers of a row of the table 'scaling' by their column, and its limit."""
    output = output[output.index("\nscaling"):]
    header = re.search(r"^ +(ranks +nodes .*?) +limit$", output, re.M)[1].split()
    row = re.search(rf"^ +({ranks} .*)$", output, re.M)
    check(row, f"a row of {ranks} ranks:\n{output}")
    words = re.sub(r"(\d) (ms|s|min)\b", r"\1\2", row[1].replace(" to ", "-")).split(maxsplit=len(header))
    return dict(zip(header, words)), words[len(header)]


def test_the_replay_says_what_limits_more_ranks(folder):
    command = pretrain(folder / "run", make_scenes(folder / "shards"), "--data.global-batch", 96, "--data.micro-batch", 3)[1:]
    nodes = ["--nodes", 2, "--ranks-per-node", 2, "--cores-per-node", 2]
    output, _ = plan(*nodes, "--network-gbit", 1000, *command)
    for ranks in (4, 8, 64, 512, 1024):
        row_of(output, ranks)
    row, limit = row_of(output, 512)
    check(row["micro-batches"] == "0-1" and limit == "480 ranks idle" and float(row["uneven"]) > 20, output)
    slow, limit = row_of(plan(*nodes, "--network-gbit", 0.01, *command)[0], 4)
    check(limit == "network" and float(slow["network"]) > 90 and float(slow["efficiency"]) < 0.1, slow)
    fast, limit = row_of(output, 4)
    check(limit == "compute" and float(fast["efficiency"]) > float(slow["efficiency"]), fast)
    check("given: a node's link has 1000 Gbit/s" in output and "assumed: buckets" in output, output)
    check("assumed: a round of messages takes 100 us" in output, output)
    images = re.search(r"a rank takes ([\d.e+-]+) images/s while", output)
    check(images and float(images[1]) > 0, output)
    late, _ = plan(*nodes, "--network-gbit", 1000, "--network-latency-us", 5000, *command)
    check("given: a round of messages takes 5000 us" in late, late)
    check(float(row_of(late, 64)[0]["network"]) > float(row_of(output, 64)[0]["network"]), f"{output}\n{late}")


def test_a_run_of_an_earlier_version_calibrates_too(folder):
    shards, run = make_scenes(folder / "shards"), folder / "run"
    pixelbert(*pretrain(run, shards, *BATCH, "--train.steps", 14), ranks=2)
    lines = metrics(run)
    check(all(line["bucket_ready"] and all(0 < share <= 1 for share in line["bucket_ready"]) and line["gather_seconds"] > 0
              for line in lines), lines[0])
    for line in lines:
        del line["bucket_ready"], line["gather_seconds"]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    output, _ = plan("--ranks-per-node", 2, *pretrain(folder / "other", shards, *BATCH)[1:], "--calibration", run)
    check("14 steps on 2 ranks" in output and "assumed: buckets of gradients become ready evenly" in output, output)


run_tests(sys.modules[__name__])
