"""slurm/job.sh without Slurm: its decisions with programs in place of Slurm's and of pixelbert."""

import os
import signal
import subprocess
import sys
import time

from support import ROOT, check, in_its_session, run_tests, wait_for

PROGRAMS = {
    # Prints a configuration, or does what the test needs.
    "pixelbert": '''case "$*" in
  *--print-config*) [ "$1" = evaluate ] || printf '[run]\\ndir = %s/run\\n' "$FOLDER"; printf '[data]\\nshards = %s/data\\n' "$FOLDER" ;;
  *) touch "$FOLDER/started"; eval "$DO" ;;
esac''',
    "mpirun": 'while [[ $1 = -* ]]; do [ "$1" != -x ] || shift; shift; done; exec "$@"',
    "srun": 'while [[ $1 = -* ]]; do shift; done; exec "$@"',
    "scancel": "",
    "squeue": '''case "$*" in *"%A %E"*) [ ! -e "$FOLDER/a log" ] || echo "78 afterok:77" ;; *" -j 76 "*"%i "*) cat "$FOLDER/job-76" 2>/dev/null ;; *%e*) echo $(($(date +%s) + 3600)) ;; esac''',
    "scontrol": '''if [ "$1" = show ]; then
  if [ "$3" = 78 ]; then
    printf 'JobId=78\\n   StdErr=/dev/null\\n   StdOut=%s\\n   Power=\\n' "$FOLDER/a log"
  else
    echo "JobId=77 JobState=RUNNING Reason=$(cat "$FOLDER/reason" 2>/dev/null || echo None) PreemptTime=${PREEMPT_TIME:-None}"
  fi
else
  echo "$*" >>"$FOLDER/scontrol.log"
  exit "${REQUEUE:-0}"
fi''',
    # A slow file system, if a test needs one.
    "readlink": 'sleep "${SLOW:-0}"; exec /usr/bin/readlink "$@"',
}


def start(folder, command, do, other_programs=None, within=(), **environment):
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name, text in {**PROGRAMS, **(other_programs or {})}.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment = {**own, "PATH": f"{programs}:{os.environ['PATH']}", "FOLDER": str(folder), "DO": do,
                   "PIXELBERT": str(programs / "pixelbert"), "SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "localhost",
                   "SLURM_NNODES": "1", "PIXELBERT_MAX_RETRIES": "2", **environment}
    return in_its_session([*within, ROOT / "slurm/job.sh", command, "--x"], cwd=folder, env=environment)


def job(folder, command, do, expect, message, other_programs=None, **more):
    process = start(folder, command, do, other_programs, **more)
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


NO_PAUSE = {"sleep": ""}


def test_failures_before_the_run_folder_is_known_are_counted(folder):
    crash = {**NO_PAUSE, "pixelbert": "exit 127"}
    for command in ("pretrain", "evaluate"):
        job(folder, command, "", 1, "gives up: failed 3 times without a checkpoint after step 0, the last time with exit code 127", crash)
        for _ in range(2):
            job(folder, command, "", 75, "a node does not answer: scontrol requeue", {**crash, "srun": '[ "${!#}" != true ]'})
        job(folder, command, "", 1, "gives up: failed 3 times", crash)
        check(not list(folder.glob("slurm-failures*")), "the count ends with the job")
    for _ in range(2):
        job(folder, "pretrain", "", 75, "a node does not answer", {**crash, "srun": '[ "${!#}" != true ]'})
    job(folder, "pretrain", save(1), 75, REQUEUED)
    check(not list(folder.glob("slurm-failures*")), "the count ends when the run folder is known")


def test_failures_on_a_full_disk_are_counted(folder):
    (folder / "run").mkdir()
    full = ["unshare", "-m", "bash", "-c", 'mount -t tmpfs -o size=4k none run && echo >run/file && exec "$0" "$@"']
    job(folder, "pretrain", "exit 1", 1, "gives up: failed 3 times without a checkpoint after step 0", NO_PAUSE, within=full)
    job(folder, "pretrain", "exit 75", 1, f"{folder}/run/slurm-failures cannot be written", NO_PAUSE, within=full)
    job(folder, "pretrain", "exit 1", 1, f"{folder}/run/slurm-failures cannot be written",
        {**NO_PAUSE, "srun": '[ "${!#}" != true ]'}, within=full)
    job(folder, "pretrain", "exit 75", 75, REQUEUED, NO_PAUSE, within=full, PREEMPT_TIME="2026-01-01T00:00:00")


def test_a_run_folder_that_cannot_be_made_is_a_failure(folder):
    (folder / "run").touch()
    job(folder, "pretrain", "exit 0", 1, "gives up: failed 3 times", NO_PAUSE)
    check(not (folder / "started").exists(), "no rank was started")
    job(folder, "pretrain", "exit 0", 0, "mkdir -p %s/run ended with exit code 1: retry 1 of 2" % folder,
        {"srun": 'rm -f "$FOLDER/run"'})


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


