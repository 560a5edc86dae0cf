"""The checks of run.sh, which starts this: correctness against the CPU of the same machine, then memory and speed.

    checks.py BUNDLE OUT

Each check has a time limit, and none stops the next. OUT gets table.txt, log.txt (each command with its output) and
metrics.jsonl (of all runs). Needs only Python's own library.
"""

import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

BUNDLE, OUT = (pathlib.Path(folder).resolve() for folder in sys.argv[1:])
PROGRAM = os.environ["PIXELBERT"]
QUICK = "PIXELBERT_QUICK" in os.environ
SLOWER = 4 if QUICK else 1  # a simulated GPU, and a processor that may not know bfloat16
SECONDS = 570 * SLOWER  # all together: a borrowed machine may be lent for ten minutes
PORT = 9417
GPU = ["--train.device", "cuda"]
# Three micro-batches a step; no dropout, whose random numbers differ between devices.
TINY = ["--data.global-batch", 24, "--data.micro-batch", 8, "--checkpoint.every-steps", 0, "--optim.warmup-steps", 0]
PRETRAIN = ["pretrain", "--config", BUNDLE / "configs/tiny.ini", "--data.shards", BUNDLE / "data/pairs", *TINY,
            "--train.mlm-epochs", 0]
R50 = ["pretrain", "--config", BUNDLE / "configs/pretrain-r50.ini", "--data.shards", BUNDLE / "data/coco", "--text.vocab",
       BUNDLE / "data/vocab.txt", "--data.global-batch", 64, "--checkpoint.every-minutes", 0, *GPU]
if QUICK:
    R50 += ["--model.backbone", "resnet18", "--model.layers", 1, "--model.hidden", 64, "--model.heads", 2, "--image.short-side", 64,
            "--image.long-side", 64]
SPEED_STEPS = 3 if QUICK else 20

began = time.monotonic()
scratch = tempfile.TemporaryDirectory(prefix="pixelbert-gpu-")  # for runs, whose checkpoints are large
RUNS = pathlib.Path(scratch.name)


class Failed(Exception):
    pass


def require(condition, message):
    if not condition:
        raise Failed(message)


def run(*words, limit, expect=0, environment=None):
    """Returns what a command printed."""
    words = [str(word) for word in words]
    limit = min(limit * SLOWER, SECONDS - (time.monotonic() - began))
    require(limit > 1, f"no time left: all checks have {SECONDS} s")
    with tempfile.TemporaryFile("w+", errors="replace") as file:
        try:
            code = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, timeout=limit,
                                  env={**os.environ, **(environment or {})}).returncode
        except subprocess.TimeoutExpired:
            code = None
        file.seek(0)
        output = file.read()
    with open(OUT / "log.txt", "a") as log:
        log.write(f"$ {' '.join(words)}\n{output}ended with {code}\n\n")
    require(code is not None, f"still ran after {limit:.0f} s: {' '.join(words)}")
    require(code == expect, f"ended with {code}: {' '.join(words)}: {(output.strip().splitlines() or [''])[-1]}")
    return output


def train(name, *words, limit, expect=0, environment=None):
    """Returns the run folder of a training, and its output."""
    return RUNS / name, run(PROGRAM, *words, "--run.dir", RUNS / name, limit=limit, expect=expect, environment=environment)


def steps_of(folder):
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    with open(OUT / "metrics.jsonl", "a") as file:
        file.writelines(json.dumps({"run": folder.name, **step}) + "\n" for step in steps)
    return steps


def weights(folder):
    return hashlib.sha256((folder / "checkpoints/latest/model.safetensors").read_bytes()).hexdigest()


def machine():
    if shutil.which("nvidia-smi"):
        run("nvidia-smi", limit=20)
    version = run(PROGRAM, "--version", limit=30)
    missing = [line.strip() for name in ("pixelbert-program", "libpixelbert_cuda.so")
               for line in run("ldd", BUNDLE / "bin" / name, limit=20).splitlines() if "not found" in line]
    require(not missing, f"missing libraries: {missing}")
    cuda = re.search(r"^CUDA .*", version, re.M)[0]
    require(re.search(r"\d devices?", cuda), cuda)
    return f"{cuda}; {os.cpu_count()} cores"


def attention():
    try:
        subprocess.run([sys.executable, "-c", "import torch; assert torch.cuda.is_available()"], check=True,
                       stderr=subprocess.DEVNULL, timeout=60)
    except subprocess.SubprocessError:
        return "not measured: this Python has no torch that sees a GPU"
    return run(sys.executable, BUNDLE / "attention.py", limit=60).split("\n", 1)[1].strip()


def doctor():
    output = run(PROGRAM, "doctor", *GPU, limit=60)
    lines = [" ".join(line.split()) for line in output.splitlines() if re.search(r"peak|copies", line)]
    require(len(lines) >= 2, f"expected a line of the peak and one of copies, found {lines}")
    return "\n".join(lines)


