"""client/examples/go, built and run against a real server. Skipped where a package of Debian's is missing."""

import os
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/python"))
from server_process import ServerProcess  # noqa: E402

NEEDED = {
    "golang-go": "/usr/bin/go",
    "golang-google-grpc-dev": "/usr/share/gocode/src/google.golang.org/grpc",
    "golang-google-protobuf-dev": "/usr/share/gocode/src/google.golang.org/protobuf",
    "golang-github-golang-protobuf-1-5-dev": "/usr/share/gocode/src/github.com/golang/protobuf",
    "protoc-gen-go": "/usr/bin/protoc-gen-go",
    "protoc-gen-go-grpc": "/usr/bin/protoc-gen-go-grpc",
}


class GoTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        work = os.environ["SWIFTLET_WORK"]
        subprocess.run([ROOT / "client/examples/go/build", work], check=True)
        cls.program = Path(work) / "recommend"
        cls.server = ServerProcess()
        cls.addClassCleanup(cls.server.remove)

    def run_example(self, *arguments):
        environment = {**os.environ, "GRPC_GO_RETRY": "on"}
        return subprocess.run([self.program, *arguments], capture_output=True, text=True, env=environment, timeout=60)

    def test_the_example(self):
        self.server.start()
        early = self.run_example(self.server.address, "u1000", "i1")
        self.assertEqual(early.returncode, 1)
        self.assertIn("no snapshot", early.stderr)
        self.server.stop()

        self.server.train()
        self.server.start()
        done = self.run_example(self.server.address, "u1000", "i1")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [line.split("\t") for line in done.stdout.splitlines()]
        self.assertEqual(len(lines), 5)
        self.assertNotIn("i1", [line[0] for line in lines])
        self.assertEqual(lines[0][2], f"Title {lines[0][0][1:]}")

        refused = self.run_example(self.server.address, "", "i1")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("events[0].user_id", refused.stderr)


if __name__ == "__main__":
    missing = [package for package, path in NEEDED.items() if not os.path.exists(path)]
    if missing:
        print(f"skipped: Debian packages are missing: {' '.join(missing)}")
        sys.exit(77)
    unittest.main()
