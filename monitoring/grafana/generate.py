#!/usr/bin/env python3
"""Writes monitoring/grafana/pixelbert.json, the dashboard to import into Grafana. One row for each question of README.md.

Sizes are in Grafana's grid of 24 columns. Queries use what monitoring/rules record.
"""

import json
import pathlib

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
PHASE_COLOURS = {"data": "#d1495b", "forward": "#3d7ea6", "backward": "#5ba3c9", "reduce_wait": "#e6a23c",
                 "optimizer": "#6b8e4e", "checkpoint": "#8a63a8", "other": "#a9b1ba"}


def of_run(query):
    """Every selector also chooses the run: name{} and name{phase="data"}."""
    return query.replace("{", '{run="$run", ').replace(", }", "}")


def panel(kind, title, width, height, targets, unit, description="", **fields):
    """Each of `targets` is a query and the legend of its curves."""
    return {
        "type": kind, "title": title, "description": description, "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
        "targets": [{"refId": chr(ord("A") + i), "datasource": DATASOURCE, "expr": of_run(query), "legendFormat": legend,
                     "instant": kind != "timeseries", "range": kind == "timeseries"}
                    for i, (query, legend) in enumerate(targets)],
        "fieldConfig": {"defaults": {"unit": unit, **fields.pop("defaults", {})}, "overrides": fields.pop("overrides", [])},
        **fields,
    }


def stat(title, query, legend, unit, width=4, last=False, **fields):
    """One large number; `last` also shows it of a run that has ended."""
    query = f"last_over_time({query}[$__range])" if last else query
    return panel("stat", title, width, 4, [(query, legend)], unit,
                 options={"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name"}, **fields)


