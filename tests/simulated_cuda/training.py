"""The shipped program on simulated GPUs."""

import hashlib
import json
import os
import re
import sys

import device  # noqa: F401
from support import check, losses, make_scenes, metrics, pixelbert, pretrain, run_tests, weights

GPU = ["--train.device", "cuda"]
# 3 micro-batches a step: one rank adds them as (0 + 1) + 2, the second of two ranks has 1 and 2.
THREE = ["--data.global-batch", 24, "--data.micro-batch", 8, "--train.steps", 2]
SAVES = ["--checkpoint.every-steps", 1, "--checkpoint.keep", 9]
NO_DROPOUT = ["--model.dropout", 0]


def scenes(folder):
    return make_scenes(folder / "pairs", count=40)


def with_settings(work, **settings):
    os.environ.update(settings)
    try:
        return work()
    finally:
        for name in settings:
            del os.environ[name]


def sha256(run, step=None):
    folder = run / "checkpoints" / (f"step-{step:09d}" if step else "latest")
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in ("model.safetensors", "optimizer.safetensors")]


def check_near(one, other, most, what):
    """Losses and weights of a GPU and of a CPU, whose operators may round differently."""
    apart = [abs(a - b) / abs(b) for a, b in zip(losses(one), losses(other), strict=True)]
    check(max(apart) < most, f"{what}: losses {losses(one)} and {losses(other)}")
    norms = [[step["gradient_norm"] for step in metrics(run)] for run in (one, other)]
    apart = [abs(a - b) / abs(b) for a, b in zip(*norms, strict=True)]
    check(max(apart) < 3 * most, f"{what}: gradient norms {norms}")
    first, second = weights(one), weights(other)
    check(first.keys() == second.keys(), f"{what}: other names")
    apart = max((tensor.double() - second[name].double()).abs().max().item() for name, tensor in first.items())
    check(apart < most, f"{what}: a weight differs by {apart:.3g}")


def test_the_device_is_found(_):
    output = pixelbert("--version")
    check("CUDA 13.0, NCCL 2." in output and "4 devices: simulated GPU (4 GiB)," in output, output)


def test_training_has_the_same_bits_on_1_2_and_3_gpus_and_resumes(folder):
    shards = scenes(folder)
    runs = {}
    for ranks in (1, 2, 3):
        runs[ranks] = folder / f"ranks-{ranks}"
        delay = "200" if ranks > 1 else "0"  # kernels begin late, so that a missing order is seen
        output = with_settings(lambda: pixelbert(*pretrain(runs[ranks], shards, *THREE, *SAVES, *GPU), ranks=ranks),
                               SIMULATED_DELAY_US=delay)
        check(" on cuda:0: " in output and "in the last bits of its results" not in output, output)
        for step in (1, 2):  # each was saved while the next step computed
            check(sha256(runs[ranks], step) == sha256(runs[1], step), f"{ranks} GPUs: other bits at step {step}")
        check(losses(runs[ranks]) == losses(runs[1]), f"{ranks} GPUs: {losses(runs[ranks])}, one: {losses(runs[1])}")
    resumed = folder / "resumed"
    for steps, ranks in ((1, 3), (2, 2)):
        pixelbert(*pretrain(resumed, shards, *THREE, "--train.steps", steps, *GPU), ranks=ranks)
    check(sha256(resumed) == sha256(runs[1]), "resumed on another number of GPUs: other bits")


def test_pretraining_equals_the_cpu(folder):
    shards = scenes(folder)
    for precision, steps, most in (("float32", 2, 1e-4), ("bf16", 1, 3e-2)):
        options = [*THREE, "--train.steps", steps, *NO_DROPOUT, "--train.precision", precision]
        gpu, cpu = folder / f"gpu-{precision}", folder / f"cpu-{precision}"
        pixelbert(*pretrain(gpu, shards, *options, *GPU))
        pixelbert(*pretrain(cpu, shards, *options))
        check_near(gpu, cpu, most, precision)


def test_every_task_equals_the_cpu(folder):
    start = folder / "start"
    pixelbert(*pretrain(start, scenes(folder), *THREE, "--train.steps", 1, *NO_DROPOUT))
    for task, gpus in (("vqa", 3), ("nlvr2", 2), ("retrieval", 3)):
        shards, runs, scores = folder / f"{task}-shards", {}, []
        pixelbert("shard", "scenes", "--task", "pairs" if task == "retrieval" else task, "--out", shards, "--count", 12,
                  "--seed", 1, "--size", 64)
        for device, ranks in (("cuda", gpus), ("cpu", 1)):
            runs[device] = folder / f"{task}-{device}"
            pixelbert("finetune", "--task", task, "--init", start, "--data.shards", shards, "--run.dir", runs[device],
                      *THREE, *NO_DROPOUT, "--finetune.head-dropout", 0, "--train.threads", 1,
                      "--data.threads", 1, "--checkpoint.every-steps", 0, "--train.device", device,
                      *(["--retrieval.negatives", 5] if task == "retrieval" else []), ranks=ranks)
        check_near(runs["cuda"], runs["cpu"], 1e-4, task)
        for device, ranks in (("cuda", gpus), ("cpu", 1)):  # of the same weights
            out = folder / f"{device}.json"
            pixelbert("evaluate", "--checkpoint", runs["cuda"], "--data.shards", shards, "--out", out,
                      "--train.threads", 1, "--train.device", device, ranks=ranks)
            scores.append(json.loads(out.read_text())["metrics"])
        apart = [abs(scores[0][name] - value) for name, value in scores[1].items()]
        check(max(apart) < 0.05, f"{task}: {scores}")


