"""Judges detectors and published alerting rules on recordings of CoreDNS: LEADERBOARD ODDNS RULES DATA...

Each recording is learned from its own quiet beginning and judged after it. Rules are evaluated by a
real Prometheus on the recording, each with its `for`. Every program ends in scores as `oddns score`
writes them, and all are judged by `oddns eval`. Prints Markdown.
"""

import csv
import datetime
import json
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

KINDS = ["masked", "static_pca", "z_score_bands", "k_means", "isolation_forest"]
SHORT = 15  # Seconds of windows and of `for` in rules that are sped up.
CHUNK = 10_000  # Points that Prometheus answers at once.
WINDOW = 16
HEADER = ["timestamp", "instance", "score", "alarm", "top_features"]
MEASURES = [
    ("found", "events", "recall"),
    ("precision", "events", "precision"),
    ("F1", "events", "f1"),
    ("delay, s", "events", "median_delay_seconds"),
    ("false alarms a server-week", "alarms", "false_per_week"),
    ("benign alarmed", "alarms", "benign_alarmed_share"),
    ("VUS-PR", "points", "vus_pr"),
]


def oddns(program, *words):
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"`oddns {' '.join(map(str, words))}` failed: {done.stderr}")
    return done.stdout


class Recording:
    def __init__(self, program, path):
        self.program, self.path = program, pathlib.Path(path)
        about = json.loads((self.path / "dataset.json").read_text())
        self.name = self.path.name
        self.normal_from, self.normal_until = about["normal_from"], about["normal_until"]
        self.step = about.get("scrape_interval_seconds", 15)
        found = json.loads(oddns(program, "dataset", "describe", path, "--output=json"))
        seconds = lambda text: datetime.datetime.fromisoformat(text).timestamp()
        self.instances = [one["instance"] for one in found["instances"]]
        self.end = max(seconds(one["last"]) for one in found["instances"])
        with open(self.path / "labels.csv") as file:
            self.labels = list(csv.DictReader(file))

    def judged(self, scores):
        labels = self.path / "labels.csv"
        return json.loads(oddns(self.program, "eval", "--scores", scores, "--labels", labels, "--json"))

    def confusion(self, scores):
        """Rows that are alarmed or not, in and out of what is labelled anomalous."""
        counts = {"tp": 0, "fp": 0, "fn": 0, "tn": 0}
        bad = [l for l in self.labels if l["anomalous"] == "1"]
        with open(scores) as file:
            for row in csv.DictReader(file):
                at = datetime.datetime.fromisoformat(row["timestamp"]).timestamp()
                inside = any(
                    float(l["start"]) <= at <= float(l["end"])
                    and l["instance"] in ("*", row["instance"])
                    for l in bad
                )
                alarm = row["alarm"] == "1"
                counts[("t" if alarm == inside else "f") + ("p" if alarm else "n")] += 1
        return counts


def write_scores(path, rows):
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(HEADER)
        for at, instance, score, alarm in rows:
            time_of = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
            text = time_of.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            out.writerow([text, instance, f"{score:.6g}", int(alarm), ""])


def by_oddns(recording, kind, folder):
    model, scores = folder / "model.oddns", folder / f"{kind}.csv"
    words = ["--data", recording.path, "--out", model, "--detector", kind]
    oddns(recording.program, "train", *words)
    # It sees what came before, as one at work does; only what comes after is judged.
    oddns(recording.program, "score", "--model", model, "--data", recording.path, "--out", scores)
    with open(scores) as file:
        head, *rows = list(csv.reader(file))
    later = lambda row: datetime.datetime.fromisoformat(row[0]).timestamp() >= recording.normal_until
    with open(scores, "w", newline="") as file:
        csv.writer(file).writerows([head, *filter(later, rows)])
    return scores


