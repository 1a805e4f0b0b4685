#!/usr/bin/env python3
"""Tests deploy/kubernetes against the real programs: what its files say is run, and what kustomize makes of them fits together.

  tests/deploy/kubernetes_test.py --bin build/release/bin Files       what the files say (needs nothing)
  tests/deploy/kubernetes_test.py --bin build/release/bin Rendered    needs kubectl or kustomize, and python3-yaml
  tests/deploy/kubernetes_test.py --bin build/release/bin Schemas     also needs kubernetes-validate (from PyPI)

Exits with 77, which CTest reports as skipped, where what a part needs is missing.
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/python"))
from server_process import ServerProcess  # noqa: E402

KUBERNETES = os.path.join(ROOT, "deploy/kubernetes")
OVERLAYS = ("inline", "users", "single")
CONFIGS = {"inline": "overlays/inline/server.textproto", "users": "components/users/server.textproto",
           "single": "components/users/server.textproto"}
ROUTER = os.path.join(KUBERNETES, "components/router")
SCHEMA_VERSIONS = ("1.30", "1.32", "1.34")
BIN = None
TIMEOUT_S = 120


def run(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=TIMEOUT_S, **options)


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def write(text, *path):
    with open(os.path.join(*path), "w", encoding="utf-8") as file:
        file.write(text)


def program(name):
    return os.path.join(BIN, name)


def kustomize():
    """The command that renders a directory; nothing where there is none."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    if shutil.which("kubectl") and run("kubectl", "kustomize", "--help").returncode == 0:
        return ["kubectl", "kustomize"]
    return None


