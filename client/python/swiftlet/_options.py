"""What a client is made with, for both clients."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import ssl
from typing import Any, Dict, Optional

import grpc

from swiftlet._version import __version__

# A call is buffered for its retries up to this size; gRPC's default of 256 KiB is less than a batch of events.
_RETRY_BUFFER_BYTES = 16 << 20
# Far enough for "no deadline", near enough for any clock arithmetic.
_MAX_TIMEOUT = 365 * 24 * 3600.0


@dataclasses.dataclass(frozen=True)
class Tls:
    """How to speak TLS. Tls() trusts the authorities that gRPC trusts.

    root_certificates: PEM of the authorities to trust instead.
    certificate_chain, private_key: PEM of the client's own certificate, for servers that ask for one (mTLS).
    server_name: the name to find in the server's certificate when it is not that of the address.
    """

    root_certificates: Optional[bytes] = None
    certificate_chain: Optional[bytes] = None
    private_key: Optional[bytes] = dataclasses.field(default=None, repr=False)
    server_name: str = ""

    @classmethod
    def from_files(
        cls, ca: Optional[str] = None, cert: Optional[str] = None, key: Optional[str] = None, server_name: str = ""
    ) -> Tls:
        """Of PEM files: the authorities to trust, the client's own certificate and its key.

        ValueError: the key is another certificate's. OSError: a file that cannot be read.
        """
        tls = cls(_read(ca), _read(cert), _read(key), server_name)
        if cert and key:
            _check_key(cert, key)
        return tls


def _check_key(cert: str, key: str) -> None:
    """gRPC would only say that it has no address."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        # The last one is what OpenSSL says of a key of another type.
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            raise ValueError(f"tls: {key} is not the key of {cert}") from None


def _read(path: Optional[str]) -> Optional[bytes]:
    return pathlib.Path(path).read_bytes() if path else None


def security_from_environment() -> Dict[str, Any]:
    """The arguments `tls` and `token` of a client, by the variables that the command line knows, too:
    SWIFTLET_TLS (anything but "" and "0"), SWIFTLET_TLS_CA, SWIFTLET_TLS_CERT, SWIFTLET_TLS_KEY (PEM files; any of
    them turns TLS on), SWIFTLET_TLS_SERVER_NAME, and SWIFTLET_TOKEN_FILE (its first line) or SWIFTLET_TOKEN.

        client = swiftlet.Client(address, **swiftlet.security_from_environment())

    ValueError: a file of a token without one. OSError: a file that cannot be read.
    """
    ca, cert, key, name = (
        os.environ.get(f"SWIFTLET_TLS_{each}", "") for each in ("CA", "CERT", "KEY", "SERVER_NAME")
    )
    tls = None
    if ca or cert or key or name or os.environ.get("SWIFTLET_TLS", "0") not in ("", "0"):
        tls = Tls.from_files(ca, cert, key, name)
    token = os.environ.get("SWIFTLET_TOKEN", "").rstrip("\r\n")  # as from a file
    token_file = os.environ.get("SWIFTLET_TOKEN_FILE", "")
    if token_file:
        lines = pathlib.Path(token_file).read_text(encoding="ascii").splitlines()
        token = lines[0] if lines else ""
        if not token:
            raise ValueError(f"SWIFTLET_TOKEN_FILE: {token_file} has no first line")
    return {"tls": tls, "token": token}


@dataclasses.dataclass(frozen=True)
class ClientOptions:
    """See Client for what each means."""

    address: str = "127.0.0.1:50051"
    timeout: float = 5.0
    wait_for_ready: bool = False
    max_attempts: int = 4
    user_agent: str = ""
    tls: Optional[Tls] = None
    token: str = dataclasses.field(default="", repr=False)
    service_config_json: str = ""
    max_receive_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        if not self.address:
            raise ValueError("address: empty; expected host:port")
        check_timeout(self.timeout, "timeout")
        if not 1 <= self.max_attempts <= 5:
            raise ValueError(f"max_attempts: {self.max_attempts} is not in [1, 5]")
        if self.tls is not None and (self.tls.certificate_chain is None) != (self.tls.private_key is None):
            raise ValueError("tls: a certificate and its private key go together")
        if not all(" " < c <= "~" for c in self.token):
            raise ValueError("token: has characters that no token has")
        if self.service_config_json:
            json.loads(self.service_config_json)  # gRPC would ignore what it cannot parse

    def channel_arguments(self) -> list[tuple[str, Any]]:
        arguments: list[tuple[str, Any]] = [
            ("grpc.service_config", self.service_config_json or default_service_config(self.max_attempts)),
            ("grpc.enable_retries", 1),
            ("grpc.per_rpc_retry_buffer_size", _RETRY_BUFFER_BYTES),
            ("grpc.max_receive_message_length", self.max_receive_bytes),
            # A connection of its own for each client, made again within the time that a call's retries take.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            # What gRPC gives a connection to come about, handshake of TLS included, in spite of its name.
            ("grpc.min_reconnect_backoff_ms", 5000),
            ("grpc.max_reconnect_backoff_ms", 2000),
            ("grpc.primary_user_agent", f"{self.user_agent} swiftlet-python/{__version__}".strip()),
        ]
        if self.tls is not None and self.tls.server_name:
            arguments.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return arguments

    def credentials(self) -> Any:
        """None: without TLS."""
        if self.tls is None:
            return None
        return grpc.ssl_channel_credentials(
            self.tls.root_certificates, self.tls.private_key, self.tls.certificate_chain
        )

    def call_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def call_timeout(self, timeout: Optional[float]) -> float:
        """Seconds to the deadline of a call that was given `timeout`."""
        if timeout is None:
            timeout = self.timeout
        check_timeout(timeout, "timeout")
        return min(timeout, _MAX_TIMEOUT)


def check_timeout(timeout: float, name: str) -> None:
    if math.isnan(timeout) or timeout <= 0:
        raise ValueError(f"{name}: {timeout} is not positive")


def default_service_config(max_attempts: int) -> str:
    """The gRPC service config of a client: `max_attempts` attempts (1 to 5) on UNAVAILABLE and
    RESOURCE_EXHAUSTED, with a random pause of up to 50 ms before the second, doubling up to 1 s, for every
    method but LoadSnapshot, PreviewSnapshot, CreateBackup and VerifyBackup (not idempotent, or long), ExportUser and LoadEvents
    (load_events() goes on by itself); a client whose calls mostly fail stops retrying until calls succeed again.
    """
    if max_attempts < 2:  # gRPC asks for at least two attempts in a retryPolicy
        return "{}"
    names = [
        {"service": "swiftlet.v1.RecommendationService"},
        {"service": "swiftlet.v1.EventService", "method": "RecordEvents"},
        {"service": "swiftlet.v1.CatalogService"},
        {"service": "swiftlet.v1.UserService", "method": "GetUser"},
        {"service": "swiftlet.v1.UserService", "method": "DeleteUser"},
        {"service": "swiftlet.v1.AdminService", "method": "ListSnapshots"},
        {"service": "swiftlet.v1.AdminService", "method": "GetStatus"},
        {"service": "swiftlet.v1.AdminService", "method": "ListBackups"},
    ]
    policy = {
        "maxAttempts": max_attempts,
        "initialBackoff": "0.05s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
    }
    return json.dumps(
        {
            "methodConfig": [{"name": names, "retryPolicy": policy}],
            "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
        }
    )