def test_out_of_memory_is_one_line(folder):
    command = pretrain(folder / "run", scenes(folder), *THREE, *GPU)
    output = with_settings(lambda: pixelbert(*command, expect=1), SIMULATED_GPU_BYTES=str(100 << 20))
    lines = [line for line in output.splitlines() if " info " not in line]
    check(len(lines) == 1 and "CUDA out of memory" in lines[0] and "--data.micro-batch" in lines[0], output)


def test_more_ranks_than_gpus(folder):
    command = pretrain(folder / "run", scenes(folder), *THREE, "--train.steps", 1)
    why = "2 ranks for 1 GPUs, and each rank needs its own: start at most 1 on this host"
    output = with_settings(lambda: pixelbert(*command, *GPU, ranks=2, expect=1), SIMULATED_GPUS="1")
    check(output.count(why) == 1 and "--train.device cuda on" in output, output)
    output = with_settings(lambda: pixelbert(*command, "--train.device", "auto", ranks=2), SIMULATED_GPUS="1")
    check(output.count(why) == 1 and "using the CPU" in output and " on cpu: " in output, output)


def test_doctor_measures_gpus(_):
    output = pixelbert("doctor", *GPU, ranks=2)
    check("cuda:0" in output, output)
    for line in (r"all-reduce +rank 0 +[\d.]+ GB/s", r"peak +all ranks +float32 [\d.]+ .*bf16 [\d.]+ .*FLOP/s",
                 r"copies +all ranks +at least [\d.]+ GB/s"):
        check(re.search(line, output), f"expected {line}:\n{output}")


def test_the_host_seldom_waits_for_the_device(folder):
    """Counts how often in a step, from runs that differ in steps and micro-batches."""
    shards, counts = scenes(folder), []
    for micro_batches, steps in ((1, 1), (1, 2), (3, 2)):
        run, file = folder / f"run-{len(counts)}", folder / f"waits-{len(counts)}"
        with_settings(lambda: pixelbert(*pretrain(run, shards, "--data.global-batch", 8 * micro_batches, "--data.micro-batch",
                                                  8, "--train.steps", steps, *GPU)), SIMULATED_WAITS=str(file))
        counts.append(int(file.read_text()))
    of_micro_batch = (counts[2] - counts[1]) / 4
    once = counts[1] - counts[0] - of_micro_batch
    print(f"the host waits for the device {of_micro_batch:g} times a micro-batch and {once:g} times a step")
    check(of_micro_batch == 0 and once == 2, counts)

    start, counts = folder / "run-0", []
    for micro_batches in (1, 3):
        file = folder / f"retrieval-waits-{micro_batches}"
        with_settings(lambda: pixelbert("finetune", "--task", "retrieval", "--init", start, "--data.shards", shards,
                                        "--run.dir", folder / f"retrieval-{micro_batches}", "--data.global-batch",
                                        8 * micro_batches, "--data.micro-batch", 8, "--train.steps", 1,
                                        "--retrieval.negatives", 5, "--data.threads", 1, *GPU), SIMULATED_WAITS=str(file))
        counts.append(int(file.read_text()))
    check(counts[0] == counts[1], f"retrieval waits in each micro-batch: {counts}")


def test_phases_are_those_of_the_device(folder):
    """The host puts forward, backward and the update on the stream at once, and waits at the end."""
    run, shards = folder / "run", scenes(folder)
    with_settings(lambda: pixelbert(*pretrain(run, shards, *THREE, *GPU)), SIMULATED_DELAY_US="200")
    pixelbert(*pretrain(folder / "saves", shards, *THREE, *SAVES, *GPU), ranks=2)
    for step in metrics(run):
        phases = step["phase_seconds"]
        check(abs(sum(phases.values()) - step["seconds"]) < 1e-6, step)
        check(min(phases.values()) >= 0 and 0 < step["gather_seconds"] <= phases["reduce_wait"] + 1e-6, step)
        for phase, least in (("forward", 0.02), ("backward", 0.02), ("optimizer", 0.003)):  # 0.1 ms of delay a kernel
            check(phases[phase] > least, f"{phase}: {step}")
        check(phases["reduce_wait"] < 0.3 * step["seconds"], f"the host's wait at the end is divided: {step}")
    for step in metrics(folder / "saves"):
        phases = step["phase_seconds"]
        check(abs(sum(phases.values()) - step["seconds"]) < 1e-6 and min(phases.values()) >= 0, step)
        check(0 < step["gather_seconds"] <= phases["reduce_wait"] + 1e-6, step)


def test_a_step_that_is_not_finite_changes_nothing(folder):
    """The device decides before the host knows. Also the moments and BatchNorm's statistics stay."""
    shards, runs = scenes(folder), {}
    for ranks in (1, 2):
        runs[ranks] = folder / f"ranks-{ranks}"
        pixelbert(*pretrain(runs[ranks], shards, *THREE, *SAVES, *GPU), ranks=ranks, faults="nan-gradient@1/0")
        check([step.get("skipped") for step in metrics(runs[ranks])] == [None, "not_finite"], metrics(runs[ranks]))
        check(sha256(runs[ranks], 1) == sha256(runs[ranks], 2), f"{ranks} GPUs: the step has changed something")
    check(sha256(runs[1]) == sha256(runs[2]), "other bits on two GPUs")


run_tests(sys.modules[__name__])
