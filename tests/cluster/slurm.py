"""Jobs of slurm/ on a real Slurm of two nodes: after any fault, a job ends as if nothing had happened."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from cluster import BATCH, PAUSE, ROOT, slurm_cluster
from support import (check, check_same_weights, losses, make_scenes, metrics, pixelbert, pretrain, run_tests,
                     temporary_folder, wait_for)

PRETRAIN = ROOT / "slurm/pretrain.sbatch"
EVALUATE = ROOT / "slurm/evaluate.sbatch"
STEPS = 24
SLOWLY = {"PIXELBERT_FAULTS": "sleep-reduce@*"}  # 5 s longer, in which something is to happen
slurm = shards = undisturbed = None  # the cluster, the data, and the undisturbed run


def options(run, *more, steps=STEPS):
    return pretrain(run, shards, *BATCH, "--train.steps", steps, *more)[1:]


def check_as_undisturbed(run, what):
    whole = undisturbed
    check([line["step"] for line in metrics(run)] == [line["step"] for line in metrics(whole)], f"{what}: steps")
    check(losses(whole) == losses(run), f"{what}: losses {losses(whole)} and {losses(run)}")
    check_same_weights(whole, run, what)
    check(not (run / "deadline").exists() and not (run / "slurm-failures").exists(), f"{what}: {list(run.iterdir())}")


def in_log(job, *messages):
    log = slurm.log(job)
    for message in messages:
        check(message in log, f"expected '{message}' in the log of job {job}:\n{log}")


def submit(run, *more, steps=STEPS, **how):
    return slurm.submit(run.parent, PRETRAIN, *options(run, *more, steps=steps), **how)


def wait_for_checkpoint(job, run):
    """Of a job that saves every four steps. Saves go on beside the steps, so that step 6 alone does not show that of step 4."""
    slurm.wait_for_step(job, run, 6)
    slurm.wait_for(lambda: list((run / "checkpoints").glob("step-*")), job, "with a checkpoint")


def wait_for_requeue(job, seconds):
    wait_for(lambda: slurm.facts(job)["Restarts"] == "1", f"a requeue of job {job}", seconds, pause=PAUSE)


def test_a_second_job_on_a_run_folder_is_given_up(folder):
    run = folder / "run"
    first = submit(run, **SLOWLY, nodes=1)
    slurm.wait_for_step(first, run, 1)
    second = submit(run, nodes=1)
    slurm.wait(second, "FAILED")
    in_log(second, f"gives up: {run} is in use by job {first} on n")
    check((run / "deadline").exists(), "the first job's deadline is as it was")
    slurm.wait(first)
    check_as_undisturbed(run, "beside a job that was refused")


def test_a_job_trains_and_knows_the_end_of_its_allocation(folder):
    run = folder / "run"
    job = submit(run, **SLOWLY)
    slurm.wait_for_step(job, run, 1)
    deadline = int((run / "deadline").read_text())
    check(0 < deadline - time.time() <= 3600, f"an hour from the start, found {deadline - time.time()} s")
    slurm.on("ctl", "scontrol", "update", f"jobid={job}", "timelimit=30")
    wait_for(lambda: deadline - int((run / "deadline").read_text()) == 1800, "the new limit in RUN/deadline", 30)
    slurm.wait(job)
    in_log(job, "mpirun on n[0-1], checkpoint of step 0", "2 ranks", "done")
    check_as_undisturbed(run, "a job of two nodes")


def test_no_deadline_is_left_when_slurm_answers_late(folder):
    """The job ends while it asks for its deadline: a late answer is not written any more."""
    squeue = folder / "squeue"
    squeue.write_text("#!/bin/sh\nsleep 0.3\necho 2000000000\n")
    squeue.chmod(0o755)
    script = f". {ROOT}/slurm/scheduler.sh; run={folder} job=1; start_deadline; cat $run/deadline; sleep %s; end_deadline"
    for seconds in (0, 0.1, 0.3, 0.5):
        job = subprocess.run(["bash", "-c", script % seconds], capture_output=True, text=True, timeout=60,
                             env=dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}", PIXELBERT_POLL_SECONDS="0.1"))
        check(job.stdout == "2000000000\n", f"{seconds}: {job}")
        time.sleep(0.5)
        check(sorted(folder.iterdir()) == [squeue], f"{seconds}: {list(folder.iterdir())}")


def test_a_preempted_job_is_requeued_and_resumes(folder):
    run = folder / "run"
    job = submit(run, **SLOWLY)
    slurm.wait_for_step(job, run, 3)
    slurm.wait(slurm.preempt())
    slurm.wait(job)
    in_log(job, "SIGUSR1: asking the ranks to save and stop",
           "the ranks have stopped for the scheduler: scontrol requeue", "resuming from", "done")
    check(slurm.facts(job)["Restarts"] == "1", slurm.facts(job))
    check(slurm.facts(job)["PreemptTime"] == "None", "its next stop is no preemption")
    check_as_undisturbed(run, "preempted")


def test_preempted_without_a_warning(folder):
    # By default Slurm sends SIGTERM to the ranks and mpirun's daemons, and nothing to the batch script.
    slurm.configure("SlurmctldParameters", None)
    try:
        run = folder / "run"
        job = submit(run, **SLOWLY)
        slurm.wait_for_step(job, run, 3)
        slurm.wait(slurm.preempt())
        slurm.wait(job)
    finally:
        slurm.configure("SlurmctldParameters", "preempt_send_user_signal")
    in_log(job, "the ranks have stopped for the scheduler: scontrol requeue", "resuming from")
    check("SIGUSR1" not in slurm.log(job), slurm.log(job))
    check_as_undisturbed(run, "preempted without a warning")


def test_the_time_limit_leaves_time_to_save(folder):
    run = folder / "run"
    # The warning has no effect here: the ranks stop because of RUN/deadline.
    job = submit(run, options=["--time=1", "--signal=B:CONT@1"])
    wait_for_requeue(job, 120)
    slurm.on("ctl", "scontrol", "update", f"jobid={job}", "timelimit=60")
    slurm.wait(job)
    in_log(job, "the allocation ends in", "the ranks have stopped for the scheduler: scontrol requeue", "resuming from")
    check_as_undisturbed(run, "stopped before the time limit")


def test_a_task_of_an_array_requeues_only_itself(folder):
    script = folder / "array.sbatch"
    words = " ".join(map(str, options(folder / "run-$SLURM_ARRAY_TASK_ID")))
    script.write_text(f"#!/bin/bash\nexec {ROOT}/slurm/job.sh pretrain {words}\n")
    array = slurm.submit(folder, script, nodes=1, options=["--array=0-1", "--open-mode=append", "--signal=B:USR1@60"], **SLOWLY)
    tasks = [f"{array}_{task}" for task in (0, 1)]
    for task in (0, 1):
        slurm.wait_for_step(tasks[task], folder / f"run-{task}", 3)
    # The number of the last task is also that of the array.
    stopped = next(task for task in (0, 1) if slurm.facts(tasks[task])["JobId"] == array)
    slurm.on("ctl", "scancel", "--batch", "--signal=USR1", tasks[stopped])
    for task in (0, 1):
        slurm.wait(tasks[task])
        check(slurm.facts(tasks[task])["Restarts"] == str(int(task == stopped)), slurm.facts(tasks[task]))
        check_as_undisturbed(folder / f"run-{task}", f"task {task}")


def test_a_stop_file_holds_the_job_until_it_is_released(folder):
    run = folder / "run"
    job = submit(run, options=["--time=10"], **SLOWLY)  # a user may stop it in its last minutes, too
    slurm.wait_for_step(job, run, 3)
    (run / "stop").touch()
    slurm.wait(job, "job_requeued_in_held_state")
    in_log(job, "stopped because a user asked", f"'scontrol release {job}' continues")
    slurm.on("ctl", "scontrol", "release", job)
    slurm.wait(job)
    in_log(job, "resuming from", "done")
    check_as_undisturbed(run, "stopped and released")


def test_a_cancelled_job_is_not_requeued(folder):
    run = folder / "run"
    job = submit(run, steps=100000)
    slurm.wait_for_step(job, run, 3)
    slurm.on("ctl", "scancel", job)
    slurm.wait(job, "CANCELLED")
    time.sleep(2)
    check(slurm.facts(job)["JobState"] == "CANCELLED", slurm.facts(job))


def signal_rank(host, number):
    os.kill(slurm.processes(host, os.path.basename(os.environ["PIXELBERT"]))[0], number)


def test_a_killed_rank_is_tried_again_from_the_last_checkpoint(folder):
    run = folder / "run"
    job = submit(run, "--checkpoint.every-steps", 4)
    wait_for_checkpoint(job, run)
    signal_rank("n1", signal.SIGKILL)
    slurm.wait(job)
    in_log(job, "the ranks ended with exit code 137: retry 1 of 3", "resuming from", "done")
    check(slurm.facts(job)["Restarts"] == "0", "within the allocation")
    check_as_undisturbed(run, "a rank killed")


def test_a_hung_rank_is_named_and_the_job_tried_again(folder):
    run = folder / "run"
    job = submit(run, "--checkpoint.every-steps", 4, "--watchdog.seconds", 12)
    wait_for_checkpoint(job, run)
    signal_rank("n1", signal.SIGSTOP)
    slurm.wait(job)
    in_log(job, "rank 1 on host n1", "the ranks ended with exit code 1: retry 1 of 3", "resuming from", "done")
    check_as_undisturbed(run, "a rank hung")


def test_everything_on_a_node_killed(folder):
    run = folder / "run"
    job = submit(run, "--checkpoint.every-steps", 4)
    wait_for_checkpoint(job, run)
    slurm.kill_all("n1")
    slurm.start_node(1)
    slurm.wait(job)
    in_log(job, "resuming from", "done")
    check_as_undisturbed(run, "everything on a node killed")


def test_a_node_that_is_down_requeues_the_job(folder):
    run = folder / "run"
    job = submit(run, "--checkpoint.every-steps", 4)
    wait_for_checkpoint(job, run)
    slurm.on("ctl", "scontrol", "update", "nodename=n1", "state=down", "reason=test")
    wait_for_requeue(job, 60)
    # It may have come back by itself; then scontrol has nothing to do.
    slurm.on("ctl", "scontrol", "update", "nodename=n1", "state=resume", expect=None)
    slurm.wait(job)
    in_log(job, "resuming from", "done")
    check_as_undisturbed(run, "a node down")


def test_a_node_cut_off_the_network(folder):
    run = folder / "run"
    job = submit(run, "--checkpoint.every-steps", 4, "--watchdog.seconds", 20)
    wait_for_checkpoint(job, run)
    slurm.link("n1", "down")
    try:
        wait_for_requeue(job, 120)
    finally:
        slurm.link("n1", "up")
    in_log(job, "rank 1 on host n1", "has sent nothing")
    slurm.wait(job)
    in_log(job, "resuming from", "done")
    check_as_undisturbed(run, "a node cut off")


def test_gives_up_without_progress_and_says_why(folder):
    run = folder / "run"
    job = submit(run, "--checkpoint.every-steps", 4, PIXELBERT_FAULTS="throw@6/1", PIXELBERT_MAX_RETRIES="1")
    slurm.wait(job, "FAILED")
    in_log(job, "retry 1 of 1 without a checkpoint after step 4",
           "gives up: failed 2 times without a checkpoint after step 4, the last time with exit code 1")


def test_wrong_usage_is_not_tried_again(folder):
    job = submit(folder / "run", "--model.layerz", 3)
    slurm.wait(job, "FAILED")
    in_log(job, "did you mean 'model.layers'?", "gives up: wrong usage or configuration")
    check("mpirun on" not in slurm.log(job), slurm.log(job))
    check(slurm.facts(job)["ExitCode"] == "2:0", slurm.facts(job))


def test_options_that_cannot_be_read_now_are_tried_again(folder):
    program = folder / "pixelbert"
    program.write_text(f"""#!/bin/bash