def test_a_request_between_two_attempts_is_heard(folder):
    """At the moment that no test from outside can choose: after the last check and before the ranks are started."""
    (folder / "launch").mkdir()
    (folder / "launch" / "mpirun.sh").write_text('#!/bin/bash\nexec bash -c "$DO"\n')
    (folder / "launch" / "mpirun.sh").chmod(0o755)
    script = f"""
        . {ROOT}/launch/ask.sh; . {ROOT}/slurm/ranks.sh
        say() {{ :; }}; state() {{ :; }}; catch_requests() {{ trap : TERM USR1; }}
        root=$PWD launcher=mpirun program=none command=pretrain options=() asked=0
        DO='exit 1' run_ranks
        echo "first $code"
        $AGAIN ask USR1
        sleep 0.5
        export DO='trap "exit 75" USR1; for i in $(seq 50); do sleep 0.1; done'
        run_ranks
        echo "second $code"
    """
    # The second time `ranks` still names the first attempt: the request came when it had just ended.
    for again in ("", "eval ranks=$session;"):
        done = subprocess.run(["bash", "-c", f"export DO; {script}".replace("$AGAIN", again)], cwd=folder, capture_output=True, text=True, timeout=60)
        check(done.stdout == "first 1\nsecond 75\n", f"{again}: {done}")


def test_a_request_while_shards_are_copied_is_heard(folder):
    (folder / "data").mkdir()
    (folder / "data" / "manifest.json").touch()
    slow = {"srun": 'case "$*" in *stage.sh*) touch "$FOLDER/copying"; exec sleep 100 ;; esac'}
    process = start(folder, "evaluate", "exit 0", slow, PIXELBERT_STAGE=str(folder / "copy"))
    wait_for((folder / "copying").exists, "a copy")
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=60)
    check(process.returncode == 75 and "scontrol requeue" in output, output)
    check(not (folder / "started").exists(), "no rank was started")


def test_a_job_at_its_time_limit_is_requeued_before_the_ranks_have_saved(folder):
    """Slurm does not requeue it, and kills it soon."""
    do = 'trap "" USR1; touch "$FOLDER/deaf"; until [ -e "$FOLDER/end" ]; do sleep 0.1; done'
    process = start(folder, "pretrain", do)
    wait_for((folder / "deaf").exists, "a rank that does not listen")
    process.send_signal(signal.SIGUSR1)  # the warning
    time.sleep(0.5)
    check(process.poll() is None, "a job that has been warned waits for its ranks")
    (folder / "reason").write_text("TimeLimit\n")
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=20)
    finally:
        (folder / "end").touch()  # the rank has the pipe, too
        output, _ = process.communicate(timeout=60)
    check(process.returncode == 75 and "the time limit has come" in output, f"{process.returncode}\n{output}")
    check((folder / "scontrol.log").read_text() == "requeue 77\n", (folder / "scontrol.log").read_text())


def test_a_job_whose_node_does_not_answer_is_requeued(folder):
    job(folder, "pretrain", "exit 1", 75, "a node does not answer: scontrol requeue", {"srun": '[ "${!#}" != true ]'})
    check((folder / "scontrol.log").read_text() == "requeue 77\n", (folder / "scontrol.log").read_text())


def test_a_slurm_that_does_not_answer_is_asked_again(folder):
    for silent in (3, 99):  # preempted() asks first, then requeue() seven times
        answer = f'if [ "$1" = show ] && echo >>"$FOLDER/asked" && [ "$(wc -l <"$FOLDER/asked")" -le {silent} ]; then exit 1; fi\n'
        (folder / "asked").write_text("")
        job(folder, "pretrain", "exit 75", 75, REQUEUED, {**NO_PAUSE, "scontrol": answer + PROGRAMS["scontrol"]}, PIXELBERT_MAX_RETRIES="9")
        check((folder / "asked").read_text().count("\n") == min(silent + 1, 8), (folder / "asked").read_text())
    job(folder, "pretrain", "exit 75", 75, "gives up: not requeued", {**NO_PAUSE, "scontrol": "exit 1"}, PIXELBERT_MAX_RETRIES="9")
    ending = f'[ $1 != show ] || {{ echo "JobId=77 JobState=COMPLETING Reason=None PreemptTime=None"; exit; }}\n{PROGRAMS["scontrol"]}'
    job(folder, "pretrain", "exit 75", 75, "Slurm is ending the job", {**NO_PAUSE, "scontrol": ending}, PIXELBERT_MAX_RETRIES="9")
    check((folder / "scontrol.log").read_text() == "requeue 77\n" * 2, (folder / "scontrol.log").read_text())


