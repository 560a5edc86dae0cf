"""monitoring/start.sh and link_targets.sh as a user calls them: options anywhere, started twice, stopped early."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from services import ROOT, check, free_ports, get

sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from support import run_tests, wait_for  # noqa: E402

START = ROOT / "monitoring" / "start.sh"
LINKS = ROOT / "monitoring" / "link_targets.sh"
HERE = os.uname().nodename


def said(*words, expect):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60)
    check(done.returncode == expect, done)
    return done.stdout + done.stderr


@contextlib.contextmanager
def started(*words):
    """What start.sh prints when all runs, and its process."""
    process = subprocess.Popen([START, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def of_state(state):
    """Processes that belong to this state folder: they name it, or stand in it."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes()
            if os.fsencode(state) in words or os.readlink(process / "cwd") == str(state):
                found.append(words)
    return found


def runs_with(folder, *names, ports=None, host=HERE, ranks=1):
    for name, port in zip(names, ports or [9] * len(names)):
        (folder / name / "monitoring").mkdir(parents=True)
        (folder / name / "monitoring" / "targets.json").write_text(json.dumps(
            [{"targets": [f"127.0.0.1:{port + rank}"], "labels": {"run": name, "rank": str(rank), "host": host}}
             for rank in range(ranks)], indent=1))
    return folder


@contextlib.contextmanager
def linked(runs, links):
    """link_targets.sh, and a function that returns which runs have a link."""
    with (links.parent / "said").open("w") as said_by_it:
        process = subprocess.Popen([LINKS, runs, links], stderr=said_by_it)
    try:
        yield lambda: sorted(link.stem for link in links.glob("*.json"))
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_options_belong_anywhere(folder):
    runs = runs_with(folder / "runs", "a")
    port = free_ports(4)
    url = f"http://127.0.0.1:{port}/consoles/index.html"
    for words in ([runs, "--port", port], ["--state", folder / "state", runs, f"--port={port}"]):
        with started(*words) as (line, _):
            check(line == url, f"{words}: {line}")
    check((runs / ".monitoring/prometheus").is_dir() and (folder / "state/prometheus").is_dir(), "both states")


def test_wrong_words_are_named(folder):
    for words, message in (([], "found 0 folders"), ([folder, folder], "found 2 folders"), (["--port"], "no value"),
                           ([folder, "--state"], "no value"), ([folder, "--prot", "1"], "unknown option --prot"),
                           ([folder, "--port", "x"], "--port: found 'x'"), ([folder, "--port", "65533"], "65533"),
                           ([folder, "--port", "0"], "--port"), ([folder, "--port="], "--port"),
                           ([folder / "none"], "no folder of runs")):
        output = said(START, *words, expect=2)
        check(message in output and output.count("\n") == 1, f"{words}: {output}")
    for words, message in (([folder], "found 1 folders"), ([folder / "none", folder], "no folder of runs"),
                           ([folder, folder, "-x"], "unknown option -x")):
        output = said(LINKS, *words, expect=2)
        check(message in output and output.count("\n") == 1, f"{words}: {output}")
    for script in (START, LINKS):
        output = said(script, folder, "--help", expect=0)
        check(f"monitoring/{script.name}" in output and "set -" not in output, output)


def test_a_second_start_is_refused_and_spoils_nothing(folder):
    runs = runs_with(folder / "runs", "a")
    with started(runs, "--port", free_ports(4)):
        alertmanagers = (runs / ".monitoring/alertmanagers.json").read_text()
        output = said(START, runs, "--port", free_ports(4), expect=1)
        check("is in use" in output and "--state" in output, output)
        check((runs / ".monitoring/alertmanagers.json").read_text() == alertmanagers, "the first one's")
        other = free_ports(4)
        with started(runs, "--port", other, "--state", folder / "other") as (line, _):
            check(str(other) in line, line)
    with started(runs, "--port", free_ports(4)) as (line, _):  # the first has ended
        check(line.startswith("http://"), line)


def test_stopped_in_its_first_moments_it_leaves_nothing(folder):
    for moment in (0, 0.02, 0.05, 0.1, 0.2, 0.5, 1):
        state = folder / f"state-{moment}"
        runs = runs_with(folder / f"runs-{moment}", "a")
        process = subprocess.Popen([START, runs, "--port", str(free_ports(4)), "--state", state], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        time.sleep(moment)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        wait_for(lambda: not of_state(state), f"what was started to end: {of_state(state)}", 30)
        with started(runs, "--port", free_ports(4), "--state", state) as (line, _):
            check(line.startswith("http://"), f"after {moment} s: {line}")


def test_any_name_of_a_folder_is_watched(folder):
    names = ["plain", "with blank", "a:b", "a%3Ab", "[x]*?", "a/b"]
    runs = runs_with(folder / "my runs [1]*", *names, ports=range(3, 9))
    port = free_ports(4)
    with started(runs, "--port", port):
        def watched():
            active = json.loads(get(f"http://127.0.0.1:{port}/api/v1/targets"))["data"]["activeTargets"]
            return {target["labels"]["run"] for target in active}
        expected = {"plain", "with blank", "a%3Ab", "a%253Ab", "[x]*?", "a:b"}
        wait_for(lambda: watched() == expected, f"the runs {expected}", 60)
        rules = json.loads(get(f"http://127.0.0.1:{port}/api/v1/rules"))["data"]["groups"]
        check(rules, "the rules are found as well")


def test_an_endpoint_belongs_to_the_newest_list_that_names_it(folder):
    runs = runs_with(folder / "runs", "a", "b", "c")
    lists = {name: runs / name / "monitoring/targets.json" for name in "abc"}
    lists["a"].write_text(lists["a"].read_text().replace("127.0.0.1:9", "127.0.0.1:8"))
    lists["c"].write_text(lists["c"].read_text().replace("127.0.0.1:9", "node7:9"))  # the same host, as others reach it
    for name, seconds in (("a", 100), ("b", 100), ("c", 200)):
        os.utime(lists[name], (seconds, seconds))
    with linked(runs, folder / "links") as names:
        wait_for(lambda: names() == ["a", "c"], "b to have no link", 30)
        os.utime(lists["b"], (300, 300))  # it has been resumed
        wait_for(lambda: names() == ["a", "b"], "c to have no link", 30)
        lists["b"].write_text("[]\n")  # it has ended
        wait_for(lambda: names() == ["a", "b", "c"], "all to have one", 30)


def test_a_loopback_address_of_another_host_is_left_out(folder):
    runs = runs_with(runs_with(folder / "runs", "ours"), "theirs", host="node7")
    lists = {name: runs / name / "monitoring/targets.json" for name in ("ours", "theirs")}
    os.utime(lists["ours"], (100, 100))
    with linked(runs, folder / "links") as names:
        wait_for(lambda: names(), "a link", 30)
        time.sleep(5)  # it looks again
        check(names() == ["ours"], names())
        said_by_it = (folder / "said").read_text()
        check(said_by_it.count("\n") == 1 and f"{lists['theirs']} is left out" in said_by_it and "of node7" in said_by_it, said_by_it)
        lists["theirs"].write_text(lists["theirs"].read_text().replace("127.0.0.1", "node7"))
        wait_for(lambda: names() == ["ours", "theirs"], "both", 30)


def test_a_list_of_many_ranks_is_linked_soon(folder):
    with linked(runs_with(folder / "runs", "a", ranks=8192), folder / "links") as names:
        wait_for(lambda: names() == ["a"], "a link", 10)


run_tests(sys.modules[__name__])