[ "${{@: -1}}" != --print-config ] || [ -e {folder}/crashed ] || {{ touch {folder}/crashed; kill -SEGV $$; }}
exec {os.environ["PIXELBERT"]} "$@"
""")
    program.chmod(0o755)
    run = folder / "run"
    job = submit(run, PIXELBERT=str(program))
    slurm.wait(job)
    in_log(job, "pretrain --print-config ended with exit code 139: retry 1 of 3", "done")
    check_as_undisturbed(run, "a crash of --print-config")


def test_shards_are_staged_on_every_node_once(folder):
    local = folder / "local"
    run = folder / "run"
    for target, message in ((run, "copied to"), (folder / "again", "is here already")):
        job = submit(target, PIXELBERT_STAGE=str(local))
        slurm.wait(job)
        in_log(job, message)
    copy = next(path for path in local.iterdir() if path.is_dir())
    check(f"shards = {copy}" in (run / "config.ini").read_text(), (run / "config.ini").read_text())
    check_as_undisturbed(run, "staged shards")


def test_an_evaluation_that_is_stopped_begins_again(folder):
    make_scenes(folder / "test", count=1500, seed=2)
    words = ["evaluate", "--checkpoint", undisturbed, "--data.shards", folder / "test", "--train.threads", 1]
    pixelbert(*words, "--out", folder / "whole.json", ranks=2)
    job = slurm.submit(folder, EVALUATE, *words[1:], "--out", folder / "job.json")
    wait_for(lambda: len(slurm.processes("n1", "pixelbert")) > 0, "ranks", 60)
    slurm.on("ctl", "scancel", "--batch", "--signal=USR1", job)
    slurm.wait(job)
    check(slurm.facts(job)["Restarts"] == "1", slurm.facts(job))
    whole, again = (json.loads((folder / name).read_text()) for name in ("whole.json", "job.json"))
    check(whole["metrics"] == again["metrics"], (whole, again))
    check(not list(folder.glob("slurm-failures-*")), "stops are counted until it ends")


def chain(folder, **environment):
    """Runs slurm/chain.sh on tiny data. Returns the numbers of its jobs by name."""
    sets = {}
    for task in ("vqa", "nlvr2"):
        for seed in (1, 2):
            out = sets[task, seed] = folder / f"{task}-{seed}"
            pixelbert("shard", "scenes", "--task", task, "--out", out, "--count", 32, "--seed", seed, "--size", 64)
    sets["retrieval", 1] = sets["retrieval", 2] = shards
    train = [*BATCH, "--train.device", "cpu", "--data.threads", 1, "--train.steps", 3]
    tasks = [word for task in ("vqa", "nlvr2", "retrieval")
             for word in (f"--{task}", sets[task, 2], "--data.shards", sets[task, 1], *train)]
    printed = slurm.on("ctl", ROOT / "slurm/chain.sh", folder / "runs", *slurm.resources(nodes=1, ranks=2),
                       "--pretrain", *options(folder, steps=3), *tasks, env=dict(os.environ, **environment), cwd=folder)
    jobs = {line.split()[1]: line.split()[0] for line in printed.splitlines()}
    check(list(jobs) == ["pretrain", *(name for task in ("vqa", "nlvr2", "retrieval")
                                       for name in (task, f"{task}-evaluate"))], printed)
    return jobs


def test_a_chain_of_jobs(folder):
    jobs = chain(folder)
    for job in jobs.values():
        slurm.wait(job)
    for task, figure in (("vqa", "vqa_score"), ("nlvr2", "accuracy"), ("retrieval", "tr_r1")):
        result = json.loads((folder / "runs" / f"{task}.json").read_text())
        check(result["task"] == task and figure in result["metrics"], result)
        check(result["checkpoint_identity"]["initial"]["task"] == "pretrain", result)


def test_a_chain_whose_pretraining_fails(folder):
    jobs = chain(folder, PIXELBERT_FAULTS="throw@1/1", PIXELBERT_MAX_RETRIES="0")
    slurm.wait(jobs.pop("pretrain"), "FAILED")
    for name, job in jobs.items():
        slurm.wait(job, "CANCELLED")
        in_log(job, "was to succeed first", "gave up: failed 1 times without a checkpoint after step 0")


def test_a_chain_with_a_mistake_submits_nothing(folder):
    sbatch = folder / "sbatch"
    sbatch.write_text(f"#!/bin/sh\ntouch {folder}/submitted\necho 1\n")
    sbatch.chmod(0o755)
    pretraining = ["--pretrain", *options(folder), "--vqa", shards]
    for words, message in ((["--nlvr2", "--data.shards", shards], "--nlvr2: no shard folder to evaluate on"),
                           (["--nlvr2", shards, "--train.step", 3], "did you mean 'train.steps'?"),
                           ([], None)):
        done = subprocess.run([ROOT / "slurm/chain.sh", folder / "runs", *map(str, [*pretraining, *words])], timeout=60,
                              env=dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}"), capture_output=True, text=True)
        check(done.returncode == (2 if message else 0) and (not message or message in done.stderr), done)
        check((folder / "submitted").exists() == (not message), f"{words}: {done}")


def test_the_file_of_a_plan(folder):
    run, file = folder / "run", folder / "planned.sbatch"
    # The job's log goes to the folder in which the plan was made.
    slurm.on("ctl", os.environ["PIXELBERT"], "plan", "--nodes", 2, "--ranks-per-node", 1, "--out", file, *options(run),
             cwd=folder)
    job = slurm.on("ctl", "sbatch", "--parsable", file, cwd=folder).strip()
    slurm.wait(job)
    in_log(job, "mpirun on n[0-1], checkpoint of step 0", "2 ranks", "done")
    check_as_undisturbed(run, "planned")


def test_doctor_looks_at_the_nodes_of_an_allocation(folder):
    command = f"{ROOT}/launch/mpirun.sh {os.environ['PIXELBERT']} doctor --train.device cpu --data.shards {shards}"
    job = slurm.on("ctl", "sbatch", "--parsable", *slurm.resources(nodes=2, ranks=1), "--wrap", command, cwd=folder).strip()
    slurm.wait(job)
    in_log(job, "n0", "n1", "all-reduce")
    check("FAILURE" not in slurm.log(job), slurm.log(job))


def test_srun_with_pmix_on_two_nodes(folder):
    run = folder / "run"
    job = submit(run, PIXELBERT_LAUNCHER="srun", **SLOWLY)
    slurm.wait_for_step(job, run, 3)
    slurm.on("ctl", "scancel", "--batch", "--signal=USR1", job)
    slurm.wait(job)
    in_log(job, "srun on n[0-1], checkpoint of step 0", "the ranks have stopped for the scheduler", "resuming from",
           "done")
    check_as_undisturbed(run, "started by srun")


if __name__ == "__main__":
    with temporary_folder() as common, slurm_cluster(2) as slurm:
        shards, undisturbed = make_scenes(pathlib.Path(common) / "shards"), pathlib.Path(common) / "undisturbed"
        pixelbert("pretrain", *options(undisturbed))
        run_tests(sys.modules[__name__])
