"""slurm/job.sh without Slurm: its decisions with programs in place of Slurm's and of pixelbert."""

import os
import signal
import subprocess
import sys
import time

from support import ROOT, check, run_tests, wait_for

PROGRAMS = {
    # Prints a configuration, or does what the test needs.
    "pixelbert": '''case "$*" in
  *--print-config*) [ "$1" = evaluate ] || printf '[run]\\ndir = %s/run\\n' "$FOLDER"; printf '[data]\\nshards = %s/data\\n' "$FOLDER" ;;
  *) touch "$FOLDER/started"; eval "$DO" ;;
esac''',
    "mpirun": 'while [[ $1 = -* ]]; do [ "$1" != -x ] || shift; shift; done; exec "$@"',
    "srun": 'while [[ $1 = -* ]]; do shift; done; exec "$@"',
    "scancel": "",
    "squeue": '''case "$*" in *" -j 76 "*"%i "*) cat "$FOLDER/job-76" 2>/dev/null ;; *%e*) echo $(($(date +%s) + 3600)) ;; esac''',
    "scontrol": '''if [ "$1" = show ]; then
  echo "JobId=77 JobState=RUNNING Reason=None PreemptTime=${PREEMPT_TIME:-None}"
else
  echo "$*" >>"$FOLDER/scontrol.log"
fi''',
    # A slow file system, if a test needs one.
    "readlink": 'sleep "${SLOW:-0}"; exec /usr/bin/readlink "$@"',
}


def start(folder, command, do, **environment):
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "FOLDER": str(folder), "DO": do,
                   "PIXELBERT": str(programs / "pixelbert"), "SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "localhost",
                   "SLURM_NNODES": "1", "PIXELBERT_MAX_RETRIES": "2", **environment}
    return subprocess.Popen([ROOT / "slurm/job.sh", command, "--x"], cwd=folder, env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def job(folder, command, do, expect, message, **environment):
    process = start(folder, command, do, **environment)
    output, _ = process.communicate(timeout=60)
    check(process.returncode == expect and message in output,
          f"expected {expect} and '{message}', found {process.returncode}:\n{output}")


def save(step):
    return f'mkdir -p "$FOLDER/run/checkpoints/step-{step:09}"; exit 75'


REQUEUED = "the ranks have stopped for the scheduler: scontrol requeue"


def test_an_evaluation_longer_than_its_time_limit_is_given_up(folder):
    for _ in range(2):
        job(folder, "evaluate", "exit 75", 75, REQUEUED)
    job(folder, "evaluate", "exit 75", 1, "gives up: stopped 3 times before its end: it starts from the beginning each time")
    check(not list(folder.glob("slurm-failures*")), "the count ends with it")
    job(folder, "evaluate", "exit 75", 75, REQUEUED)
    job(folder, "evaluate", "exit 0", 0, "done")
    check(not list(folder.glob("slurm-failures*")), "the count ends with success")


def test_preemption_of_an_evaluation_does_not_count(folder):
    for _ in range(5):
        job(folder, "evaluate", "exit 75", 75, REQUEUED, PREEMPT_TIME="2026-01-01T00:00:00")


def test_training_without_a_checkpoint_between_stops_is_given_up(folder):
    job(folder, "pretrain", save(4), 75, REQUEUED)
    for _ in range(2):
        job(folder, "pretrain", "exit 75", 75, REQUEUED)
    for step in (5, 6, 7):
        job(folder, "pretrain", save(step), 75, REQUEUED)
    for _ in range(2):
        job(folder, "pretrain", "exit 75", 75, REQUEUED)
    job(folder, "pretrain", "exit 75", 1, "gives up: stopped 3 times without a checkpoint after step 7")


def test_a_request_at_any_moment_is_heard(folder):
    listen = 'trap "exit 75" USR1; for i in $(seq 100); do sleep 0.1; done'
    for seconds in (0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.9, 1.3):
        process = start(folder, "pretrain", listen, SLOW="0.2", PIXELBERT_MAX_RETRIES="99")
        def first_line(pid=process.pid):
            return int(open(f"/proc/{pid}/status").read().split("SigCgt:")[1].split()[0], 16) >> (signal.SIGUSR1 - 1) & 1
        wait_for(first_line, "its first line")
        time.sleep(seconds)
        process.send_signal(signal.SIGUSR1)
        output, _ = process.communicate(timeout=60)
        check(process.returncode == 75 and "scontrol requeue" in output, f"after {seconds} s: {process.returncode}\n{output}")


def test_a_request_while_shards_are_copied_is_heard(folder):
    (folder / "data").mkdir()
    (folder / "data" / "manifest.json").touch()
    slow = {"srun": 'case "$*" in *stage.sh*) touch "$FOLDER/copying"; exec sleep 100 ;; esac'}
    PROGRAMS.update(slow)
    process = start(folder, "evaluate", "exit 0", PIXELBERT_STAGE=str(folder / "copy"))
    wait_for((folder / "copying").exists, "a copy")
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=60)
    check(process.returncode == 75 and "scontrol requeue" in output, output)
    check(not (folder / "started").exists(), "no rank was started")


def test_a_second_job_on_a_run_folder_is_given_up(folder):
    job(folder, "pretrain", "exit 0", 0, "done", SLURM_JOB_ID="76")
    job(folder, "pretrain", "exit 0", 0, "done")  # job 76 has ended
    (folder / "run" / "slurm-job").write_text("76\n")
    (folder / "run" / "deadline").write_text("1\n")
    (folder / "job-76").write_text("76 on n3 since 2026-01-01T00:00:00\n")
    job(folder, "pretrain", "exit 0", 1, f"{folder}/run is in use by job 76 on n3 since 2026-01-01T00:00:00")
    check((folder / "run" / "deadline").read_text() == "1\n", "the first job's deadline is as it was")


run_tests(sys.modules[__name__])
