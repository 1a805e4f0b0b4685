"""The clients against a real server."""

import asyncio
import os
import signal
import threading
import unittest

import swiftlet
from clients import Both, for_both
from server_process import NUM_ITEMS, ServerProcess

SERVER = None


def setUpModule():
    global SERVER
    if "SWIFTLET_SERVER" not in os.environ:
        raise unittest.SkipTest("--server and --trainer were not given")
    SERVER = ServerProcess()
    unittest.addModuleCleanup(SERVER.remove)
    SERVER.train()
    SERVER.start()
    with swiftlet.Client(SERVER.address, timeout=30) as client:
        if client.get_status(wait_for_ready=True).serving.version != 1:
            client.load_snapshot(1)


@for_both
class EveryMethodTest(Both, unittest.TestCase):
    def setUp(self):
        self.client = self.connect(SERVER.address, timeout=60.0)

    def test_recommend(self):
        answer = self.client.recommend(
            "u2", k=5, explain=True, include_metadata=True, request_id="r1", exclude_seen=False
        )
        self.assertEqual((len(answer.items), answer.snapshot_version, answer.request_id), (5, 1, "r1"))
        scores = [item.score for item in answer.items]
        self.assertEqual(scores, sorted(scores, reverse=True))
        best = answer.items[0]
        self.assertEqual(best.metadata.title, f"Title {best.item_id[1:]}")
        self.assertAlmostEqual(sum(term.score for term in best.explanation), best.score, places=3)

    def test_recommend_for_a_session(self):
        history = [swiftlet.Event(item_id=f"i{n}", type="view") for n in (0, 2, 4)]
        odd = swiftlet.ItemFilter(any_of_categories=["Odd"])
        answer = self.client.recommend(history=history, k=4, filter=odd)
        self.assertEqual([int(item.item_id[1:]) % 2 for item in answer.items], [1] * 4)
        self.assertEqual(answer.num_history_events_used, 3)

    def test_similar_items(self):
        answer = self.client.similar_items("i0", k=3)
        self.assertEqual(len(answer.items), 3)
        self.assertNotIn("i0", [item.item_id for item in answer.items])
        with self.assertRaises(swiftlet.NotFound):
            self.client.similar_items("unheard of", k=3)

    def test_score_items(self):
        answer = self.client.score_items("u2", item_ids=["i1", "nothing", "i2"])
        self.assertEqual([item.item_id for item in answer.items], ["i1", "i2"])
        self.assertEqual(list(answer.unknown_item_ids), ["nothing"])

    def test_predict(self):
        # The server's model was not trained on ratings.
        with self.assertRaises(swiftlet.FailedPrecondition):
            self.client.predict("u2", item_ids=["i1"])

    def test_events_and_users(self):
        user = f"{self.kind}-events"
        events = [swiftlet.event(user, f"i{n}", "click", timestamp_ms=1_000 + n) for n in range(3)]
        first = self.client.record_events(events)
        self.assertEqual((first.num_recorded, first.num_duplicates), (3, 0))
        again = self.client.record_events(events)
        self.assertEqual((again.num_recorded, again.num_duplicates), (0, 3))
        self.assertEqual([e.item_id for e in self.client.get_user(user).events], ["i2", "i1", "i0"])
        self.assertEqual(len(self.client.get_user(user, max_events=1).events), 1)
        answer = self.client.recommend(user, k=NUM_ITEMS)
        self.assertTrue({"i0", "i1", "i2"}.isdisjoint(item.item_id for item in answer.items))
        self.client.delete_user(user)
        with self.assertRaises(swiftlet.NotFound):
            self.client.get_user(user)

    def test_catalogue(self):
        new = f"{self.kind}-item"
        self.assertEqual(
            self.client.upsert_items([swiftlet.item(new, title="New", categories=["Odd"])]).num_upserted, 1
        )
        found = self.client.get_items([new, "nothing"], include_vectors=True)
        self.assertEqual((found.items[0].metadata.title, list(found.unknown_item_ids)), ("New", ["nothing"]))
        self.assertEqual(len(found.items[0].vector), 8)
        self.assertEqual(self.client.delete_items([new]).num_deleted, 1)
        self.assertEqual(self.client.get_items([new]).items[0].status, swiftlet.Item.STATUS_DELETED)

    def test_administration(self):
        self.assertEqual(self.client.list_snapshots().snapshots[0].version, 1)
        self.assertEqual(self.client.load_snapshot(1).snapshot.version, 1)
        self.assertEqual(self.client.get_status().serving.num_items, NUM_ITEMS)
        with self.assertRaises(swiftlet.NotFound):
            self.client.load_snapshot(99)

    def test_traces(self):
        with swiftlet.trace(server_timing=True) as trace:
            answer = self.client.recommend("nobody", k=1)
        self.assertEqual(trace.last_request_id, answer.request_id)
        self.assertIn("encode_retrieve", trace.last_server_timing)
        with self.assertRaises(swiftlet.FailedPrecondition) as caught:
            self.client.create_backup()  # it is not configured
        self.assertRegex(caught.exception.request_id, "^[0-9a-f]{16}$")

    def test_health(self):
        self.assertEqual(self.client.check_health(), swiftlet.ServingStatus.SERVING)
        self.assertEqual(
            self.client.check_health("swiftlet.v1.RecommendationService"), swiftlet.ServingStatus.SERVING
        )
        self.assertEqual(self.client.check_health("nobody"), swiftlet.ServingStatus.SERVICE_UNKNOWN)

    def test_the_servers_message_is_the_errors(self):
        with self.assertRaises(swiftlet.InvalidArgument) as caught:
            self.client.recommend("u2", k=0)
        self.assertEqual(caught.exception.message, "k: 0 is not in [1, 1000]")

    def test_load_events(self):
        user = f"{self.kind}-load"
        events = [swiftlet.event(user, f"i{n % NUM_ITEMS}", "view", timestamp_ms=1_000 + n) for n in range(2_500)]
        seen = []
        result = self.client.load_events(events, batch_size=100, on_progress=seen.append)
        self.assertEqual(result, swiftlet.LoadResult(num_batches=25, num_recorded=2_500))
        self.assertEqual(seen[-1], result)
        again = self.client.load_events(events, batch_size=1000)
        self.assertEqual((again.num_recorded, again.num_duplicates), (0, 2_500))
        with self.assertRaisesRegex(swiftlet.InvalidArgument, r"batches\[1\].events\[0\]"):
            self.client.load_events([*events[:10], swiftlet.event(user, "i1", "no such type")], batch_size=10)

    def test_batcher(self):
        user, rejected = f"{self.kind}-batch", []
        batcher = self.client.batcher(
            batch_size=10, max_delay=60, on_rejected=lambda event, error: rejected.append(event.type)
        )
        for n in range(25):
            batcher.record(user, f"i{n}", "no such type" if n == 13 else "view")
        batcher.close()
        self.assertEqual((batcher.num_recorded, rejected), (24, ["no such type"]))
        self.assertEqual(len(self.client.get_user(user).events), 24)


