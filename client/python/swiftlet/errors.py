"""What a failed call raises: one class for each gRPC code, with the server's own message.

    try:
        client.recommend("u42", k=0)
    except swiftlet.InvalidArgument as error:
        print(error.message)  # k: 0 is not in [1, 1000]
        print(error)          # INVALID_ARGUMENT: k: 0 is not in [1, 1000] [Recommend at 127.0.0.1:50051]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

import grpc

if TYPE_CHECKING:
    from swiftlet._load import LoadResult


class SwiftletError(Exception):
    """A call failed. Base of all that this package raises for answers of a server.

    code: gRPC's name of the code, such as "NOT_FOUND".
    message: the server's message (or gRPC's own, where the server was not reached).
    method, address: which call, and of whom.
    debug: gRPC's account of it, for bug reports. May be empty.
    load_result: of load_events(): what was stored before.
    request_id: what the server's log calls it. Empty where the server was not reached.
    """

    code = "UNKNOWN"
    load_result: Optional[LoadResult] = None
    request_id = ""

    def __init__(self, message: str, method: str = "", address: str = "", code: str = "", debug: str = ""):
        # One argument: subclasses are also OSErrors, which take a second one for something else.
        super().__init__(message)
        self.message = message
        self.method = method
        self.address = address
        self.debug = debug
        if code:
            self.code = code

    def __str__(self) -> str:
        where = f" [{self.method} at {self.address}]" if self.method else ""
        return f"{self.code}: {self.message or 'no message'}{where}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:  # so that it passes between processes
        return type(self), (self.message, self.method, self.address, self.code, self.debug)


class Cancelled(SwiftletError):
    code = "CANCELLED"


class InvalidArgument(SwiftletError, ValueError):
    """A field of the request is outside its range; the message names it and its value."""

    code = "INVALID_ARGUMENT"


class DeadlineExceeded(SwiftletError, TimeoutError):
    """The call's time was over. A change may have been made all the same: repeat it with the same ids."""

    code = "DEADLINE_EXCEEDED"


class NotFound(SwiftletError, LookupError):
    code = "NOT_FOUND"


class PermissionDenied(SwiftletError):
    code = "PERMISSION_DENIED"


class Unauthenticated(SwiftletError):
    code = "UNAUTHENTICATED"


class ResourceExhausted(SwiftletError):
    """The server is at its limit, also after the client's retries: slow down."""

    code = "RESOURCE_EXHAUSTED"


class FailedPrecondition(SwiftletError):
    """No snapshot is loaded yet, or a snapshot was refused."""

    code = "FAILED_PRECONDITION"


class Aborted(SwiftletError):
    code = "ABORTED"


class Unimplemented(SwiftletError):
    """The server is older than this client and does not know the method."""

    code = "UNIMPLEMENTED"


class Internal(SwiftletError):
    code = "INTERNAL"


class Unavailable(SwiftletError):
    """The server cannot be reached, or shuts down; also after the client's retries."""

    code = "UNAVAILABLE"


class DataLoss(SwiftletError):
    code = "DATA_LOSS"


_CLASSES: dict[str, type[SwiftletError]] = {
    cls.code: cls
    for cls in (
        Cancelled,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        PermissionDenied,
        Unauthenticated,
        ResourceExhausted,
        FailedPrecondition,
        Aborted,
        Unimplemented,
        Internal,
        Unavailable,
        DataLoss,
    )
}

def from_rpc_error(error: Any, method: str, address: str) -> SwiftletError:
    """Of a grpc.RpcError of a call, synchronous or not. A code without a class is a plain SwiftletError."""
    status = error.code() if callable(getattr(error, "code", None)) else None
    code = status.name if isinstance(status, grpc.StatusCode) else "UNKNOWN"
    details = error.details() if callable(getattr(error, "details", None)) else str(error)
    debug = error.debug_error_string() if callable(getattr(error, "debug_error_string", None)) else ""
    raised = _CLASSES.get(code, SwiftletError)(details or "", method, address, code, debug or "")
    raised.request_id = str(dict(trailing_metadata(error)).get("x-request-id", ""))
    return raised


def trailing_metadata(error: Any) -> list[tuple[str, Any]]:
    """Of a grpc.RpcError of a call, synchronous or not."""
    metadata = error.trailing_metadata() if callable(getattr(error, "trailing_metadata", None)) else None
    return [(key, value) for key, value in metadata or ()]
