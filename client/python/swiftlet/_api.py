"""The methods of the API, and the requests that both clients make of Python arguments."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import secrets
from typing import Any, Generic, Iterable, Mapping, Optional, TypeVar, Union

from google.protobuf import wrappers_pb2

from swiftlet.v1 import admin_pb2, catalog_pb2, event_pb2, recommendation_pb2, types_pb2, user_pb2

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclasses.dataclass(frozen=True)
class Method(Generic[Request, Response]):
    service: str
    name: str
    request: type[Request]
    response: type[Response]

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"


_RECOMMENDATION = "swiftlet.v1.RecommendationService"
_EVENT = "swiftlet.v1.EventService"
_CATALOG = "swiftlet.v1.CatalogService"
_USER = "swiftlet.v1.UserService"
_ADMIN = "swiftlet.v1.AdminService"

RECOMMEND = Method(
    _RECOMMENDATION, "Recommend", recommendation_pb2.RecommendRequest, recommendation_pb2.RecommendResponse
)
SIMILAR_ITEMS = Method(
    _RECOMMENDATION,
    "SimilarItems",
    recommendation_pb2.SimilarItemsRequest,
    recommendation_pb2.SimilarItemsResponse,
)
SCORE_ITEMS = Method(
    _RECOMMENDATION, "ScoreItems", recommendation_pb2.ScoreItemsRequest, recommendation_pb2.ScoreItemsResponse
)
PREDICT = Method(
    _RECOMMENDATION, "Predict", recommendation_pb2.PredictRequest, recommendation_pb2.PredictResponse
)
RECORD_EVENTS = Method(_EVENT, "RecordEvents", event_pb2.RecordEventsRequest, event_pb2.RecordEventsResponse)
LOAD_EVENTS = Method(_EVENT, "LoadEvents", event_pb2.LoadEventsRequest, event_pb2.LoadEventsProgress)
UPSERT_ITEMS = Method(_CATALOG, "UpsertItems", catalog_pb2.UpsertItemsRequest, catalog_pb2.UpsertItemsResponse)
DELETE_ITEMS = Method(_CATALOG, "DeleteItems", catalog_pb2.DeleteItemsRequest, catalog_pb2.DeleteItemsResponse)
GET_ITEMS = Method(_CATALOG, "GetItems", catalog_pb2.GetItemsRequest, catalog_pb2.GetItemsResponse)
GET_USER = Method(_USER, "GetUser", user_pb2.GetUserRequest, user_pb2.GetUserResponse)
DELETE_USER = Method(_USER, "DeleteUser", user_pb2.DeleteUserRequest, user_pb2.DeleteUserResponse)
EXPORT_USER = Method(_USER, "ExportUser", user_pb2.ExportUserRequest, user_pb2.ExportUserResponse)
LIST_SNAPSHOTS = Method(_ADMIN, "ListSnapshots", admin_pb2.ListSnapshotsRequest, admin_pb2.ListSnapshotsResponse)
LOAD_SNAPSHOT = Method(_ADMIN, "LoadSnapshot", admin_pb2.LoadSnapshotRequest, admin_pb2.LoadSnapshotResponse)
PREVIEW_SNAPSHOT = Method(
    _ADMIN, "PreviewSnapshot", admin_pb2.PreviewSnapshotRequest, admin_pb2.PreviewSnapshotResponse
)
GET_STATUS = Method(_ADMIN, "GetStatus", admin_pb2.GetStatusRequest, admin_pb2.GetStatusResponse)
CREATE_BACKUP = Method(_ADMIN, "CreateBackup", admin_pb2.CreateBackupRequest, admin_pb2.CreateBackupResponse)
LIST_BACKUPS = Method(_ADMIN, "ListBackups", admin_pb2.ListBackupsRequest, admin_pb2.ListBackupsResponse)
VERIFY_BACKUP = Method(_ADMIN, "VerifyBackup", admin_pb2.VerifyBackupRequest, admin_pb2.VerifyBackupResponse)
# The messages of grpc.health.v1 are, on the wire, exactly these two.
CHECK_HEALTH: Method[Any, Any] = Method(
    "grpc.health.v1.Health", "Check", wrappers_pb2.StringValue, wrappers_pb2.Int32Value
)

UNARY: tuple[Method[Any, Any], ...] = (
    RECOMMEND,
    SIMILAR_ITEMS,
    SCORE_ITEMS,
    PREDICT,
    RECORD_EVENTS,
    UPSERT_ITEMS,
    DELETE_ITEMS,
    GET_ITEMS,
    GET_USER,
    DELETE_USER,
    LIST_SNAPSHOTS,
    LOAD_SNAPSHOT,
    PREVIEW_SNAPSHOT,
    GET_STATUS,
    CREATE_BACKUP,
    LIST_BACKUPS,
    VERIFY_BACKUP,
    CHECK_HEALTH,
)


class ServingStatus(enum.Enum):
    """What grpc.health.v1 says of a service."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3

    @classmethod
    def of(cls, number: int) -> ServingStatus:
        return cls(number) if 0 <= number <= 3 else cls.UNKNOWN


def new_event_id() -> str:
    """128 random bits as 32 hex digits."""
    return secrets.token_hex(16)