class RestartTest(unittest.TestCase):
    """A server that dies and comes back, of its own; on a socket's path, which nobody else takes in between."""

    def setUp(self):
        self.server = ServerProcess()
        self.addCleanup(self.server.remove)
        self.start()

    def start(self):
        self.server.start(f"unix:{self.server.dir}/socket")

    def test_calls_go_on_when_the_server_is_back(self):
        with swiftlet.Client(self.server.address, timeout=60) as client:
            self.assertFalse(client.get_status().draining)
            self.server.stop(signal.SIGKILL)
            events = [swiftlet.event("u", "i1", "view")]
            with self.assertRaises(swiftlet.Unavailable):
                client.record_events(events)
            with client.batcher(batch_size=1) as batcher:
                batcher.add(events[0])
                self.start()
                batcher.flush(timeout=60)
                self.assertEqual(batcher.num_recorded + batcher.num_duplicates, 1)
            self.assertEqual(len(client.get_user("u").events), 1)

    def check_load(self, result, user):
        self.assertEqual(result.num_batches, 400)
        self.assertEqual(len(user.events), 200)  # what a server keeps of a user
        self.assertEqual(user.events[0].item_id, "i3999")

    def source(self, user, half, restarted):
        """Waits in the middle until the server has been killed and is back."""
        for n in range(4_000):
            if n == 2_000:
                half.set()
                restarted.wait(60)
            yield swiftlet.event(user, f"i{n}", "view", timestamp_ms=1_000 + n)

    def restarter(self, half, restarted):
        def run():
            half.wait(60)
            self.server.stop(signal.SIGKILL)
            self.start()
            restarted.set()
            over.wait()  # the server ends with the thread that started it

        over = threading.Event()
        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(over.set)

    def test_a_load_survives_a_kill(self):
        half, restarted = threading.Event(), threading.Event()
        self.restarter(half, restarted)
        with swiftlet.Client(self.server.address, timeout=60, wait_for_ready=True) as client:
            result = client.load_events(self.source("sync", half, restarted), batch_size=10, timeout=120)
            self.check_load(result, client.get_user("sync"))

    def test_a_load_survives_a_kill_async(self):
        half, restarted = threading.Event(), threading.Event()
        self.restarter(half, restarted)

        async def source():
            for n in range(4_000):
                if n == 2_000:
                    half.set()
                    await asyncio.get_running_loop().run_in_executor(None, restarted.wait, 60)
                yield swiftlet.event("async", f"i{n}", "view", timestamp_ms=1_000 + n)

        async def load():
            async with swiftlet.AsyncClient(self.server.address, timeout=60, wait_for_ready=True) as client:
                result = await client.load_events(source(), batch_size=10, timeout=120)
                return result, await client.get_user("async")

        result, user = asyncio.run(load())
        self.check_load(result, user)
