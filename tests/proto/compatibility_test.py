"""proto/compatibility/check on the .proto files as they are, and on copies with changes of every kind."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECK = ROOT / "proto/compatibility/check"

V1 = {
    "a.proto": """syntax = "proto3";
package swiftlet.v1;
import "swiftlet/v1/b.proto";
option go_package = "swiftlet/v1;swiftletv1";
option java_package = "io.swiftlet.v1";
service Api {
  rpc Get(Question) returns (Answer);
  rpc Watch(Question) returns (stream Answer);
}
message Question {
  oneof who {
    string user = 1;
    int64 number = 2;
  }
  int32 k = 3;
  optional bool flag = 4;
  repeated string names = 5;
  map<string, double> weights = 6;
  Thing thing = 7;
  reserved 8 to 15;  // for the future
  message Inner {
    Color color = 1;
  }
  Inner inner = 16;
}
message Answer {}
""",
    "b.proto": """syntax = "proto3";
package swiftlet.v1;
enum Color {
  COLOR_UNSPECIFIED = 0;
  COLOR_RED = 1;
  COLOR_NEGATIVE = -5;
}
message Thing { string name = 1; }
message Other { string name = 1; }
""",
}


class CheckTest(unittest.TestCase):
    def setUp(self):
        self.dir = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.dir)
        self.protos = self.dir / "swiftlet/v1"
        self.protos.mkdir(parents=True)
        for name, content in V1.items():
            (self.protos / name).write_text(content)
        self.run_check("--update")

    def run_check(self, *arguments, expect=0):
        command = [sys.executable, CHECK, "--proto-dir", self.dir, "--baseline", self.dir / "v1.json", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, expect, done.stdout)
        return done.stdout

    def change(self, *replacements):
        """Restores the files of the baseline and makes these (old, new) replacements."""
        for name, content in V1.items():
            for old, new in replacements:
                content = content.replace(old, new)
            (self.protos / name).write_text(content)
        for old, _ in replacements:
            self.assertTrue(any(old in content for content in V1.values()), old)

    def test_what_did_not_change_is_compatible(self):
        self.assertEqual(self.run_check(), "Compatible; 0 additions since the baseline.\n")

    def test_additions_are_compatible(self):
        for old, new, said in (
            ("int32 k = 3;", "int32 k = 3; string more = 17;", "swiftlet.v1.Question.more = 17: new"),
            ("reserved 8 to 15;", "string more = 8; reserved 9 to 15;", "swiftlet.v1.Question.more = 8: new"),
            ("int64 number = 2;", "int64 number = 2; bytes key = 17;", "swiftlet.v1.Question.key = 17: new"),
            ("COLOR_RED = 1;", "COLOR_RED = 1; COLOR_BLUE = 2;", "swiftlet.v1.Color.COLOR_BLUE = 2: new"),
            ("rpc Get", "rpc Put(Answer) returns (Answer); rpc Get", "swiftlet.v1.Api.Put: new"),
            ("message Answer {}", "message Answer {} message M {}", "swiftlet.v1.M: new in the messages"),
            ("service Api", "service S {} service Api", "swiftlet.v1.S: new in the services"),
        ):
            with self.subTest(new):
                self.change((old, new))
                self.assertEqual(self.run_check(), f"added    {said}\nCompatible; 1 additions since the baseline.\n")

    def test_breaking_changes(self):
        question, inner = "swiftlet.v1.Question", "swiftlet.v1.Question.Inner"
        for old, new, said in (
            ("int32 k = 3;", "int64 k = 3;", f'{question}.k = 3: type was "int32", is "int64"'),
            ("int32 k = 3;", "sint32 k = 3;", f'{question}.k = 3: type was "int32", is "sint32"'),
            ("int32 k = 3;", "int32 top = 3;", f'{question}.k = 3: name was "k", is "top"'),
            ("int32 k = 3;", 'int32 k = 3 [json_name = "K"];', f'{question}.k = 3: json_name was "k", is "K"'),
            ("int32 k = 3;", "repeated int32 k = 3;", f'label was "singular", is "repeated"'),
            ("int32 k = 3;", "optional int32 k = 3;", f'label was "singular", is "optional"'),
            ("optional bool flag", "bool flag", f'label was "optional", is "singular"'),
            ("int32 k = 3;", "int32 k = 17;", f"{question}.k = 3: gone without being reserved"),
            ("int32 k = 3;", "", f"{question}.k = 3: gone without being reserved"),
            ("int32 k = 3;", "reserved 3;", f"{question}.k = 3: gone without being reserved"),
            ("int32 k = 3;", 'reserved "k";', f"{question}.k = 3: gone without being reserved"),
            ("oneof who {\n    string user = 1;", "string user = 1; oneof who {", 'oneof was "who", is none'),
            ("}\n  int32 k = 3;", "int32 k = 3; }", 'oneof was none, is "who"'),
            ("map<string, double>", "map<string, float>", 'type was "double", is "float"'),
            ("Thing thing", "Other thing", 'type was "swiftlet.v1.Thing", is "swiftlet.v1.Other"'),
            ("Color color = 1;", "Color color = 2;", f"{inner}.color = 1: gone without being reserved"),
            ("Color color = 1;", "int32 color = 1;", 'type was "swiftlet.v1.Color", is "int32"'),
            ("COLOR_RED = 1;", "COLOR_RED = 2;", "swiftlet.v1.Color.COLOR_RED = 1: gone without being reserved"),
            ("COLOR_RED = 1;", "COLOR_ROT = 1;", 'name was "COLOR_RED", is "COLOR_ROT"'),
            ("COLOR_NEGATIVE = -5;", "", "swiftlet.v1.Color.COLOR_NEGATIVE = -5: gone without being reserved"),
            ("rpc Get(Question) returns (Answer);", "", "swiftlet.v1.Api.Get: the method is gone"),
            ("rpc Get(Question)", "rpc Get(Other)", 'request was "swiftlet.v1.Question", is "swiftlet.v1.Other"'),
            ("rpc Get(Question) returns (Answer)", "rpc Get(Question) returns (Other)", "response was"),
            ("rpc Get(Question)", "rpc Get(stream Question)", "client_streaming was false, is true"),
            ("(stream Answer)", "(Answer)", "swiftlet.v1.Api.Watch: server_streaming was true, is false"),
            ("message Other { string name = 1; }", "", "swiftlet.v1.Other: gone from the messages"),
            ("service Api", "service Server", "swiftlet.v1.Api: gone from the services"),
            ("io.swiftlet.v1", "io.swiftlet", 'java_package was "io.swiftlet.v1", is "io.swiftlet"'),
            ("swiftlet/v1;swiftletv1", "swiftlet/v1;v1", "go_package was"),
        ):
            with self.subTest(f"{old} -> {new}"):
                self.change((old, new))
                self.assertIn(said, self.run_check(expect=1))
                before = (self.dir / "v1.json").read_text()
                self.run_check("--update", expect=1)
                self.assertEqual((self.dir / "v1.json").read_text(), before)

    def test_a_message_that_moves_to_another_file(self):
        self.change(("message Other { string name = 1; }", ""))
        with open(self.protos / "a.proto", "a") as out:
            out.write("message Other { string name = 1; }")
        self.assertIn('file was "swiftlet/v1/b.proto", is "swiftlet/v1/a.proto"', self.run_check(expect=1))

    def test_what_is_removed_and_reserved_is_never_used_again(self):
        self.change(("int32 k = 3;", 'reserved 3; reserved "k";'), ("COLOR_RED = 1;", 'reserved 1; reserved "COLOR_RED";'))
        self.assertIn("Compatible", self.run_check())
        self.run_check("--update")
        self.assertIn("Compatible; 0", self.run_check())
        self.change(("int32 k = 3;", "string other = 3;"), ("COLOR_RED = 1;", "COLOR_BLUE = 1;"))
        said = self.run_check(expect=1)
        self.assertIn("swiftlet.v1.Question.k = 3: was removed in an earlier release", said)
        self.assertIn("swiftlet.v1.Color.COLOR_RED = 1: was removed in an earlier release", said)

    def test_additions_are_held_to_once_they_are_in_the_baseline(self):
        self.change(("int32 k = 3;", "int32 k = 3; string more = 17;"))
        self.run_check("--update")
        self.change()
        self.assertIn("Question.more = 17: gone without being reserved", self.run_check(expect=1))

    def test_what_cannot_be_checked(self):
        (self.protos / "a.proto").write_text("nonsense")
        self.assertIn("protoc refuses", self.run_check(expect=2))
        self.change()
        (self.dir / "v1.json").write_text("{")
        self.run_check(expect=2)
        (self.dir / "v1.json").unlink()
        self.assertIn("there is no baseline", self.run_check(expect=2))

    def test_a_break_that_is_meant(self):
        self.change(("int32 k = 3;", "int64 k = 3;"))
        self.run_check("--update", "--accept-breaking")
        self.assertIn("Compatible; 0", self.run_check())


class ProtocolTest(unittest.TestCase):
    def test_the_protocol_is_compatible_with_what_was_released(self):
        done = subprocess.run([sys.executable, CHECK], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_the_baseline_holds_the_api(self):
        baseline = json.loads((CHECK.parent / "v1.json").read_text())
        self.assertIn("Recommend", baseline["services"]["swiftlet.v1.RecommendationService"]["members"])
        self.assertEqual(baseline["messages"]["swiftlet.v1.Event"]["members"]["6"]["name"], "event_id")
        self.assertIn("swiftlet.v1.ServerConfig", baseline["messages"])

    def test_the_baseline_holds_every_method_that_is_served(self):
        """Clients call a method from the day it is served: proto/compatibility/check --update when one is new."""
        baseline = json.loads((CHECK.parent / "v1.json").read_text())
        served = 0
        for proto in sorted((ROOT / "proto/swiftlet/v1").glob("*.proto")):
            text = re.sub(r"//.*", "", proto.read_text())
            for service, body in re.findall(r"\bservice (\w+) \{(.*?)\n\}", text, re.DOTALL):
                for method in re.findall(r"\brpc (\w+)", body):
                    served += 1
                    self.assertIn(method, baseline["services"][f"swiftlet.v1.{service}"]["members"])
        self.assertGreaterEqual(served, 19)


if __name__ == "__main__":
    unittest.main()