@functools.cache
def of_one_step():
    return train("start", *PRETRAIN, "--train.device", "cpu", "--train.steps", 1, limit=60)[0]


def objective(task, precision, most, *options):
    """Three steps on the GPU and on the CPU, from the same weights."""
    words = [*PRETRAIN, *options]
    if task != "pretrain":
        start = of_one_step()
        shards = BUNDLE / "data" / ("pairs" if task == "retrieval" else task)
        words = ["finetune", "--task", task, "--init", start, "--data.shards", shards, *TINY, "--finetune.head-dropout", 0,
                 *(["--retrieval.negatives", 5] if task == "retrieval" else [])]
    values = {}
    for device in ("cuda", "cpu"):
        folder, _ = train(f"{task}{len(options)}-{precision}-{device}", *words, "--train.steps", 3, "--train.precision", precision,
                          "--train.device", device, limit=60)
        values[device] = [(step["loss"], step["gradient_norm"]) for step in steps_of(folder)]
    apart = [max(abs(a[i] - b[i]) / abs(b[i]) for a, b in zip(values["cuda"], values["cpu"], strict=True)) for i in (0, 1)]
    require(apart[0] <= most, f"losses differ by up to {apart[0]:.1e}, allowed {most}: {values}")
    require(apart[1] <= 10 * most, f"gradient norms differ by up to {apart[1]:.1e}, allowed {10 * most}: {values}")
    return f"losses within {apart[0]:.1e}, gradient norms within {apart[1]:.1e}"


def resume():
    options = [*PRETRAIN, *GPU, "--train.deterministic-algorithms", "true", "--train.precision", "float32" if QUICK else "bf16"]
    whole, _ = train("whole", *options, "--train.steps", 4, limit=60)
    again, _ = train("again", *options, "--train.steps", 4, limit=60)
    train("resumed", *options, "--train.steps", 2, limit=60)
    resumed, output = train("resumed", *options, "--train.steps", 4, limit=60)
    require("resuming from" in output, "the run did not resume")
    require(weights(whole) == weights(again), "two runs with deterministic kernels have other bits")
    require(weights(whole) == weights(resumed), "a resumed run with deterministic kernels has other bits")
    return "same bits: twice, and resumed"


def use():
    """Evaluates and predicts on both devices."""
    folder, scores, matches = of_one_step(), [], []
    for device in ("cuda", "cpu"):
        out = RUNS / f"evaluate-{device}.json"
        run(PROGRAM, "evaluate", "--task", "pretrain", "--checkpoint", folder, "--data.shards", BUNDLE / "data/pairs", "--out", out,
            "--train.device", device, limit=60)
        scores.append(json.loads(out.read_text())["metrics"])
        output = run(PROGRAM, "predict", "--checkpoint", folder, "--image", BUNDLE / "data/pairs/example.jpg", "--text", "a [MASK]",
                     "--train.device", device, limit=60)
        matches.append(float(re.search(r"^match ([\d.]+)$", output, re.M)[1]))
    apart = {name: abs(scores[0][name] - value) for name, value in scores[1].items()}
    # A score at the edge of a decision may fall on its other side.
    require(all(most <= (1e-3 if "loss" in name else 0.02) for name, most in apart.items()), f"scores differ: {scores}")
    require(abs(matches[0] - matches[1]) <= 0.01, f"predicted matches differ: {matches}")
    return f"scores within {max(apart.values()):.1e}"


def sanitizer():
    tool = shutil.which("compute-sanitizer")
    if not tool:
        return "not measured: no compute-sanitizer"
    output = run(tool, "--tool", "memcheck", PROGRAM, *PRETRAIN, *GPU, "--train.steps", 2, "--run.dir", RUNS / "sanitizer",
                 limit=90)
    found = re.search(r"ERROR SUMMARY: (\d+) errors?", output)
    require(found and found[1] == "0", found[0] if found else "no summary")
    return found[0]


def out_of_memory():
    _, output = train("too-large", *R50, "--train.precision", "float32", "--image.short-side", 1500 if QUICK else 3000,
                      "--image.long-side", 5000, "--train.steps", 1, limit=60, expect=1)
    lines = [line for line in output.splitlines() if " info " not in line and " warning " not in line]
    require(len(lines) == 1 and "CUDA out of memory" in lines[0], f"expected one line, found {lines}")
    return "one line, exit code 1"


class PeakMemory:
    """The most GPU memory of tensors, as Prometheus would read it."""

    def __enter__(self):
        self.bytes, self.ended = 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def watch(self):
        while not self.ended.wait(0.1):
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=1).read().decode()
            except OSError:
                continue
            if found := re.search(r"^pixelbert_device_memory_bytes\S* (\S+)", page, re.M):
                self.bytes = max(self.bytes, float(found[1]))