def event(
    user_id: str,
    item_id: str,
    type: str,
    *,
    value: float = 0.0,
    timestamp_ms: Union[int, datetime.datetime] = 0,
    event_id: str = "",
) -> types_pb2.Event:
    """An event, with a random event_id unless one is given: it counts once, however often it is sent.

    timestamp_ms: milliseconds since 1970, or a datetime that knows its time zone. 0: now, by the server's clock.
    """
    if isinstance(timestamp_ms, datetime.datetime):
        if timestamp_ms.tzinfo is None:
            raise ValueError(f"timestamp_ms: {timestamp_ms} has no time zone")
        timestamp_ms = round(timestamp_ms.timestamp() * 1000)
    return types_pb2.Event(
        user_id=user_id,
        item_id=item_id,
        type=type,
        value=value,
        timestamp_ms=timestamp_ms,
        event_id=event_id or new_event_id(),
    )


def item(
    item_id: str,
    *,
    title: Optional[str] = None,
    categories: Optional[Iterable[str]] = None,
    vector: Iterable[float] = (),
) -> catalog_pb2.Item:
    """An item to upsert. Neither title nor categories: the metadata that is known stays."""
    result = catalog_pb2.Item(item_id=item_id, vector=vector)
    if title is not None or categories is not None:
        result.metadata.CopyFrom(types_pb2.ItemMetadata(title=title or "", categories=_strings(categories, "categories")))
    return result


def _strings(values: Optional[Iterable[str]], name: str) -> list[str]:
    """A str is iterable too, and never meant."""
    if isinstance(values, str):
        raise TypeError(f"{name}: a list of strings is expected, not the string {values!r}")
    return list(values or ())


def with_ids(events: Iterable[types_pb2.Event]) -> list[types_pb2.Event]:
    """The events; those without an event_id as copies that have one."""
    result = []
    for each in events:
        if not each.event_id:
            copy = types_pb2.Event()
            copy.CopyFrom(each)
            copy.event_id = new_event_id()
            each = copy
        result.append(each)
    return result


def _check_user(user_id: Optional[str], history: Optional[Iterable[types_pb2.Event]]) -> None:
    if (user_id is None) == (history is None):
        raise TypeError("give either user_id or history")


def _context(items: Iterable[str], features: Optional[Mapping[str, str]]) -> Optional[types_pb2.Context]:
    items = _strings(items, "context_item_ids")
    if not items and not features:
        return None
    return types_pb2.Context(item_ids=items, features=dict(features or {}))


def recommend_request(
    user_id: Optional[str],
    k: int,
    history: Optional[Iterable[types_pb2.Event]],
    filter: Optional[recommendation_pb2.ItemFilter],
    exclude_seen: Optional[bool],
    context_item_ids: Iterable[str],
    context_features: Optional[Mapping[str, str]],
    explain: bool,
    include_metadata: bool,
    request_id: str,
    search: Optional[recommendation_pb2.Search],
) -> recommendation_pb2.RecommendRequest:
    _check_user(user_id, history)
    request = recommendation_pb2.RecommendRequest(
        user_id=user_id,
        history=None if history is None else recommendation_pb2.InlineHistory(events=history),
        k=k,
        filter=filter,
        context=_context(context_item_ids, context_features),
        explain=explain,
        include_metadata=include_metadata,
        request_id=request_id,
        search=search,
    )
    if exclude_seen is not None:
        request.exclude_seen = exclude_seen
    return request


def score_items_request(
    user_id: Optional[str],
    item_ids: Iterable[str],
    history: Optional[Iterable[types_pb2.Event]],
    context_item_ids: Iterable[str],
    context_features: Optional[Mapping[str, str]],
    explain: bool,
    include_metadata: bool,
    request_id: str,
) -> recommendation_pb2.ScoreItemsRequest:
    _check_user(user_id, history)
    return recommendation_pb2.ScoreItemsRequest(
        user_id=user_id,
        history=None if history is None else recommendation_pb2.InlineHistory(events=history),
        item_ids=_strings(item_ids, "item_ids"),
        context=_context(context_item_ids, context_features),
        explain=explain,
        include_metadata=include_metadata,
        request_id=request_id,
    )


def predict_request(
    user_id: Optional[str],
    item_ids: Iterable[str],
    history: Optional[Iterable[types_pb2.Event]],
    include_metadata: bool,
    request_id: str,
) -> recommendation_pb2.PredictRequest:
    _check_user(user_id, history)
    return recommendation_pb2.PredictRequest(
        user_id=user_id,
        history=None if history is None else recommendation_pb2.InlineHistory(events=history),
        item_ids=_strings(item_ids, "item_ids"),
        include_metadata=include_metadata,
        request_id=request_id,
    )


def record_events_request(events: Iterable[types_pb2.Event]) -> event_pb2.RecordEventsRequest:
    return event_pb2.RecordEventsRequest(events=with_ids(events))


def delete_items_request(item_ids: Iterable[str]) -> catalog_pb2.DeleteItemsRequest:
    return catalog_pb2.DeleteItemsRequest(item_ids=_strings(item_ids, "item_ids"))


def get_items_request(item_ids: Iterable[str], include_vectors: bool) -> catalog_pb2.GetItemsRequest:
    return catalog_pb2.GetItemsRequest(item_ids=_strings(item_ids, "item_ids"), include_vectors=include_vectors)
