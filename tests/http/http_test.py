"""The API over HTTP and JSON, by a real server: python3 http_test.py (SWIFTLET_SERVER, SWIFTLET_TRAINER, SWIFTLET_CLI)."""

import http.client
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from http_case import ROOT, HttpCase, run_server, send, wait_until


def methods_of_protos():
    """ "Service/Method" -> whether the request is a stream."""
    methods = {}
    for file in sorted((ROOT / "proto/swiftlet/v1").glob("*.proto")):
        service = None
        for line in file.read_text().splitlines():
            if found := re.match(r"service (\w+) ", line):
                service = found[1]
            elif found := re.match(r"  rpc (\w+)\((stream )?", line):
                methods[f"{service}/{found[1]}"] = bool(found[2])
    return methods


class ApiTest(HttpCase):
    trained = True

    def test_every_method_can_be_called(self):
        self.start()
        methods = methods_of_protos()
        self.assertGreaterEqual(len(methods), 15)
        paths = {path[len("/v1/"):] for path in self.get("/openapi.json").json["paths"]}
        self.assertEqual(paths, {name for name, streams in methods.items() if not streams})
        for name, streams in methods.items():
            answer = self.call(name)
            if streams:
                self.assertEqual(answer.error[:2], (501, "UNIMPLEMENTED"), name)
            elif answer.status != 200:
                self.assertIn(answer.error[:2], [(400, "INVALID_ARGUMENT"), (400, "FAILED_PRECONDITION")], name)
            self.assertIsNone(re.search("JSON|Content-Type", answer.text), answer.text)

    def test_events_are_recommended_by_at_once(self):
        self.start()
        answer = self.call("EventService/RecordEvents", {"events": [
            {"userId": "new ü", "itemId": "i3", "type": "click"}, {"user_id": "new ü", "item_id": "i5", "type": "view"}]})
        self.assertEqual((answer.status, answer.json), (200, {"numRecorded": 2, "numDuplicates": 0}))
        answer = self.call("RecommendationService/Recommend",
                           {"userId": "new ü", "k": 7, "explain": True, "includeMetadata": True})
        self.assertEqual(answer.status, 200, answer.text)
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
        items = answer.json["items"]
        self.assertEqual(len(items), 7)
        self.assertEqual(answer.json["snapshotVersion"], "1")
        self.assertEqual(answer.json["numHistoryEventsUsed"], 2)
        for item in items:
            self.assertEqual(item["metadata"]["title"], f"Title {item['itemId'][1:]}")
            self.assertEqual(item["source"], "SOURCE_HISTORY")
            terms = sum(term["score"] for term in item["explanation"])
            self.assertAlmostEqual(terms, item["score"], places=4)
        self.assertNotIn("i3", [item["itemId"] for item in items])
        stored = self.call("UserService/GetUser", {"userId": "new ü"}).json
        self.assertEqual({event["itemId"] for event in stored["events"]}, {"i3", "i5"})

    def test_a_call_has_an_id_and_times(self):
        self.start()
        request = {"userId": "nobody", "k": 3}
        answer = self.call("RecommendationService/Recommend", request, X_Request_Id="edge-7", X_Server_Timing="1")
        self.assertEqual((answer.status, answer.headers["X-Request-Id"]), (200, "edge-7"))
        self.assertEqual(answer.json["requestId"], "edge-7")
        self.assertRegex(answer.headers["Server-Timing"], r"^queue;dur=[\d.]+, .*encode_retrieve;dur=.*, total;dur=[\d.]+$")
        answer = self.call("RecommendationService/Recommend", request)
        self.assertIsNone(answer.headers["Server-Timing"])
        answer = self.call("RecommendationService/Recommend", {"userId": "nobody", "k": 0})
        self.assertEqual(answer.status, 400)
        self.assertRegex(answer.headers["X-Request-Id"], "^[0-9a-f]{16}$")

    def test_an_export_comes_line_by_line(self):
        self.start()
        events = [{"userId": "e", "itemId": f"i{n % 40}", "type": "click", "eventId": str(n)} for n in range(1000)]
        for part in range(3):
            for event in events:
                event["eventId"] = f"{part}-{event['itemId']}-{id(event)}"
            self.assertEqual(self.call("EventService/RecordEvents", {"events": events}).status, 200)
        answer = self.call("UserService/ExportUser", {"userId": "e"})
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "application/x-ndjson"))
        parts = [json.loads(line) for line in answer.text.splitlines()]
        self.assertGreaterEqual(len(parts), 3)
        self.assertEqual(sum(len(part["loggedEvents"]) for part in parts), 3000)
        self.assertEqual(parts[-1]["summary"]["numLoggedEvents"], "3000")
        self.assertEqual([part for part in parts[:-1] if "summary" in part], [])
        nobody = self.call("UserService/ExportUser", {"userId": "nobody"})
        self.assertEqual(len(nobody.text.splitlines()), 1)
        self.assertEqual(self.call("UserService/ExportUser", {}).error[:2], (400, "INVALID_ARGUMENT"))
        # HTTP/1.0 knows no chunks.
        body = b'{"userId": "e"}'
        old = self.raw(b"POST /v1/UserService/ExportUser HTTP/1.0\r\nContent-Type: application/json\r\n"
                       b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        head, _, lines = self.read_all(old).partition(b"\r\n\r\n")
        self.assertNotIn(b"chunked", head)
        self.assertEqual(sum(len(json.loads(line)["loggedEvents"]) for line in lines.splitlines()), 3000)

    def test_errors_are_those_of_google_rpc(self):
        self.start()
        recommend = "RecommendationService/Recommend"
        for request, message in [
                ({"userId": "u", "k": 0}, "k: 0 is not in [1, 1000]"),
                ({"userId": "u", "kk": 1}, "kk: is no field of the message"),
                ({"userId": "u", "k": "ten"}, 'k: invalid value "ten" for type TYPE_INT32'),
                ({"history": {"events": [{"itemId": 7}]}}, "history.events[0].item_id: invalid value 7 for type TYPE_STRING"),
                ({"userId": "u", "k": 1, "search": {"mode": "FAST"}}, "search.mode: invalid value"),
                ('{"userId": "u", "k": 1', "this is not JSON: Unexpected end of string"),
                ('{"userId": "u", "k": 1}}', "this is not JSON: "),
                ("[1]", "Root element must be a message"),
                (b'{"userId": "\xff"}', "UTF-8"),
                ('{"a":' * 5000, ""),
                ("", "user: neither user_id nor history is set")]:
            answer = self.call(recommend, request)
            self.assertEqual(answer.error[:2], (400, "INVALID_ARGUMENT"), answer.text)
            self.assertIn(message, answer.error[2])
        self.assertEqual(self.metric('swiftlet_requests_total{code="INVALID_ARGUMENT",method="Recommend"}'), 11)
        self.assertEqual(self.call("UserService/GetUser", {"userId": "nobody"}).error,
                         (404, "NOT_FOUND", 'user_id: "nobody" has no events'))
        self.assertEqual(self.call("RecommendationService/Predict", {"userId": "u", "itemIds": ["i1"]}).error[:2],
                         (400, "FAILED_PRECONDITION"))
        self.assertEqual(self.call("AdminService/LoadSnapshot", {"version": 99}).error[:2], (404, "NOT_FOUND"))
        self.assertEqual(self.call("AdminService/LoadSnapshot", {"version": "1"}).json["snapshot"]["state"],
                         "SNAPSHOT_STATE_SERVING")
        # Deadlines.
        many = {"events": [{"userId": f"u{n}", "itemId": "i1", "type": "click"} for n in range(1000)]}  # which are read first
        self.assertEqual(self.call("EventService/RecordEvents", many, grpc_timeout="1n").error[:2], (504, "DEADLINE_EXCEEDED"))
        self.assertEqual(self.call(recommend, {"userId": "u", "k": 1}, X_Timeout_Ms="60000").status, 200)
        for name, value in [("X-Timeout-Ms", "soon"), ("X-Timeout-Ms", "0"), ("X-Timeout-Ms", "-5"),
                            ("grpc-timeout", "5"), ("grpc-timeout", "S"), ("grpc-timeout", "123456789S")]:
            answer = self.call(recommend, {"userId": "u", "k": 1}, **{name: value})
            self.assertEqual(answer.error[:2], (400, "INVALID_ARGUMENT"))
            self.assertIn(f'{name}: "{value}"', answer.error[2])

    def test_requests_that_are_no_calls(self):
        self.start()
        self.assertEqual(self.get("/v1/Nothing/Here").error[:2], (404, "NOT_FOUND"))
        self.assertEqual(self.get("/v1/RecommendationService/recommend").status, 404)
        self.assertEqual(self.get("/../etc/passwd").status, 404)
        for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH"):
            answer = self.get("/v1/RecommendationService/Recommend", method)
            self.assertEqual((answer.status, answer.headers["Allow"]), (405, "POST"), method)
        answer = self.get("/console", "POST")
        self.assertEqual((answer.status, answer.headers["Allow"]), (405, "GET, HEAD"))
        head = self.get("/console", "HEAD")
        self.assertEqual((head.status, head.text), (200, ""))
        self.assertGreater(int(head.headers["Content-Length"]), 500)
        for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""):
            answer = send(self.connect(), "POST", "/v1/AdminService/LoadSnapshot", "{}", {"Content-Type": content_type})
            self.assertEqual(answer.error[:2], (415, "INVALID_ARGUMENT"), content_type)
        self.assertEqual(self.call("AdminService/GetStatus", Content_Encoding="gzip").status, 415)
        self.assertEqual(self.call("AdminService/GetStatus", Content_Type="Application/JSON; charset=utf-8").status, 200)
        answer = self.read_all(self.raw(b"\x16\x03\x01\x02\x00 hello, this is no HTTP\r\n\r\n"))
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), answer)
        answer = self.read_all(self.raw(b"GET / HTTP/3.7\r\n\r\n"))
        self.assertTrue(answer.startswith((b"HTTP/1.1 505 ", b"HTTP/1.1 400 ")), answer)
        both = self.raw(b"POST /v1/AdminService/GetStatus HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        self.assertTrue(self.read_all(both).startswith(b"HTTP/1.1 400 "))
        # Where another may see the end of the body elsewhere, what follows must not be taken for a request.
        for version, coding in ((b"1.1", b"identity"), (b"1.1", b"xchunked"), (b"1.1", b"chunked, gzip"), (b"1.0", b"chunked")):
            unclear = self.read_all(self.raw(b"POST /v1/AdminService/GetStatus HTTP/" + version + b"\r\nHost: x\r\nContent-Type: application/json\r\n"
                                             b"Transfer-Encoding: " + coding + b"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"))
            self.assertRegex(unclear, b"^HTTP/1.[01] 400 ", coding)
            self.assertEqual(unclear.count(b"HTTP/1."), 1, coding)
        self.assertEqual(self.call("AdminService/GetStatus").status, 200)

    def test_sizes_are_limited(self):
        self.start(config="limits { max_message_bytes: 20000 }")
        large = json.dumps({"userId": "u" * 25000, "k": 1})
        answer = self.call("RecommendationService/Recommend", large)
        self.assertEqual(answer.error, (413, "INVALID_ARGUMENT", "the body is larger than 20000 bytes (limits.max_message_bytes)"))
        # Without saying how much comes; and much more than the server's buffers hold.
        for size in (25_000, 5_000_000):
            connection = self.raw(b"POST /v1/RecommendationService/Recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                                  b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size)
            try:
                connection.sendall(b" " * size + b"\r\n0\r\n\r\n")
            except ConnectionError:
                pass  # the server does not read it for ever
            self.assertTrue(self.read_all(connection).startswith(b"HTTP/1.1 413 "))
        self.assertEqual(self.get("/", **{"X-Long": "x" * 30000}).status, 431)
        self.assertEqual(self.call("RecommendationService/Recommend", " " * 19000 + '{"userId": "u", "k": 1}').status, 200)

    def test_connections_are_kept(self):
        self.start()
        connection = self.connect()
        connection.connect()
        address = connection.sock.getsockname()
        for n in range(50):
            self.assertEqual(self.call("RecommendationService/Recommend", {"userId": "u1", "k": n % 9 + 1}, connection).status, 200)
            self.assertEqual(self.call("RecommendationService/Recommend", "{", connection).status, 400)
            self.assertEqual(send(connection, "GET", "/healthz").json, {"status": "SERVING"})
        self.assertEqual(connection.sock.getsockname(), address)
        # Sent ahead: answered in order.
        post = b"POST /v1/RecommendationService/Recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        bodies = [b'{"userId":"u1","k":%d,"requestId":"r%d"}' % (n + 1, n) for n in range(20)]
        ahead = self.raw(b"".join(post + b"Content-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies) +
                         b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = self.read_all(ahead)
        self.assertEqual(re.findall(rb'"requestId":"r(\d+)"', answers), [b"%d" % n for n in range(20)])
        self.assertEqual(answers.count(b"HTTP/1.1 200 OK\r\n"), 21)
        # The body only once the server says so.
        careful = self.raw(post + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(bodies[0]))
        self.assertEqual(careful.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
        careful.sendall(bodies[0])
        self.assertTrue(careful.recv(15).startswith(b"HTTP/1.1 200"))

    def test_many_at_once(self):
        self.start()
        idle = [self.raw() for _ in range(300)]
        self.assertTrue(wait_until(lambda: self.metric("swiftlet_http_connections") == 300))

        def ask(n):
            connection = self.connect()
            for k in range(1, 26):
                answer = self.call("RecommendationService/Recommend", {"userId": f"u{n}", "k": k, "requestId": f"{n}-{k}"}, connection)
                assert answer.status == 200 and answer.json["requestId"] == f"{n}-{k}" and len(answer.json["items"]) == k
            connection.close()
            return n

        with ThreadPoolExecutor(16) as pool:
            self.assertEqual(sum(pool.map(ask, range(16))), 120)
        self.assertEqual(self.metric('swiftlet_http_responses_total{status="200"}'), 400)
        for connection in idle:
            connection.close()
        self.assertTrue(wait_until(lambda: self.metric("swiftlet_http_connections") == 0))

    def test_more_connections_than_allowed_are_closed(self):
        self.start(config="http { max_connections: 5 }")
        held = [self.raw() for _ in range(5)]
        self.assertTrue(wait_until(lambda: self.metric("swiftlet_http_connections") == 5))
        time.sleep(1.1)
        # Who has said nothing for longest goes, and the newcomer gets its answer.
        self.assertEqual(self.get("/healthz").status, 200)
        self.assertEqual(self.read_all(held[0]), b"")
        self.assertEqual(self.metric("swiftlet_http_connections_refused_total"), 1)

    def test_the_limit_of_all_connections_holds(self):
        self.start(config="limits { max_connections: 20 }")
        held = [self.raw() for _ in range(30)]

        def let_in(path):
            try:
                return self.get(path).status == 200
            except OSError:  # there are too many; which of them are closed is looked at ten times a second
                return False
        self.assertFalse(let_in("/healthz"))
        for connection in held:
            connection.close()
        self.assertTrue(wait_until(lambda: let_in("/healthz")))
        self.assertGreaterEqual(self.metric("swiftlet_connections_refused_total"), 10)

    def test_it_listens_on_ipv6(self):
        self.start("--audit-log", "audit6", config='http { listen_address: "[::1]:0" }', listen=())
        connection = http.client.HTTPConnection("::1", self.port, timeout=60)
        self.addCleanup(connection.close)
        self.assertEqual(self.call("AdminService/GetStatus", connection=connection).status, 200)
        line = json.loads((self.made.dir / "audit6").read_text())
        self.assertEqual(line["peer"], f"ipv6:[::1]:{connection.sock.getsockname()[1]}")

    def test_slow_clients_are_cut_off(self):
        self.start(config="http { request_timeout_ms: 300 idle_timeout_ms: 400 }")
        head = b"POST /v1/AdminService/GetStatus HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
        began = time.monotonic()
        silent, half_head, half_body, trickle = (self.raw(data) for data in (b"", head, head + b"\r\n{", b"P"))
        for byte in head[1:] + b"\r\n{      }":
            try:
                trickle.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.02)
        else:
            self.fail("whoever sends byte by byte holds a connection for ever")
        for connection in (silent, half_head, half_body, trickle):
            self.assertEqual(self.read_all(connection), b"")
        self.assertGreaterEqual(time.monotonic() - began, 0.29)
        self.assertTrue(wait_until(lambda: self.metric("swiftlet_http_timeouts_total") == 3))  # silence is nobody's fault
        # One who does not read: the answers fill the buffers of the system.
        deaf = socket.socket()
        self.addCleanup(deaf.close)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", self.port))
        request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        deaf.sendall(request * 300)
        self.assertTrue(wait_until(lambda: self.metric("swiftlet_http_timeouts_total") == 4))
        self.assertEqual(self.get("/healthz").status, 200)

    def test_pages_of_other_sites_may_not_call(self):
        self.start()
        own = f"127.0.0.1:{self.port}"
        for origin, host, status in [(f"http://{own}", own, 200), ("http://evil.example", own, 403), ("null", own, 403),
                                     (f"http://evil.example:{self.port}", f"evil.example:{self.port}", 421),
                                     (f"http://localhost:{self.port}", f"localhost:{self.port}", 200),
                                     (f"http://[::1]:{self.port}", f"[::1]:{self.port}", 200),
                                     ("http://[2001:db8::1]", "[2001:db8::1]", 421)]:
            self.assertEqual(self.call("AdminService/GetStatus", Origin=origin, Host=host).status, status, (origin, host))
        for host, status in (("evil.example", 421), (own, 200)):
            answer = send(self.connect(), "GET", "/metrics", None, {"Host": host})
            self.assertEqual(answer.status, status, host)
        page = self.get("/console")
        self.assertIn("script-src 'self'", page.headers["Content-Security-Policy"])
        self.assertIn("frame-ancestors 'none'", page.headers["Content-Security-Policy"])
        self.assertEqual((self.get("/").status, self.get("/").headers["Location"]), (302, "/console"))

    def test_pages_by_name_need_tokens_or_tls_where_others_reach_the_address(self):
        def status(host, method="AdminService/GetStatus"):
            return self.call(method, Origin=f"http://{host}", Host=host).status

        anywhere = ("--http-listen", "0.0.0.0:0")
        self.start("--insecure-listen", listen=anywhere)
        name = f"swiftlet.example:{self.port}"
        self.assertEqual((status(name), status("swiftlet.example"), status("127.0.0.1.example:80")), (421, 421, 421))
        for host in (f"localhost:{self.port}", f"127.0.0.1:{self.port}", "192.0.2.7:8080", "192.0.2.7", "[2001:db8::1]:8080"):
            self.assertEqual(status(host), 200, host)
        # Programs call it by any name.
        self.assertEqual(self.call("AdminService/GetStatus", Host=name).status, 200)
        self.assertEqual(send(self.connect(), "GET", "/metrics", None, {"Host": name}).status, 200)
        self.made.stop()
        # What such a page can do without a token, anybody can.
        self.token("ops", "admin")
        self.start("--insecure-listen", "--token-file", "tokens", listen=anywhere)
        self.assertEqual(status(f"swiftlet.example:{self.port}"), 401)

    def test_it_ends_with_the_server(self):
        self.start()
        kept = self.connect()
        self.assertEqual(send(kept, "GET", "/healthz").status, 200)
        body = b'{"userId": "u1", "k": 3}'
        busy = self.raw(b"POST /v1/RecommendationService/Recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                        b"Content-Length: %d\r\n\r\n{" % len(body))
        self.assertTrue(wait_until(lambda: self.metric("swiftlet_http_connections") == 2))
        process = self.made._process  # pylint: disable=protected-access
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.read_all(kept.sock), b"")  # at once: nothing is on its way there
        self.assertIsNone(process.poll())
        busy.sendall(body[1:])
        answer = self.read_all(busy)
        self.assertIn(b"HTTP/1.1 503 ", answer)
        self.assertIn(b"Connection: close", answer)
        self.assertIn(b'"status":"UNAVAILABLE"', answer)
        self.assertEqual(process.wait(30), 0)


class SecurityTest(HttpCase):
    def test_health_follows_the_snapshot(self):
        self.start()
        answer = self.get("/healthz")
        self.assertEqual((answer.status, answer.json), (503, {"status": "NOT_SERVING"}))
        self.assertEqual(self.call("RecommendationService/Recommend", {"userId": "u", "k": 1}).error[:2],
                         (400, "FAILED_PRECONDITION"))

    def test_tokens_and_roles(self):
        tokens = {role: f"Bearer {self.token(role, role)}" for role in ("recommend", "ingest", "admin")}
        self.start("--token-file", "tokens", "--audit-log", "audit")
        status, recommend = "AdminService/GetStatus", "RecommendationService/Recommend"
        answer = self.call(status)
        self.assertEqual(answer.error[:2], (401, "UNAUTHENTICATED"))
        self.assertEqual(answer.headers["WWW-Authenticate"], "Bearer")
        self.assertEqual(self.call(status, Authorization="Bearer wrong").status, 401)
        self.assertEqual(self.call(status, Authorization=tokens["recommend"]).error[:2], (403, "PERMISSION_DENIED"))
        self.assertEqual(self.call(status, Authorization=tokens["admin"]).status, 200)
        self.assertEqual(self.call(status, Authorization=tokens["admin"] + "\xe9").status, 400)
        # Whoever may not call learns nothing of what is wrong with the request.
        self.assertEqual(self.call(recommend, "{").status, 401)
        self.assertEqual(self.call(recommend, "{", Authorization=tokens["ingest"]).status, 403)
        self.assertEqual(self.call(recommend, "{", Authorization=tokens["recommend"]).status, 400)
        self.assertEqual(self.call(recommend, {"userId": "u", "k": 1}, Authorization=tokens["recommend"]).error[1],
                         "FAILED_PRECONDITION")
        # Two tokens: which one counts?
        double = self.raw((f"POST /v1/{status} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
                           f"Authorization: {tokens['admin']}\r\nAuthorization: {tokens['admin']}\r\nContent-Length: 0\r\n\r\n").encode())
        self.assertTrue(self.read_all(double).startswith(b"HTTP/1.1 401 "))
        self.assertEqual(self.get("/metrics").status, 401)
        self.assertEqual(self.get("/metrics", Authorization=tokens["recommend"]).status, 403)
        page = self.get("/metrics", Authorization=tokens["admin"])
        self.assertEqual(page.status, 200)
        self.assertIn('swiftlet_refused_total{method="GetStatus",reason="role"} 2', page.text)
        # What the API looks like is told where reflection is on.
        self.assertEqual((self.get("/openapi.json").status, self.get("/docs").status), (404, 404))
        self.assertEqual((self.get("/healthz").status, self.get("/console").status), (503, 200))
        self.assertEqual(self.metric('swiftlet_http_responses_total{status="401"}'), 5)
        # The audit log says who it was, not that it came through this process.
        connection = self.connect()
        answer = self.call("UserService/DeleteUser", {"userId": "gone"}, connection, Authorization=tokens["admin"],
                           X_Request_Id="why-7", X_Swiftlet_Peer="ipv4:6.6.6.6:6", X_Swiftlet_Origin="x",
                           Traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        self.assertEqual((answer.status, answer.headers["X-Request-Id"]), (200, "why-7"))
        line = json.loads((self.made.dir / "audit").read_text().splitlines()[-1])
        self.assertEqual((line["method"], line["client"], line["what"], line["request_id"]),
                         ("DeleteUser", "admin", {"user_id": "gone"}, "why-7"))
        self.assertEqual(line["trace_id"], "0af7651916cd43dd8448eb211c80319c")
        self.assertEqual(line["peer"], f"ipv4:127.0.0.1:{connection.sock.getsockname()[1]}")

    def test_bodies_of_callers_who_may_not_are_not_waited_for(self):
        tokens = {role: self.token(role, role) for role in ("recommend", "admin")}
        self.start("--token-file", "tokens", "--audit-log", "audit")

        def head(token):
            return (f"POST /v1/UserService/DeleteUser HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    f"Authorization: Bearer {token}\r\nContent-Length: 1000000\r\n\r\n").encode()

        for token, status in (("wrong", b"401"), (tokens["recommend"], b"403")):
            for body in (b"", b"{" * 999_999):
                answer = self.read_all(self.raw(head(token) + body))
                self.assertTrue(answer.startswith(b"HTTP/1.1 " + status), answer)
                self.assertIn(b"Connection: close", answer)
        # They are counted and audited as calls are.
        self.assertEqual(self.metric('swiftlet_refused_total{method="DeleteUser",reason="unknown_token"}'), 2)
        self.assertEqual(self.metric('swiftlet_refused_total{method="DeleteUser",reason="role"}'), 2)
        lines = [json.loads(line) for line in (self.made.dir / "audit").read_text().splitlines()]
        self.assertEqual([line["result"] for line in lines], ["UNAUTHENTICATED"] * 2 + ["PERMISSION_DENIED"] * 2)
        # Of who may call, all of it is read.
        connection = self.raw(head(tokens["admin"]))
        connection.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            connection.recv(1)

    def test_reflection_tells_what_the_api_looks_like(self):
        self.token("a", "admin")
        self.start("--token-file", "tokens", config='security { reflection: "on" }')
        document = self.get("/openapi.json").json
        self.assertEqual(document["components"]["securitySchemes"]["token"]["scheme"], "bearer")
        self.assertEqual(self.get("/docs").status, 200)

    def test_clients_are_limited_by_their_own_address(self):
        self.start(config="security { rate_limit { calls_per_second: 0.001 burst: 3 } }")
        statuses = [self.call("AdminService/GetStatus").status for _ in range(4)]
        self.assertEqual(statuses, [200, 200, 200, 429])
        answer = self.call("AdminService/GetStatus", X_Swiftlet_Peer="ipv4:6.6.6.6:6")
        self.assertEqual(answer.error[:2], (429, "RESOURCE_EXHAUSTED"))
        self.assertIn("the rate limit of this address is reached", answer.error[2])
        # Requests that are no calls count, too.
        other = self.connect("127.0.0.2")
        statuses = [self.call("AdminService/GetStatus", body, other).status for body in ("{", "{}", "[", "{}")]
        self.assertEqual(statuses, [400, 200, 400, 429])

    def test_nobody_else_says_who_calls(self):
        try:
            import grpc  # pylint: disable=import-outside-toplevel
        except ImportError:
            self.skipTest("python3-grpcio is missing")
        self.start(config="security { rate_limit { calls_per_second: 0.001 burst: 2 } }")
        codes = []
        with grpc.insecure_channel(self.made.address) as channel:
            status = channel.unary_unary("/swiftlet.v1.AdminService/GetStatus")
            for n in range(3):
                try:
                    status(b"", timeout=30, metadata=[("x-swiftlet-origin", "swl_x"), ("x-swiftlet-peer", f"ipv4:6.6.6.{n}:6")])
                    codes.append("OK")
                except grpc.RpcError as error:
                    codes.append(error.code().name)
        self.assertEqual(codes, ["OK", "OK", "RESOURCE_EXHAUSTED"])
        self.assertEqual(self.call("AdminService/GetStatus").status, 429)  # it is one client, by either way

    def test_limits_of_the_server_hold(self):
        self.start(config='limits { methods { method: "GetStatus" max_concurrent: 1 } }')
        with ThreadPoolExecutor(32) as pool:
            statuses = set(pool.map(lambda _: self.call("AdminService/GetStatus").status, range(300)))
        self.assertLessEqual(statuses, {200, 429})
        self.assertEqual(self.call("AdminService/GetStatus").status, 200)

    def test_an_address_that_others_reach_needs_tls_or_the_flag(self):
        for address in ("0.0.0.0:0", "[::]:0", "192.0.2.1:80"):
            refused = run_server("--check-config", "--http-listen", address)
            self.assertEqual(refused.returncode, 2)
            self.assertIn(f'http.listen_address: other machines reach "{address}"', refused.stderr)
            self.assertEqual(run_server("--check-config", "--http-listen", address, "--insecure-listen").returncode, 0)
        for address in ("127.0.0.1:0", "localhost:80", "[::1]:0", "off"):
            self.assertEqual(run_server("--check-config", "--http-listen", address).returncode, 0)
        self.assertIn("http.listen_address", run_server("--check-config", "--http-listen", "8080").stderr)

    def test_an_address_in_use(self):
        taken = socket.socket()
        self.addCleanup(taken.close)
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        failed = subprocess.run([os.environ["SWIFTLET_SERVER"], "--listen", "127.0.0.1:0", "--metrics", "off", "--http-listen", address],
                                cwd=self.made.dir, capture_output=True, text=True, check=False)
        self.assertEqual(failed.returncode, 1)
        self.assertIn(f"http.listen_address: cannot listen on {address}: Address already in use", failed.stderr)


class TlsTest(HttpCase):
    def setUp(self):
        self.authority("ca", "Test CA")
        self.issue("ca", "server")

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.made.dir, check=True, capture_output=True)

    def authority(self, name, common_name):
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key",
                     "-out", f"{name}.pem", "-subj", f"/CN={common_name}", "-days", "2")

    def issue(self, authority, name):
        """NAME.pem and NAME.key, for 127.0.0.1, put in place by renaming."""
        (self.made.dir / "names").write_text("subjectAltName=IP:127.0.0.1\n")
        self.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "new.key",
                     "-out", "new.csr", "-subj", f"/CN={name}")
        self.openssl("x509", "-req", "-in", "new.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
                     "-CAcreateserial", "-days", "1", "-extfile", "names", "-out", "new.pem")
        for end in ("key", "pem"):
            os.rename(self.made.dir / f"new.{end}", self.made.dir / f"{name}.{end}")

    def connection(self, authority="ca", own=None):
        context = ssl.create_default_context(cafile=self.made.dir / f"{authority}.pem")
        if own:
            context.load_cert_chain(self.made.dir / f"{own}.pem", self.made.dir / f"{own}.key")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)
        self.addCleanup(connection.close)
        return connection

    TLS = ("--tls-cert", "server.pem", "--tls-key", "server.key")

    def test_tls_with_certificates_that_change(self):
        self.start(*self.TLS, config="security { reload_interval_ms: 10 }")
        old = self.connection()
        for _ in range(3):
            self.assertEqual(self.call("AdminService/GetStatus", connection=old).status, 200)
        large = json.dumps({"itemIds": ["x" * 100] * 20000})
        self.assertEqual(self.call("CatalogService/GetItems", large, old).status, 400)
        self.assertEqual(self.call("CatalogService/GetItems", large * 3, self.connection()).status, 413)
        with self.assertRaises(OSError):
            self.call("AdminService/GetStatus")  # without TLS
        self.authority("other", "Other CA")
        with self.assertRaises(ssl.SSLError):
            self.call("AdminService/GetStatus", connection=self.connection("other"))
        self.issue("other", "server")

        def new_one():
            try:
                return self.call("AdminService/GetStatus", connection=self.connection("other")).status == 200
            except ssl.SSLError:
                return False
        self.assertTrue(wait_until(new_one))
        self.assertEqual(self.call("AdminService/GetStatus", connection=old).status, 200)
        weak = ssl.create_default_context()
        weak.check_hostname, weak.verify_mode = False, ssl.CERT_NONE
        weak.maximum_version = ssl.TLSVersion.TLSv1_2
        weak.set_ciphers("ALL:@SECLEVEL=0")
        self.assertEqual(self.call("AdminService/GetStatus", connection=self.tls(weak)).status, 200)
        weak.minimum_version = weak.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises(ssl.SSLError):
            self.call("AdminService/GetStatus", connection=self.tls(weak))

    def tls(self, context):
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)
        self.addCleanup(connection.close)
        return connection

    def test_clients_with_certificates(self):
        self.issue("ca", "ops")
        self.authority("other", "Other CA")
        self.issue("other", "stranger")
        self.start(*self.TLS, "--tls-client-ca", "ca.pem", "--audit-log", "audit")
        self.assertEqual(self.call("AdminService/GetStatus", connection=self.connection(own="ops")).status, 200)
        for own in (None, "stranger"):
            with self.assertRaises(OSError):
                self.call("AdminService/GetStatus", connection=self.connection(own=own))
        lines = [json.loads(line) for line in (self.made.dir / "audit").read_text().splitlines()]
        self.assertEqual([line["certificate"] for line in lines], ["ops"])
        self.assertRegex(lines[0]["peer"], r"^ipv4:127\.0\.0\.1:\d+$")

    def test_handshakes_take_no_longer_than_they_may(self):
        self.start(*self.TLS, config="limits { handshake_timeout_ms: 200 }")
        silent = self.raw()
        self.assertEqual(self.read_all(silent), b"")
        noise = self.raw(struct.pack(">BHH", 22, 0x0301, 500) + b"\x01")
        self.assertEqual(self.read_all(noise), b"")
        self.assertTrue(wait_until(lambda: self.metric("swiftlet_http_timeouts_total") == 2))  # it is closed first
        self.assertEqual(self.call("AdminService/GetStatus", connection=self.connection()).status, 200)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    unittest.main(verbosity=2)