def test_jobs_that_wait_are_told_why_it_has_ended(folder):
    (folder / "data").mkdir()
    log = folder / "a log"
    for reason, environment in (("PIXELBERT_LAUNCHER: expected mpirun or srun, found 'ssh'", {"PIXELBERT_LAUNCHER": "ssh"}),
                                ("no program /none", {"PIXELBERT": "/none"}),
                                ("wrong settings", {"PIXELBERT_TCP_INTERFACE": "ib99"}),
                                ("PIXELBERT_MAX_RETRIES: expected a number, found '3x'", {"PIXELBERT_MAX_RETRIES": "3x"}),
                                ("PIXELBERT_POLL_SECONDS: expected a number above 0, found '0'", {"PIXELBERT_POLL_SECONDS": "0"}),
                                ("PIXELBERT_POLL_SECONDS: expected a number above 0, found '1m'", {"PIXELBERT_POLL_SECONDS": "1m"})):
        log.write_text("")
        job(folder, "pretrain", "exit 0", 2, f"gives up: {reason}", **environment)
        check(f"job 77 gave up: {reason}" in log.read_text(), log.read_text())
    log.write_text("")
    job(folder, "pretrain", "exit 75", 75, "gives up: not requeued", REQUEUE="1")
    check("job 77 gave up: not requeued" in log.read_text(), log.read_text())


def test_ranks_compute_with_the_cpus_of_a_task(folder):
    for cpus, given, threads in (("3", None, "3"), ("3", "2", "2"), (None, None, "none")):
        environment = {name: value for name, value in (("SLURM_CPUS_PER_TASK", cpus), ("OMP_NUM_THREADS", given)) if value}
        job(folder, "pretrain", 'echo "threads: ${OMP_NUM_THREADS:-none}"', 0, f"threads: {threads}", **environment)


def test_scripts_find_their_folder_whatever_cdpath_says(folder):
    """With CDPATH, `cd slurm/..` may go elsewhere, and prints where it went."""
    (folder / "slurm").mkdir()
    for elsewhere in (ROOT, folder):
        done = subprocess.run(["slurm/job.sh", "--help"], cwd=ROOT, env=dict(os.environ, CDPATH=str(elsewhere)), capture_output=True,
                              text=True, timeout=60)
        check(done.returncode == 0 and done.stdout.startswith("job.sh ") and not done.stderr, done)
    for script in [path for place in ("launch", "monitoring", "slurm", "tests") for path in (ROOT / place).rglob("*.sh")]:
        for line in script.read_text().splitlines():
            check('$(cd "$(dirname' not in line, f"{script}: {line}; expected CDPATH='' cd")


def test_users_share_the_copy_of_a_node(folder):
    folder.chmod(0o777)
    program, data, copy = folder / "program", folder / "data", folder / "copy"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    data.mkdir()
    (data / "manifest.json").write_text("{}")
    for user, message in ((0, "copied to"), (65534, "is here already")):
        done = subprocess.run([ROOT / "slurm/stage.sh", program, data, copy], user=user, capture_output=True, text=True, timeout=60)
        check(done.returncode == 0 and message in done.stdout, done)
    check([path.name for path in sorted(folder.iterdir()) if "part" in path.name] == [], list(folder.iterdir()))


def test_a_damaged_copy_is_removed(folder):
    data, copy, program = folder / "data", folder / "copy", folder / "program"
    data.mkdir()
    (data / "manifest.json").write_text("{}")
    program.write_text("#!/bin/sh\necho a wrong checksum\nexit 1\n")
    program.chmod(0o755)
    done = subprocess.run([ROOT / "slurm/stage.sh", program, data, copy], capture_output=True, text=True, timeout=60)
    check(done.returncode == 1 and f"the copy of {data} is damaged: a wrong checksum" in done.stderr, done)
    check([path.name for path in sorted(folder.iterdir())] == ["copy.lock", "data", "program"], list(folder.iterdir()))


def test_a_copy_needs_space(folder):
    data, disk = folder / "data", folder / "disk"
    for path in (data, disk):
        path.mkdir()
    (data / "shard").write_bytes(os.urandom(3 << 20))  # some file systems keep zeros in no space
    small = 'mount -t tmpfs -o size=1m none "$0" && "$@"; code=$?; ls "$0"; exit $code'
    done = subprocess.run(["unshare", "-m", "bash", "-c", small, disk, ROOT / "slurm/stage.sh", "true", data, disk / "copy"],
                          capture_output=True, text=True, timeout=60)
    check(done.returncode == 1 and f"PIXELBERT_STAGE: expected 4 MiB for {data}, found" in done.stderr, done)
    check(done.stdout == "copy.lock\n", done)


def test_a_second_job_on_a_run_folder_is_given_up(folder):
    job(folder, "pretrain", "exit 0", 0, "done", SLURM_JOB_ID="76")
    job(folder, "pretrain", "exit 0", 0, "done")  # job 76 has ended
    (folder / "run" / "slurm-job").write_text("76\n")
    (folder / "run" / "deadline").write_text("1\n")
    (folder / "job-76").write_text("76 on n3 since 2026-01-01T00:00:00\n")
    job(folder, "pretrain", "exit 0", 1, f"{folder}/run is in use by job 76 on n3 since 2026-01-01T00:00:00")
    check((folder / "run" / "deadline").read_text() == "1\n", "the first job's deadline is as it was")


run_tests(sys.modules[__name__])