def speed(name, *options, environment=None):
    with PeakMemory() as memory:
        folder, output = train(f"speed-{name}", *R50, "--train.steps", SPEED_STEPS, "--metrics.port", PORT, "--metrics.address",
                               "127.0.0.1", "--metrics.progress-every-seconds", 0, *options, limit=75, environment=environment)
    steps = steps_of(folder)
    whole = [step["samples"] - before["samples"] == 64 for before, step in zip([{"samples": 0}, *steps], steps)]
    whole[-1] = False  # with a save
    late = [step for step, counts in zip(steps, whole) if counts and step["step"] > SPEED_STEPS // 3]
    phases = {phase: statistics.median(step["phase_seconds"][phase] for step in late) for phase in late[0]["phase_seconds"]}
    shares = [int(share) for share, counts in zip(re.findall(r"(\d+)% of peak", output), whole) if counts][SPEED_STEPS // 3:]
    largest = sorted(phases, key=phases.get, reverse=True)[:3]
    return (f"{statistics.median(step['seconds'] for step in late):.4f} s a step of 64 pairs, "
            f"{statistics.median(shares):.0f} % of peak, {memory.bytes / 1e9:.2f} GB; "
            + ", ".join(f"{phase} {phases[phase]:.4f} s" for phase in largest)), memory.bytes


def planned_memory(measured):
    require(measured > 0, "no memory was measured")
    output = run(PROGRAM, "plan", *R50[1:], "--run.dir", RUNS / "planned", "--nodes", 1, "--gpus-per-node", 1, limit=60)
    found = re.search(r"^GPU +([\d.]+) (MB|GB)", output, re.M)
    require(found, "plan says nothing of a GPU")
    own = re.search(r"^ +([\d.]+) (MB|GB) +CUDA", output, re.M)  # what CUDA and NCCL take themselves is not in tensors
    planned = sum(sign * float(part[1]) * (1e9 if part[2] == "GB" else 1e6) for sign, part in ((1, found), (-1, own)) if part)
    require(QUICK or 0.7 < planned / measured < 1.5, f"planned {planned:.3g} bytes, measured {measured:.3g}")
    return f"planned for tensors {planned / 1e9:.2f} GB, tensors took {measured / 1e9:.2f} GB: {planned / measured:.2f}"


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    if any(OUT.iterdir()):
        sys.exit(f"checks.py: {OUT} is not empty: name another folder")
    rows = []

    def check(name, work, *arguments, **named):
        start = time.monotonic()
        try:
            result = work(*arguments, **named)
            text, failed = (result[0] if isinstance(result, tuple) else result), False
        except (Failed, OSError, subprocess.SubprocessError, KeyError, ValueError, IndexError, TypeError) as error:
            result, text, failed = ("", 0), f"FAILED: {error if isinstance(error, Failed) else repr(error)}", True
        rows.append((name, text, time.monotonic() - start, failed))
        print(f"{name}: {text}", flush=True)
        return result

    check("attention", attention)  # first, because it needs nothing of ours
    check("machine", machine)
    if rows[-1][3]:
        return end(rows)  # nothing else can pass
    check("doctor", doctor)
    for precision, most in (("float32", 1e-3), ("bf16", 3e-2)):
        check(f"pretrain, {precision}, against the CPU", objective, "pretrain", precision, most)
        if QUICK and precision == "bf16":
            continue  # a simulated GPU computes it in loops
        for task in ("vqa", "nlvr2", "retrieval"):
            check(f"{task}, {precision}, against the CPU", objective, task, precision, most)
        check(f"MLM alone, {precision}, against the CPU", objective, "pretrain", precision, most, "--train.mlm-epochs", 1)
    check("deterministic", resume)
    check("evaluate, predict", use)
    check("out of memory", out_of_memory)
    _, measured = check("r50 as is", speed, "as-is")
    check("memory of plan", planned_memory, measured)
    if not QUICK:
        check("r50 float32", speed, "float32", "--train.precision", "float32")
        check("r50 deterministic", speed, "deterministic", "--train.deterministic-algorithms", "true")
        check("r50 exact sizes", speed, "exact", "--image.size-multiple", 1)
        check("r50 mixed shapes", speed, "mixed", "--data.group-shapes", "false")
    check("r50 fixed segments", speed, "segments", environment={"PYTORCH_ALLOC_CONF": "expandable_segments:False"})
    check("memcheck", sanitizer)
    end(rows)


def end(rows):
    table = "\n".join(f"{name:34} {seconds:4.0f} s  " + text.replace("\n", f"\n{'':42}") for name, text, seconds, _ in rows)
    failed = sum(row[3] for row in rows)
    table += f"\n{len(rows)} checks, {failed} failed, {time.monotonic() - began:.0f} s"
    (OUT / "table.txt").write_text(table + "\n")
    print("\n" + table)
    sys.exit(1 if failed else 0)


main()
