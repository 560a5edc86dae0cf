"""Configurations are valid, every rule has unit tests, every alert a paragraph, the dashboard is what its script writes, and
start.sh says what keeps it from working."""

import json
import pathlib
import re
import socket
import subprocess
import sys

import yaml
from services import ROOT, check, free_ports, wait_for
from support import finish, run_tests

HERE = pathlib.Path(__file__).resolve().parent
MONITORING = ROOT / "monitoring"
RULES = sorted((MONITORING / "rules").glob("*.yml"))
TESTS = sorted(HERE.glob("*.test.yml"))


def run(*command):
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    check(done.returncode == 0, f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


def rules(kind):
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]
            if kind in rule]


def unit_tests():
    return [test for path in TESTS for test in yaml.safe_load(path.read_text())["tests"]]


def test_configurations_are_valid(folder):
    # A folder as start.sh makes it: promtool wants the files that the configuration names.
    (folder / "rules").symlink_to(MONITORING / "rules")
    (folder / "targets").mkdir()
    for name in ["targets/run.json", "alertmanagers.json"]:
        (folder / name).write_text("[]")
    (folder / "prometheus.yml").symlink_to(MONITORING / "prometheus.yml")
    run("promtool", "check", "config", folder / "prometheus.yml")
    run("promtool", "check", "rules", *RULES)
    run("amtool", "check-config", MONITORING / "alertmanager.yml")


def test_rules_do_what_their_unit_tests_say(_):
    run("promtool", "test", "rules", *TESTS)


def test_every_alert_is_tested_firing_and_not_firing(_):
    for rule in rules("alert"):
        alerts = [one.get("exp_alerts", []) for test in unit_tests() for one in test.get("alert_rule_test", [])
                  if one["alertname"] == rule["alert"]]
        check(any(alerts), f"no test in which {rule['alert']} fires")
        check(not all(alerts), f"no test in which {rule['alert']} does not fire")


def test_every_recording_is_tested(_):
    used = " ".join(path.read_text() for path in [*TESTS, MONITORING / "rules" / "alerts.yml"])
    for rule in rules("record"):
        check(rule["record"] in used, f"no test of {rule['record']}")


def test_every_alert_has_a_paragraph_in_the_run_book(_):
    paragraphs = dict(re.findall(r"^## (Pixelbert\w+)\n\n(.+?)(?=\n## |\Z)", (MONITORING / "runbook.md").read_text(), re.M | re.S))
    names = [rule["alert"] for rule in rules("alert")]
    check(sorted(paragraphs) == sorted(names), f"paragraphs on {sorted(paragraphs)}, alerts {sorted(names)}")
    for rule in rules("alert"):
        link = rule["annotations"].get("runbook")
        check(link == f"monitoring/runbook.md#{rule['alert'].lower()}", f"{rule['alert']}: runbook is {link}")
        check(rule["labels"]["severity"] in ("critical", "warning"), f"{rule['alert']}: {rule['labels']}")
        check(len(paragraphs[rule["alert"]]) > 150, f"the paragraph on {rule['alert']} says little")


def test_the_dashboard_is_what_its_script_writes(folder):
    script = folder / "generate.py"
    script.write_text((MONITORING / "grafana" / "generate.py").read_text())
    run(sys.executable, script)
    check((folder / "pixelbert.json").read_text() == (MONITORING / "grafana" / "pixelbert.json").read_text(),
          "monitoring/grafana/pixelbert.json differs from what generate.py writes: run it and commit the file")


def test_the_dashboard_has_what_grafana_needs(_):
    dashboard = json.loads((MONITORING / "grafana" / "pixelbert.json").read_text())
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    check(len(set(ids)) == len(ids), f"the same id twice: {ids}")
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        check(max(x for x, _ in cells) < 24, f"{panel['title']} is beyond the 24 columns: {at}")
        check(not cells & taken, f"{panel['title']} lies over another panel: {at}")
        taken |= cells
        if panel["type"] == "row":
            continue
        check(panel["type"] in ("stat", "timeseries", "table"), f"{panel['title']}: type {panel['type']}")
        references = [target["refId"] for target in panel["targets"]]
        check(references and len(set(references)) == len(references), f"{panel['title']}: refIds {references}")
        check(panel["fieldConfig"]["defaults"]["unit"], f"{panel['title']} has no unit")
    known = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard))) - {"__rate_interval", "__range"}
    check(used <= known, f"variables {used - known} are used and not defined")


def start(folder, port):
    return subprocess.Popen([MONITORING / "start.sh", "--port", str(port), folder], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def test_start_names_a_port_that_is_taken(folder):
    port = free_ports(4)
    for taken in (port, port + 3):
        with socket.create_server(("127.0.0.1", taken)):
            output = finish(start(folder, port), expect=1, seconds=20)
        check(f"port {taken} is taken" in output and "console" not in output, output)


def test_start_says_where_to_look_when_one_has_ended(folder):
    process = start(folder, free_ports(4))
    check("/consoles/index.html" in process.stdout.readline(), "an address")
    subprocess.run(["pkill", "-KILL", "-P", str(process.pid), "-f", "^prometheus-alertmanager"], check=True)
    output = finish(process, expect=1, seconds=20)
    check(f"has ended; see {folder}/.monitoring/*.log" in output, output)


def test_every_run_is_linked(folder):
    runs, targets = folder / "runs", folder / "targets"
    names = {"a-b.json": "a-b", "a:b.json": "a/b", "b.json": "b"}
    for run in names.values():
        (runs / run / "monitoring").mkdir(parents=True)
        (runs / run / "monitoring" / "targets.json").touch()

    def links():
        return {link.name: str(link.readlink().relative_to(runs.resolve()).parents[1]) for link in targets.glob("*.json")}
    process = subprocess.Popen([MONITORING / "link_targets.sh", runs, targets])
    try:
        wait_for(lambda: links() == names, f"{names}", 10)
    finally:
        process.kill()
        process.wait()


run_tests(sys.modules[__name__])
