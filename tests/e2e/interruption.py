"""A run that is stopped or killed at any moment and started again trains as if it had never stopped."""

import functools
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

from support import (LOCAL, PIXELBERT, check, check_same_weights, finish, in_its_session, kill_ranks, losses, make_scenes, metrics, pixelbert,
                     pretrain, run_tests, start, temporary_folder, wait_for)

BATCH = ["--data.global-batch", 32, "--data.micro-batch", 16]
COMMON = temporary_folder()  # for all tests


@functools.cache
def shards():
    return make_scenes(pathlib.Path(COMMON.name) / "shards")


@functools.cache
def never_stopped(steps):
    run = pathlib.Path(COMMON.name) / f"whole-{steps}"
    pixelbert(*pretrain(run, shards(), *BATCH, "--train.steps", steps))
    return run


def check_as_never_stopped(whole, run, what):
    check([line["step"] for line in metrics(run)] == [line["step"] for line in metrics(whole)], f"{what}: steps")
    check(losses(whole) == losses(run), f"{what}: losses {losses(whole)} and {losses(run)}")
    check_same_weights(whole, run, what)


def steps_done(run):
    path = run / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_resumed_on_another_number_of_ranks(folder):
    # 384 pairs in batches of 32: step 7 lies in the middle of the first epoch, 20 in the second.
    whole = never_stopped(20)
    run = folder / "run"
    pixelbert(*pretrain(run, shards(), *BATCH, "--train.steps", 7), ranks=2)
    output = pixelbert(*pretrain(run, shards(), *BATCH, "--train.steps", 14), ranks=1)
    check("resuming from" in output, f"says that it resumes:\n{output}")
    pixelbert(*pretrain(run, shards(), *BATCH, "--train.steps", 20), ranks=2)
    check_as_never_stopped(whole, run, "2, 1 and 2 ranks")


def test_killed_while_it_saves(folder):
    """A rank is gone while all write, or rank 0 when the files are whole: the checkpoint before is the newest."""
    whole = never_stopped(6)
    first = folder / "first"
    command = pretrain(first, shards(), *BATCH, "--train.steps", 6, "--checkpoint.every-steps", 2)
    finish(start(*command, ranks=2, faults="kill-in-save@2/1"), expect=137)
    check("resuming" not in pixelbert(*command, ranks=2), "without any checkpoint it begins again")
    check_as_never_stopped(whole, first, "killed in the first save")
    for fault in ("kill-in-save@4/0", "kill-in-save@4/1", "kill-before-manifest@4", "kill-before-rename@4"):
        run = folder / fault.replace("/", "-rank-")
        command = pretrain(run, shards(), *BATCH, "--train.steps", 6, "--checkpoint.every-steps", 2)
        output = finish(start(*command, ranks=2, faults=fault), expect=137)
        check(os.readlink(run / "checkpoints/latest") == "step-000000002", f"{fault}:\n{output}")
        check("sound" in pixelbert("inspect", run), fault)
        check("step 2," in pixelbert(*command, ranks=2), f"{fault}: resumes from step 2")
        check_as_never_stopped(whole, run, fault)
        check(not list((run / "checkpoints").glob(".saving-*")), f"{fault}: what the killed save left is removed")


def test_killed_at_random_moments(folder):
    whole = never_stopped(30)
    run = folder / "run"
    command = pretrain(run, shards(), *BATCH, "--train.steps", 30, "--checkpoint.every-steps", 2)
    chance = random.Random(5)
    killed = 0
    while True:
        process = start(*command, ranks=2, faults="sleep-reduce@*")  # or a fast machine is through too soon
        before = steps_done(run)
        wait_for(lambda: process.poll() is not None or steps_done(run) > min(before + 1, 28), "a step")
        time.sleep(chance.uniform(0, 1.5))
        if process.poll() is not None:
            finish(process)
            break
        kill_ranks(run)
        process.communicate(timeout=60)
        killed += 1
        if killed == 6:
            break
    check(killed >= 3, f"killed {killed} times only")
    pixelbert(*command, ranks=2)
    check_as_never_stopped(whole, run, f"killed {killed} times")


