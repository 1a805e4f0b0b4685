#!/usr/bin/env python3
"""Tests what watches Swiftlet: the rules, alerts and dashboard of deploy/, by promtool and by a real Prometheus that
scrapes a real server under load.

  tests/deploy/monitoring_test.py --bin build/release/bin [-v] [TEST...]

Needs promtool and prometheus (Debian: prometheus); exits with 77, which CTest reports as skipped, where they are missing.
"""

import argparse
import contextlib
import ctypes
import json
import math
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROMETHEUS = os.path.join(ROOT, "deploy/prometheus")
DASHBOARD = os.path.join(ROOT, "deploy/grafana/swiftlet.json")
ALERT_TESTS = [os.path.join(ROOT, "tests/deploy", name) for name in ("alerts_test.yml", "recorded_alerts_test.yml")]
RUNBOOK = os.path.join(ROOT, "deploy/RUNBOOK.md")
BIN = None
JEMALLOC = True
TIMEOUT_S = 90  # of every wait; a machine may be slow, or the server under a sanitizer

# Grafana's variables, as a dashboard that shows everything has them.
VARIABLES = {"$__rate_interval": "10s", "$job": ".+", "$instance": ".+"}
# What a well server has no points of: alerts that fire.
MAY_BE_EMPTY = {"ALERTS"}
# A metric's name with its matchers.
SELECTOR = re.compile(r"(?<![\w:])((?:swiftlet_|process_|up\b|slo:|instance:|job_method:|ALERTS\b)[\w:]*)(\{[^{}]*\})?")


def run(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def start(command, log_path):
    """Starts a program with its output in a file; it does not outlive this one."""
    with open(log_path, "w", encoding="utf-8") as log:
        return subprocess.Popen(command, stdout=log, stderr=log,  # pylint: disable=consider-using-with
                                preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL))  # PR_SET_PDEATHSIG


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wait_until(what, condition):
    """The first result of condition() that is true; an error that names what was waited for after TIMEOUT_S."""
    end = time.monotonic() + TIMEOUT_S
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {TIMEOUT_S} s")
        time.sleep(0.1)


def selectors(expr):
    """The metrics that an expression reads, with their matchers: ['up{job="a"}', ...]."""
    # What is between quotes, or after by/on/group_left, names no metric.
    expr = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)", " ", expr)
    return [name + (matchers or "") for name, matchers in SELECTOR.findall(expr)]


def dashboard_queries():
    """(panel's title, expression) of every target, with Grafana's variables put in."""
    for panel in json.loads(read(DASHBOARD))["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"]
            for name, value in VARIABLES.items():
                expr = expr.replace(name, value)
            yield panel["title"], expr


