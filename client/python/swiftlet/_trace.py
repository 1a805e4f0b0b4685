"""Calls as parts of a trace: what is sent with them, and what the server says of them."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import re
from typing import Any, Dict, Iterable, Iterator, Optional, Tuple

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?")
_REQUEST_ID = re.compile(r"[!-~]{1,128}")


@dataclasses.dataclass
class Trace:
    """See trace()."""

    traceparent: str = ""
    request_id: str = ""
    server_timing: bool = False
    # Of the call that ended last.
    last_request_id: str = ""
    last_server_timing: Dict[str, float] = dataclasses.field(default_factory=dict)

    def metadata(self) -> Tuple[Tuple[str, str], ...]:
        pairs = (
            ("traceparent", self.traceparent),
            ("x-request-id", self.request_id),
            ("x-server-timing", "1" if self.server_timing else ""),
        )
        return tuple(pair for pair in pairs if pair[1])

    def ended(self, trailing_metadata: Optional[Iterable[Any]]) -> None:
        """Takes what the server says at the end of a call."""
        trailing = {key: value for key, value in trailing_metadata or ()}
        self.last_request_id = str(trailing.get("x-request-id", ""))
        self.last_server_timing = parse_server_timing(str(trailing.get("server-timing", "")))


_current: contextvars.ContextVar[Optional[Trace]] = contextvars.ContextVar("swiftlet_trace", default=None)


def current() -> Optional[Trace]:
    return _current.get()


@contextlib.contextmanager
def trace(*, traceparent: str = "", request_id: str = "", server_timing: bool = False) -> Iterator[Trace]:
    """Calls within are sent as parts of a trace, by both clients; of this thread or task, and tasks that it begins.

        with swiftlet.trace(traceparent=request.headers.get("traceparent", ""), server_timing=True) as trace:
            answer = client.recommend("u42", k=10)
        print(trace.last_request_id, trace.last_server_timing)  # 5f0c... {'queue': 0.01, ..., 'total': 0.13}

    traceparent: the header of W3C Trace Context; the server's log names the trace where it has something to say of a
    call. request_id: what that names the calls; the server makes one for each when it is empty. server_timing: ask for
    the milliseconds of each of the server's stages. Calls that stream are not included.
    ValueError: not a traceparent, or not a request id (1 to 128 printable ASCII characters without spaces).
    """
    if traceparent and not _TRACEPARENT.fullmatch(traceparent):
        raise ValueError(f"traceparent: {traceparent!r} is none of W3C Trace Context")
    if request_id and not _REQUEST_ID.fullmatch(request_id):
        raise ValueError(f"request_id: {request_id!r} is not 1 to 128 printable ASCII characters without spaces")
    this = Trace(traceparent, request_id, server_timing)
    token = _current.set(this)
    try:
        yield this
    finally:
        _current.reset(token)


def parse_server_timing(value: str) -> Dict[str, float]:
    """"queue;dur=0.013, total;dur=0.133" as {"queue": 0.013, "total": 0.133}."""
    times = {}
    for name, duration in re.findall(r"(\w+);dur=([0-9.]+)", value):
        times[name] = float(duration)
    return times
