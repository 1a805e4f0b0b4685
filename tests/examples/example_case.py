"""What an example of client/examples in any language has to do, with a real server."""

import os
import signal
import subprocess
import sys
import time
import unittest
from concurrent import futures
from pathlib import Path

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # servers are started while gRPC runs
import grpc  # noqa: E402  pylint: disable=wrong-import-position

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/python"))
from server_process import ServerProcess  # noqa: E402  pylint: disable=wrong-import-position


class Flaky:
    """Passes calls on to a server, but the first two of each method fail: UNAVAILABLE. Keeps the requests, as bytes."""

    def __init__(self, address):
        self.requests = {}
        self.channel = grpc.insecure_channel(address)
        self.server = grpc.server(futures.ThreadPoolExecutor(4))
        self.server.add_generic_rpc_handlers((self.Handler(self),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def stop(self):
        self.server.stop(None).wait()
        self.channel.close()

    class Handler(grpc.GenericRpcHandler):
        def __init__(self, flaky):
            self.flaky = flaky

        def service(self, handler_call_details):
            method = handler_call_details.method
            seen = self.flaky.requests.setdefault(method, [])
            onward = self.flaky.channel.unary_unary(method)

            def answer(request, context):
                seen.append(request)
                if len(seen) <= 2:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "try again")
                return onward(request, timeout=60)
            return grpc.unary_unary_rpc_method_handler(answer)


class ExampleCase(unittest.TestCase):
    """For subclasses with command: the example's program with the arguments that precede ADDRESS USER ITEM."""

    command = None
    environment = {}

    def setUp(self):
        self.server = ServerProcess()
        self.addCleanup(self.server.remove)

    def run_example(self, *arguments):
        return subprocess.run([*self.command, *arguments], capture_output=True, text=True, check=False, timeout=120,
                              env={**os.environ, **self.environment})

    def test_recommends_once_there_is_a_snapshot(self):
        self.server.start()
        early = self.run_example(self.server.address, "u1000", "i1")
        self.assertEqual(early.returncode, 1)
        self.assertIn("no snapshot", early.stderr)
        self.server.stop()

        self.server.train()
        self.server.start()
        done = self.run_example(self.server.address, "u1000", "i1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check_answer(done.stdout)
        refused = self.run_example(self.server.address, "", "i1")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("events[0].user_id", refused.stderr)
        self.assertEqual(self.run_example(self.server.address).returncode, 2)

    def check_answer(self, text):
        lines = [line.split("\t") for line in text.splitlines()]
        self.assertEqual(len(lines), 5, text)
        self.assertNotIn("i1", [line[0] for line in lines])
        for item, score, title in lines:
            self.assertEqual(title, f"Title {item[1:]}")
            float(score)

    def test_tries_again(self):
        self.server.train()
        self.server.start()
        flaky = Flaky(self.server.address)
        self.addCleanup(flaky.stop)
        done = self.run_example(flaky.address, "u2000", "i1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check_answer(done.stdout)
        events = flaky.requests["/swiftlet.v1.EventService/RecordEvents"]
        self.assertEqual(len(events), 3)
        self.assertEqual(len(set(events)), 1)  # with the same event id
        self.assertEqual(len(flaky.requests["/swiftlet.v1.RecommendationService/Recommend"]), 3)

    def test_gives_up_in_time(self):
        self.server.train()
        self.server.start()
        self.server._process.send_signal(signal.SIGSTOP)  # pylint: disable=protected-access
        start = time.monotonic()
        late = self.run_example(self.server.address, "u1000", "i1")
        self.assertEqual(late.returncode, 1)
        self.assertIn("no answer within 5 s", late.stderr)
        self.assertGreaterEqual(time.monotonic() - start, 4.9)


def skip(reason):
    """Ends the program as CTest reports as skipped."""
    print(f"skipped: {reason}")
    sys.exit(77)


def fetch_allowed():
    """Whether packages that are not here may be fetched from the language's registry."""
    return os.environ.get("SWIFTLET_EXAMPLES_FETCH") == "1"