class Files(unittest.TestCase):
    """What needs no server."""

    def test_promtool_accepts_rules_and_configuration(self):
        for check in (["check", "config", os.path.join(PROMETHEUS, "prometheus.yml")],
                      ["check", "rules", os.path.join(PROMETHEUS, "swiftlet.rules.yml"),
                       os.path.join(PROMETHEUS, "swiftlet.alerts.yml")]):
            result = run("promtool", *check)
            self.assertEqual(result.returncode, 0, result.stdout)

    def test_alerts_fire_and_stay_silent_as_they_should(self):
        result = run("promtool", "test", "rules", *ALERT_TESTS)
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_every_alert_is_tested_both_ways(self):
        alerts = set(re.findall(r"^ *- alert: (\w+)$", read(os.path.join(PROMETHEUS, "swiftlet.alerts.yml")), re.M))
        text = "".join(read(path) for path in ALERT_TESTS)
        silent = set(re.findall(r"alertname: (\w+), eval_time: \w+, exp_alerts: \[\]", text))
        fires = set(re.findall(r"alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels:", text))
        self.assertGreater(len(alerts), 10)
        self.assertEqual(alerts - silent, set(), "never seen silent")
        self.assertEqual(alerts - fires, set(), "never seen firing")

    def test_runbook_speaks_of_what_exists(self):
        text = read(RUNBOOK)
        # In italics: panels.
        titles = {panel["title"] for panel in json.loads(read(DASHBOARD))["panels"]}
        panels = set(re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", text))
        self.assertGreater(len(panels), 10)
        self.assertEqual(panels - titles, set())
        # Anchors within the page.
        headings = set(re.findall(r"^#+ (\w+)$", text, re.M))
        for name, anchor in re.findall(r"\[(\w+)\]\(#(\w+)\)", text):
            self.assertIn(name, headings)
            self.assertEqual(anchor, name.lower())
        # Commands.
        commands = set(re.findall(r"`(?:swiftlet --server \$S |(?=swiftlet-trainer ))"
                                  r"((?:swiftlet-trainer )?[a-z]+(?: (?:list|load|follow|add|create|verify))?)", text))
        self.assertGreaterEqual(commands, {"status", "snapshot load", "swiftlet-trainer inspect"})
        for command in commands:
            words = command.split() if command.startswith("swiftlet-trainer") else ["swiftlet", *command.split()]
            result = run(os.path.join(BIN, words[0]), *words[1:], "--help")
            self.assertEqual(result.returncode, 0, f"{command}: {result.stdout}")
        # Settings.
        sample = read(os.path.join(ROOT, "deploy/swiftlet.textproto"))
        settings = re.findall(r"`(limits|storage|snapshots|retrieval|backup|security|log)(?:\.(\w+)| \{ (\w+): )", text)
        self.assertGreater(len(settings), 4)
        for section, *names in settings:
            block = re.search(rf"^{section} \{{\n(.*?)^\}}", sample, re.M | re.S)
            self.assertIsNotNone(block, section)
            self.assertRegex(block[1], rf"\b{''.join(names)}\b")

    def test_compose_publishes_every_port_of_the_server_on_this_machine_only(self):
        compose = read(os.path.join(ROOT, "deploy/compose.yml"))
        for ports in re.findall(r"^    ports: \[(.*)\]$", compose, re.M):
            for port in ports.split(", "):
                self.assertRegex(port, r'^"127\.0\.0\.1:(\d+):\1"$')
        server = re.search(r"^  server:\n(.*?)^$", compose, re.M | re.S)[1]
        exposed = re.search(r"^EXPOSE (.*)$", read(os.path.join(ROOT, "Dockerfile")), re.M)[1].split()
        self.assertEqual(re.findall(r':(\d+)"', re.search(r"ports: (.*)", server)[1]), exposed)
        # As the image starts it.
        entry = json.loads(re.search(r"^ENTRYPOINT (\[\"/usr/local/bin/swiftlet-server.*?\])$",
                                     read(os.path.join(ROOT, "Dockerfile")).replace("\\\n", ""), re.M)[1])
        self.assertEqual([port for port in exposed if f"0.0.0.0:{port}" in entry], exposed)
        result = run(os.path.join(BIN, "swiftlet-server"), *entry[1:], "--check-config")
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_files_that_compose_mounts_exist(self):
        paths = re.findall(r"- (\./[^:]+):(/[^:]+):ro$", read(os.path.join(ROOT, "deploy/compose.yml")), re.M)
        self.assertGreater(len(paths), 4)
        self.assertEqual([path for path, _ in paths if not os.path.exists(os.path.join(ROOT, "deploy", path))], [])
        targets = dict((inside, path) for path, inside in paths)
        for name in re.findall(r"^ +- (?:files: \[)?([\w.]+\.yml)\]?$",
                               read(os.path.join(PROMETHEUS, "prometheus.yml")), re.M):
            self.assertIn("/etc/prometheus/" + name, targets)

    def test_dashboard_is_complete(self):
        board = json.loads(read(DASHBOARD))
        defined = {variable["name"] for variable in board["templating"]["list"]}
        ids, cells = set(), {}
        for panel in board["panels"]:
            title = panel["title"]
            self.assertNotIn(panel["id"], ids, title)
            ids.add(panel["id"])
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, title)
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertIsNone(cells.get((x, y)), f"{title} covers {cells.get((x, y))}")
                    cells[x, y] = title
            if panel["type"] == "row":
                continue
            self.assertTrue(panel["description"] and panel["fieldConfig"]["defaults"]["unit"], title)
            refs = [target["refId"] for target in panel["targets"]]
            self.assertTrue(refs and len(set(refs)) == len(refs), title)
            for target in panel["targets"]:
                self.assertEqual(target["datasource"]["uid"], "${datasource}", title)
                used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
                self.assertLessEqual(used, defined, title)