def render(directory):
    import yaml  # pylint: disable=import-outside-toplevel
    result = subprocess.run([*kustomize(), directory], capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def setting(textproto, name):
    """The value of a top-level field, or of section.field, in a configuration."""
    if "." in name:
        section, name = name.split(".")
        textproto = re.search(rf"^{section} \{{(.*?)^\}}", textproto, re.M | re.S)[1]
    return re.search(rf'^\s*{name}: "?([^"\s#]*)"?', textproto, re.M)[1]


class Files(unittest.TestCase):
    """What needs no cluster's tools."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="swiftlet-kubernetes-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def test_configurations_start_as_they_are_and_say_that_they_listen_without_tls(self):
        for name in set(CONFIGS.values()):
            config = read(KUBERNETES, name)
            path = os.path.join(self.dir, "server.textproto")
            write(config, path)
            result = run(program("swiftlet-server"), f"--config={path}", "--check-config")
            self.assertEqual(result.returncode, 0, result.stdout)
            for flag, address in (("insecure_listen", "listen_address"), ("insecure_listen", "http.listen_address"),
                                  ("insecure_metrics", "metrics_address")):
                write(config.replace(f"{flag}: true", ""), path)
                result = run(program("swiftlet-server"), f"--config={path}", "--check-config")
                self.assertEqual(result.returncode, 2, result.stdout)
                self.assertRegex(result.stdout, rf"(?m)(?:^|\s){address}: other machines reach")

    def test_the_server_accepts_the_configurations(self):
        for path in sorted(set(CONFIGS.values())):
            result = run(program("swiftlet-server"), "--config", os.path.join(KUBERNETES, path), "--check-config")
            self.assertEqual(result.returncode, 0, f"{path}: {result.stdout}")

    def test_a_wrong_key_would_be_noticed(self):
        path = os.path.join(self.dir, "c.textproto")
        write(read(KUBERNETES, CONFIGS["users"]).replace("keep_versions", "keep_version"), path)
        self.assertNotEqual(run(program("swiftlet-server"), "--config", path, "--check-config").returncode, 0)

    def test_images_are_of_this_version(self):
        version = run(program("swiftlet-server"), "--version").stdout.split()[-1]
        images = []
        for directory, _, names in os.walk(KUBERNETES):
            for name in names:
                images += re.findall(r"image: (swiftlet-\S+)", read(directory, name))
        self.assertGreaterEqual(len(images), 4)
        self.assertEqual({image.split(":")[1] for image in images}, {version})

    def retain(self, *arguments):
        return run("sh", os.path.join(KUBERNETES, "base/retain.sh"), self.dir, *arguments)

    def versions(self):
        return sorted((int(name) for name in os.listdir(self.dir) if name.isdigit()))

    def make_versions(self, count):
        for version in range(1, count + 1):
            os.makedirs(os.path.join(self.dir, str(version)), exist_ok=True)
            write("{}", self.dir, str(version), "manifest.json")

    def test_retention_keeps_what_is_needed(self):
        self.make_versions(12)
        os.mkdir(os.path.join(self.dir, ".retired-0"))  # of a run that was interrupted
        os.mkdir(os.path.join(self.dir, "lost+found"))
        write("12\n", self.dir, "CURRENT")
        write("2\n", self.dir, "PINNED")
        result = self.retain("3")
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertEqual(self.versions(), [2, 10, 11, 12])
        self.assertEqual(sorted(set(os.listdir(self.dir)) - {"2", "10", "11", "12"}), ["CURRENT", "PINNED", "lost+found"])
        self.assertEqual(result.stdout.count("was deleted"), 8)
        # CURRENT need not be the newest: a server's operator may have published an old one.
        write("10\n", self.dir, "CURRENT")
        os.unlink(os.path.join(self.dir, "PINNED"))
        self.assertEqual(self.retain("1").returncode, 0)
        self.assertEqual(self.versions(), [10, 12])

    def test_retention_deletes_nothing_where_it_does_not_understand(self):
        self.make_versions(4)
        write("twelve\n", self.dir, "CURRENT")
        for keep in ("1", "0", "x", ""):
            self.assertNotEqual(self.retain(keep).returncode, 0, keep)
            self.assertEqual(self.versions(), [1, 2, 3, 4])
        os.unlink(os.path.join(self.dir, "CURRENT"))
        self.assertEqual(self.retain("9").returncode, 0)
        self.assertEqual(self.versions(), [1, 2, 3, 4])

    def test_haproxy_accepts_the_routers_configuration(self):
        if not shutil.which("haproxy"):
            self.skipTest("haproxy is not installed")
        path = os.path.join(self.dir, "haproxy.cfg")
        write(read(ROUTER, "haproxy.cfg").replace("/usr/local/etc/haproxy", ROUTER), path)
        result = run("haproxy", "-c", "-f", path)
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertNotIn("disabling server", result.stdout)

    def test_the_scrape_configuration_of_the_readme_gives_the_job_that_alerts_want(self):
        blocks = [block for block in re.findall(r"^( *)```yaml\n(.*?)^ *```", read(KUBERNETES, "README.md"), re.M | re.S)
                  if "scrape_configs" in block[1]]
        ((indent, text),) = blocks
        text = re.sub(rf"(?m)^{indent}", "", text)
        rule = re.search(r"\{source_labels: \[__meta_kubernetes_pod_label_app_kubernetes_io_name\], regex: (\S+), target_label: job\}", text)
        self.assertIsNotNone(rule)
        job = re.fullmatch(rule[1], "swiftlet")[1]  # $1, which is the default of `replacement`
        self.assertIsNone(re.fullmatch(rule[1], "other"))
        alerts = read(ROOT, "deploy/prometheus/swiftlet.alerts.yml")
        wanted = set(re.findall(r'job=~"([^"]+)"', alerts))
        self.assertTrue(wanted)
        for regex in wanted:
            self.assertIsNotNone(re.fullmatch(regex, job))
        if shutil.which("promtool"):
            path = os.path.join(self.dir, "prometheus.yml")
            # Debian's is built without the discovery.
            write(text.replace("kubernetes_sd_configs: [{role: pod}]", "static_configs: [{targets: [a]}]"), path)
            result = run("promtool", "check", "config", path)
            self.assertEqual(result.returncode, 0, result.stdout)

    def test_readme_speaks_of_what_exists(self):
        text = read(KUBERNETES, "README.md")
        for path in re.findall(r"deploy/kubernetes/[\w./-]*\w", text):
            self.assertTrue(os.path.exists(os.path.join(ROOT, path)), path)
        self.assertEqual(set(OVERLAYS) - set(re.findall(r"overlays/(\w+)", text)), set())


class Rendered(unittest.TestCase):
    """What kustomize makes of the overlays."""

    @classmethod
    def setUpClass(cls):
        cls.all = {overlay: render(os.path.join(KUBERNETES, "overlays", overlay)) for overlay in OVERLAYS}

    def setUp(self):
        self.where = ""  # what is looked at: in the messages of failures

    def _formatMessage(self, msg, standardMsg):
        return f"{self.where}: {super()._formatMessage(msg, standardMsg)}"

    def each(self, *kinds):
        for overlay, documents in self.all.items():
            for document in documents:
                if not kinds or document["kind"] in kinds:
                    self.where = f"{overlay}: {document['kind']} {document['metadata']['name']}"
                    yield overlay, document

    @staticmethod
    def template(document):
        """The pod template of a workload, or None."""
        spec = document.get("spec") or {}
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        return spec.get("template")

    def workloads(self, *kinds):
        for overlay, document in self.each(*(kinds or ("Deployment", "StatefulSet", "CronJob"))):
            yield overlay, document, self.template(document)

    @staticmethod
    def containers(template):
        return template["spec"].get("initContainers", []) + template["spec"]["containers"]

    def selected(self, overlay, labels):
        """The pod templates that labels select."""
        templates = [self.template(document) for document in self.all[overlay] if self.template(document)]
        return [template for template in templates if labels.items() <= template["metadata"]["labels"].items()]

    def find(self, overlay, kind, name):
        found = [d for d in self.all[overlay] if (d["kind"], d["metadata"]["name"]) == (kind, name)]
        self.assertEqual(len(found), 1, f"{kind} {name} in {overlay}")
        return found[0]

    @staticmethod
    def ports(template):
        return {port["name"]: port["containerPort"] for c in template["spec"]["containers"] for port in c.get("ports", [])}

    def test_every_overlay_has_what_it_should(self):
        kinds = {overlay: sorted(d["kind"] + "/" + d["metadata"]["name"] for d in documents if d["kind"] != "ConfigMap")
                 for overlay, documents in self.all.items()}
        for overlay in OVERLAYS:
            for wanted in ("ServiceAccount/swiftlet", "PersistentVolumeClaim/swiftlet-snapshots", "CronJob/swiftlet-trainer",
                           "NetworkPolicy/swiftlet", "NetworkPolicy/swiftlet-server"):
                self.assertIn(wanted, kinds[overlay])
        self.assertIn("HorizontalPodAutoscaler/swiftlet-inline", kinds["inline"])
        self.assertIn("PodDisruptionBudget/swiftlet-inline", kinds["inline"])
        self.assertIn("StatefulSet/swiftlet-users", kinds["users"])
        self.assertIn("Deployment/swiftlet-router", kinds["users"])
        self.assertIn("StatefulSet/swiftlet-users", kinds["single"])
        for overlay in OVERLAYS:
            self.assertEqual("CronJob/swiftlet-backup" in kinds[overlay], overlay != "inline")
        # What two overlays share is the same in both: they can be in one namespace.
        for name in set(kinds["inline"]) & set(kinds["users"]):
            self.assertEqual(self.find("inline", *name.split("/")), self.find("users", *name.split("/")))

    def test_selectors_match(self):
        for overlay, document in self.each("Deployment", "StatefulSet"):
            own = self.template(document)
            self.assertEqual(self.selected(overlay, document["spec"]["selector"]["matchLabels"]), [own])
            for spread in own["spec"].get("topologySpreadConstraints", []):
                self.assertEqual(self.selected(overlay, spread["labelSelector"]["matchLabels"]), [own])
        for overlay, document in self.each("Service"):
            templates = self.selected(overlay, document["spec"]["selector"])
            self.assertEqual(len(templates), 1)
            for port in document["spec"]["ports"]:
                self.assertEqual(self.ports(templates[0])[port["targetPort"]], port["port"])
            self.assertEqual(document["spec"]["clusterIP"], "None")
        for overlay, document in self.each("PodDisruptionBudget"):
            self.assertEqual(len(self.selected(overlay, document["spec"]["selector"]["matchLabels"])), 1)
        for overlay, document in self.each("HorizontalPodAutoscaler"):
            target = document["spec"]["scaleTargetRef"]
            self.assertNotIn("replicas", self.find(overlay, target["kind"], target["name"])["spec"])
        for overlay, document in self.each("StatefulSet"):
            self.find(overlay, "Service", document["spec"]["serviceName"])

    def test_network_policies_match(self):
        for overlay, document in self.each("NetworkPolicy"):
            spec = document["spec"]
            chosen = self.selected(overlay, spec["podSelector"]["matchLabels"])
            self.assertTrue(chosen)
            for rule in spec.get("ingress", []):
                for port in rule["ports"]:
                    self.assertTrue(all(port["port"] in self.ports(template) for template in chosen))
            for rule in spec.get("egress", []):
                for peer in rule.get("to", []):
                    called = self.selected(overlay, peer["podSelector"]["matchLabels"])
                    self.assertTrue(called)
                    for port in rule["ports"]:
                        self.assertTrue(all(port["port"] in self.ports(template) for template in called))
        for overlay, document in self.each("Service"):
            (template,) = self.selected(overlay, document["spec"]["selector"])
            let_in = {port["port"] for policy in self.all[overlay] if policy["kind"] == "NetworkPolicy"
                      and policy["spec"]["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
                      for rule in policy["spec"].get("ingress", [])
                      if {"podSelector": {"matchLabels": {"swiftlet.io/client": "true"}}} in rule["from"]
                      for port in rule["ports"]}
            self.assertEqual(let_in, {port["targetPort"] for port in document["spec"]["ports"]})
        for overlay, document, template in self.workloads():
            covered = [d for d in self.all[overlay] if d["kind"] == "NetworkPolicy"
                       and "Egress" in d["spec"]["policyTypes"]
                       and d["spec"]["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()]
            self.assertTrue(covered, f"{document['metadata']['name']} may call anybody")

    def test_volumes_and_what_they_come_from(self):
        for overlay, document, template in self.workloads():
            claims = {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", [])}
            volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
            self.assertFalse(claims & set(volumes))
            mounted = {mount["name"] for c in self.containers(template) for mount in c.get("volumeMounts", [])}
            self.assertEqual(mounted, claims | set(volumes))
            for volume in volumes.values():
                if "configMap" in volume:
                    self.find(overlay, "ConfigMap", volume["configMap"]["name"])
                if "persistentVolumeClaim" in volume:
                    name = volume["persistentVolumeClaim"]["claimName"]
                    match = re.fullmatch(r"data-(.+)-(\d+)", name)
                    if match:
                        owner = self.find(overlay, "StatefulSet", match[1])
                        self.assertLess(int(match[2]), owner["spec"]["replicas"])
                        modes = owner["spec"]["volumeClaimTemplates"][0]["spec"]["accessModes"]
                        self.assertEqual(modes, ["ReadWriteOnce"])  # ReadWriteOncePod: one pod and no other
                        near = template["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
                        self.assertEqual(self.selected(overlay, near[0]["labelSelector"]["matchLabels"]), [self.template(owner)])
                        self.assertEqual(near[0]["topologyKey"], "kubernetes.io/hostname")
                    else:
                        claim = self.find(overlay, "PersistentVolumeClaim", name)
                        self.assertEqual(claim["spec"]["accessModes"], ["ReadWriteMany"])

    def test_pods_have_no_rights(self):
        for overlay, document, template in self.workloads():
            spec = template["spec"]
            self.assertIs(spec["automountServiceAccountToken"], False)
            self.find(overlay, "ServiceAccount", spec["serviceAccountName"])
            self.assertIs(spec["securityContext"]["runAsNonRoot"], True)
            self.assertGreater(spec["securityContext"]["runAsUser"], 0)
            self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            for key in ("hostNetwork", "hostPID", "hostIPC"):
                self.assertNotIn(key, spec)
            for container in self.containers(template):
                context = container["securityContext"]
                self.assertIs(context["readOnlyRootFilesystem"], True)
                self.assertIs(context["allowPrivilegeEscalation"], False)
                self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                self.assertNotIn("privileged", context)
                self.assertIn("memory", container["resources"]["limits"])
                self.assertRegex(container["image"], r":\d")
                for mount in container.get("volumeMounts", []):
                    if mount["mountPath"].startswith(("/etc/", "/usr/")):
                        self.assertIs(mount["readOnly"], True)

    def server_pods(self):
        """(overlay, document, template, container, configuration) of every server."""
        for overlay, document, template in self.workloads("Deployment", "StatefulSet"):
            if template["metadata"]["labels"]["app.kubernetes.io/component"] != "server":
                continue
            (container,) = template["spec"]["containers"]
            (argument,) = container["args"]
            path = re.fullmatch(r"--config=(/\S+)", argument)[1]
            mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
            volume = next(v for v in template["spec"]["volumes"] if v["name"] == mounts[os.path.dirname(path)]["name"])
            config = self.find(overlay, "ConfigMap", volume["configMap"]["name"])["data"][os.path.basename(path)]
            self.assertEqual(config, read(KUBERNETES, CONFIGS[overlay]))
            yield overlay, document, template, container, config

    def test_servers_are_what_their_configuration_says(self):
        count = 0
        for overlay, document, template, container, config in self.server_pods():
            count += 1
            ports = self.ports(template)
            self.assertEqual(setting(config, "listen_address"), f"0.0.0.0:{ports['grpc']}")
            self.assertEqual(setting(config, "metrics_address"), f"0.0.0.0:{ports['metrics']}")
            self.assertEqual(setting(config, "http.listen_address"), f"0.0.0.0:{ports['http']}")
            self.assertEqual(template["metadata"]["annotations"]["prometheus.io/port"], str(ports["metrics"]))
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                self.assertEqual(container[probe]["grpc"]["port"], ports["grpc"])
            mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
            self.assertIs(mounts[setting(config, "model_dir")]["readOnly"], True)
            self.assertNotIn("readOnly", mounts[setting(config, "data_dir")])
            # Who keeps users can back them up, to another volume than theirs.
            if overlay != "inline":
                backups = mounts[setting(config, "backup.directory")]
                self.assertNotIn("readOnly", backups)
                self.assertNotEqual(backups["name"], mounts[setting(config, "data_dir")]["name"])
                size = {claim["metadata"]["name"]: int(claim["spec"]["resources"]["requests"]["storage"][:-2])
                        for claim in document["spec"]["volumeClaimTemplates"]}  # in Gi
                self.assertGreaterEqual(size[backups["name"]], 2 * size["data"])
            # A server that cannot delete is not to try.
            self.assertEqual(setting(config, "snapshots.keep_versions"), "1000")
            # Time to stop.
            pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
            drain = int(setting(config, "drain_timeout_ms")) / 1000
            self.assertGreaterEqual(template["spec"]["terminationGracePeriodSeconds"], pause + drain + 10)
            # Memory for what the configuration allows.
            unit = {"Mi": 2**20, "Gi": 2**30}
            limit = container["resources"]["limits"]["memory"]
            self.assertEqual(limit, container["resources"]["requests"]["memory"])
            caches = int(setting(config, "storage.user_cache_bytes")) + int(setting(config, "storage.block_cache_bytes"))
            self.assertGreater(int(limit[:-2]) * unit[limit[-2:]], caches + 300e6 + 2 * 350 * 500000)
        self.assertEqual(count, 3)

    def test_the_image_has_the_commands(self):
        dockerfile = read(ROOT, "Dockerfile")
        uid = re.search(r"--uid (\d+)", dockerfile)[1]
        for _, _, template in self.workloads():
            for container in self.containers(template):
                name = container["image"].split(":")[0]
                if not name.startswith("swiftlet-"):
                    continue
                self.assertIn(f" AS {name.split('-')[1]}\n", dockerfile)
                self.assertEqual(str(template["spec"]["securityContext"]["runAsUser"]), uid)
                command = container["command"][0]
                if not command.startswith("/bin/"):
                    self.assertIn(f'ENTRYPOINT ["{command}"', dockerfile)
                    self.assertEqual(command, f"/usr/local/bin/{name}")

    def test_the_router_knows_every_server(self):
        users = self.find("users", "StatefulSet", "swiftlet-users")
        config = next(d for d in self.all["users"] if d["metadata"]["name"].startswith("swiftlet-router-"))["data"]
        servers = re.findall(r"^  server (\S+) (\S+):(\d+) id (\d+)$", config["haproxy.cfg"], re.M)
        replicas = users["spec"]["replicas"]
        self.assertEqual([name for name, *_ in servers], [f"swiftlet-users-{n}" for n in range(replicas)])
        self.assertEqual(re.search(r"nbsrv\(users\) lt (\d+)", config["haproxy.cfg"])[1], str(replicas))
        for name, host, port, _ in servers:
            self.assertEqual(host, f"{name}.{users['spec']['serviceName']}")
            self.assertEqual(int(port), self.ports(users["spec"]["template"])["grpc"])
        self.assertEqual(len({number for *_, number in servers}), replicas)
        router = self.template(self.find("users", "Deployment", "swiftlet-router"))
        for name in ("grpc", "health"):
            self.assertRegex(config["haproxy.cfg"], rf"(?m)^  bind :{self.ports(router)[name]}\b")
        # A new address is of use to pods that are not ready, too: they may be waited for.
        self.assertIs(self.find("users", "Service", "swiftlet-users")["spec"]["publishNotReadyAddresses"], True)

    def test_every_server_is_asked_for_backups(self):
        for overlay in ("users", "single"):
            job = self.find(overlay, "CronJob", "swiftlet-backup")
            users = self.find(overlay, "StatefulSet", "swiftlet-users")
            spec = job["spec"]["jobTemplate"]["spec"]
            # Pod N of the job asks server N.
            self.assertEqual((spec["completionMode"], spec["completions"]), ("Indexed", users["spec"]["replicas"]))
            (container,) = spec["template"]["spec"]["containers"]
            name = f"swiftlet-users-$JOB_COMPLETION_INDEX.{users['spec']['serviceName']}:{self.ports(users['spec']['template'])['grpc']}"
            self.assertIn(f'--server "{name}" backup create', container["command"][-1])
            self.assertEqual(spec["template"]["spec"]["restartPolicy"], "Never")  # what backoffLimitPerIndex asks for
            self.assertEqual(job["spec"]["concurrencyPolicy"], "Forbid")
            # They may call each other.
            labels, called = spec["template"]["metadata"]["labels"], users["spec"]["template"]["metadata"]["labels"]
            def policies(direction, labels, overlay=overlay):
                return [rule for d in self.all[overlay] if d["kind"] == "NetworkPolicy"
                        and d["spec"]["podSelector"]["matchLabels"].items() <= labels.items() for rule in d["spec"].get(direction, [])]
            def reach(rules, key, labels):
                return [rule for rule in rules for peer in rule.get(key, [])
                        if peer.get("podSelector", {}).get("matchLabels", {"": ""}).items() <= labels.items()]
            for rules in (reach(policies("egress", labels), "to", called), reach(policies("ingress", called), "from", labels)):
                self.assertEqual([rule["ports"] for rule in rules], [[{"port": "grpc", "protocol": "TCP"}]])
            self.assertIn({"port": 53, "protocol": "UDP"}, [port for rule in policies("egress", labels) for port in rule["ports"]])
            # The alert fires after the time of one, not before.
            config = next(config for at, *_, config in self.server_pods() if at == overlay)
            self.assertRegex(job["spec"]["schedule"], r"^\d+ \d+ \* \* \*$")  # once a day
            self.assertTrue(24 < int(setting(config, "backup.expected_every_hours")) < 48)

    def test_a_server_is_restored(self):
        """As restore.yaml does it, from what is broken, and again from an attempt that was cut short."""
        import yaml  # pylint: disable=import-outside-toplevel
        pod = tempfile.mkdtemp(prefix="swiftlet-pod-")
        self.addCleanup(shutil.rmtree, pod, ignore_errors=True)
        data, backups = os.path.join(pod, "data"), os.path.join(pod, "backups")
        for path in (data, backups, os.path.join(data, "lost+found")):
            os.mkdir(path)
        result = run(program("swiftlet-server"), "--backup", backups, f"--data-dir={data}")
        self.assertEqual(result.returncode, 0, result.stdout)

        job = yaml.safe_load(read(KUBERNETES, "restore.yaml").replace("POD", "swiftlet-users-0").replace("ID", "1"))
        spec = job["spec"]["template"]["spec"]
        users = self.find("users", "StatefulSet", "swiftlet-users")
        claims = {claim["metadata"]["name"] for claim in users["spec"]["volumeClaimTemplates"]}
        self.assertEqual({volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"]},
                         {f"{claim}-swiftlet-users-0" for claim in claims})
        (container,) = spec["containers"]
        server = users["spec"]["template"]["spec"]["containers"][0]
        for mount in container["volumeMounts"]:
            self.assertIn(mount, server["volumeMounts"])
        self.assertEqual(spec["securityContext"], users["spec"]["template"]["spec"]["securityContext"])

        def restore(backup="--backup-id 1"):
            command = [part.replace("/var/lib/swiftlet", pod).replace("--backup-id 1", backup) for part in container["command"]]
            return run(*command, cwd=data, env={**os.environ, "PATH": BIN + ":" + os.environ["PATH"]})

        def asides():
            return sorted(os.listdir(os.path.join(data, "broken")))
        os.unlink(os.path.join(data, "CURRENT"))
        result = restore()
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn("restored from backup 1", result.stdout)
        (aside,) = asides()
        self.assertIn("SWIFTLET", os.listdir(os.path.join(data, "broken", aside)))
        self.assertIn("lost+found", os.listdir(data))
        # The attempt before left a part of it.
        os.rename(os.path.join(data, "CURRENT"), os.path.join(data, "CURRENT.restored"))
        result = restore()
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertEqual(asides(), [aside])
        self.assertIn("CURRENT", os.listdir(data))
        # Never under a server.
        if shutil.which("flock"):
            with subprocess.Popen(["flock", os.path.join(data, "SWIFTLET"), "-c", "echo locked; cat"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True) as holder:
                self.assertEqual(holder.stdout.readline(), "locked\n")
                result = restore()
                self.assertEqual(result.returncode, 1, result.stdout)
                self.assertIn("a server has this database open", result.stdout)
                self.assertIn("CURRENT", os.listdir(data))
                holder.stdin.close()
        # Of a backup that is not there: no server begins a new database in the place of the one that was set aside.
        result = restore("--backup-id 7")
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn("there is 1", result.stdout)
        result = run(program("swiftlet-server"), f"--data-dir={data}", f"--model-dir={pod}", "--listen=127.0.0.1:0", "--metrics=off")
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn("restore the backup again", result.stdout)
        self.assertEqual(restore().returncode, 0)
        self.assertIn("CURRENT", os.listdir(data))

    def test_pin_and_unpin(self):
        import yaml  # pylint: disable=import-outside-toplevel
        with tempfile.TemporaryDirectory() as models:
            os.mkdir(os.path.join(models, "6"))
            write("{}", models, "6/manifest.json")
            pinned = os.path.join(models, "PINNED")

            def pin(version):
                job = yaml.safe_load(read(KUBERNETES, "pin.yaml").replace("VERSION", version))
                return run(*job["spec"]["template"]["spec"]["containers"][0]["command"], cwd=models).returncode

            self.assertEqual(pin("6"), 0)
            self.assertEqual(read(pinned), "6\n")
            self.assertNotEqual(pin("7"), 0)
            self.assertEqual(read(pinned), "6\n")
            self.assertEqual(pin("none"), 0)
            self.assertFalse(os.path.exists(pinned))
            self.assertEqual(os.listdir(models), ["6"])

    def test_the_training_and_the_servers_as_the_pods_run_them(self):
        """With the paths of a temporary directory for those of the pod, and the health that the probes ask for."""
        for overlay in OVERLAYS:
            with self.subTest(overlay=overlay):
                self.run_overlay(overlay)

    def run_overlay(self, overlay):
        if importlib.util.find_spec("grpc") is None:
            self.skipTest("python3-grpcio is not installed")
        pod = tempfile.mkdtemp(prefix="swiftlet-pod-")
        self.addCleanup(shutil.rmtree, pod, ignore_errors=True)
        for name in ("data", "models", "events"):
            os.mkdir(os.path.join(pod, name))
        def inside(text):
            return text.replace("/var/lib/swiftlet", pod)

        _, _, _, container, config = next(found for found in list(self.server_pods()) if found[0] == overlay)
        path = os.path.join(pod, "server.textproto")
        write(inside(config), path)
        ports = os.path.join(pod, "ports")
        log_path = os.path.join(pod, "log")
        with open(log_path, "w", encoding="utf-8") as log:
            process = subprocess.Popen([program("swiftlet-server"), f"--config={path}", "--listen=127.0.0.1:0",  # pylint: disable=consider-using-with
                                        "--metrics=127.0.0.1:0", "--http-listen=127.0.0.1:0",
                                        f"--port-file={ports}"], stdout=log, stderr=log)
        self.addCleanup(lambda: (process.kill(), process.wait()))
        port, _, http_port = wait_for_ports(process, ports, log_path)
        address = f"127.0.0.1:{port}"

        probes = {name: container[name]["grpc"]["service"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
        self.assertEqual(health(address, probes["startupProbe"]), 1)
        self.assertEqual(health(address, probes["livenessProbe"]), 1)
        # Without a snapshot: no recommendations, but events.
        self.assertEqual(health(address, probes["readinessProbe"]), 2 if overlay == "inline" else 1)

        if overlay != "inline":
            job = self.find(overlay, "CronJob", "swiftlet-backup")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
            command = [part.replace("swiftlet-users-$JOB_COMPLETION_INDEX.swiftlet-users:50051", address)
                       for part in job["containers"][0]["command"]]
            made = run(*command, env={**os.environ, "PATH": BIN + ":" + os.environ["PATH"]})
            self.assertEqual(made.returncode, 0, made.stdout)
            self.assertIn("Backup 1, made ", made.stdout)
            self.assertTrue(os.listdir(os.path.join(pod, "backups")))

        data = ServerProcess()  # for its events and items only
        self.addCleanup(data.remove)
        trainer = self.find(overlay, "CronJob", "swiftlet-trainer")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        (train,), (retain,) = trainer["initContainers"], trainer["containers"]
        if "--data-dir=/var/lib/swiftlet/data" in train["args"]:
            result = run(program("swiftlet"), "--server", address, "event", "load", str(data.dir / "events.csv"))
            self.assertEqual(result.returncode, 0, result.stdout)
        else:
            run("sh", "-c", f"gzip -c {data.dir}/events.csv > {pod}/events/events.csv.gz")
            write((data.dir / "items.csv").read_text().replace(",", "\t"), pod, "events/items.tsv")
        quick = ["--no-holdout", "--dim=8", "--als-epochs=3", "--epochs=1", "--threads=1"]
        result = run(program("swiftlet-trainer"), *map(inside, train["args"]), *quick)
        self.assertEqual(result.returncode, 0, result.stdout)
        writable = {m["mountPath"] for m in train["volumeMounts"] if not m.get("readOnly")}
        self.assertEqual(writable, {"/var/lib/swiftlet/models", "/tmp"})

        script = next(d for d in self.all[overlay] if d["metadata"]["name"].startswith("swiftlet-retention-"))["data"]
        self.assertEqual(retain["command"], ["/bin/sh", "/etc/swiftlet/retain.sh"])
        write(script["retain.sh"], pod, "retain.sh")
        result = run("/bin/sh", os.path.join(pod, "retain.sh"), *map(inside, retain["args"]))
        self.assertEqual((result.returncode, result.stdout), (0, ""))

        result = run(program("swiftlet"), "--server", address, "status", "--wait", "60")
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertEqual(health(address, probes["readinessProbe"]), 1)
        for page in ("healthz", "console"):
            with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/{page}", timeout=TIMEOUT_S) as answer:
                self.assertEqual(answer.status, 200)
        process.terminate()
        self.assertEqual(process.wait(TIMEOUT_S), 0)


def wait_for_ports(process, path, log_path):
    import time  # pylint: disable=import-outside-toplevel
    end = time.monotonic() + TIMEOUT_S
    while not (os.path.exists(path) and read(path).endswith("\n")):
        assert process.poll() is None and time.monotonic() < end, read(log_path)
        time.sleep(0.01)
    return read(path).split()


def health(address, service):
    """grpc.health.v1.Health/Check: 1 SERVING, 2 NOT_SERVING; an unknown service is an error."""
    import grpc  # pylint: disable=import-outside-toplevel
    name = service.encode()
    with grpc.insecure_channel(address) as channel:
        answer = channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=bytes,
                                     response_deserializer=bytes)(b"\x0a" + bytes([len(name)]) + name, timeout=TIMEOUT_S)
    assert answer[:1] == b"\x08" and len(answer) == 2, answer
    return answer[1]


class Schemas(unittest.TestCase):
    """Against Kubernetes' own schemas, where unknown fields are errors."""

    def check(self, directory_or_file, expected=0):
        import yaml  # pylint: disable=import-outside-toplevel
        if os.path.isdir(directory_or_file):
            documents = [d for d in render(directory_or_file) if "monitoring.coreos.com" not in d["apiVersion"]]
        else:
            documents = list(yaml.safe_load_all(read(directory_or_file)))
        self.assertTrue(documents)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump_all(documents, file)
            file.flush()
            versions = [argument for version in SCHEMA_VERSIONS for argument in ("-k", version)]
            result = run("kubernetes-validate", "--strict", *versions, file.name)
        self.assertEqual(result.returncode, expected, result.stdout)
        if expected == 0:
            self.assertEqual(len(re.findall(r"\bpassed\b", result.stdout)), len(documents) * len(SCHEMA_VERSIONS), result.stdout)
        return result.stdout

    def test_overlays(self):
        for overlay in OVERLAYS:
            with self.subTest(overlay=overlay):
                self.check(os.path.join(KUBERNETES, "overlays", overlay))

    def test_pin(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            # The validator wants a name; kubectl create makes one from generateName.
            text = read(KUBERNETES, "pin.yaml").replace("VERSION", "6")
            self.assertIn("  generateName: swiftlet-pin-\n", text)
            file.write(text.replace("generateName: swiftlet-pin-", "name: swiftlet-pin"))
            file.flush()
            self.check(file.name)

    def test_restore(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(read(KUBERNETES, "restore.yaml").replace("POD", "swiftlet-users-0").replace("ID", "0"))
            file.flush()
            self.check(file.name)

    def test_a_misspelt_field_would_be_noticed(self):
        with tempfile.TemporaryDirectory() as directory:
            copy = os.path.join(directory, "kubernetes")
            shutil.copytree(KUBERNETES, copy)
            path = os.path.join(copy, "components/users/disruption-budget.yaml")
            write(read(path).replace("maxUnavailable", "maxUnavailble"), path)
            output = self.check(os.path.join(copy, "overlays/users"), expected=1)
            self.assertIn("maxUnavailble", output)

    def test_pod_monitor_component(self):
        with tempfile.TemporaryDirectory() as directory:
            copy = os.path.join(directory, "kubernetes")
            shutil.copytree(KUBERNETES, copy)
            path = os.path.join(copy, "overlays/inline/kustomization.yaml")
            write(read(path).replace("components:\n", "components:\n  - ../../components/pod-monitor\n"), path)
            documents = render(os.path.join(copy, "overlays/inline"))
            (monitor,) = [d for d in documents if d["kind"] == "PodMonitor"]
            (pod,) = [d for d in documents if d["kind"] == "Deployment"]
            labels = pod["spec"]["template"]["metadata"]["labels"]
            # The job is the value of this label: what alerts ask for.
            alerts = read(ROOT, "deploy/prometheus/swiftlet.alerts.yml")
            for regex in set(re.findall(r'job=~"([^"]+)"', alerts)):
                self.assertRegex(labels[monitor["spec"]["jobLabel"]], rf"^(?:{regex})$")
            self.assertLessEqual(monitor["spec"]["selector"]["matchLabels"].items(), labels.items())
            (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
            self.assertIn(endpoint["port"], [p["name"] for p in pod["spec"]["template"]["spec"]["containers"][0]["ports"]])


def main():
    global BIN  # pylint: disable=global-statement
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="where swiftlet-server and the other programs are")
    args, rest = parser.parse_known_args()
    BIN = os.path.abspath(args.bin)
    os.environ["SWIFTLET_SERVER"], os.environ["SWIFTLET_TRAINER"] = program("swiftlet-server"), program("swiftlet-trainer")
    missing = []
    if not rest or any(part.split(".")[0] in ("Rendered", "Schemas") for part in rest):
        if kustomize() is None:
            missing.append("kubectl or kustomize")
        if importlib.util.find_spec("yaml") is None:
            missing.append("python3-yaml")
    if not rest or any(part.startswith("Schemas") for part in rest):
        if not shutil.which("kubernetes-validate"):
            missing.append("kubernetes-validate (pip install kubernetes-validate)")
    if missing:
        print(f"SKIPPED: {', '.join(missing)} not found")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
