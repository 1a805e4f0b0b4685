"""Runs the Python examples of client/python/README.md against a real server, one after the other."""

import contextlib
import io
import os
import re
import unittest
from pathlib import Path

import swiftlet
from server_process import ServerProcess

README = Path(__file__).resolve().parents[2] / "client/python/README.md"


class NamesTest(unittest.TestCase):
    def test_every_method_is_named(self):
        for client in (swiftlet.Client, swiftlet.AsyncClient):
            for name, member in vars(client).items():
                if callable(member) and not name.startswith("_") and name != "close":
                    self.assertRegex(README.read_text(), rf"`(?:client\.)?{name}\b")


class ReadmeTest(unittest.TestCase):
    def setUp(self):
        if "SWIFTLET_SERVER" not in os.environ:
            self.skipTest("--server and --trainer were not given")
        self.server = ServerProcess()
        self.addCleanup(self.server.remove)
        self.server.train()
        self.server.start()

    def test_examples(self):
        examples = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)
        self.assertGreaterEqual(len(examples), 6)
        names = {}
        printed = []
        for example in examples:
            with self.subTest(example.splitlines()[0]), contextlib.redirect_stdout(io.StringIO()) as out:
                code = example.replace("127.0.0.1:50051", self.server.address)
                exec(compile(code, "README.md", "exec"), names)
            printed.append(out.getvalue())
        self.assertEqual(len(printed[0].splitlines()), 5)
        self.assertRegex(printed[0], r"^i\d+ -?[\d.]+ Title \d+\n")
        self.assertIn('title: "Something new"', printed[1])
        self.assertEqual(printed[3], "k: 0 is not in [1, 1000]\nno events yet\n")
        self.assertRegex(printed[4], r"^[0-9a-f]{16} \{'queue': [\d.]+, .*'total': [\d.]+\}\n$")
        self.assertEqual(printed[5], "1000 stored\n")
        self.assertIn("num_recorded=20000, num_duplicates=0", printed[6])
