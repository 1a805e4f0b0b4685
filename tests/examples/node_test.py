"""client/examples/node against a real server. Skipped where Node or npm's packages are missing; with SWIFTLET_EXAMPLES_FETCH=1
npm fetches those."""

import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import example_case
from example_case import ROOT, fetch_allowed, skip


class NodeTest(example_case.ExampleCase):
    pass


def install(work):
    """What npm said where it failed; nothing when all is well."""
    work.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "recommend.ts", "tsconfig.json"):
        shutil.copy(ROOT / "client/examples/node" / name, work)
    command = ["npm", "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"]
    if not fetch_allowed():
        command.append("--offline")
    return run(work, *command)


def build(work):
    """What went wrong with generating and compiling; nothing when all is well."""
    return run(work, "npm", "run", "build")


def run(work, *command):
    result = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                            env={**os.environ, "SWIFTLET_PROTO": str(ROOT / "proto")})
    return result.stdout if result.returncode != 0 else None


if __name__ == "__main__":
    missing = [name for name in ("node", "npm", "protoc") if not shutil.which(name)]
    if missing:
        skip(f"Debian packages are missing: {' '.join(missing).replace('node', 'nodejs').replace('protoc', 'protobuf-compiler')}")
    if int(subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout[1:].split(".")[0]) < 18:
        skip("Node is older than version 18")
    directory = Path(os.environ["SWIFTLET_WORK"])
    failure = install(directory)
    if failure and not fetch_allowed():
        skip("npm has not fetched what the example needs; SWIFTLET_EXAMPLES_FETCH=1 lets it")
    if failure:
        sys.exit(failure)
    if failure := build(directory):
        sys.exit(failure)
    NodeTest.command = ["node", str(directory / "dist/recommend.js")]
    unittest.main()
