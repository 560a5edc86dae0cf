"""The environment of the process: requests to stop at any moment, Ctrl-C, readers that end, closed descriptors, memory."""

import os
import signal
import subprocess
import sys
import time

from support import PIXELBERT, check, finish, make_scenes, metrics, pixelbert, pretrain, run_tests, start, wait_for

BATCH = ["--data.global-batch", 32, "--data.micro-batch", 16, "--train.steps", 100000]


def command_of(*arguments):
    return [PIXELBERT, *map(str, arguments)]


def popen(command, **options):
    return subprocess.Popen(command, **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True,
                                        "env": dict(os.environ, OMP_NUM_THREADS="1"), **options})


def test_a_request_while_starting(folder):
    """A request from the first moment on ends the job with 75, after one step at most."""
    run = folder / "run"
    shards = make_scenes(folder / "shards")
    for which in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        for delay in (0.01, 0.05, 0.1, 0.3, 0.6):
            steps = len(metrics(run)) if (run / "metrics.jsonl").exists() else 0
            job = popen(command_of(*pretrain(run, shards, *BATCH)))
            time.sleep(delay)
            job.send_signal(which)
            output = finish(job, expect=75)
            check("stopped on request" in output, output)
            made = (len(metrics(run)) if (run / "metrics.jsonl").exists() else 0) - steps
            check(made <= 1, f"{which.name} after {delay} s: {made} steps")


def test_commands_side_by_side_share_no_session_folder(folder):
    """One that ended removed Open MPI's folder while another made it."""
    nowhere = dict(os.environ, TMPDIR="/proc/nowhere")
    finish(popen(command_of("pretrain", "--help"), env=nowhere))
    finish(popen(command_of(*pretrain(folder / "run", make_scenes(folder / "shards"), *BATCH[:4], "--train.steps", 1)),
                 env=nowhere))


def test_ctrl_c(folder):
    shards = make_scenes(folder / "shards")
    run = folder / "run"
    job = start(*pretrain(run, shards, *BATCH))
    wait_for(lambda: (run / "metrics.jsonl").exists() and len(metrics(run)) >= 3, "step 3")
    job.send_signal(signal.SIGINT)
    output = finish(job, expect=75)
    check("a second Ctrl-C ends at once" in output, output)
    check((run / "checkpoints" / "latest").exists(), "it has saved")

    job = start(*pretrain(run, shards, *BATCH), faults="sleep-save@*")
    steps = len(metrics(run))
    wait_for(lambda: len(metrics(run)) > steps, "a step")
    job.send_signal(signal.SIGSTOP)  # both come before it can have ended
    job.send_signal(signal.SIGINT)
    job.send_signal(signal.SIGCONT)
    wait_for(lambda: caught_once(job.pid), "the first Ctrl-C")
    job.send_signal(signal.SIGINT)
    finish(job, expect=128 + signal.SIGINT)

    job = popen(command_of("evaluate", "--checkpoint", run, "--data.shards", shards, "--data.micro-batch", 1))
    time.sleep(0.5)
    job.send_signal(signal.SIGINT)
    check("stopped on request" in finish(job, expect=75), "evaluate says so")


def test_a_reader_that_goes(folder):
    """With `| head` the training continues, and its exit code shows how it ended; other commands end with SIGPIPE."""
    shards = make_scenes(folder / "shards")
    for ranks in (1, 2):
        run = folder / f"run-{ranks}"
        job = start(*pretrain(run, shards, *BATCH, "--train.steps", 8, "--metrics.progress-every-seconds", 0), ranks=ranks)
        job.stdout.readline()
        job.stdout.close()
        check(job.wait(120) == 0, f"expected 0, found {job.returncode}")
        check(len(metrics(run)) == 8, "all steps")
        check((run / "checkpoints" / "latest").exists(), "and a checkpoint")
    told = subprocess.run(["bash", "-c", f"{PIXELBERT} inspect {folder / 'run-1'} | true; echo ${{PIPESTATUS[0]}}"],
                          capture_output=True, text=True)
    check(told.stdout.strip() in ("141", "0") and not told.stderr, told)
    with open("/dev/full", "w") as full:
        told = subprocess.run(command_of("inspect", folder / "run-1"), stdout=full, stderr=subprocess.PIPE, text=True)
    check(told.returncode == 1 and "standard output" in told.stderr, told)


def test_closed_descriptors(folder):
    """No file replaces stdout or stderr and receives their output."""
    shards = make_scenes(folder / "shards")
    run = folder / "run"
    command = " ".join(command_of(*pretrain(run, shards, *BATCH, "--train.steps", 3)))
    for closed in ("0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"):
        subprocess.run(["rm", "-rf", run], check=True)
        code = subprocess.run(["bash", "-c", f"{command} {closed}"], capture_output=True).returncode
        check(code == 0, f"{closed}: expected 0, found {code}")
        check(len(metrics(run)) == 3, "all steps")
        pixelbert("inspect", run)


def test_memory_that_is_not_there(folder):
    """One line, without a C++ backtrace, that says what to do."""
    shards = make_scenes(folder / "shards")
    output = pixelbert(*pretrain(folder / "run", shards, *BATCH, "--model.hidden", 2 ** 20, "--model.heads", 1), expect=1)
    check("frame #" not in output and "Exception raised from" not in output, output)
    lines = [line for line in output.splitlines() if " error " in line]
    check(len(lines) == 1, output)


def caught_once(pid):
    """Returns whether SIGINT has its default action again."""
    status = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in line)
    return not int(status["SigCgt"], 16) >> (signal.SIGINT - 1) & 1


run_tests(sys.modules[__name__])
