"""The clients against a server whose answers are written down."""

import asyncio
import datetime
import inspect
import json
import os
import pickle
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

import grpc
import swiftlet
from clients import Both, for_both
from fake_server import FakeServer
from swiftlet import _api, errors
from swiftlet._load import MAX_ATTEMPTS, backoff
from swiftlet.v1 import event_pb2, recommendation_pb2_grpc

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def ids(request):
    return [event.event_id for event in request.events]


def some_events(count, **fields):
    return [swiftlet.Event(user_id="u", item_id=f"i{n}", type="view", **fields) for n in range(count)]


class WithServer(Both, unittest.TestCase):
    def setUp(self):
        self.server = FakeServer()
        self.addCleanup(self.server.stop)

    def client(self, **options):
        return self.connect(self.server.address, **{"timeout": 30.0, **options})


@for_both
class CallTest(WithServer):
    def test_recommend_sends_every_argument(self):
        self.server.answers["Recommend"].append(
            swiftlet.RecommendResponse(items=[swiftlet.ScoredItem(item_id="i1", score=2.5)], snapshot_version=7)
        )
        answer = self.client().recommend(
            "u",
            k=3,
            filter=swiftlet.ItemFilter(any_of_categories=["Comedy"]),
            exclude_seen=False,
            context_item_ids=["c"],
            context_features={"device": "phone"},
            explain=True,
            include_metadata=True,
            request_id="r",
            search=swiftlet.Search(budget_rows=5),
        )
        self.assertEqual((answer.items[0].item_id, answer.items[0].score, answer.snapshot_version), ("i1", 2.5, 7))
        request = self.server.requests["Recommend"][0]
        self.assertEqual(request.user_id, "u")
        self.assertEqual(request.k, 3)
        self.assertEqual(request.filter.any_of_categories, ["Comedy"])
        self.assertTrue(request.HasField("exclude_seen"))
        self.assertFalse(request.exclude_seen)
        self.assertEqual(request.context.item_ids, ["c"])
        self.assertEqual(dict(request.context.features), {"device": "phone"})
        self.assertTrue(request.explain and request.include_metadata)
        self.assertEqual(request.request_id, "r")
        self.assertEqual(request.search.budget_rows, 5)
        self.assertIn("item_id: \"i1\"", repr(answer))

    def test_what_is_not_given_is_not_sent(self):
        self.client().recommend(history=[], k=1)
        request = self.server.requests["Recommend"][0]
        self.assertEqual(request.WhichOneof("user"), "history")
        for name in ("filter", "exclude_seen", "context", "search"):
            self.assertFalse(request.HasField(name), name)

    def test_arguments_that_contradict_are_refused_here(self):
        client = self.client()
        for wrong in ({}, {"user_id": "u", "history": []}):
            with self.assertRaisesRegex(TypeError, "either user_id or history"):
                client.recommend(**wrong, k=1)
        with self.assertRaisesRegex(TypeError, "not the string 'i1'"):
            client.get_items("i1")
        self.assertEqual(self.server.requests, {})

    def test_credentials_and_agent_are_sent(self):
        self.client(token="secret", user_agent="shop/1").get_status()
        metadata = self.server.metadata["GetStatus"][0]
        self.assertEqual(metadata["authorization"], "Bearer secret")
        self.assertTrue(metadata["user-agent"].startswith("shop/1 swiftlet-python/"), metadata["user-agent"])
        self.client().get_status()
        self.assertNotIn("authorization", self.server.metadata["GetStatus"][1])

    def test_a_closed_client_says_so(self):
        client = self.client()
        client.close()
        client.close()
        with self.assertRaisesRegex(RuntimeError, "closed"):
            client.get_status()
        with self.assertRaisesRegex(RuntimeError, "closed"):
            client.load_events([])

    def test_health(self):
        of = _api.CHECK_HEALTH.response
        self.server.answers["Check"].extend([of(value=1), of(value=2), of(value=9), (grpc.StatusCode.NOT_FOUND, "")])
        client, status = self.client(), swiftlet.ServingStatus
        self.assertEqual(
            [client.check_health() for _ in range(4)],
            [status.SERVING, status.NOT_SERVING, status.UNKNOWN, status.SERVICE_UNKNOWN],
        )


