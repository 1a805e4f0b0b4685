"""The synchronous client."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional

import grpc

from swiftlet import _api, _trace, errors
from swiftlet._api import Method, Request, Response, ServingStatus
from swiftlet._base import BaseClient
from swiftlet._load import LoadResult, LoadState
from swiftlet.batcher import EventBatcher
from swiftlet.v1 import admin_pb2, catalog_pb2, event_pb2, recommendation_pb2, types_pb2, user_pb2


class Client(BaseClient):
    """Calls a Swiftlet server. Thread-safe: share one between threads. Make it after forking, not before.

        with swiftlet.Client("127.0.0.1:50051") as client:
            client.record_events([swiftlet.event("u42", "i7", "click")])
            for item in client.recommend("u42", k=10).items:
                print(item.item_id, item.score)

    Nothing is connected until the first call. A call has a deadline, which includes its retries: calls that are
    idempotent are made again when the server is unavailable or at its limit. An error raises a SwiftletError.
    Answers are the API's protobuf messages (swiftlet.v1); `timeout` is in seconds.

    address: "host:port" or any gRPC target ("unix:/run/swiftlet.sock", "dns:///swiftlet.internal:50051").
    timeout: of a call that gives none of its own.
    wait_for_ready: True lets a call wait, up to its deadline, for a server that cannot be reached.
    max_attempts: of an idempotent call, the first included: 1 (no retries) to 5.
    user_agent: sent before the client's own, such as "shop/2.1".
    tls: speak TLS. token: sent as a bearer token with each call; without TLS anyone on the way can read it.
    service_config_json: replaces the retry policy by another gRPC service config.
    """

    _transport = grpc

    def close(self) -> None:
        """Cuts off the calls that are running. May be called again."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(
        self,
        method: Method[Request, Response],
        request: Request,
        timeout: Optional[float],
        wait_for_ready: Optional[bool],
    ) -> Response:
        self._check_open(method)
        trace = _trace.current()
        try:
            response: Response
            response, call = self._calls[method.path].with_call(
                request, **self._call_options(timeout, wait_for_ready, trace)
            )
        except grpc.RpcError as error:
            if trace:
                trace.ended(errors.trailing_metadata(error))
            raise errors.from_rpc_error(error, method.name, self.options.address) from None
        if trace:
            trace.ended(call.trailing_metadata())
        return response

    def recommend(
        self,
        user_id: Optional[str] = None,
        *,
        k: int,
        history: Optional[Iterable[types_pb2.Event]] = None,
        filter: Optional[recommendation_pb2.ItemFilter] = None,
        exclude_seen: Optional[bool] = None,
        context_item_ids: Iterable[str] = (),
        context_features: Optional[Mapping[str, str]] = None,
        explain: bool = False,
        include_metadata: bool = False,
        request_id: str = "",
        search: Optional[recommendation_pb2.Search] = None,
        timeout: Optional[float] = None,
        wait_for_ready: Optional[bool] = None,
    ) -> recommendation_pb2.RecommendResponse:
        """The k best items for a user, or for a `history` that is sent instead (an anonymous session)."""
        request = _api.recommend_request(
            user_id,
            k,
            history,
            filter,
            exclude_seen,
            context_item_ids,
            context_features,
            explain,
            include_metadata,
            request_id,
            search,
        )
        return self._call(_api.RECOMMEND, request, timeout, wait_for_ready)

    def similar_items(
        self,
        item_id: str,
        *,
        k: int,
        filter: Optional[recommendation_pb2.ItemFilter] = None,
        include_metadata: bool = False,
        request_id: str = "",
        search: Optional[recommendation_pb2.Search] = None,
        timeout: Optional[float] = None,
        wait_for_ready: Optional[bool] = None,
    ) -> recommendation_pb2.SimilarItemsResponse:
        """The k items nearest to an item, by cosine. NotFound when it has no vector."""
        request = recommendation_pb2.SimilarItemsRequest(
            item_id=item_id,
            k=k,
            filter=filter,
            include_metadata=include_metadata,
            request_id=request_id,
            search=search,
        )
        return self._call(_api.SIMILAR_ITEMS, request, timeout, wait_for_ready)

    def score_items(
        self,
        user_id: Optional[str] = None,
        *,
        item_ids: Iterable[str],
        history: Optional[Iterable[types_pb2.Event]] = None,
        context_item_ids: Iterable[str] = (),
        context_features: Optional[Mapping[str, str]] = None,
        explain: bool = False,
        include_metadata: bool = False,
        request_id: str = "",
        timeout: Optional[float] = None,
        wait_for_ready: Optional[bool] = None,
    ) -> recommendation_pb2.ScoreItemsResponse:
        """The scores of given items for a user: to re-rank a list made elsewhere."""
        request = _api.score_items_request(
            user_id,
            item_ids,
            history,
            context_item_ids,
            context_features,
            explain,
            include_metadata,
            request_id,
        )
        return self._call(_api.SCORE_ITEMS, request, timeout, wait_for_ready)

    def predict(
        self,
        user_id: Optional[str] = None,
        *,
        item_ids: Iterable[str],
        history: Optional[Iterable[types_pb2.Event]] = None,
        include_metadata: bool = False,
        request_id: str = "",
        timeout: Optional[float] = None,
        wait_for_ready: Optional[bool] = None,
    ) -> recommendation_pb2.PredictResponse:
        """What a user would rate given items; FailedPrecondition where the snapshot has no rating model."""
        request = _api.predict_request(user_id, item_ids, history, include_metadata, request_id)
        return self._call(_api.PREDICT, request, timeout, wait_for_ready)

    def record_events(
        self,
        events: Iterable[types_pb2.Event],
        *,
        timeout: Optional[float] = None,
        wait_for_ready: Optional[bool] = None,
    ) -> event_pb2.RecordEventsResponse:
        """Stores 1 to 1,000 events: all or none. When this returns they are on the server's disk.

        Events without an event_id are sent with a random one, so that retries never count an event twice. To
        repeat a failed call later in the same safety, make the events by swiftlet.event(), which sets it.
        """
        return self._call(_api.RECORD_EVENTS, _api.record_events_request(events), timeout, wait_for_ready)

    def batcher(
        self,
        *,
        batch_size: int = 500,
        max_delay: float = 0.2,
        max_pending: int = 10_000,
        on_rejected: Optional[Callable[[types_pb2.Event, errors.InvalidArgument], None]] = None,
    ) -> EventBatcher:
        """Collects single events and sends them in batches, from a thread of its own."""
        return EventBatcher(
            self.record_events,
            batch_size=batch_size,
            max_delay=max_delay,
            max_pending=max_pending,
            on_rejected=on_rejected,
        )

    def load_events(
        self,
        events: Iterable[types_pb2.Event],
        *,
        batch_size: int = 500,
        on_progress: Optional[Callable[[LoadResult], None]] = None,
        timeout: float = 3600.0,
    ) -> LoadResult:
        """Stores any number of events over a stream, as fast as the server's disk takes them.

        Batches of one stream are not waited for one by one, so this is much quicker than record_events for many.
        When the connection breaks it goes on, after a pause, with the batches that are not acknowledged; an event
        counts once, by its event_id. An error that ends the load has what was stored in its `load_result`.

        `events` is read in a thread of gRPC's; what it raises ends the load after what came before is stored.
        timeout: for the whole load.
        """
        self._check_open(_api.LOAD_EVENTS)
        state, lock = LoadState(batch_size), threading.Lock()
        source = _Source(state, lock, iter(events))
        deadline = time.monotonic() + self.options.call_timeout(timeout)
        while True:
            with lock:
                first = state.begin_stream()
            error = self._load_stream(state, lock, source, first, deadline, on_progress)
            if error is None:
                if state.source_error is not None:
                    raise state.source_error
                return state.total
            pause = state.pause_after(error)
            if pause is None or time.monotonic() + pause >= deadline:
                error.load_result = state.total
                raise error
            time.sleep(pause)

    def _load_stream(
        self,
        state: LoadState,
        lock: threading.Lock,
        source: _Source,
        first: int,
        deadline: float,
        on_progress: Optional[Callable[[LoadResult], None]],
    ) -> Optional[errors.SwiftletError]:
        def requests() -> Iterator[event_pb2.LoadEventsRequest]:
            number = first
            while source.reaches(number):
                with lock:
                    batch = state.batch(number)
                if batch is None:
                    return
                yield batch
                number += 1

        call = self._load_events(requests(), **self._call_options(max(deadline - time.monotonic(), 0.001)))
        try:
            for message in call:
                with lock:
                    state.progress(message)
                    total = state.total
                if on_progress is not None:
                    on_progress(total)
        except grpc.RpcError as error:
            return errors.from_rpc_error(error, _api.LOAD_EVENTS.name, self.options.address)
        finally:
            call.cancel()  # of no effect when it has ended
        return None

    def upsert_items(
        self,
        items: Iterable[catalog_pb2.Item],
        *,
        timeout: Optional[float] = None,
        wait_for_ready: Optional[bool] = None,
    ) -> catalog_pb2.UpsertItemsResponse:
        """Adds or changes 1 to 1,000 items: all or none. See swiftlet.item()."""
        request = catalog_pb2.UpsertItemsRequest(items=items)
        return self._call(_api.UPSERT_ITEMS, request, timeout, wait_for_ready)

    def delete_items(
        self, item_ids: Iterable[str], *, timeout: Optional[float] = None, wait_for_ready: Optional[bool] = None
    ) -> catalog_pb2.DeleteItemsResponse:
        """Takes items out of every answer until they are upserted again."""
        return self._call(_api.DELETE_ITEMS, _api.delete_items_request(item_ids), timeout, wait_for_ready)

    def get_items(
        self,
        item_ids: Iterable[str],
        *,
        include_vectors: bool = False,
        timeout: Optional[float] = None,
        wait_for_ready: Optional[bool] = None,
    ) -> catalog_pb2.GetItemsResponse:
        """What is known of items."""
        request = _api.get_items_request(item_ids, include_vectors)
        return self._call(_api.GET_ITEMS, request, timeout, wait_for_ready)

    def get_user(
        self,
        user_id: str,
        *,
        max_events: int = 0,
        timeout: Optional[float] = None,
        wait_for_ready: Optional[bool] = None,
    ) -> user_pb2.GetUserResponse:
        """The stored history, newest first. NotFound for a user without events."""
        request = user_pb2.GetUserRequest(user_id=user_id, max_events=max_events)
        return self._call(_api.GET_USER, request, timeout, wait_for_ready)

    def delete_user(
        self, user_id: str, *, timeout: Optional[float] = None, wait_for_ready: Optional[bool] = None
    ) -> user_pb2.DeleteUserResponse:
        """Erases all that is known of a user."""
        return self._call(
            _api.DELETE_USER, user_pb2.DeleteUserRequest(user_id=user_id), timeout, wait_for_ready
        )

    def export_user(
        self, user_id: str, *, timeout: Optional[float] = 600.0
    ) -> Iterator[user_pb2.ExportUserResponse]:
        """Everything that the server stores about a user, part by part. Never retried."""
        self._check_open(_api.EXPORT_USER)
        call = self._export_user(user_pb2.ExportUserRequest(user_id=user_id), **self._call_options(timeout))
        try:
            yield from call
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error, _api.EXPORT_USER.name, self.options.address) from None
        finally:
            call.cancel()  # of no effect when it has ended

    def list_snapshots(
        self, *, timeout: Optional[float] = None, wait_for_ready: Optional[bool] = None
    ) -> admin_pb2.ListSnapshotsResponse:
        """The snapshots in the server's model directory, newest first."""
        return self._call(_api.LIST_SNAPSHOTS, admin_pb2.ListSnapshotsRequest(), timeout, wait_for_ready)

    def load_snapshot(
        self, version: int, *, timeout: Optional[float] = 60.0, wait_for_ready: Optional[bool] = None
    ) -> admin_pb2.LoadSnapshotResponse:
        """Serves a version and pins it; 0 follows the newest again. When the time is over the server goes on
        loading. Never retried."""
        return self._call(
            _api.LOAD_SNAPSHOT, admin_pb2.LoadSnapshotRequest(version=version), timeout, wait_for_ready
        )

    def preview_snapshot(
        self,
        version: int,
        user_id: Optional[str] = None,
        *,
        k: int,
        history: Optional[Iterable[types_pb2.Event]] = None,
        filter: Optional[recommendation_pb2.ItemFilter] = None,
        exclude_seen: Optional[bool] = None,
        context_item_ids: Iterable[str] = (),
        context_features: Optional[Mapping[str, str]] = None,
        explain: bool = False,
        include_metadata: bool = False,
        request_id: str = "",
        search: Optional[recommendation_pb2.Search] = None,
        timeout: Optional[float] = 60.0,
        wait_for_ready: Optional[bool] = None,
    ) -> admin_pb2.PreviewSnapshotResponse:
        """What `recommend` would answer if this version served. The server loads it beside the one that serves, and
        gives that up when the time is over. Never retried."""
        request = _api.recommend_request(
            user_id,
            k,
            history,
            filter,
            exclude_seen,
            context_item_ids,
            context_features,
            explain,
            include_metadata,
            request_id,
            search,
        )
        return self._call(
            _api.PREVIEW_SNAPSHOT,
            admin_pb2.PreviewSnapshotRequest(version=version, request=request),
            timeout,
            wait_for_ready,
        )

    def get_status(
        self, *, timeout: Optional[float] = None, wait_for_ready: Optional[bool] = None
    ) -> admin_pb2.GetStatusResponse:
        """What the server serves, how, and since when."""
        return self._call(_api.GET_STATUS, admin_pb2.GetStatusRequest(), timeout, wait_for_ready)

    def create_backup(
        self, *, timeout: Optional[float] = 86400.0, wait_for_ready: Optional[bool] = None
    ) -> admin_pb2.CreateBackupResponse:
        """Backs the server's data up, while it serves, in the directory that it is configured with. When the time is
        over the server stops. Never retried."""
        return self._call(_api.CREATE_BACKUP, admin_pb2.CreateBackupRequest(), timeout, wait_for_ready)

    def list_backups(
        self, *, timeout: Optional[float] = None, wait_for_ready: Optional[bool] = None
    ) -> admin_pb2.ListBackupsResponse:
        """The backups in the server's directory, newest first, and what is being done there."""
        return self._call(_api.LIST_BACKUPS, admin_pb2.ListBackupsRequest(), timeout, wait_for_ready)

    def verify_backup(
        self, id: int = 0, *, timeout: Optional[float] = 86400.0, wait_for_ready: Optional[bool] = None
    ) -> admin_pb2.VerifyBackupResponse:
        """Reads a backup (0: the newest) and compares checksums; raises DataLoss when it is damaged. Never retried."""
        return self._call(_api.VERIFY_BACKUP, admin_pb2.VerifyBackupRequest(id=id), timeout, wait_for_ready)

    def check_health(
        self, service: str = "", *, timeout: Optional[float] = None, wait_for_ready: Optional[bool] = None
    ) -> ServingStatus:
        """grpc.health.v1's word on a service such as "swiftlet.v1.RecommendationService"; "": the whole server.
        A service that the server does not know is SERVICE_UNKNOWN, not an error."""
        request = _api.CHECK_HEALTH.request(value=service)
        try:
            return ServingStatus.of(self._call(_api.CHECK_HEALTH, request, timeout, wait_for_ready).value)
        except errors.NotFound:
            return ServingStatus.SERVICE_UNKNOWN


class _Source:
    """Takes events from the caller, one batch at a time, whichever stream asks. A stream that has failed may still be
    taking one when the next stream begins: that batch is sent by the next stream."""

    def __init__(self, state: LoadState, state_lock: threading.Lock, events: Iterator[types_pb2.Event]) -> None:
        self._state = state
        self._state_lock = state_lock
        self._events = events
        self._lock = threading.Lock()  # taken before state_lock; held while the caller's iterator runs

    def reaches(self, number: int) -> bool:
        """True when the state has batch `number`, or had it; False at the end."""
        if self._taken() > number:
            return True
        with self._lock:
            return self._taken() > number or self._take()

    def _taken(self) -> int:
        with self._state_lock:
            return self._state.num_taken

    def _take(self) -> bool:
        if self._state.source_error is not None:
            return False
        events: list[types_pb2.Event] = []
        try:
            for each in self._events:
                events.append(each)
                if len(events) == self._state.batch_size:
                    break
        except BaseException as error:  # handed to the caller of load_events
            self._state.source_error = error
        if events:
            with self._state_lock:
                self._state.append(events)
        return bool(events)