def test_killed_between_a_checkpoint_and_its_line_of_metrics(folder):
    whole = never_stopped(6)
    run = folder / "run"
    for steps in (2, 6):  # the last step's line waits for its save
        command = pretrain(run, shards(), *BATCH, "--train.steps", steps, "--checkpoint.every-steps", 2)
        pixelbert(*command, faults=f"kill-after-save@{steps}", expect=137)
        check(steps_done(run) == steps - 1, f"killed before the line of step {steps}, found {steps_done(run)} lines")
    pixelbert(*command)
    check_as_never_stopped(whole, run, "killed twice before a line")


def stopped_by(folder, act, ranks=2, by_user=False):
    """Starts a long job, acts on it after some steps, expects 75, finishes it on one rank."""
    whole = never_stopped(20)
    run = folder / "run"
    command = pretrain(run, shards(), *BATCH, "--train.steps", 20)
    process = start(*command, ranks=ranks, faults="sleep-reduce@*")  # or a fast machine is through too soon
    wait_for(lambda: steps_done(run) >= 3, "three steps")
    act(run, process)
    output = finish(process, expect=75, seconds=60)
    check("stopped on request" in output, f"says that it stopped:\n{output}")
    check(steps_done(run) < 20, "stopped before the end")
    check(not (run / "stop").exists(), "the stop file is gone")
    check((run / "stopped").exists() == by_user, f"a stop that a user asked for is recognised: {by_user}")
    (run / "deadline").unlink(missing_ok=True)  # of the allocation that has ended
    pixelbert(*command)
    check_as_never_stopped(whole, run, "stopped")


def test_stop_file(folder):
    stopped_by(folder, lambda run, process: (run / "stop").touch(), by_user=True)


def test_a_stop_file_in_the_last_step_comes_too_late(folder):
    run = folder / "run"
    run.mkdir()
    (run / "stop").touch()
    command = pretrain(run, shards(), *BATCH)
    pixelbert(*command, "--train.steps", 1, ranks=2)
    pixelbert(*command, "--train.steps", 2, ranks=2)  # and stops nothing later
    check(steps_done(run) == 2, metrics(run))


def test_the_end_of_the_allocation(folder):
    """If a far deadline is moved near, the job keeps time for a step and a save."""
    def act(run, process):
        (run / "deadline").write_text(f"{time.time() + 3600:.0f}\n")
        before = steps_done(run)
        wait_for(lambda: steps_done(run) > before + 2, "steps before a deadline that is far away")
        (run / "deadline").write_text(f"{time.time() + 30:.0f}\n")  # less than the minute for a first save

    stopped_by(folder, act)


def test_in_the_middle_of_gradient_accumulation(folder):
    """A signal during a step of many micro-batches ends the job after that step, not the next one."""
    whole = folder / "whole"
    many = make_scenes(folder / "shards", count=192)
    batch = ["--data.global-batch", 256, "--data.micro-batch", 4, "--train.steps", 4]
    pixelbert(*pretrain(whole, many, *batch), ranks=2)
    run = folder / "run"
    process = start(*pretrain(run, many, *batch), ranks=2)
    wait_for(lambda: steps_done(run) == 2, "two steps")
    signal_one_rank(signal.SIGUSR1)(run, process)
    finish(process, expect=75, seconds=120)
    check(steps_done(run) == 3, f"expected the end after step 3, found step {steps_done(run)}")
    pixelbert(*pretrain(run, many, *batch), ranks=2)
    check_as_never_stopped(whole, run, "stopped in a step of 64 micro-batches")


