"""client/examples/java, built by Maven and run against a real server. Skipped where Java, Maven or what Maven needs is missing;
with SWIFTLET_EXAMPLES_FETCH=1 Maven fetches that."""

import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import example_case
from example_case import ROOT, fetch_allowed, skip


class JavaTest(example_case.ExampleCase):
    pass


def build(work):
    """What Maven said where it failed; nothing when all is well."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(ROOT / "client/examples/java", work, ignore=shutil.ignore_patterns("target"))
    command = ["mvn", "-q", "-B", f"-Dprotos={ROOT / 'proto'}"]
    if not fetch_allowed():
        command.append("--offline")
    result = subprocess.run([*command, "package"], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            check=False)
    return result.stdout if result.returncode != 0 else None


if __name__ == "__main__":
    missing = [package for package, program in (("openjdk-17-jdk-headless", "javac"), ("maven", "mvn")) if not shutil.which(program)]
    if missing:
        skip(f"Debian packages are missing: {' '.join(missing)}")
    directory = Path(os.environ["SWIFTLET_WORK"])
    failure = build(directory)
    if failure and not fetch_allowed() and ("offline mode" in failure or "has not been downloaded" in failure):
        skip("Maven has not fetched what the example needs; SWIFTLET_EXAMPLES_FETCH=1 lets it")
    if failure:
        sys.exit(failure)
    JavaTest.command = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp",
                        f"{directory}/target/classes:{directory}/target/lib/*", "io.swiftlet.example.Recommend"]
    unittest.main()
