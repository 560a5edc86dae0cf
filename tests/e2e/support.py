"""Runs the program as a user would. Every check raises with what was expected and found."""

import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PIXELBERT = os.environ["PIXELBERT"]
LOCAL = ROOT / "launch" / "local.sh"
SHARED_DATA = pathlib.Path(os.environ["PIXELBERT_SHARED_DATA"])

# A model that makes a step in a tenth of a second; dropout stays on, because its randomness is part of what is tested.
SMALL = ["--model.backbone", "resnet18", "--model.visual-order", "conv", "--model.layers", "2", "--model.hidden", "64",
         "--model.heads", "2", "--model.frozen-stages", "0", "--image.short-side", "64", "--image.long-side", "64",
         "--optim.warmup-steps", "5", "--train.device", "cpu", "--train.threads", "1", "--data.threads", "1",
         "--checkpoint.every-steps", "0"]


def temporary_folder():
    return tempfile.TemporaryDirectory(prefix="pixelbert-e2e-")


SESSIONS = []  # of what the test has started


def in_its_session(command, **options):
    """Starts a command in a session of its own, which ends with the test: a launcher that is killed leaves its ranks."""
    process = subprocess.Popen(command, **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True,
                                           "start_new_session": True, **options})
    SESSIONS.append(process.pid)
    return process


def end_sessions():
    if SESSIONS:
        subprocess.run(["pkill", "-KILL", "-s", ",".join(map(str, SESSIONS))], check=False)
        SESSIONS.clear()


def start(*arguments, ranks=1, faults="", out=subprocess.PIPE):
    """Starts `pixelbert arguments`, on several ranks by launch/local.sh."""
    environment = dict(os.environ, PIXELBERT_FAULTS=faults, OMP_NUM_THREADS="1")
    if not faults:
        del environment["PIXELBERT_FAULTS"]
    launcher = [LOCAL, "-n", str(ranks)] if ranks > 1 else []
    command = [*launcher, PIXELBERT, *map(str, arguments)]
    return in_its_session(command, env=environment, stdout=out, errors="replace")


def finish(process, expect=0, seconds=300):
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"still running after {seconds} s: {process.args}")
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode  # a signal, in a shell's notation
    if code != expect:
        raise AssertionError(f"exit code {code}, expected {expect}: {process.args}\n{output}")
    return output


def pixelbert(*arguments, ranks=1, expect=0, faults="", seconds=300):
    """Returns what was printed, stdout and stderr together."""
    return finish(start(*arguments, ranks=ranks, faults=faults), expect, seconds)


SCENES = temporary_folder()  # of a script


@functools.cache
def made_scenes(count, seed):
    out = pathlib.Path(SCENES.name) / f"{count}-{seed}"
    pixelbert("shard", "scenes", "--out", out, "--count", count, "--seed", seed, "--size", 64)
    return out


def make_scenes(folder, count=96, seed=1):
    shutil.copytree(made_scenes(count, seed), folder)  # a copy: some tests damage it
    return folder


def kill_ranks(run):
    """Like a power failure: the launcher lives, and cleans up."""
    subprocess.run(["pkill", "-KILL", "-f", f"^{PIXELBERT} .*{run}"], check=False)


def pretrain(run, shards, *options):
    return ["pretrain", *SMALL, "--run.dir", run, "--data.shards", shards, *options]


def metrics(run):
    lines = (pathlib.Path(run) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def losses(run):
    return [line["loss"] for line in metrics(run)]


def weights(run, name="model.safetensors"):
    from safetensors.torch import load_file  # takes seconds to import, and most scripts need no weights

    return load_file(pathlib.Path(run) / "checkpoints" / "latest" / name)


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def check_same_weights(one, other, what=""):
    first, second = weights(one), weights(other)
    check(first.keys() == second.keys(), f"{what}: other names")
    for name, tensor in first.items():
        if not tensor.equal(second[name]):
            difference = (tensor.double() - second[name].double()).abs().max().item()
            raise AssertionError(f"{what}: {name} differs by up to {difference:.3g}")


def wait_for(condition, what, seconds=60, pause=0.02):
    end = time.time() + seconds
    while not condition():
        check(time.time() < end, f"waited {seconds} s in vain for {what}")
        time.sleep(pause)


def run_tests(module):
    """Runs every function named test_*, or those named on the command line; one failure does not hide another."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the sessions as well
    failed = []
    tests = {name: function for name, function in sorted(vars(module).items()) if name.startswith("test_")}
    if unknown := set(sys.argv[1:]) - set(tests):
        sys.exit(f"no test {', '.join(sorted(unknown))}; expected some of {', '.join(tests)}")
    for name, function in tests.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        begin = time.time()
        try:
            with temporary_folder() as folder:
                try:
                    function(pathlib.Path(folder))
                finally:
                    end_sessions()
            print(f"passed {name} ({time.time() - begin:.1f} s)", flush=True)
        except Exception as error:  # noqa: BLE001: reported, and the script fails
            failed.append(name)
            print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
    sys.exit(1 if failed else 0)