def test_an_evaluation_stops_and_can_be_run_again(folder):
    many = make_scenes(folder / "shards", count=2000)
    run = folder / "run"
    pixelbert(*pretrain(run, many, *BATCH, "--train.steps", 1))
    command = ["evaluate", "--checkpoint", run, "--data.shards", many, "--data.micro-batch", 4, "--out",
               folder / "figures.json"]
    process = start(*command, ranks=2)
    children = f"^{os.environ['PIXELBERT']}.*{folder}/figures.json"
    def listening():
        return [pid for pid in subprocess.run(["pgrep", "-f", children], capture_output=True, text=True).stdout.split()
                if catches(int(pid), signal.SIGUSR1)]
    wait_for(lambda: len(listening()) == 2, "two ranks that can be stopped")
    time.sleep(0.5)
    process.send_signal(signal.SIGUSR1)
    output = finish(process, expect=75, seconds=60)
    check("run the same command again" in output, output)
    check(not (folder / "figures.json").exists(), "no scores of half the data")


def catches(pid, number):
    try:
        caught = re.search(r"SigCgt:\s*(\w+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]
    except FileNotFoundError:  # it has ended
        return False
    return bool(int(caught, 16) >> (number - 1) & 1)


def signal_one_rank(number):
    def act(run, process):
        ranks = subprocess.run(["pgrep", "-f", f"^{os.environ['PIXELBERT']}.*{run}"], capture_output=True, text=True,
                               check=True).stdout.split()
        os.kill(int(ranks[-1]), number)
    return act


def test_sigterm_to_one_rank(folder):
    stopped_by(folder, signal_one_rank(signal.SIGTERM))


def test_sigusr1_to_one_rank(folder):
    stopped_by(folder, signal_one_rank(signal.SIGUSR1))


def test_sigterm_to_the_launcher_reaches_the_ranks(folder):
    stopped_by(folder, lambda run, process: process.send_signal(signal.SIGTERM))


def start_in_a_group(*arguments):
    """Starts two ranks in their own process group, as in a terminal."""
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    return in_its_session([LOCAL, "-n", "2", PIXELBERT, *map(str, arguments)], env=environment, errors="replace")


def check_nothing_is_left(run):
    left = subprocess.run(["pgrep", "-a", "-f", f"^{PIXELBERT}.*{run}"], capture_output=True, text=True).stdout
    check(not left, f"processes that are left:\n{left}")


def test_a_request_at_any_moment_of_the_start(folder):
    """From the launcher's first line on; also to the whole group. The current step ends, and no other begins."""
    # The launcher treats SIGTERM and SIGUSR1 alike.
    moments = {signal.SIGTERM: (0, 0.15, 0.8), signal.SIGUSR1: (0.05, 0.4), signal.SIGINT: (0, 0.05, 0.15, 0.4, 0.8)}
    for number, seconds in [(number, seconds) for number in moments for seconds in moments[number]]:
        run = folder / f"run-{number}-{seconds}"
        process = start_in_a_group(*pretrain(run, shards(), *BATCH, "--train.steps", 100000))
        wait_for(lambda: catches(process.pid, number), "the launcher's first line")
        time.sleep(seconds)
        before = steps_done(run)  # a fast machine has made some
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        finish(process, expect=75, seconds=60)
        # A step may end while the launcher forwards the request, so the current step need not be the next.
        check(steps_done(run) <= before + 3, f"{number} after {seconds} s: {before} steps, then {steps_done(run)}")
        check_nothing_is_left(run)


def test_ctrl_c_saves_and_a_second_one_ends_at_once(folder):
    run = folder / "run"
    command = pretrain(run, shards(), *BATCH, "--train.steps", 100000)
    process = start_in_a_group(*command)
    wait_for(lambda: steps_done(run) >= 1, "a step")
    os.killpg(process.pid, signal.SIGINT)
    output = finish(process, expect=75, seconds=60)
    check("a second one ends them at once" in output and "stopped on request" in output, output)
    saved = steps_done(run)
    check((run / "checkpoints" / f"step-{saved:09}").exists(), f"a checkpoint of step {saved}")

    process = start_in_a_group(*command)
    wait_for(lambda: steps_done(run) > saved, "a step")
    rank = int(subprocess.run(["pgrep", "-f", f"^{PIXELBERT}.*{run}"], capture_output=True, text=True).stdout.split()[0])
    os.kill(rank, signal.SIGSTOP)  # saving takes forever
    os.killpg(process.pid, signal.SIGINT)
    wait_for(lambda: "Ctrl-C" in process.stdout.readline(), "the first Ctrl-C")
    os.killpg(process.pid, signal.SIGINT)
    finish(process, expect=130, seconds=60)
    check_nothing_is_left(run)


def test_a_damaged_newest_checkpoint_is_passed_over(folder):
    whole = never_stopped(12)
    run = folder / "run"
    command = pretrain(run, shards(), *BATCH, "--checkpoint.every-steps", 4)
    pixelbert(*command, "--train.steps", 8)
    newest = run / "checkpoints" / "step-000000008" / "model.safetensors"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    output = pixelbert(*command, "--train.steps", 12)
    check("step-000000008" in output and "model.safetensors" in output, f"names the damaged file:\n{output}")
    check("step 4" in output, f"continues from step 4:\n{output}")
    check_as_never_stopped(whole, run, "one checkpoint back")


def test_a_run_that_goes_on_needs_its_initial_checkpoint_no_more(folder):
    first, run = folder / "first", folder / "run"
    pixelbert(*pretrain(first, shards(), *BATCH, "--train.steps", 1))
    command = pretrain(run, shards(), *BATCH, "--init", first)
    pixelbert(*command, "--train.steps", 1)
    shutil.rmtree(first)
    pixelbert(*command, "--train.steps", 2)
    saved = [json.loads((step / "trainer.json").read_text())["initial"]
             for step in sorted((run / "checkpoints").glob("step-*"))]
    check(len(saved) == 2 and saved[0] == saved[1] and saved[0]["checkpoint"] == str(first), saved)


def test_other_options_are_refused_on_resume(folder):
    run = folder / "run"
    command = pretrain(run, shards(), *BATCH)
    pixelbert(*command, "--train.steps", 2)
    output = pixelbert(*command, "--train.steps", 4, "--optim.backbone-rate", "0.5", ranks=2, expect=2)
    check("optim.backbone-rate" in output and "0.5" in output, f"names the option:\n{output}")
    check("backbone-rate = 0.5" not in (run / "config.ini").read_text(), "config.ini is that of the run")
    other = make_scenes(folder / "other", seed=2)
    output = pixelbert(*pretrain(run, other, *BATCH, "--train.steps", 4), expect=2)
    check("other data" in output, f"names the data:\n{output}")


def test_a_test_that_fails_or_is_ended_leaves_nothing(folder):
    rank, script = folder / "rank", folder / "script.py"
    rank.write_text("#!/bin/sh\necho >> $1\nexec sleep 1000\n")
    rank.chmod(0o755)
    script.write_text(f"""import os, pathlib, sys
from support import finish, run_tests, start, wait_for
def test_fails(folder):
    process = start("{folder}/started", ranks=2)
    wait_for(lambda: pathlib.Path("{folder}/started").read_text() == "\\n\\n", "both ranks")
    finish(process, seconds=float(os.environ["A_TEST_SECONDS"]))
run_tests(sys.modules[__name__])
""")
    environment = dict(os.environ, PYTHONPATH=str(pathlib.Path(__file__).parent), PIXELBERT=str(rank), A_TEST=str(folder))
    for seconds, code in ((0.1, 1), (1000, 143)):
        (folder / "started").write_text("")
        process = subprocess.Popen([sys.executable, script], env={**environment, "A_TEST_SECONDS": str(seconds)}, text=True,
                                   stdout=subprocess.PIPE)
        wait_for(lambda: (folder / "started").read_text() == "\n\n", "both ranks")
        if code == 143:
            process.terminate()
        output, _ = process.communicate(timeout=60)
        check(process.returncode == code and ("still running after" in output) == (code == 1), f"{process.returncode}\n{output}")
        wait_for(lambda: not any(f"A_TEST={folder}".encode() in contents(path) for path in pathlib.Path("/proc").glob("[0-9]*/environ")),
                 "the end of what the test has started", 5)


def contents(path):
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


run_tests(sys.modules[__name__])
