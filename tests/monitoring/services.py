"""Prometheus and Alertmanager of a test, started by monitoring/start.sh on free ports over a folder of runs."""

import contextlib
import json
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from support import check, wait_for  # noqa: E402

FASTER = 15  # minutes of the rules are 4 seconds here
# A model that makes a step in a few hundredths of a second, so that what is put into a step is most of it.
QUICK = ["--image.short-side", 32, "--image.long-side", 32, "--model.layers", 1, "--model.hidden", 32,
         "--model.frozen-stages", 5, "--model.batch-norm", "frozen", "--data.texts-per-image", 1,
         "--data.global-batch", 4, "--data.micro-batch", 2, "--train.epochs", 1000000]
SECONDS = {"s": 1, "m": 60, "h": 3600}


def faster(text):
    """Every duration of a configuration divided, but for those that would be shorter than a scrape."""
    def divide(match):
        return f"{max(round(int(match[1]) * SECONDS[match[2]] / FASTER), 1)}s"
    return re.sub(r"\b(\d+)([smh])\b", divide, text)


STARTS = iter(random.sample(range(20000, 32000, 10), 1200))  # Linux gives connections ports from 32768 on


def free_ports(count):
    """That many ports in a row, of which nobody here has been told before."""
    for first in STARTS:
        try:
            with contextlib.ExitStack() as held:
                for port in range(first, first + count):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise AssertionError("no free ports between 20000 and 32000")


def get(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode()


class Monitoring:
    def __init__(self, folder, runs, webhook="http://127.0.0.1:9/"):
        """Starts a copy of monitoring/ whose rules are faster and whose alerts go to `webhook`."""
        copy = folder / "monitoring"
        shutil.copytree(ROOT / "monitoring", copy)
        for path in copy.rglob("*.yml"):
            path.write_text(faster(path.read_text()).replace("http://127.0.0.1:9099/", webhook))
        runs.mkdir(exist_ok=True)
        port = free_ports(4)
        self.url = f"http://127.0.0.1:{port}"
        self.alertmanager = f"http://127.0.0.1:{port + 3}"
        self.state = folder / "state"
        self.process = subprocess.Popen([copy / "start.sh", "--port", str(port), "--state", self.state, runs],
                                        stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()

    def __enter__(self):
        check(self.address == f"{self.url}/consoles/index.html", f"start.sh printed '{self.address}'")
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)

    def api(self, what, **parameters):
        """Of /api/v1; what Prometheus says against a query is in the error."""
        try:
            answer = json.loads(get(f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"))
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{what} {parameters}: {json.loads(error.read())['error']}") from error
        return answer["data"]

    def query(self, expression):
        return self.api("query", query=expression)["result"]

    def value(self, expression):
        """The only value of the result; None when it is empty."""
        result = self.query(expression)
        check(len(result) <= 1, f"{expression}: expected one series, found {len(result)}: {result}")
        return float(result[0]["value"][1]) if result else None

    def wait_for(self, expression, seconds=120):
        wait_for(lambda: self.query(expression), f"Prometheus to answer {expression}", seconds)

    def console(self, page):
        return get(f"{self.url}/consoles/{page}")
