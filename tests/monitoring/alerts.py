"""Real alerts of real runs through a real Alertmanager to a webhook."""

import contextlib
import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

from services import QUICK, Monitoring, check, free_ports, wait_for
from support import finish, make_scenes, pretrain, run_tests, start


class Webhook:
    """Collects what Alertmanager sends."""

    def __enter__(self):
        self.alerts = alerts = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                alerts.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def wait_for(self, name, status="firing", **labels):
        def found():
            return [alert for alert in list(self.alerts)
                    if alert["labels"]["alertname"] == name and alert["status"] == status
                    and labels.items() <= alert["labels"].items()]
        try:
            wait_for(found, f"{name} {status} {labels}", seconds=180)
        except AssertionError as error:
            raise AssertionError(f"{error}; came: {self.names()}") from error
        return found()[-1]

    def names(self):
        return [(alert["labels"]["alertname"], alert["status"], alert["labels"].get("rank")) for alert in self.alerts]


def process_of(run, rank):
    """The process id of a rank, which Open MPI has told it."""
    ids = subprocess.run(["pgrep", "-f", f"^{os.environ['PIXELBERT']} .*{run}"], capture_output=True, text=True, check=True)
    for process in map(int, ids.stdout.split()):
        if f"OMPI_COMM_WORLD_RANK={rank}\0" in pathlib.Path(f"/proc/{process}/environ").read_text():
            return process
    raise AssertionError(f"no process of rank {rank} among {ids.stdout.split()}")


@contextlib.contextmanager
def training(folder, *options, faults=""):
    """A run of two ranks under Prometheus and Alertmanager, and the webhook that hears of it."""
    run = folder / "runs" / "training"
    command = pretrain(run, make_scenes(folder / "shards"), *QUICK, "--metrics.port", free_ports(2), *options)
    with Webhook() as webhook, Monitoring(folder, folder / "runs", webhook.url) as monitoring:
        job = start(*command, ranks=2, faults=faults, out=(folder / "log").open("w"))
        try:
            monitoring.wait_for("run:pixelbert_step:max > 3")
            yield run, webhook, monitoring
        finally:
            job.send_signal(signal.SIGTERM)
        finish(job, expect=75)


def test_a_stopped_rank_is_reported_and_its_return_too(folder):
    with training(folder, "--watchdog.seconds", 0) as (run, webhook, monitoring):
        # As old as the alert wants a run to be.
        monitoring.wait_for("run:pixelbert_step:max offset 20s")
        check(not webhook.alerts, f"expected no alert of a run that works, found {webhook.names()}")
        process = process_of(run, 1)
        os.kill(process, signal.SIGSTOP)
        try:
            missing = webhook.wait_for("PixelbertRankMissing", run="training", rank="1")
            stalled = webhook.wait_for("PixelbertStalled", run="training")
        finally:
            os.kill(process, signal.SIGCONT)
        check("rank 1 on" in missing["annotations"]["summary"], missing)
        check(stalled["labels"]["severity"] == "critical", stalled)
        check(stalled["annotations"]["runbook"] == "monitoring/runbook.md#pixelbertstalled", stalled)
        webhook.wait_for("PixelbertRankMissing", status="resolved", run="training", rank="1")
        webhook.wait_for("PixelbertStalled", status="resolved", run="training")
        ranks = {alert["labels"].get("rank") for alert in webhook.alerts if alert["labels"]["alertname"] == "PixelbertRankMissing"}
        check(ranks == {"1"}, f"only rank 1 was missing, found {ranks}")


def test_a_rank_whose_loader_is_slow_is_named_once(folder):
    # Each of its three micro-batches of a step takes 0.2 s longer.
    with training(folder, "--data.global-batch", 12, "--data.queue-batches", 1, faults="sleep-decode@*/1") as (_, webhook, monitoring):
        starved = webhook.wait_for("PixelbertDataStarved", run="training")
        check(starved["labels"]["rank"] == "1", f"expected rank 1: {starved}")
        monitoring.wait_for('ALERTS{alertname="PixelbertStragglingRank", alertstate="firing", rank="1"}')
        names = {alert["labels"]["alertname"] for alert in webhook.alerts}
        check(names == {"PixelbertDataStarved"}, f"the straggling rank is silenced by its cause, found {webhook.names()}")


run_tests(sys.modules[__name__])