class Server:
    """swiftlet-server with a small snapshot, in a directory of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.ports = os.path.join(directory, "ports")
        self.models = os.path.join(directory, "models")
        self.log = os.path.join(directory, "server.log")
        self.publish()
        self.process = start(
            [os.path.join(BIN, "swiftlet-server"), "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--data-dir",
             os.path.join(directory, "data"), "--model-dir", self.models, "--port-file", self.ports,
             "--recall-sample-rate", "0.2"], self.log)

    def wait(self):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{read(self.log)}")
            return os.path.exists(self.ports)
        wait_until("the server listens", ready)
        self.grpc_port, self.metrics_port = (int(port) for port in read(self.ports).split())
        self.address = f"127.0.0.1:{self.grpc_port}"

    def publish(self, items=500, dim=16):
        """Publishes a snapshot of item vectors that Python writes."""
        vectors = os.path.join(self.directory, "v.safetensors")
        values = [math.sin(i * 12.9898 + j * 78.233) for i in range(items) for j in range(dim)]
        header = json.dumps({"items": {"dtype": "F32", "shape": [items, dim],
                                       "data_offsets": [0, 4 * items * dim]}}).encode()
        with open(vectors, "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header + struct.pack(f"<{items * dim}f", *values))
        ids = os.path.join(self.directory, "ids.txt")
        with open(ids, "w", encoding="utf-8") as file:
            file.writelines(f"item-{i}\n" for i in range(items))
        result = run(os.path.join(BIN, "swiftlet-trainer"), "import", "--vectors", vectors, "--ids", ids, "--models",
                     self.models, "--space", "test")
        if result.returncode != 0:
            raise AssertionError(result.stdout)

    def publish_damaged(self):
        """A snapshot like the newest one, but for one byte of a vector."""
        self.publish()
        newest = max((name for name in os.listdir(self.models) if name.isdigit()), key=int)
        version = str(int(newest) + 1)
        scratch = os.path.join(self.directory, "damaged")
        shutil.copytree(os.path.join(self.models, newest), scratch)
        with open(os.path.join(scratch, "model.safetensors"), "r+b") as file:
            file.seek(-100, os.SEEK_END)
            byte = file.read(1)
            file.seek(-100, os.SEEK_END)
            file.write(bytes([byte[0] ^ 1]))
        manifest = os.path.join(scratch, "manifest.json")
        text = re.sub(r'("version"\s*:\s*)' + newest + r"\b", r"\g<1>" + version, read(manifest), count=1)
        with open(manifest, "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(scratch, os.path.join(self.models, version))
        with open(os.path.join(self.models, "CURRENT.new"), "w", encoding="utf-8") as file:
            file.write(version + "\n")
        os.rename(os.path.join(self.models, "CURRENT.new"), os.path.join(self.models, "CURRENT"))

    def cli(self, *args):
        result = run(os.path.join(BIN, "swiftlet"), "--server", self.address, *args)
        if result.returncode != 0:
            raise AssertionError(f"swiftlet {' '.join(args)}: {result.stdout}")
        return result.stdout


class Watched(unittest.TestCase):
    """A server under load that a Prometheus scrapes every second, with the rules and alerts of deploy/."""

    @classmethod
    def setUpClass(cls):
        with contextlib.ExitStack() as stack:
            cls.start(stack)
            cls.addClassCleanup(stack.pop_all().close)

    @classmethod
    def start(cls, stack):
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="swiftlet_monitoring_"))
        cls.server = Server(directory)
        stack.callback(cls.stop, cls.server.process)
        cls.server.wait()

        config = read(os.path.join(PROMETHEUS, "prometheus.yml"))
        for old, new in (("scrape_interval: 15s", "scrape_interval: 1s"),
                         ("evaluation_interval: 15s", "evaluation_interval: 1s"),
                         ("[targets.yml]", f"[{directory}/targets.yml]"),
                         ("- swiftlet.rules.yml", f"- {PROMETHEUS}/swiftlet.rules.yml"),
                         ("- swiftlet.alerts.yml", f"- {PROMETHEUS}/swiftlet.alerts.yml")):
            assert config.count(old) == 1, old
            config = config.replace(old, new)
        with open(os.path.join(directory, "targets.yml"), "w", encoding="utf-8") as file:
            file.write(f'- targets: ["127.0.0.1:{cls.server.metrics_port}"]\n')
        config_path = os.path.join(directory, "prometheus.yml")
        with open(config_path, "w", encoding="utf-8") as file:
            file.write(config)
        # Prometheus does not say which port it took for :0 but in its log.
        log_path = os.path.join(directory, "prometheus.log")
        prometheus = start(["prometheus", f"--config.file={config_path}", f"--storage.tsdb.path={directory}/tsdb",
                            "--web.listen-address=127.0.0.1:0"], log_path)
        stack.callback(cls.stop, prometheus)

        def address():
            if prometheus.poll() is not None:
                raise AssertionError(f"Prometheus ended with {prometheus.returncode}:\n{read(log_path)}")
            return re.search(r'msg="Listening on" address=(\S+)', read(log_path))
        cls.url = "http://" + wait_until("Prometheus listens", address)[1]
        wait_until("Prometheus has scraped the server",
                   lambda: any(float(p["value"][1]) == 1 for p in cls.query("up")[1]))

        # Load that lasts until the tests are over.
        cls.load = start(
            [os.path.join(BIN, "swiftlet-load"), "run", "--server", cls.server.address, "--rate", "100", "--seconds",
             "3600", "--warmup", "0", "--users", "50", "--cold-users", "50", "--history-events", "5", "--mix",
             "recommend=5,cold=1,anonymous=1,similar=1,events=2,upsert=1"], os.path.join(directory, "load.log"))
        stack.callback(cls.stop, cls.load)
        cls.server.cli("score", "load-user-1", "item-1", "item-2")

    @staticmethod
    def stop(process):
        process.send_signal(signal.SIGKILL)
        process.wait()

    @classmethod
    def query(cls, expr):
        """(error or None, result vector) of an instant query."""
        status, text = get(cls.url + "/api/v1/query?" + urllib.parse.urlencode({"query": expr}))
        if status != 200:
            return text, []
        data = json.loads(text)["data"]
        return None, data["result"] if data["resultType"] == "vector" else [{"value": data["result"]}]

    def finite(self, expr):
        """Whether the query returns a point that is a number; a query that Prometheus refuses fails the test."""
        error, result = self.query(expr)
        self.assertIsNone(error, expr)
        return any(math.isfinite(float(point["value"][1])) for point in result)

    def expect_points(self, exprs):
        """Waits until every one of the expressions, given as {expression: where it is from}, has had points."""
        left = {expr: where for expr, where in exprs.items() if JEMALLOC or "swiftlet_heap_" not in expr}
        end = time.monotonic() + TIMEOUT_S
        while left and time.monotonic() < end:
            left = {expr: where for expr, where in left.items() if not self.finite(expr)}
            if left:
                # A metric that the server does not have will not come.
                known = self.known_metrics()
                missing = {(name, where) for expr, where in left.items()
                           for name in re.findall(r"(?<!:)\b(?:swiftlet|process)_\w+", expr) if name not in known}
                self.assertEqual(missing, set(), "the server has no such metrics")
                time.sleep(0.3)
        self.assertFalse(left, f"no points of {left}")
        self.assertIsNone(self.load.poll(), "the load ended")

    def known_metrics(self):
        _, page = get(f"http://127.0.0.1:{self.server.metrics_port}/metrics")
        return set(re.findall(r"^(\w+)", page, re.M))

    def rules(self):
        return [rule for group in json.loads(get(self.url + "/api/v1/rules")[1])["data"]["groups"]
                for rule in group["rules"]]

    def test_exposition_is_clean(self):
        status, page = get(f"http://127.0.0.1:{self.server.metrics_port}/metrics")
        self.assertEqual(status, 200)
        result = run("promtool", "check", "metrics", input=page)
        self.assertEqual((result.returncode, result.stdout), (0, ""))
        # Every family has a type and a help text.
        helped = set(re.findall(r"^# HELP (\w+) \S", page, re.M))
        self.assertEqual(set(re.findall(r"^# TYPE (\w+) ", page, re.M)) - helped, set())

    def test_every_panel_returns_points(self):
        queries = {expr: title for title, expr in dashboard_queries()}
        self.assertGreater(len(queries), 50)
        self.expect_points(queries)

    def test_everything_that_panels_and_rules_read_is_there(self):
        """A label's value that the server does not have makes a rule silent, and no query fails."""
        exprs = {rule["query"]: rule["name"] for rule in self.rules()}
        exprs.update({expr: title for title, expr in dashboard_queries()})
        wanted = {}
        for expr, where in exprs.items():
            found = [selector for selector in selectors(expr) if selector.split("{")[0] not in MAY_BE_EMPTY]
            if not re.fullmatch(r"vector\(.*\)", expr) and "ALERTS" not in expr:
                self.assertTrue(found, f"{where}: {expr} reads no metric")
            wanted.update({f"count({selector})": where for selector in found})
        self.assertGreater(len(wanted), 60)
        self.expect_points(wanted)

    def test_rules_are_evaluated(self):
        def evaluated():
            rules = self.rules()
            return rules if rules and all(rule["health"] != "unknown" for rule in rules) else None
        rules = wait_until("every rule is evaluated", evaluated)
        self.assertEqual([(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"], [])
        recorded = {rule["name"] for rule in rules if rule["type"] == "recording"}
        self.expect_points({name: "swiftlet.rules.yml" for name in recorded})
        alerts = [rule for rule in rules if rule["type"] == "alerting"]
        self.assertGreater(len(alerts), 10)
        for alert in alerts:
            error, _ = self.query(alert["query"])
            self.assertIsNone(error, alert["name"])

    def test_every_alert_has_a_section_in_the_runbook(self):
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-"): heading
                   for heading in re.findall(r"^#+ (.+)$", read(RUNBOOK), re.M)}
        names = set()
        for rule in self.rules():
            if rule["type"] != "alerting":
                continue
            names.add(rule["name"])
            path, _, anchor = rule["annotations"].get("runbook_url", "").partition("#")
            self.assertEqual(os.path.join(ROOT, path), RUNBOOK, rule["name"])
            self.assertEqual(anchors.get(anchor), rule["name"], f"{rule['name']} has no section in {path}")
            self.assertIn(rule["labels"].get("severity"), ("page", "ticket"), rule["name"])
            self.assertTrue(rule["annotations"].get("summary"), rule["name"])
            # What it means, how to look, what to do.
            section = re.split(r"^#+ .*$", read(RUNBOOK).split(f" {rule['name']}\n", 1)[1], maxsplit=1, flags=re.M)[0]
            for part in ("**Means.**", "**Look.**", "**Do.**"):
                self.assertIn(part, section, rule["name"])
        self.assertEqual({heading for heading in anchors.values() if re.fullmatch("Swiftlet[A-Z]\\w+", heading)}, names)

    def test_zz_alerts_fire_by_a_real_refused_snapshot_and_a_real_crash(self):
        """Runs last: it kills the server."""
        def firing(state):
            return {alert["labels"]["alertname"] for alert in
                    json.loads(get(self.url + "/api/v1/alerts")[1])["data"]["alerts"] if alert["state"] in state}
        # All is well with a server that is well; this machine may be slow, and its disk full.
        here = {"SwiftletDiskAlmostFull", "SwiftletDiskFilling", "SwiftletLatencyBudgetBurnFast",
                "SwiftletLatencyBudgetBurnSlow"}
        self.assertEqual(firing(("pending", "firing")) - here, set())
        self.server.publish_damaged()
        wait_until("SwiftletSnapshotLoadFailed fires", lambda: "SwiftletSnapshotLoadFailed" in firing(("firing",)))
        self.server.cli("recommend", "load-user-1")  # by the snapshot before
        self.stop(self.server.process)
        # It fires after a minute.
        wait_until("SwiftletDown is pending", lambda: "SwiftletDown" in firing(("pending", "firing")))


def main():
    global BIN, JEMALLOC  # pylint: disable=global-statement
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="where swiftlet-server and the other programs are")
    parser.add_argument("--no-jemalloc", action="store_true", help="the server has another allocator, without its metrics")
    args, rest = parser.parse_known_args()
    BIN = os.path.abspath(args.bin)
    JEMALLOC = not args.no_jemalloc
    missing = [tool for tool in ("promtool", "prometheus") if shutil.which(tool) is None]
    if missing:
        print(f"SKIPPED: {' and '.join(missing)} not found; on Debian: apt-get install --no-install-recommends prometheus")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
