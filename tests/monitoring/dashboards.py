"""The Grafana dashboard's queries and the console's pages, during a real training on two ranks and after its end.

With PIXELBERT_CONSOLE_IMAGE=FILE.png it also writes the screenshot of the console that the pages show (CONTRIBUTING.md).
"""

import contextlib
import copy
import html
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

from PIL import Image
from services import ROOT, Monitoring, check, free_ports, wait_for
from support import finish, make_scenes, metrics, pretrain, run_tests, start

DASHBOARD = ROOT / "monitoring" / "grafana" / "pixelbert.json"
GPU_ONLY = {"pixelbert_device_memory_bytes"}
RUN = "training"
CONSOLE_IMAGE = os.environ.get("PIXELBERT_CONSOLE_IMAGE")
IMAGE_SECONDS = 120  # of training in the screenshot


def resolved(text, variables):
    for name, value in variables.items():
        text = text.replace(f"${name}", value)
    return text


def variables_of(dashboard, monitoring):
    """As Grafana fills them in: its own by the range, label_values() by asking Prometheus."""
    variables = {"__rate_interval": "20s", "__range": "3h"}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "query":
            continue
        metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
        values = monitoring.api(f"label/{label}/values", **{"match[]": metric})
        check(values == [RUN], f"variable {variable['name']}: expected ['{RUN}'], found {values}")
        variables[variable["name"]] = values[0]
    return variables


def check_target(panel, target, variables, monitoring):
    what = f"panel '{panel['title']}', query {target['expr']}"
    query = resolved(target["expr"], variables)
    check("$" not in query, f"{what}: unknown variable in {query}")
    if target["range"]:
        now = time.time()
        result = monitoring.api("query_range", query=query, start=now - 30, end=now, step=1)["result"]
    else:
        result = monitoring.query(query)
    if any(name in query for name in GPU_ONLY):
        check(not result, f"{what}: expected nothing without a GPU, found {result}")
        return
    check(result, f"{what}: no data")
    for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
        check(all(label in one["metric"] for one in result), f"{what}: the legend uses '{label}', found {result[0]['metric']}")
    names = [re.sub(r"\{\{(\w+)\}\}", lambda match, one=one: one["metric"][match[1]], target["legendFormat"]) for one in result]
    if target["legendFormat"]:
        check(len(set(names)) == len(names), f"{what}: two curves of one name: {names}")


def in_three_looks(check_one, *arguments):
    """Scrapes are a second apart here: what a busy machine answers late is missing for that second."""
    for _ in range(2):
        try:
            return check_one(*arguments)
        except AssertionError as error:
            print(f"  looks again: {str(error)[:500]}", flush=True)
    return check_one(*arguments)


def check_dashboard(dashboard, monitoring):
    variables = variables_of(dashboard, monitoring)
    checked = 0
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            check_target(panel, target, variables, monitoring)
            checked += 1
    check(checked >= 25, f"expected at least 25 queries, found {checked}")


def check_mistakes_are_found(dashboard, monitoring):
    """Each mistake planted in the dashboard fails the check, with the panel's name."""
    for panel, key, good, bad, message in [
            ("Learning rate", "expr", "pixelbert_learning_rate", "pixelbert_learning_rat", "no data"),
            ("Waits for data", "expr", 'phase="data"', 'phase="dta"', "no data"),
            ("Loss", "legendFormat", "{{term}}", "{{terms}}", "the legend uses 'terms'"),
            ("Micro-batches ready", "legendFormat", "rank {{rank}} on {{host}}", "{{run}}", "two curves of one name"),
            ("Left", "expr", "$run", "$runs", "no data"),
            ("Step", "expr", "{", "{{", "parse error")]:
        spoilt = copy.deepcopy(dashboard)
        target = next(one for one in spoilt["panels"] if one["title"] == panel)["targets"][0]
        check(good in target[key], f"{panel}: no '{good}' in {target[key]}")
        target[key] = target[key].replace(good, bad)
        try:
            check_dashboard(spoilt, monitoring)
        except AssertionError as error:
            check(message in str(error), f"'{bad}' in '{panel}': expected '{message}', found: {error}")
        else:
            raise AssertionError(f"'{bad}' in the query or legend of '{panel}' was not found")


def check_page_of_metrics(monitoring):
    """monitoring/README.md has every metric there is, and none that is not."""
    page = (ROOT / "monitoring" / "README.md").read_text()
    named = set(re.findall(r"`((?:pixelbert|process)_\w+)(?:\{[^}]*\})?`(?=[^\n]* \| (?:job|rank) \|)", page))
    served = {one["metric"]["__name__"] for one in monitoring.query('{job="pixelbert", __name__=~"(pixelbert|process)_.+"}')}
    served = {re.sub(r"_(bucket|sum|count)$", "", name) for name in served}
    check(served <= named, f"metrics that README.md does not name: {sorted(served - named)}")
    check(named - served <= GPU_ONLY, f"metrics in README.md that are not served: {sorted(named - served)}")


