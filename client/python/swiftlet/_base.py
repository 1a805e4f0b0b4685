"""What both clients are made of: options, a channel, and how a call begins."""

from __future__ import annotations

from typing import Any, ClassVar, Optional

import grpc

from swiftlet import _api
from swiftlet._api import Method
from swiftlet._options import ClientOptions, Tls
from swiftlet._trace import Trace


class BaseClient:
    """See Client and AsyncClient. Their _transport, grpc or grpc.aio, makes the channel."""

    _transport: ClassVar[Any]

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        *,
        timeout: float = 5.0,
        wait_for_ready: bool = False,
        max_attempts: int = 4,
        user_agent: str = "",
        tls: Optional[Tls] = None,
        token: str = "",
        service_config_json: str = "",
        max_receive_bytes: int = 64 << 20,
    ) -> None:
        self.options = ClientOptions(
            address,
            timeout,
            wait_for_ready,
            max_attempts,
            user_agent,
            tls,
            token,
            service_config_json,
            max_receive_bytes,
        )
        arguments, credentials = self.options.channel_arguments(), self.options.credentials()
        self._channel: Any = (
            self._transport.insecure_channel(address, arguments)
            if credentials is None
            else self._transport.secure_channel(address, credentials, arguments)
        )
        self._closed = False
        self._calls = {method.path: self._callable(self._channel.unary_unary, method) for method in _api.UNARY}
        self._export_user = self._callable(self._channel.unary_stream, _api.EXPORT_USER)
        self._load_events = self._callable(self._channel.stream_stream, _api.LOAD_EVENTS)

    @staticmethod
    def _callable(kind: Any, method: Method[Any, Any]) -> Any:
        return kind(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )

    @property
    def channel(self) -> Any:
        """The grpc.Channel, or grpc.aio.Channel, for the stubs in swiftlet.v1.*_pb2_grpc."""
        return self._channel

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.options.address!r}{', closed' if self._closed else ''})"

    def _check_open(self, method: Method[Any, Any]) -> None:
        if self._closed:
            raise RuntimeError(f"{method.name}: the client is closed")

    def _call_options(
        self, timeout: Optional[float], wait_for_ready: Optional[bool] = None, trace: Optional[Trace] = None
    ) -> dict[str, Any]:
        """What a call is made with, beside its request."""
        return {
            "timeout": self.options.call_timeout(timeout),
            "metadata": self.options.call_metadata() + (trace.metadata() if trace else ()),
            "wait_for_ready": self.options.wait_for_ready if wait_for_ready is None else wait_for_ready,
        }
