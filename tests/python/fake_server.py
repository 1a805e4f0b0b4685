"""A server in this process whose answers a test writes down."""

from __future__ import annotations

import collections
import threading
from concurrent import futures
from typing import Any

import grpc

from swiftlet import _api

_METHODS = {method.path: method for method in (*_api.UNARY, _api.LOAD_EVENTS)}


class FakeServer(grpc.GenericRpcHandler):
    """Answers calls of a method by the next of its answers, then by an empty response.

    An answer is a grpc.StatusCode, a (code, message) pair, a response, or a function of (request, context) that gives
    one of these. For LoadEvents: a function of (request iterator, context) that yields messages.
    """

    def __init__(self, credentials: Any = None) -> None:
        self.answers: dict[str, collections.deque] = collections.defaultdict(collections.deque)
        self.requests: dict[str, list] = collections.defaultdict(list)
        self.metadata: dict[str, list] = collections.defaultdict(list)
        self.seconds_left: dict[str, list] = collections.defaultdict(list)
        self.released = threading.Event()
        self._server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        if credentials is None:
            port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def stop(self) -> None:
        self.released.set()
        self._server.stop(0).wait()

    def block(self, request: Any, context: grpc.ServicerContext) -> grpc.StatusCode:
        """An answer that does not come until the test ends."""
        self.released.wait(60)
        return grpc.StatusCode.CANCELLED

    # grpc.GenericRpcHandler
    def service(self, details: grpc.HandlerCallDetails):
        method = _METHODS.get(details.method)
        if method is None:
            return None
        if method is _api.LOAD_EVENTS:
            return grpc.stream_stream_rpc_method_handler(
                self._stream, method.request.FromString, method.response.SerializeToString
            )
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._unary(method, request, context),
            method.request.FromString,
            method.response.SerializeToString,
        )


    def _note(self, name: str, context: grpc.ServicerContext) -> Any:
        self.metadata[name].append(dict(context.invocation_metadata()))
        self.seconds_left[name].append(context.time_remaining())
        return self.answers[name].popleft() if self.answers[name] else None

    def _unary(self, method: _api.Method, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests[method.name].append(request)
        answer = self._note(method.name, context)
        if callable(answer):
            answer = answer(request, context)
        if isinstance(answer, grpc.StatusCode):
            answer = (answer, "scripted")
        if isinstance(answer, tuple):
            context.abort(*answer)
        return method.response() if answer is None else answer

    def _stream(self, requests: Any, context: grpc.ServicerContext) -> Any:
        answer = self._note("LoadEvents", context)
        assert answer is not None, "no answer is written down for this stream"
        yield from answer(requests, context)