def browser(monitoring, page, *options):
    """Chromium on a page of the console, its graphs drawn."""
    done = subprocess.run(["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                           "--window-size=1320,1600", "--virtual-time-budget=20000", "--timeout=60000", *options,
                           f"{monitoring.url}/consoles/{page}"], capture_output=True, text=True, timeout=180)
    check(done.returncode == 0, f"chromium ended with {done.returncode}: {done.stderr[-2000:]}")
    return re.sub(r"<(script|style)>.*?</\1>", "", done.stdout, flags=re.S)


def seen(page, pattern):
    """What `pattern` finds in a page, blanks made single."""
    found = re.search(pattern, re.sub(r"\s+", " ", page))
    check(found, f"no '{pattern}' in the page:\n{page}")
    return found[1]


def check_run_page(monitoring, folder):
    page = browser(monitoring, f"run.html?run={RUN}&range=900", "--dump-dom")
    check(seen(page, r'<span id="state"><b class="good">(\w+)</b>') in ("training", "saving"), "it trains")
    step = int(seen(page, r"step (\d+) of 1000000, epoch \d+, 2 ranks"))
    check(1 <= step <= monitoring.value("run:pixelbert_step:max") + 1, f"step {step}")
    for number, label in [(r"[\d.]+", "itm loss"), (r"[\d.]+ %", "mlm accuracy"), (r"[\d.]+", "pairs/s"),
                          (r"\d+ %", "of its median over 6 h"), (r"[\d.]+ s", "a step"), (r"[\d.]+ [MG]FLOP/s", r"of the model, \d+ % of peak"),
                          (r"\d+s", "of training would be lost"), (r"yes|no", "saving now"), (r"[\d.]+ s", "to save, on average")]:
        seen(page, rf"<b>({number})</b> ?<span>{label}</span>")
    shares = [float(share) for share in re.findall(r'<i class="\w+"></i>\w+ ([\d.]+) %', page)]
    # The windows are short here, and a counter's first look adds nothing to its rate.
    check(len(shares) == 7 and abs(sum(shares) - 100) < 5, f"the shares of the phases: {shares}")
    for rank in (0, 1):
        row = seen(page, rf'<tr id="rank-{rank}">(.*?)</tr>')
        check(">yes</span>" in row and "MiB" in row and row.count("–") == 0, f"rank {rank}: {row}")
    graphs = re.findall(r'<figure class="graph".*?</figure>', page, re.S)
    curves = [graph.count("<polyline") + graph.count("<polygon") for graph in graphs]
    check(curves == [3, 2, 1, 1, 7, 1, 2, 2], f"curves of each graph: {curves}\n{page}")
    check("no graph" not in page and "NaN" not in page, page)

    image = folder / "run.png"
    browser(monitoring, f"run.html?run={RUN}&range=900", f"--screenshot={image}")
    colours = Image.open(image).convert("RGB").getcolors(1 << 24)
    check(sum(count for count, colour in colours if colour == (0x5b, 0xa3, 0xc9)) > 2000, "no area of the backward phase")


def write_screenshot(monitoring):
    """The run's page with full curves, in 64 colours to keep the file small."""
    monitoring.wait_for(f"time() - process_start_time_seconds > {IMAGE_SECONDS + 60}", IMAGE_SECONDS + 120)
    browser(monitoring, f"run.html?run={RUN}&range={IMAGE_SECONDS}", f"--screenshot={CONSOLE_IMAGE}")
    Image.open(CONSOLE_IMAGE).convert("RGB").quantize(64).save(CONSOLE_IMAGE, optimize=True)


def check_list_of_runs(monitoring, state):
    page = browser(monitoring, "index.html", "--dump-dom")
    row = seen(page, rf'<tr id="run-{RUN}">(.*?)</tr>')
    check(re.search(state, row), f"expected {state}: {row}")
    return row


def check_ended(monitoring, run):
    """What the last look showed is still there, and the page says that it has ended."""
    wait_for(lambda: not monitoring.query("up or run:pixelbert_ranks:count"), "the targets to go, and what is recorded of them")
    row = check_list_of_runs(monitoring, "ended, last seen")
    last = monitoring.value(f'last_over_time(run:pixelbert_step:max{{run="{RUN}"}}[1h])')
    check(f"<td>{last:.0f}</td>" in row, f"expected step {last:.0f} in {row}")
    loss = monitoring.value(f'last_over_time(run:pixelbert_loss:max{{run="{RUN}", term="total"}}[1h])')
    check(f"<td>{loss:.3f}</td>" in row, f"expected loss {loss:.3f} in {row}")
    # A scrape may come between the two rules: the loss is exactly that of a step, but maybe of the look before or behind.
    steps = [line["step"] for line in metrics(run) if abs(line["loss"] - loss) < 1e-6]
    check(any(abs(step - last) <= 200 for step in steps), f"{loss} is the loss of the steps {steps}, expected step {last:.0f}")
    unseen = sum(line["seconds"] for line in metrics(run) if line["step"] > last)
    check(unseen < 10, f"the last look was at step {last:.0f}, {unseen} s before the end")
    page = browser(monitoring, f"run.html?run={RUN}&range=900", "--dump-dom")
    check("ended, last seen" in page and "It has ended" in page and "2 ranks" in page, page)
    check("<td>2</td>" in row, f"expected 2 ranks in {row}")
    check(page.count("<polyline") >= 8, f"the curves are still drawn:\n{page}")


