"""Training has the same bits at any number of ranks."""

import functools
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

from support import (LOCAL, PIXELBERT, ROOT, check, check_same_weights, losses, make_scenes, metrics, pixelbert, pretrain, run_tests, start,
                     temporary_folder, wait_for)

COMMON = temporary_folder()  # for all tests
HAS_AVX512 = " avx512bw " in pathlib.Path("/proc/cpuinfo").read_text()
RANKS = (2, 3, 4, 6, 8)
TEN_STEPS = ("--train.steps", 10)
# 56 pairs a step in 7 or 8 micro-batches; about 190 pairs an epoch, so that its last step has 3 or 4.
SEVEN = ("--data.global-batch", 56, "--data.micro-batch", 8)
EIGHT = ("--data.global-batch", 56, "--data.micro-batch", 7)
STEPS = ("--train.steps", 5)  # the fourth is the short last one of an epoch


@functools.cache
def shards():
    return make_scenes(pathlib.Path(COMMON.name) / "shards", count=48)


def sha256(run):
    """Of weights, the statistics of BatchNorm, and the optimizer's moments."""
    latest = pathlib.Path(run) / "checkpoints" / "latest"
    return [hashlib.sha256((latest / name).read_bytes()).hexdigest()
            for name in ("model.safetensors", "optimizer.safetensors")]


@functools.cache
def of_one_rank(*options):
    run = pathlib.Path(COMMON.name) / f"one-{len(list(pathlib.Path(COMMON.name).iterdir()))}"
    pixelbert(*pretrain(run, shards(), *options))
    return run


def check_same_bits(run, what, *options):
    one = of_one_rank(*options)
    check(losses(one) == losses(run), f"{what}: losses {losses(run)}, of one rank {losses(one)}")
    check_same_weights(one, run, what)
    check(sha256(one) == sha256(run), f"{what}: files {sha256(run)}, of one rank {sha256(one)}")


def check_at_all_ranks(folder, *options):
    for ranks in RANKS:
        run = folder / f"ranks-{ranks}"
        pixelbert(*pretrain(run, shards(), *STEPS, *options), ranks=ranks)
        check_same_bits(run, f"{ranks} ranks", *STEPS, *options)
    steps = [line["samples"] - before for before, line in
             zip([0, *(line["samples"] for line in metrics(run))], metrics(run), strict=False)]
    check(min(steps) < max(steps) == 56, f"expected epochs with a short last step, found steps of {steps}")


def test_seven_micro_batches(folder):
    check_at_all_ranks(folder, *SEVEN)


def test_eight_micro_batches(folder):
    check_at_all_ranks(folder, *EIGHT)


def test_seven_micro_batches_in_bfloat16(folder):
    check_at_all_ranks(folder, *SEVEN, "--train.precision", "bf16")


def test_eight_micro_batches_in_bfloat16(folder):
    check_at_all_ranks(folder, *EIGHT, "--train.precision", "bf16")


def test_bfloat16_is_float32_where_the_processor_has_no_avx512(folder):
    runs = [of_one_rank(*STEPS, *SEVEN, *precision) for precision in ((), ("--train.precision", "bf16"))]
    check((sha256(runs[0]) == sha256(runs[1])) == (not HAS_AVX512), f"AVX-512: {HAS_AVX512}, {losses(runs[0])}, {losses(runs[1])}")


def test_small_buckets(folder):
    run = folder / "run"
    pixelbert(*pretrain(run, shards(), *STEPS, *SEVEN, "--comm.bucket-mib", 1), ranks=3)
    check_same_bits(run, "3 ranks with buckets of 1 MiB", *STEPS, *SEVEN)


def test_two_hosts(folder):
    for per_host, options in ((1, (*STEPS, *SEVEN)), (2, (*STEPS, *EIGHT, "--train.precision", "bf16"))):
        run = folder / f"two-hosts-{per_host}"
        subprocess.run([ROOT / "tests/mpi/two_hosts.sh", "pixelbert", *map(str, pretrain(run, shards(), *options))],
                       check=True, env=dict(os.environ, PIXELBERT_TWO_HOSTS_RANKS=str(per_host)))
        check_same_bits(run, f"two hosts of {per_host} ranks", *options)


def test_killed_and_resumed_on_other_numbers_of_ranks(folder):
    run = folder / "run"
    for ranks in (1, 3, 8):
        done = len(metrics(run)) if run.exists() else 0
        process = start(*pretrain(run, shards(), *TEN_STEPS, *EIGHT, "--checkpoint.every-steps", 1), ranks=ranks,
                        faults="sleep-reduce@*")  # or a fast machine is through too soon
        wait_for(lambda: (run / "metrics.jsonl").exists() and len(metrics(run)) >= done + 2, f"two steps on {ranks} ranks")
        time.sleep(0.3)
        subprocess.run(["pkill", "-KILL", "-f", str(run)], check=False)
        process.communicate(timeout=60)
    check(6 <= len(metrics(run)) < 10, f"killed three times within the run, found {len(metrics(run))} steps")
    pixelbert(*pretrain(run, shards(), *TEN_STEPS, *EIGHT), ranks=2)
    check_same_bits(run, "1, 3, 8 and 2 ranks", *TEN_STEPS, *EIGHT)


def test_a_rank_that_computes_other_last_bits(folder):
    """It is named, and refused if asked."""
    if HAS_AVX512:
        limits, why = "ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2", "AVX2 instead of"
    else:
        limits, why = "ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41", "DEFAULT instead of"
    other = f'[ "$OMPI_COMM_WORLD_RANK" != 1 ] || export {limits}; exec "$0" "$@"'
    command = [LOCAL, "-n", "2", "bash", "-c", other, PIXELBERT]
    run = folder / "run"
    warned = subprocess.run([*command, *map(str, pretrain(run, shards(), *SEVEN, "--train.steps", 1))],
                            capture_output=True, text=True)
    output = warned.stderr
    check(warned.returncode == 0, f"exit status {warned.returncode}:\n{output}")
    check("rank 1 on " in output and "differs from rank 0 on" in output and why in output,
          f"names the rank and its instructions:\n{output}")
    refused = subprocess.run([*command, *map(str, pretrain(folder / "refused", shards(), "--train.same-numerics", "true"))],
                             capture_output=True, text=True)
    check(refused.returncode == 1 and "--train.same-numerics: rank 1 on " in refused.stderr, refused.stderr)


def test_a_last_step_of_one_pair_whose_image_is_one_cell(folder):
    """BatchNorm then has one value per channel."""
    few = make_scenes(folder / "shards", count=5)
    pairs = json.loads((few / "manifest.json").read_text())["texts"]
    runs = [folder / "one", folder / "two"]
    for ranks, run in enumerate(runs, 1):
        pixelbert(*pretrain(run, few, "--image.short-side", 32, "--image.long-side", 32, "--data.global-batch",
                            pairs - 1, "--data.micro-batch", pairs // 2, "--train.epochs", 2), ranks=ranks)
    check(len(losses(runs[0])) == 4, f"4 steps, found {losses(runs[0])}")
    check(losses(runs[0]) == losses(runs[1]), f"losses {losses(runs[0])} and {losses(runs[1])}")
    check_same_weights(*runs, "1 and 2 ranks")


run_tests(sys.modules[__name__])