class Prometheus:
    """A real Prometheus on what a recording holds."""

    def __init__(self, recording, folder):
        dump, tsdb = folder / "samples.om", folder / "tsdb"
        oddns(recording.program, "dataset", "export", recording.path, "--format", "openmetrics", "--out", dump)
        blocks = ["promtool", "tsdb", "create-blocks-from", "openmetrics", dump, tsdb]
        subprocess.run(blocks, check=True, capture_output=True)
        dump.unlink()
        config = folder / "prometheus.yml"
        config.write_text("global: {}\n")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        words = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tsdb}"]
        words += ["--storage.tsdb.retention.time=100y", f"--web.listen-address={self.address}"]
        # A server that is gone is gone after three scrapes, as staleness marks would have it.
        words += [f"--query.lookback-delta={max(5, int(3 * recording.step))}s"]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://{self.address}/-/ready").read()
                return
            except OSError:
                time.sleep(0.1)
        sys.exit("Prometheus is not ready within 30 s")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def true_at(self, expression, start, end, step):
        """The steps at which an expression has a result."""
        found = set()
        while start <= end:
            until = min(end, start + (CHUNK - 1) * step)
            asked = {"query": expression, "start": start, "end": until, "step": step}
            url = f"http://{self.address}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
            answer = json.loads(urllib.request.urlopen(url).read())
            for series in answer["data"]["result"]:
                found.update(at for at, _ in series["values"])
            start = until + step
        return found


def expression(rule, way):
    text = rule["expr"] if way == "as published" else rule.get("repaired", rule["expr"])
    return re.sub(r"\[\d+m\]", f"[{SHORT}s]", text) if way == "sped up" else text


def by_rules(recording, prometheus, rules, way, folder):
    """Each rule pends from its first true step on, and fires once it was true for long enough."""
    step = max(1, recording.step)
    start = int(recording.normal_until)
    times = [start + at * step for at in range(int((recording.end - start) / step))]
    levels = dict.fromkeys(times, 0.0)
    for rule in rules:
        lasting = min(rule["for"], SHORT) if way == "sped up" else rule["for"]
        true = prometheus.true_at(expression(rule, way), start, times[-1], step)
        since = None
        for at in times:
            since = (at if since is None else since) if at in true else None
            if since is not None:
                levels[at] = max(levels[at], 1.5 if at - since >= lasting else 0.75)
    scores = folder / "rules.csv"
    rows = ((at, one, level, level > 1) for one in recording.instances for at, level in levels.items())
    write_scores(scores, rows)
    return scores


def frames(recording, folder):
    """Times and features of each server, gaps as zero, scaled by the quiet time."""
    import numpy

    out = folder / "frames"
    oddns(recording.program, "dataset", "export", recording.path, "--format", "tsb-ad", "--out", out)
    found = {}
    for path in sorted(out.glob("*.csv")):
        with open(path) as file:
            rows = list(csv.reader(file))[1:]
        at = [datetime.datetime.fromisoformat(row[0]).timestamp() for row in rows]
        values = [[float(cell) if cell else numpy.nan for cell in row[1:-1]] for row in rows]
        found[path.stem] = (numpy.array(at), numpy.array(values, dtype="float32"))
    quiet = numpy.concatenate([v[t < recording.normal_until] for t, v in found.values()])
    middle, spread = numpy.nanmean(quiet, axis=0), numpy.nanstd(quiet, axis=0)
    spread = numpy.where(spread > 1e-6, spread, 1.0)
    scale = lambda v: numpy.clip(numpy.nan_to_num((v - middle) / spread), -20, 20).astype("float32")
    return {name: (at, scale(values)) for name, (at, values) in found.items()}