def test_a_training_on_two_ranks(folder):
    run = folder / "runs" / RUN
    command = pretrain(run, make_scenes(folder / "shards"), "--data.global-batch", 32, "--data.micro-batch", 16,
                       "--train.epochs", 1000000, "--train.steps", 1000000, "--checkpoint.every-steps", 5,
                       "--metrics.port", free_ports(2))
    with Monitoring(folder, folder / "runs") as monitoring:
        empty = monitoring.console("index.html")
        check("No run yet" in empty, empty)
        job = start(*command, ranks=2)
        try:
            monitoring.wait_for("pixelbert_checkpoint_seconds_count > 1")
            monitoring.wait_for('count_over_time(rank:pixelbert_waited_for:share5m{rank="1"}[1m]) > 15')
            dashboard = json.loads(DASHBOARD.read_text())
            in_three_looks(check_dashboard, dashboard, monitoring)
            in_three_looks(check_mistakes_are_found, dashboard, monitoring)
            check_page_of_metrics(monitoring)
            in_three_looks(check_run_page, monitoring, folder)
            if CONSOLE_IMAGE:
                write_screenshot(monitoring)
            check_list_of_runs(monitoring, "training|saving")
            check("No run nobody" in monitoring.console("run.html?run=nobody"), "a page for a run that is not there")
        finally:
            job.send_signal(signal.SIGTERM)
        finish(job, expect=75)
        check_ended(monitoring, run)
    bad = [line for line in (monitoring.state / "prometheus.log").read_text().splitlines()
           if re.search("level=(warn|error)", line) and "Received SIGTERM" not in line]
    check(not bad, "Prometheus complains:\n" + "\n".join(bad))


@contextlib.contextmanager
def rank_with(share):
    """A rank's endpoint, before its first save, that waits for data this share of the time; its port."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seconds = time.time() % 100000
            self.send_response(200)
            self.end_headers()
            self.wfile.write("\n".join([
                "pixelbert_step 3", "pixelbert_checkpoint_seconds_sum 0", "pixelbert_checkpoint_seconds_count 0",
                f"pixelbert_step_seconds_sum {seconds}", f'pixelbert_phase_seconds_total{{phase="data"}} {share * seconds}',
                f'pixelbert_phase_seconds_total{{phase="reduce_wait"}} {(1 - share) * seconds}', ""]).encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_rank_of_a_run_with_any_name_that_goes_on_on_another_host(folder):
    name = 'a "b" \\ c'
    targets = folder / "runs" / name / "monitoring" / "targets.json"
    targets.parent.mkdir(parents=True)
    with Monitoring(folder, folder / "runs") as monitoring, rank_with(0.75) as first, rank_with(0.25) as second:
        page = f"run.html?run={urllib.parse.quote(name)}"

        def check_rank(host, port, percent):
            # Not a loopback address by name, which would not be linked with another host's.
            targets.write_text(json.dumps([{"targets": [f"0.0.0.0:{port}"], "labels": {"run": name, "rank": "0", "host": host}}]))
            # Prometheus may scrape the rank's old address for another second.
            monitoring.wait_for(f'(rank_phase:pixelbert_phase:share5m{{host="{host}", phase="data"}} > 0 and on (host) up)'
                                f' unless on () up{{host!="{host}", host!=""}}')
            row = re.search(r'<tr id="rank-0">.*?</tr>', monitoring.console(page), re.S)
            check(row and host in row[0] and f"<td>{percent}.0 %</td>" in row[0], f"{percent} % on {host}: {row and row[0]}")
            wrong = [line for line in monitoring.console(page).splitlines() if "NaN" in line]
            check(not wrong, wrong)

        for host, port, percent in (("a", first, 75), ("b", second, 25), ("a", first, 75)):
            in_three_looks(check_rank, host, port, percent)
        check(len(monitoring.query('rank_phase:pixelbert_phase:share5m{phase="data"}')) == 2, "those of both hosts, of which one was shown")
        queries = re.findall(r'data-query="([^"]*)"', monitoring.console(page))
        for query in map(html.unescape, queries):
            monitoring.query(query)
        check(monitoring.query(html.unescape(queries[-1])), queries[-1])


run_tests(sys.modules[__name__])
