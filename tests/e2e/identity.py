"""Training has the same bits at any number of ranks."""

import functools
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

from support import (LOCAL, PIXELBERT, ROOT, check, check_same_weights, kill_ranks, losses, make_scenes, metrics, pixelbert, pretrain,
                     run_tests, start, temporary_folder, wait_for)

COMMON = temporary_folder()  # for all tests
HAS_AVX512 = " avx512bw " in pathlib.Path("/proc/cpuinfo").read_text()
RANKS = (2, 3, 4, 6, 8)
TEN_STEPS = ("--train.steps", 10)
# 56 pairs a step in 7 or 8 micro-batches. An epoch has two steps: the second one has 3 micro-batches where a full one has 7,
# and 1 where it has 8, which leaves ranks without any.
SEVEN = ("--data.global-batch", 56, "--data.micro-batch", 8)
EIGHT = ("--data.global-batch", 56, "--data.micro-batch", 7)
IMAGES = {SEVEN: 20, EIGHT: 15}  # with four pairs each
STEPS = ("--train.steps", 3)


@functools.cache
def shards(batches):
    return make_scenes(pathlib.Path(COMMON.name) / f"shards-{IMAGES[batches]}", count=IMAGES[batches])


def training(run, batches, *options):
    return pretrain(run, shards(batches), *batches, *options)


def sha256(run):
    """Of weights, the statistics of BatchNorm, and the optimizer's moments."""
    latest = pathlib.Path(run) / "checkpoints" / "latest"
    return [hashlib.sha256((latest / name).read_bytes()).hexdigest()
            for name in ("model.safetensors", "optimizer.safetensors")]


@functools.cache
def of_one_rank(batches, *options):
    run = pathlib.Path(COMMON.name) / f"one-{len(list(pathlib.Path(COMMON.name).iterdir()))}"
    pixelbert(*training(run, batches, *options))
    return run


def check_same_bits(run, what, batches, *options):
    one = of_one_rank(batches, *options)
    check(losses(one) == losses(run), f"{what}: losses {losses(run)}, of one rank {losses(one)}")
    check_same_weights(one, run, what)
    check(sha256(one) == sha256(run), f"{what}: files {sha256(run)}, of one rank {sha256(one)}")


def check_at_all_ranks(folder, batches, *options, numbers_of_ranks=RANKS):
    for ranks in numbers_of_ranks:
        run = folder / f"ranks-{ranks}"
        pixelbert(*training(run, batches, *STEPS, *options), ranks=ranks)
        check_same_bits(run, f"{ranks} ranks", batches, *STEPS, *options)
    steps = [line["samples"] - before for before, line in
             zip([0, *(line["samples"] for line in metrics(run))], metrics(run), strict=False)]
    check(min(steps) < max(steps) == 56, f"expected epochs with a short last step, found steps of {steps}")


def test_seven_micro_batches(folder):
    check_at_all_ranks(folder, SEVEN)


def test_eight_micro_batches(folder):
    check_at_all_ranks(folder, EIGHT)


# Without AVX-512 they repeat the trainings in float32, as the test after them shows: then one is enough.
RANKS_IN_BF16 = RANKS if HAS_AVX512 else (3,)


def test_seven_micro_batches_in_bfloat16(folder):
    check_at_all_ranks(folder, SEVEN, "--train.precision", "bf16", numbers_of_ranks=RANKS_IN_BF16)


def test_eight_micro_batches_in_bfloat16(folder):
    check_at_all_ranks(folder, EIGHT, "--train.precision", "bf16", numbers_of_ranks=RANKS_IN_BF16)


def test_bfloat16_is_float32_where_the_processor_has_no_avx512(folder):
    runs = [of_one_rank(SEVEN, *STEPS, *precision) for precision in ((), ("--train.precision", "bf16"))]
    check((sha256(runs[0]) == sha256(runs[1])) == (not HAS_AVX512), f"AVX-512: {HAS_AVX512}, {losses(runs[0])}, {losses(runs[1])}")


def test_small_buckets(folder):
    run = folder / "run"
    pixelbert(*training(run, SEVEN, *STEPS, "--comm.bucket-mib", 1), ranks=3)
    check_same_bits(run, "3 ranks with buckets of 1 MiB", SEVEN, *STEPS)


def test_two_hosts(folder):
    for per_host, options in ((1, (SEVEN, *STEPS)), (2, (EIGHT, *STEPS, "--train.precision", "bf16"))):
        run = folder / f"two-hosts-{per_host}"
        subprocess.run([ROOT / "tests/mpi/two_hosts.sh", "pixelbert", *map(str, training(run, *options))],
                       check=True, env=dict(os.environ, PIXELBERT_TWO_HOSTS_RANKS=str(per_host)))
        check_same_bits(run, f"two hosts of {per_host} ranks", *options)


def test_killed_and_resumed_on_other_numbers_of_ranks(folder):
    run = folder / "run"
    for ranks in (1, 3, 8):
        done = len(metrics(run)) if run.exists() else 0
        process = start(*training(run, EIGHT, *TEN_STEPS, "--checkpoint.every-steps", 1), ranks=ranks,
                        faults="sleep-reduce@*")  # or a fast machine is through too soon
        wait_for(lambda: (run / "metrics.jsonl").exists() and len(metrics(run)) >= done + 2, f"two steps on {ranks} ranks")
        time.sleep(0.3)
        kill_ranks(run)
        process.communicate(timeout=60)
        check(process.returncode == (137 if ranks > 1 else -9), f"the launcher of {ranks} ranks ended with {process.returncode}")
    check(6 <= len(metrics(run)) < 10, f"killed three times within the run, found {len(metrics(run))} steps")
    pixelbert(*training(run, EIGHT, *TEN_STEPS), ranks=2)
    check_same_bits(run, "1, 3, 8 and 2 ranks", EIGHT, *TEN_STEPS)


def test_a_rank_that_computes_other_last_bits(folder):
    """It is named, and refused if asked."""
    if HAS_AVX512:
        limits, why = "ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2", "AVX2 instead of"
    else:
        limits, why = "ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41", "DEFAULT instead of"
    other = f'[ "$OMPI_COMM_WORLD_RANK" != 1 ] || export {limits}; exec "$0" "$@"'
    command = [LOCAL, "-n", "2", "bash", "-c", other, PIXELBERT]
    run = folder / "run"
    warned = subprocess.run([*command, *map(str, training(run, SEVEN, "--train.steps", 1))],
                            capture_output=True, text=True)
    output = warned.stderr
    check(warned.returncode == 0, f"exit status {warned.returncode}:\n{output}")
    check("rank 1 on " in output and "differs from rank 0 on" in output and why in output,
          f"names the rank and its instructions:\n{output}")
    refused = subprocess.run([*command, *map(str, training(folder / "refused", SEVEN, "--train.same-numerics", "true"))],
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
