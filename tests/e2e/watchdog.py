"""A job in which nothing moves ends by itself within its limit, and names the rank, its phase and what it did."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from support import LOCAL, PIXELBERT, ROOT, check, finish, make_scenes, metrics, pixelbert, pretrain, run_tests, start, wait_for

LIMIT = 6  # seconds; a rank on a busy machine may be quiet for one or two
SILENCE = LIMIT + 10
PHASES = ("data", "forward", "backward", "reduce_wait", "optimizer", "checkpoint", "other")  # of a step
BATCH = ["--data.global-batch", 32, "--data.micro-batch", 16, "--data.queue-batches", 1, "--train.steps", 100000,
         "--checkpoint.every-steps", 5, "--watchdog.seconds", LIMIT]


def shards_of(folder):
    return make_scenes(folder / "shards")


def ranks_of(run):
    return json.loads((run / "watchdog" / "ranks.json").read_text())["ranks"]


def report_of(run, name="report.json"):
    return json.loads((run / "watchdog" / name).read_text())


def pid_of(run, rank):
    return next(status["pid"] for status in ranks_of(run) if status["rank"] == rank)


def start_and_wait(run, shards, ranks=2, faults="", until_step=7):
    job = start(*pretrain(run, shards, *BATCH), ranks=ranks, faults=faults)
    wait_for(lambda: (run / "metrics.jsonl").exists() and len(metrics(run)) >= until_step, f"step {until_step}", 120)
    wait_for(lambda: (run / "watchdog" / "ranks.json").exists() and len(ranks_of(run)) == ranks
             and all(status["pid"] and status["step"] for status in ranks_of(run)), "what all ranks do", 60)
    return job


def last_step_time(run):
    return (run / "metrics.jsonl").stat().st_mtime


def gone(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def check_ending(job, run, pids, expect, since):
    output = finish(job, expect=expect, seconds=SILENCE + 60)
    took = time.time() - since
    check(took <= SILENCE, f"expected the end within {SILENCE} s, found {took:.1f} s:\n{output}")
    for pid in pids:
        wait_for(lambda pid=pid: gone(pid), f"the end of process {pid}", 10)
    latest = run / "checkpoints" / "latest"
    pixelbert("inspect", latest)  # ends with 1 when it is damaged
    print(f"  {took:.1f} s from the last step to the end", flush=True)
    return output


def check_blame(run, output, rank, phases, *words, report="report.json"):
    found = report_of(run, report)
    check(found["culprits"] == [rank], f"expected rank {rank} to be blamed, found {found['culprits']}: {output}")
    blamed = next(status for status in found["ranks"] if status["rank"] == rank)
    check(blamed["phase"] in phases, f"expected a phase of {phases}, found {blamed['phase']}: {found['summary']}")
    for word in (f"rank {rank}", os.uname().nodename, f" in {blamed['phase']}", *words):
        check(word in output, f"expected '{word}' in:\n{output}")
    told = pixelbert("diagnose", run)
    check(found["summary"] in told, f"diagnose prints the same:\n{told}")
    return found, told


def test_a_stopped_rank(folder):
    shards = shards_of(folder)
    for rank, ranks in ((0, 2), (2, 3)):
        run = folder / f"run-{rank}"
        job = start_and_wait(run, shards, ranks=ranks)
        pids = [pid_of(run, each) for each in range(ranks)]
        os.kill(pids[rank], signal.SIGSTOP)
        since = time.time()
        output = check_ending(job, run, pids, 1, since)
        # Rank 0 cannot report on itself: rank 1 does.
        name = "report.json" if rank != 0 else "report-of-rank-1.json"
        found, _ = check_blame(run, output, rank, PHASES, "has been stopped", report=name)
        check(found["reason"] == "stalled", found["reason"])
        # Rank 0 waits for the stopped rank's stacks; meanwhile rank 1, whose stacks it has, keeps reporting.
        for status in found["ranks"]:
            check(bool(status["stacks"]) == (status["rank"] != rank), f"stacks of rank {status['rank']}: {status}")


def tree_of(pid):
    """Returns a process and all its descendants."""
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()
    return [pid, *(each for child in children for each in tree_of(int(child)))]


def test_a_suspended_job(folder):
    """As with scontrol suspend, or Ctrl-Z and fg: the whole job stands still for longer than the limit, then continues."""
    shards = shards_of(folder)
    for ranks in (1, 2):
        run = folder / f"run-{ranks}"
        job = start_and_wait(run, shards, ranks=ranks)
        pids = tree_of(job.pid)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(LIMIT + 3)
        steps = len(metrics(run))
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: len(metrics(run)) >= steps + 5, "steps after the suspension")
        (run / "stop").touch()
        finish(job, expect=75)
        check(not (run / "watchdog" / "report.json").exists(), "no report")


def hanging_file(path):
    """Replaces a file on a file system that does not answer."""
    path.unlink()
    os.mkfifo(path)
    return str(path)


def terminal_that_says_nothing():
    """Replaces a configuration file that does not answer; a pipe would be refused."""
    _, terminal = os.openpty()  # both ends stay open
    return os.ttyname(terminal)


def test_a_start_that_hangs(folder):
    """The limit also counts before the first step, and the message names the file."""
    shards = shards_of(folder)
    first = folder / "first"
    pixelbert(*pretrain(first, shards, *BATCH, "--train.steps", 2))
    manifest = hanging_file((first / "checkpoints" / "latest").resolve() / "manifest.json")
    config = terminal_that_says_nothing()
    for what, command, ranks, file in (
            ("the newest checkpoint", pretrain(first, shards, *BATCH), 2, manifest),
            ("--init", pretrain(folder / "second", shards, *BATCH, "--init", first), 1, manifest),
            ("--checkpoint", ["evaluate", "--checkpoint", first, "--data.shards", shards, "--watchdog.seconds", LIMIT], 2,
             manifest),
            ("--config", [*pretrain(folder / "third", shards, *BATCH), "--config", config], 2, config),
            ("the shards", pretrain(folder / "fourth", shards, *BATCH), 2, hanging_file(shards / "manifest.json"))):
        begin = time.time()
        output = pixelbert(*command, ranks=ranks, expect=1, seconds=90)
        check(f"{LIMIT} s (watchdog.seconds): rank" in output, f"{what}: {output}")
        check(f"in start, reading {file}" in output, f"{what}: expected {file} in:\n{output}")
        check("pid 0" not in output and f"host {os.uname().nodename}" in output, f"{what}: {output}")
        print(f"  {what}: {time.time() - begin:.1f} s", flush=True)


def test_a_rank_that_never_comes(folder):
    """MPI's own start waits for all ranks forever."""
    command = ' '.join(map(str, pretrain(folder / "run", shards_of(folder), *BATCH)))
    script = f"[ $OMPI_COMM_WORLD_RANK = 0 ] || exec sleep 300; exec {PIXELBERT} {command}"
    job = subprocess.Popen([LOCAL, "-n", "2", "bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True)
    output = finish(job, expect=1, seconds=90)
    check("rank 0 on host" in output and "in start, MPI_Init, which waits for all ranks" in output, output)


def test_a_loader_that_hangs(folder):
    run = folder / "run"
    job = start_and_wait(run, shards_of(folder), ranks=3, faults="hang-decode@12/1", until_step=11)
    pids = [pid_of(run, rank) for rank in range(3)]
    wait_for(lambda: len(metrics(run)) == 12, "step 12")
    output = check_ending(job, run, pids, 1, last_step_time(run))
    found, told = check_blame(run, output, 1, ["data"], "loader 0: micro-batch")
    check(len(found["waits"]) >= 1 and "for rank 1" in found["waits"][0], found["waits"])
    check(all(status["stacks"] for status in found["ranks"]), "every rank sends its stacks")
    check(re.search(r"BatchLoader::", told), f"the stacks name functions:\n{told[:3000]}")


def test_a_run_folder_that_hangs(folder):
    """Rank 0 looks there for requests to stop, at a place where ranks wait for each other."""
    run = folder / "run"
    job = start_and_wait(run, shards_of(folder))
    pids = [pid_of(run, rank) for rank in range(2)]
    os.mkfifo(run / "deadline")  # nobody writes
    output = check_ending(job, run, pids, 1, time.time())
    check_blame(run, output, 0, ("other",), "looking for requests to stop")


def test_a_collective_left_out(folder):
    run = folder / "run"
    job = start_and_wait(run, shards_of(folder), faults="skip-collective@9/1")
    pids = [pid_of(run, 0), pid_of(run, 1)]
    wait_for(lambda: len(metrics(run)) == 9, "step 9")
    output = check_ending(job, run, pids, 1, last_step_time(run))
    check_blame(run, output, 1, ["reduce_wait"], "skipped that one", "counts")


def test_a_rank_that_outlives_rank_0(folder):
    """Rank 0 has finished and waits in MPI's end."""
    run = folder / "run"
    command = pretrain(run, shards_of(folder), *BATCH, "--train.steps", 6)
    output = pixelbert(*command, ranks=2, faults="hang-end@*/1", expect=1, seconds=90)
    check("finished after 6 steps" in output, output)
    check_blame(run, output, 1, ["other"], "the end of the job", report="report-of-rank-1.json")


def test_a_killed_rank(folder):
    shards = shards_of(folder)
    for rank in (0, 1):
        run = folder / f"run-{rank}"
        job = start_and_wait(run, shards)
        pids = [pid_of(run, 0), pid_of(run, 1)]
        os.kill(pids[rank], signal.SIGKILL)
        output = check_ending(job, run, pids, 137, time.time())
        name = "report.json" if rank == 1 else "report-of-rank-1.json"
        found, _ = check_blame(run, output, rank, PHASES, "died", report=name)
        check(found["reason"] == "died", found["reason"])


def test_a_launcher_that_hangs(folder):
    """mpirun itself is stopped: the ranks still end, and the report is in the run folder."""
    run = folder / "run"
    job = start_and_wait(run, shards_of(folder), faults="hang-decode@12/1", until_step=11)
    pids = [pid_of(run, 0), pid_of(run, 1)]
    launcher = int(subprocess.run(["ps", "-o", "ppid=", "-p", str(pids[0])], capture_output=True, text=True).stdout)
    check(pathlib.Path(f"/proc/{launcher}/comm").read_text().strip() == "mpirun", "the parent of a rank is mpirun")
    os.kill(launcher, signal.SIGSTOP)
    since = time.time()
    for pid in pids:
        wait_for(lambda pid=pid: gone(pid), f"the end of process {pid}", SILENCE)
    print(f"  {time.time() - since:.1f} s to the end of the ranks", flush=True)
    check(report_of(run)["culprits"] == [1], report_of(run)["summary"])
    finish(job, expect=137, seconds=30)  # the ranks have ended mpirun, too


def test_a_network_that_is_cut(folder):
    """Two hosts with a link between them (network namespaces). Each side ends by itself and blames the other."""
    run = folder / "run"
    command = [ROOT / "tests" / "mpi" / "two_hosts.sh", PIXELBERT, *map(str, pretrain(run, shards_of(folder), *BATCH))]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           env=dict(os.environ, PIXELBERT_TWO_HOSTS_TIMEOUT="200"))
    wait_for(lambda: (run / "metrics.jsonl").exists() and len(metrics(run)) >= 7, "step 7", 120)
    pids = [pid_of(run, 0), pid_of(run, 1)]
    subprocess.run(["ip", "-n", f"pb{job.pid}a", "link", "set", f"v{job.pid}a", "down"], check=True)
    since = time.time()
    for pid in pids:
        wait_for(lambda pid=pid: gone(pid), f"the end of process {pid}", SILENCE)
    print(f"  {time.time() - since:.1f} s to the end of both ranks", flush=True)
    output = finish(job, expect=137, seconds=60)  # mpirun does not notice; the ranks have ended it
    for rank, name in ((1, "report.json"), (0, "report-of-rank-1.json")):
        found = report_of(run, name)
        check(found["culprits"] == [rank], f"expected rank {rank} to be blamed, found {found['summary']}")
        check("has sent nothing" in found["summary"], found["summary"])
    check("rank 1 on host" in output, output)


def test_a_rank_that_fails_is_in_the_report(folder):
    run = folder / "run"
    pixelbert(*pretrain(run, shards_of(folder), *BATCH), ranks=2, faults="throw@3/1", expect=1)
    found = report_of(run)
    check(found["reason"] == "failed" and found["culprits"] == [1], found["summary"])
    check("PIXELBERT_FAULTS" in found["summary"], found["summary"])


def test_a_job_that_moves_is_left_alone(folder):
    """A job that decodes and saves slowly, for longer than the limit, is not a hang as long as something moves."""
    run = folder / "run"
    shards = shards_of(folder)
    begin = time.time()
    pixelbert(*pretrain(run, shards, *BATCH, "--train.steps", 40), ranks=2, faults="sleep-decode@*/1,sleep-save@*/1")
    check(time.time() - begin > LIMIT, f"expected a job longer than {LIMIT} s, found {time.time() - begin:.1f}")
    check(len(metrics(run)) == 40, "all steps")
    check(not (run / "watchdog" / "report.json").exists(), "no report")
    check("the job ended by itself" in pixelbert("diagnose", run), "diagnose reports a normal end")


def test_diagnose_without_a_job_says_what_it_needs(folder):
    output = pixelbert("diagnose", folder, expect=1)
    check("--run.dir" in output, output)
    pixelbert("diagnose", expect=2)


if __name__ == "__main__":  # tests/simulated_cuda has some of them
    run_tests(sys.modules[__name__])