@for_both
class RetryTest(WithServer):
    def test_record_events_keeps_its_ids_over_retries(self):
        self.server.answers["RecordEvents"].extend([UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, UNAVAILABLE])
        events = some_events(2)
        events[1].event_id = "mine"
        self.client().record_events(events)
        requests = self.server.requests["RecordEvents"]
        self.assertEqual(len(requests), 4)
        self.assertRegex(ids(requests[0])[0], "^[0-9a-f]{32}$")
        self.assertEqual(ids(requests[0])[1], "mine")
        for retry in requests[1:]:
            self.assertEqual(ids(retry), ids(requests[0]))
        self.assertEqual(events[0].event_id, "", "the caller's events are not changed")

    def test_every_idempotent_method_is_retried(self):
        client = self.client()
        for name, call in {
            "Recommend": lambda: client.recommend("u", k=1),
            "SimilarItems": lambda: client.similar_items("i", k=1),
            "ScoreItems": lambda: client.score_items("u", item_ids=["i"]),
            "Predict": lambda: client.predict("u", item_ids=["i"]),
            "RecordEvents": lambda: client.record_events(some_events(1)),
            "UpsertItems": lambda: client.upsert_items([swiftlet.item("i")]),
            "DeleteItems": lambda: client.delete_items(["i"]),
            "GetItems": lambda: client.get_items(["i"]),
            "GetUser": lambda: client.get_user("u"),
            "DeleteUser": lambda: client.delete_user("u"),
            "ListSnapshots": lambda: client.list_snapshots(),
            "GetStatus": lambda: client.get_status(),
            "ListBackups": lambda: client.list_backups(),
        }.items():
            with self.subTest(name):
                self.server.answers[name].append(UNAVAILABLE)
                call()
                self.assertEqual(len(self.server.requests[name]), 2)

    def test_what_is_not_idempotent_or_long_is_not_retried(self):
        client = self.client()
        for name, call in {
            "LoadSnapshot": lambda: client.load_snapshot(1),
            "PreviewSnapshot": lambda: client.preview_snapshot(2, "u", k=3),
            "CreateBackup": lambda: client.create_backup(),
            "VerifyBackup": lambda: client.verify_backup(3),
        }.items():
            with self.subTest(name):
                self.server.answers[name].append(UNAVAILABLE)
                with self.assertRaises(swiftlet.Unavailable):
                    call()
                self.assertEqual(len(self.server.requests[name]), 1)
        self.assertEqual(self.server.requests["VerifyBackup"][0].id, 3)
        preview = self.server.requests["PreviewSnapshot"][0]
        self.assertEqual((preview.version, preview.request.user_id, preview.request.k), (2, "u", 3))
        self.assertGreater(self.server.seconds_left["CreateBackup"][0], 80_000)

    def test_a_trace_is_sent_and_what_the_server_says_is_kept(self):
        def answer(request, context):
            context.set_trailing_metadata((("x-request-id", "r-1"), ("server-timing", "queue;dur=0.5, total;dur=2")))
            return (grpc.StatusCode.NOT_FOUND, "nobody") if request.k == 2 else None
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        client = self.client()
        self.server.answers["Recommend"].extend([answer, answer])
        with swiftlet.trace(traceparent=parent, request_id="mine", server_timing=True) as trace:
            client.recommend("u", k=1)
            self.assertEqual(trace.last_request_id, "r-1")
            self.assertEqual(trace.last_server_timing, {"queue": 0.5, "total": 2.0})
            trace.last_request_id = ""
            with self.assertRaises(swiftlet.NotFound) as caught:
                client.recommend("u", k=2)
            self.assertEqual(trace.last_request_id, "r-1")
        self.assertEqual(caught.exception.request_id, "r-1")
        client.recommend("u", k=3)
        sent = self.server.metadata["Recommend"]
        for metadata in sent[:2]:
            self.assertEqual(metadata["traceparent"], parent)
            self.assertEqual((metadata["x-request-id"], metadata["x-server-timing"]), ("mine", "1"))
        self.assertEqual({"traceparent", "x-request-id", "x-server-timing"} & set(sent[2]), set())

    def test_traces_that_are_none_are_refused(self):
        for arguments in (
            {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"},
            {"traceparent": "00-00000000000000000000000000000000-b7ad6b7169203331-01"},
            {"traceparent": "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
            {"request_id": "two words"},
            {"request_id": "x" * 129},
        ):
            with self.subTest(arguments), self.assertRaises(ValueError):
                with swiftlet.trace(**arguments):
                    self.fail("entered")

    def test_other_errors_are_not_retried(self):
        self.server.answers["Recommend"].append((grpc.StatusCode.INVALID_ARGUMENT, "k: 0 is not in [1, 1000]"))
        with self.assertRaises(swiftlet.InvalidArgument):
            self.client().recommend("u", k=0)
        self.assertEqual(len(self.server.requests["Recommend"]), 1)

    def test_attempts_are_limited(self):
        for attempts in (1, 2, 5):
            with self.subTest(attempts):
                self.server.requests.clear()
                self.server.answers["GetStatus"] = type(self.server.answers["GetStatus"])([UNAVAILABLE] * 6)
                with self.assertRaises(swiftlet.Unavailable):
                    self.client(max_attempts=attempts).get_status()
                self.assertEqual(len(self.server.requests["GetStatus"]), attempts)

    def test_retries_end_at_the_deadline(self):
        self.server.answers["GetStatus"].extend([UNAVAILABLE, UNAVAILABLE, self.server.block])
        began = time.monotonic()
        with self.assertRaises(swiftlet.DeadlineExceeded):
            self.client().get_status(timeout=1.0)
        self.assertGreaterEqual(time.monotonic() - began, 0.95)
        left = self.server.seconds_left["GetStatus"]
        self.assertEqual(sorted(left, reverse=True), left, "an attempt has no more time than the one before")

    def test_a_service_config_of_the_callers_own(self):
        self.server.answers["GetStatus"].append(UNAVAILABLE)
        with self.assertRaises(swiftlet.Unavailable):
            self.client(service_config_json="{}").get_status()


class LateRelay(threading.Thread):
    """Passes one connection on to an address, after a while: so long takes the way to another continent."""

    def __init__(self, address, seconds):
        super().__init__(daemon=True)
        self.to, self.seconds = address, seconds
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.start()

    def run(self):
        time.sleep(self.seconds)
        host, port = self.to.split(":")
        with self.listener, self.listener.accept()[0] as near, socket.create_connection((host, int(port))) as far:
            back = threading.Thread(target=self.copy, args=(far, near))
            back.start()
            self.copy(near, far)
            back.join()

    @staticmethod
    def copy(source, target):
        try:
            while data := source.recv(4096):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@for_both
class DeadlineTest(WithServer):
    def test_servers_may_be_far_away(self):
        relay = LateRelay(self.server.address, 0.4)
        self.connect(relay.address).recommend("u", k=1)

    def test_the_callers_deadline_reaches_the_server(self):
        client = self.client(timeout=1000.0)
        client.get_status()
        client.get_status(timeout=100.0)
        client.get_status(timeout=float("inf"))
        left = self.server.seconds_left["GetStatus"]
        # On the wire a time of more than a few digits is rounded up.
        self.assertTrue(900 < left[0] <= 1020, left)
        self.assertTrue(1 < left[1] <= 102, left)
        self.assertTrue(left[2] > 1e6, left)

    def test_a_late_answer_is_deadline_exceeded(self):
        self.server.answers["Recommend"].append(self.server.block)
        with self.assertRaises(swiftlet.DeadlineExceeded) as caught:
            self.client().recommend("u", k=1, timeout=0.1)
        self.assertIsInstance(caught.exception, TimeoutError)

    def test_timeouts_must_be_positive(self):
        client = self.client()
        for timeout in (0, -1.0, float("nan")):
            with self.assertRaisesRegex(ValueError, "timeout: .* is not positive"):
                client.get_status(timeout=timeout)

    def test_a_server_that_is_not_there(self):
        self.server.stop()
        with self.assertRaises(swiftlet.Unavailable):
            self.client().get_status()
        with self.assertRaises(swiftlet.DeadlineExceeded):
            self.client().get_status(wait_for_ready=True, timeout=0.2)


@for_both
class ErrorTest(WithServer):
    def test_each_code_has_its_class_and_keeps_the_message(self):
        client = self.client(max_attempts=1)
        for code in grpc.StatusCode:
            if code is grpc.StatusCode.OK:
                continue
            with self.subTest(code.name):
                self.server.answers["Recommend"].append((code, f"why {code.name} [3]: é"))
                with self.assertRaises(swiftlet.SwiftletError) as caught:
                    client.recommend("u", k=1)
                error = caught.exception
                self.assertEqual(error.code, code.name)
                self.assertEqual(error.message, f"why {code.name} [3]: é")
                self.assertEqual(
                    str(error), f"{code.name}: why {code.name} [3]: é [Recommend at {self.server.address}]"
                )
                expected = "".join(part.capitalize() for part in code.name.split("_"))
                self.assertEqual(type(error), getattr(swiftlet, expected, swiftlet.SwiftletError))


def certificate(name):
    """PEM of a self-signed certificate of a server `name`, and of its key."""
    with tempfile.TemporaryDirectory() as directory:
        key, cert = os.path.join(directory, "key"), os.path.join(directory, "cert")
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", cert]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        with open(key, "rb") as key_file, open(cert, "rb") as cert_file:
            return cert_file.read(), key_file.read()


@for_both
@unittest.skipUnless(shutil.which("openssl"), "openssl is not there")
class TlsTest(Both, unittest.TestCase):
    def start(self, require_client=None):
        self.cert, self.key = certificate("swiftlet.test")
        credentials = grpc.ssl_server_credentials(
            [(self.key, self.cert)], require_client, require_client_auth=require_client is not None
        )
        self.server = FakeServer(credentials)
        self.addCleanup(self.server.stop)

    def status(self, **tls):
        return self.connect(self.server.address, timeout=30.0, tls=swiftlet.Tls(**tls)).get_status()

    def test_a_server_is_believed_by_its_certificate(self):
        self.start()
        self.status(root_certificates=self.cert, server_name="swiftlet.test")
        other, _ = certificate("swiftlet.test")
        for wrong in ({"root_certificates": other, "server_name": "swiftlet.test"}, {"root_certificates": self.cert}):
            with self.assertRaises(swiftlet.Unavailable):
                self.status(**wrong)
        with self.assertRaises(swiftlet.Unavailable):
            self.connect(self.server.address, timeout=30.0).get_status()

    def test_a_client_shows_its_own(self):
        client_cert, client_key = certificate("client")
        self.start(require_client=client_cert)
        trust = {"root_certificates": self.cert, "server_name": "swiftlet.test"}
        self.status(**trust, certificate_chain=client_cert, private_key=client_key)
        with self.assertRaises(swiftlet.Unavailable):
            self.status(**trust)


@for_both
class LoadEventsTest(WithServer):
    def setUp(self):
        super().setUp()
        self.received = []

    def take(self, requests, progress=None, limit=None, stop=None):
        """Acknowledges batches; after `limit` of them ends with `stop` (code, message)."""
        num_events = 0
        for number, request in enumerate(requests, 1):
            self.received.append(ids(request))
            num_events += len(request.events)
            if limit is None or number <= limit:
                yield event_pb2.LoadEventsProgress(num_batches=number, num_recorded=num_events)
            else:
                stop[0].abort(stop[1], "broken")

    def test_all_events_arrive_in_order(self):
        self.server.answers["LoadEvents"].append(lambda requests, _: self.take(requests))
        seen = []
        result = self.client().load_events(
            (swiftlet.event("u", "i", "view", event_id=str(n)) for n in range(1234)),
            batch_size=100,
            on_progress=seen.append,
        )
        self.assertEqual(result, swiftlet.LoadResult(num_batches=13, num_recorded=1234))
        self.assertEqual([id for batch in self.received for id in batch], [str(n) for n in range(1234)])
        self.assertEqual(seen[-1], result)

    def test_nothing_to_load(self):
        self.server.answers["LoadEvents"].append(lambda requests, _: self.take(requests))
        self.assertEqual(self.client().load_events([]), swiftlet.LoadResult())

    def test_goes_on_after_a_broken_stream_with_the_same_ids(self):
        self.server.answers["LoadEvents"].extend(
            [
                lambda requests, context: self.take(requests, limit=2, stop=(context, UNAVAILABLE)),
                lambda requests, context: self.take(requests, limit=1, stop=(context, UNAVAILABLE)),
                lambda requests, _: self.take(requests),
            ]
        )
        result = self.client().load_events(some_events(60), batch_size=10)
        self.assertEqual((result.num_batches, result.num_recorded), (6, 60))
        r = self.received  # 0 1 (2) | 2 (3) | 3 4 5
        self.assertEqual(len(r), 8)
        self.assertEqual(r[2], r[3], "the batch that was not acknowledged is sent again, with its ids")
        self.assertEqual(r[4], r[5])
        self.assertEqual(len({id for batch in r for id in batch}), 60)

    def test_a_bad_event_ends_the_load(self):
        self.server.answers["LoadEvents"].append(
            lambda requests, context: self.take(
                requests, limit=2, stop=(context, grpc.StatusCode.INVALID_ARGUMENT)
            )
        )
        with self.assertRaises(swiftlet.InvalidArgument) as caught:
            self.client().load_events(some_events(50), batch_size=10)
        self.assertEqual(caught.exception.load_result, swiftlet.LoadResult(num_batches=2, num_recorded=20))
        self.assertEqual(len(self.server.metadata["LoadEvents"]), 1)

    def test_gives_up_when_nothing_moves(self):
        def refuse(requests, context):
            context.abort(UNAVAILABLE, "not now")
            yield

        self.server.answers["LoadEvents"].extend([refuse] * (MAX_ATTEMPTS + 3))
        with self.assertRaises(swiftlet.Unavailable) as caught:
            self.client().load_events(some_events(5))
        self.assertEqual(caught.exception.load_result, swiftlet.LoadResult())
        self.assertEqual(len(self.server.metadata["LoadEvents"]), MAX_ATTEMPTS)

    def test_what_the_source_raises_is_raised_after_what_came_before_is_stored(self):
        def source():
            yield from some_events(25)
            raise KeyError("line 26")

        self.server.answers["LoadEvents"].append(lambda requests, _: self.take(requests))
        with self.assertRaisesRegex(KeyError, "line 26"):
            self.client().load_events(source(), batch_size=10)
        self.assertEqual([len(batch) for batch in self.received], [10, 10, 5])

    def test_deadline(self):
        def block(requests, context):
            self.server.released.wait(60)
            yield

        self.server.answers["LoadEvents"].append(block)
        with self.assertRaises(swiftlet.DeadlineExceeded):
            self.client().load_events(some_events(1), timeout=0.2)


class AsyncSourceTest(unittest.TestCase):
    def test_a_stream_that_breaks_while_the_source_is_waited_for_loses_nothing(self):
        server = FakeServer()
        self.addCleanup(server.stop)
        received = []

        def broken(requests, context):
            received.append(ids(next(requests)))
            context.abort(UNAVAILABLE, "broken")
            yield

        def whole(requests, context):
            for number, request in enumerate(requests, 1):
                received.append(ids(request))
                yield event_pb2.LoadEventsProgress(num_batches=number, num_recorded=0)

        server.answers["LoadEvents"].extend([broken, whole])

        async def load():
            second_stream = asyncio.Event()

            async def source():
                for n in range(3):
                    yield swiftlet.event("u", "i", "view", event_id=str(n))
                # In the middle of the second batch until the first stream is gone.
                while len(server.metadata["LoadEvents"]) < 2:
                    await asyncio.sleep(0.001)
                yield swiftlet.event("u", "i", "view", event_id="3")

            async with swiftlet.AsyncClient(server.address) as client:
                return await client.load_events(source(), batch_size=2, timeout=30)

        self.assertEqual(asyncio.run(load()).num_batches, 2)
        self.assertEqual(received, [["0", "1"], ["0", "1"], ["2", "3"]])


@for_both
class BatcherTest(WithServer):
    def record(self, batcher, count):
        for n in range(count):
            batcher.record("u", f"i{n}", "view")

    def wait_for_error(self, batcher, expected):
        """Until an attempt has failed."""
        for _ in range(300):
            try:
                batcher.flush(timeout=0.1)
            except expected:
                return
            except TimeoutError:  # no attempt has ended yet
                pass
        self.fail("no attempt has failed")

    def stored(self):
        return [event.item_id for request in self.server.requests["RecordEvents"] for event in request.events]

    def test_full_batches_go_off_at_once_and_the_rest_at_the_end(self):
        batcher = self.client().batcher(batch_size=4, max_delay=1000.0)
        self.record(batcher, 10)
        batcher.close()
        self.assertEqual([len(r.events) for r in self.server.requests["RecordEvents"]], [4, 4, 2])
        self.assertEqual(self.stored(), [f"i{n}" for n in range(10)])
        event = self.server.requests["RecordEvents"][0].events[0]
        self.assertTrue(event.event_id and event.timestamp_ms)
        self.assertEqual(batcher.pending, [])
        with self.assertRaisesRegex(RuntimeError, "closed"):
            self.record(batcher, 1)

    def test_old_events_do_not_wait_for_others(self):
        arrived = threading.Event()
        self.server.answers["RecordEvents"].append(lambda request, _: arrived.set())
        batcher = self.client().batcher(max_delay=0.01)
        self.record(batcher, 1)
        if self.kind == "async":  # the loop must run for the task to run
            batcher.run(self.wait_async, arrived)
        self.assertTrue(arrived.wait(30))
        batcher.close()

    async def wait_async(self, event):
        while not event.is_set():
            await asyncio.sleep(0.005)

    def test_an_outage_loses_and_doubles_nothing(self):
        self.server.answers["RecordEvents"].extend([UNAVAILABLE] * 3 + [grpc.StatusCode.INTERNAL])
        batcher = self.client(max_attempts=1).batcher(batch_size=5, max_delay=1000.0)
        self.record(batcher, 5)
        batcher.flush()
        requests = self.server.requests["RecordEvents"]
        self.assertEqual(len(requests), 5)
        for request in requests:
            self.assertEqual(ids(request), ids(requests[0]))
        batcher.close()

    def reject_bad(self, with_index):
        def answer(request, context):
            for index, event in enumerate(request.events):
                if event.item_id in ("i3", "i6"):
                    where = f"events[{index}].item_id: bad" if with_index else "bad"
                    return (grpc.StatusCode.INVALID_ARGUMENT, where)
            self.accepted.extend(event.item_id for event in request.events)
            return event_pb2.RecordEventsResponse(num_recorded=len(request.events))

        return answer

    def test_a_bad_event_is_rejected_alone(self):
        for with_index in (True, False):
            with self.subTest(with_index=with_index):
                self.accepted, rejected = [], []
                self.server.answers["RecordEvents"].clear()
                self.server.answers["RecordEvents"].extend([self.reject_bad(with_index)] * 100)
                batcher = self.client().batcher(
                    batch_size=8, max_delay=1000.0, on_rejected=lambda event, error: rejected.append(event.item_id)
                )
                self.record(batcher, 8)
                batcher.close()
                self.assertEqual(rejected, ["i3", "i6"])
                self.assertEqual(self.accepted, ["i0", "i1", "i2", "i4", "i5", "i7"])
                self.assertEqual((batcher.num_recorded, batcher.num_rejected), (6, 2))

    def test_without_a_callback_a_rejected_event_is_logged(self):
        self.accepted = []
        self.server.answers["RecordEvents"].extend([self.reject_bad(True)] * 9)
        batcher = self.client().batcher(batch_size=4)
        with self.assertLogs("swiftlet", "ERROR") as logs:
            self.record(batcher, 4)
            batcher.close()
        self.assertIn("events[3].item_id: bad", logs.output[0])

    def test_add_blocks_when_too_many_wait_and_says_why(self):
        self.server.answers["RecordEvents"].extend([UNAVAILABLE] * 10_000)
        batcher = self.client(max_attempts=1).batcher(batch_size=2, max_pending=2, max_delay=0)
        self.record(batcher, 2)
        self.wait_for_error(batcher, swiftlet.Unavailable)
        with self.assertRaises(swiftlet.Unavailable):
            batcher.add(swiftlet.event("u", "i2", "view"), timeout=0.05)
        with self.assertRaises(swiftlet.Unavailable):
            batcher.close(timeout=0.05)
        self.assertEqual([event.item_id for event in batcher.pending], ["i0", "i1"])

    def test_a_client_that_was_closed(self):
        client = self.client()
        batcher = client.batcher(batch_size=2, max_delay=0)
        client.close()
        self.record(batcher, 1)
        self.wait_for_error(batcher, swiftlet.SwiftletError)
        with self.assertRaisesRegex(swiftlet.SwiftletError, "closed"):
            batcher.close(timeout=0.05)

    def test_settings_are_checked(self):
        client = self.client()
        for wrong in ({"batch_size": 0}, {"batch_size": 1001}, {"max_delay": -1}, {"max_pending": 1}):
            with self.assertRaises(ValueError):
                client.batcher(**wrong)


class ModuleTest(unittest.TestCase):
    def test_the_tests_run_on_the_wheel(self):
        self.assertNotIn(os.path.join("client", "python", "swiftlet"), swiftlet.__file__)
        self.assertTrue(os.path.exists(os.path.join(os.path.dirname(swiftlet.__file__), "py.typed")))

    def test_the_version_is_the_projects(self):
        cmake = (Path(__file__).resolve().parents[2] / "CMakeLists.txt").read_text()
        self.assertIn(f"project(swiftlet VERSION {swiftlet.__version__} ", cmake)

    def test_both_clients_have_the_same_methods_and_arguments(self):
        names = {name for name in vars(swiftlet.Client) if not name.startswith("_")}
        self.assertEqual(names, {name for name in vars(swiftlet.AsyncClient) if not name.startswith("_")})
        for name in names - {"channel"}:
            with self.subTest(name):
                sync = inspect.signature(getattr(swiftlet.Client, name)).parameters
                other = inspect.signature(getattr(swiftlet.AsyncClient, name)).parameters
                self.assertEqual(list(sync), list(other))
                self.assertEqual([p.default for p in sync.values()], [p.default for p in other.values()])
        self.assertEqual(
            str(inspect.signature(swiftlet.Client)), str(inspect.signature(swiftlet.AsyncClient))
        )

    def test_every_method_of_the_services_has_a_call(self):
        from google.protobuf import descriptor_pool
        from swiftlet import v1

        for method in (*_api.UNARY, _api.LOAD_EVENTS, _api.EXPORT_USER):
            if method is _api.CHECK_HEALTH:
                continue
            found = descriptor_pool.Default().FindServiceByName(method.service).FindMethodByName(method.name)
            self.assertEqual(found.input_type.full_name, method.request.DESCRIPTOR.full_name)
            self.assertEqual(found.output_type.full_name, method.response.DESCRIPTOR.full_name)
        known = {method.path for method in (*_api.UNARY, _api.LOAD_EVENTS, _api.EXPORT_USER)}
        for name in ("recommendation", "event", "catalog", "user", "admin"):
            module = __import__(f"swiftlet.v1.{name}_pb2", fromlist=["DESCRIPTOR"])
            for service in module.DESCRIPTOR.services_by_name.values():
                for method in service.methods:
                    self.assertIn(f"/{service.full_name}/{method.name}", known)

    def test_generated_stubs_work_on_the_clients_channel(self):
        server = FakeServer()
        self.addCleanup(server.stop)
        with swiftlet.Client(server.address) as client:
            stub = recommendation_pb2_grpc.RecommendationServiceStub(client.channel)
            self.assertEqual(stub.Recommend(swiftlet.v1.recommendation_pb2.RecommendRequest(), timeout=30).items[:], [])

    def test_events(self):
        event = swiftlet.event("u", "i", "view", value=2)
        self.assertRegex(event.event_id, "^[0-9a-f]{32}$")
        self.assertNotEqual(event.event_id, swiftlet.event("u", "i", "view").event_id)
        when = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
        self.assertEqual(swiftlet.event("u", "i", "view", timestamp_ms=when).timestamp_ms, 1704067200000)
        with self.assertRaisesRegex(ValueError, "no time zone"):
            swiftlet.event("u", "i", "view", timestamp_ms=datetime.datetime(2024, 1, 1))

    def test_items(self):
        self.assertFalse(swiftlet.item("i").HasField("metadata"))
        self.assertEqual(swiftlet.item("i", categories=["a"]).metadata.categories, ["a"])
        with self.assertRaises(TypeError):
            swiftlet.item("i", categories="Comedy")

    def test_options_are_checked(self):
        for wrong, message in (
            ({"address": ""}, "address: empty"),
            ({"timeout": 0}, "timeout: 0 is not positive"),
            ({"max_attempts": 0}, r"max_attempts: 0 is not in \[1, 5\]"),
            ({"max_attempts": 6}, "max_attempts: 6"),
            ({"service_config_json": "{"}, "Expecting"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                swiftlet.Client(**wrong)

    def test_secrets_are_not_in_a_repr(self):
        with swiftlet.Client(token="secret") as client:
            self.assertNotIn("secret", repr(client) + repr(client.options))

    def test_errors_pass_between_processes(self):
        for cls in (swiftlet.DeadlineExceeded, swiftlet.SwiftletError, swiftlet.NotFound):
            error = pickle.loads(pickle.dumps(cls("why", "M", "a:1")))
            self.assertEqual((type(error), str(error)), (cls, f"{cls.code}: why [M at a:1]"))

    def test_backoff_grows_and_is_bounded(self):
        for failures, most in ((1, 0.05), (2, 0.1), (6, 1.0), (1000, 1.0)):
            pauses = [backoff(failures) for _ in range(200)]
            self.assertLessEqual(max(pauses), most)
            self.assertGreater(max(pauses), most / 2)

    def test_the_retry_policy_names_methods_that_exist(self):
        from swiftlet._options import default_service_config

        names = json.loads(default_service_config(4))["methodConfig"][0]["name"]
        known = {(m.service, m.name) for m in _api.UNARY} | {(m.service, None) for m in _api.UNARY}
        for name in names:
            self.assertIn((name["service"], name.get("method")), known)