def by_torch(recording, kind, folder):
    """An LSTM that forecasts the next row, or a dense autoencoder of single rows, in PyTorch."""
    import numpy
    import torch

    torch.manual_seed(1)
    torch.set_num_threads(2)
    servers = frames(recording, folder)
    width = next(iter(servers.values()))[1].shape[1]

    class Lstm(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.memory = torch.nn.LSTM(width, 64, batch_first=True)
            self.out = torch.nn.Linear(64, width)

        def forward(self, windows):
            return self.out(self.memory(windows[:, :-1])[0][:, -1])

    dense = [torch.nn.Linear(width, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8), torch.nn.ReLU()]
    dense += [torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, width)]
    network = Lstm() if kind == "LSTM" else torch.nn.Sequential(*dense)
    length = WINDOW + 1 if kind == "LSTM" else 1

    def inputs(values):
        windows = torch.from_numpy(values).unfold(0, length, 1).transpose(1, 2)
        return windows if kind == "LSTM" else windows[:, 0]

    def errors(values):
        with torch.no_grad():
            chunks = inputs(values).split(4096)
            target = lambda chunk: chunk[:, -1] if kind == "LSTM" else chunk
            return torch.cat([((network(c) - target(c)) ** 2).mean(1) for c in chunks]).numpy()

    quiet = [v[t < recording.normal_until] for t, v in servers.values()]
    learned = torch.cat([inputs(v[: int(0.8 * len(v))]) for v in quiet])
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(20):
        for batch in learned[torch.randperm(len(learned))].split(64):
            target = batch[:, -1] if kind == "LSTM" else batch
            loss = ((network(batch) - target) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    held_out = numpy.concatenate([errors(v[int(0.8 * len(v)) :]) for v in quiet])
    line = float(numpy.quantile(held_out, 0.999))
    rows = []
    for name, (at, values) in servers.items():
        instance = next(one for one in recording.instances if re.sub(r"[^\w.-]", "_", one) == name)
        for when, error in zip(at[length - 1 :], errors(values)):
            if when >= recording.normal_until:
                rows.append((when, instance, error / line, error > line))
    scores = folder / "torch.csv"
    write_scores(scores, rows)
    return scores


def runs(recording, rules):
    """What each program makes of a recording: its name, and where its scores are."""
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            name = "oddns" if kind == "masked" else kind
            yield name, by_oddns(recording, kind, pathlib.Path(folder))
    for kind in ("LSTM", "autoencoder"):
        with tempfile.TemporaryDirectory() as folder:
            yield f"{kind} (PyTorch)", by_torch(recording, kind, pathlib.Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        with Prometheus(recording, folder) as prometheus:
            for pack, of_pack in rules.items():
                ways = ["as published", "repaired", "sped up"]
                ways = ways if any("repaired" in rule for rule in of_pack) else ways[:1]
                for way in ways:
                    yield f"{pack}, {way}", by_rules(recording, prometheus, of_pack, way, folder)


def number(value):
    return "" if value is None else f"{value:.2f}"


def print_measures(reports):
    print("| program | " + " | ".join(name for name, *_ in MEASURES) + " | confusion: tp, fp, fn, tn |")
    print("| --- |" + " --- |" * (len(MEASURES) + 1))
    for program, judged in reports.items():
        cells = []
        for _, part, name in MEASURES:
            values = [report[part][name] for report, _ in judged if report[part][name] is not None]
            cells.append(number(statistics.mean(values) if values else None))
        counts = [sum(c[key] for _, c in judged) for key in ("tp", "fp", "fn", "tn")]
        print(f"| {program} | " + " | ".join(cells) + f" | {', '.join(map(str, counts))} |")


def print_kinds(reports):
    kinds = {o["kind"] for judged in reports.values() for r, _ in judged for o in r["outcomes"]}
    print("\n| fault | " + " | ".join(reports) + " |")
    print("| --- |" + " --- |" * len(reports))
    for kind in sorted(kinds):
        cells = []
        for judged in reports.values():
            seen = [o for r, _ in judged for o in r["outcomes"] if o["kind"] == kind and o["observed"]]
            cells.append(f"{sum(o['caught'] for o in seen)} of {len(seen)}")
        print(f"| {kind} | " + " | ".join(cells) + " |")


def main():
    program, rules, *data = sys.argv[1:]
    rules = json.loads(pathlib.Path(rules).read_text())
    reports = {}
    for path in data:
        recording = Recording(program, path)
        for name, scores in runs(recording, rules):
            judged = (recording.judged(scores), recording.confusion(scores))
            reports.setdefault(name, []).append(judged)
            print(f"{recording.name}: {name}", file=sys.stderr)
    print_measures(reports)
    print_kinds(reports)


main()