def graph(title, targets, unit, width=12, stack=False, **fields):
    custom = {"fillOpacity": 80, "lineWidth": 0, "stacking": {"mode": "normal"}} if stack else {"lineWidth": 2}
    defaults = {"custom": custom, **({"min": 0} if unit != "none" else {})}
    return panel("timeseries", title, width, 8, targets, unit, defaults=defaults,
                 options={"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}, **fields)


def ranks(title, query):
    """A table of what each rank is now."""
    made = panel("table", title, 12, 8, [(query, "")], "none", transformations=[
        {"id": "organize", "options": {"excludeByName": {"Time": True, "Value": True, "__name__": True, "run": True}}}])
    made["targets"][0]["format"] = "table"
    return made


def colours(names):
    return [{"matcher": {"id": "byName", "options": name},
             "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}]}
            for name, colour in names.items()]


ROWS = {
    "Is it learning?": [
        stat("Step", "run:pixelbert_step:max{}", "{{run}}", "none", last=True),
        stat("Of", "run:pixelbert_planned_steps:max{}", "{{run}}", "none", last=True),
        stat("Left", "run:pixelbert_left:seconds{}", "{{run}}", "s"),
        stat("Loss", "run:pixelbert_loss:max{}", "{{term}}", "none", width=6, last=True),
        stat("Accuracy", "run:pixelbert_accuracy:max{}", "{{term}}", "percentunit", width=6, last=True),
        graph("Loss", [("avg_over_time(run:pixelbert_loss:max{}[$__rate_interval])", "{{term}}")], "none"),
        graph("Accuracy", [("avg_over_time(run:pixelbert_accuracy:max{}[$__rate_interval])", "{{term}}")],
              "percentunit"),
        graph("Gradient norm, before clipping", [("max by (run) (pixelbert_gradient_norm{})", "{{run}}")], "short"),
        graph("Learning rate", [("max by (group) (pixelbert_learning_rate{})", "{{group}}")], "sci"),
        graph("Steps skipped, samples replaced", [
            ("sum by (run) (max by (run, reason) (pixelbert_skipped_steps_total{}))"
             " or 0 * run:pixelbert_step:max{}", "steps of {{run}} skipped"),
            ("sum by (run) (pixelbert_bad_samples_total{}) or 0 * run:pixelbert_step:max{}",
             "bad samples of {{run}}")], "short", width=24),
    ],
    "Is it fast?": [
        stat("Pairs per second", "run:pixelbert_samples:rate5m{}", "{{run}}", "short", width=6, last=True),
        stat("Of its median over 6 h", "run:pixelbert_samples_per_rank:rate5m{}"
             " / quantile_over_time(0.5, run:pixelbert_samples_per_rank:rate5m{}[6h])", "{{run}}", "percentunit",
             width=6),
        stat("Arithmetic of the model", "run:pixelbert_model_flops:sum{}", "{{run}}", "flops", width=6, last=True),
        stat("Share of the peak", "run:pixelbert_model_flops:share_of_peak{}", "{{run}}", "percentunit", width=6,
             last=True, description="The peak is the rate of matrix products, measured on all ranks when training starts."),
        graph("Pairs per second", [("run:pixelbert_samples:rate5m{}", "{{run}}")], "short"),
        graph("Seconds a step", [
            ("run:pixelbert_step_seconds:mean5m{}", "mean of {{run}}"),
            ("histogram_quantile(0.95, sum by (run, le) (rate(pixelbert_step_seconds_bucket{}[$__rate_interval])))",
             "19 of 20 of {{run}} below")], "s"),
    ],
    "What is it waiting for?": [
        graph("Share of the time, mean over the ranks", [("run_phase:pixelbert_phase:share5m{}", "{{phase}}")],
              "percentunit", stack=True, overrides=colours(PHASE_COLOURS),
              description="data: waits for the loader. reduce_wait: waits for other ranks or the network. The phases add up to 100 %."),
        graph("Bytes reduced, per rank", [
            ("sum by (rank) (rate(pixelbert_reduced_bytes_total{}[$__rate_interval]))", "rank {{rank}}")], "Bps"),
    ],
    "Which rank is slow?": [
        graph("How much more of the time the others wait than this rank",
              [("clamp_min(rank:pixelbert_waited_for:share5m{}, 0)", "rank {{rank}} on {{host}}")], "percentunit",
              description="Ranks step together, so a slow rank waits least. Empty for a run of one rank."),
        graph("Waits for other ranks", [("rank:pixelbert_wait:share5m{}", "rank {{rank}} on {{host}}")],
              "percentunit"),
        graph("Waits for data", [('rank_phase:pixelbert_phase:share5m{phase="data"}', "rank {{rank}} on {{host}}")],
              "percentunit"),
        graph("Micro-batches ready", [("pixelbert_queue_batches{}", "rank {{rank}} on {{host}}")], "short"),
        graph("Memory", [("process_resident_memory_bytes{}", "rank {{rank}} on {{host}}")], "bytes"),
        graph("GPU memory, the most so far", [("pixelbert_device_memory_bytes{}", "rank {{rank}} on {{host}}")],
              "bytes"),
        graph("Ranks that answer", [("run:pixelbert_ranks:up{}", "answer"),
                                    ("run:pixelbert_ranks:count{}", "there are")], "short"),
        ranks("Where each rank is now", "rank_phase:pixelbert_phase_active:max{} == 1"),
    ],
    "Is it safe to kill?": [
        stat("Training that would be lost", "run:pixelbert_unsaved:seconds{}", "{{run}}", "s", width=8),
        stat("Saving now", "run:pixelbert_saving:max{}", "{{run}}", "bool_yes_no", width=8),
        stat("Time to save", "run:pixelbert_checkpoint_seconds:mean{}", "{{run}}", "s", width=8, last=True),
        graph("Training since the last checkpoint", [("run:pixelbert_unsaved:seconds{}", "{{run}}")], "s", width=24),
    ],
}


def placed(rows):
    """Panels with their places: left to right, a new line where the next would not fit."""
    panels, y = [], 0
    for title, members in rows.items():
        panels.append({"type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        x, y, line = 0, y + 1, 0
        for member in members:
            if x + member["gridPos"]["w"] > 24:
                x, y, line = 0, y + line, 0
            member["gridPos"] |= {"x": x, "y": y}
            x, line = x + member["gridPos"]["w"], max(line, member["gridPos"]["h"])
            panels.append(member)
        y += line
    return [{"id": i, **one} for i, one in enumerate(panels, 1)]


def dashboard():
    return {
        "uid": "pixelbert", "title": "Pixel-BERT", "tags": ["pixelbert"], "schemaVersion": 38, "version": 1,
        "editable": True, "timezone": "browser", "refresh": "30s", "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
            {"name": "run", "type": "query", "label": "Run", "datasource": DATASOURCE, "refresh": 2, "sort": 1,
             "query": {"query": "label_values(run:pixelbert_step:max, run)", "refId": "run"}}]},
        "annotations": {"list": [
            {"name": "Alerts", "enable": True, "iconColor": "red", "datasource": DATASOURCE, "titleFormat": "{{alertname}}",
             "expr": of_run('ALERTS{alertstate="firing"}')}]},
        "panels": placed(ROWS),
    }


if __name__ == "__main__":
    text = json.dumps(dashboard(), indent=1) + "\n"
    pathlib.Path(__file__).with_name("pixelbert.json").write_text(text)
