"""Client of Swiftlet, a recommendation service.

    import swiftlet

    with swiftlet.Client("127.0.0.1:50051") as client:
        client.record_events([swiftlet.event("u42", "i7", "click")])
        for item in client.recommend("u42", k=10).items:
            print(item.item_id, item.score)

AsyncClient is the same for asyncio. Messages of the API that are made by hand are here too (ItemFilter, Search);
all of them are in swiftlet.v1.
"""

from swiftlet._api import ServingStatus, event, item, new_event_id
from swiftlet._load import LoadResult
from swiftlet._options import ClientOptions, Tls, security_from_environment
from swiftlet._trace import Trace, trace
from swiftlet._version import __version__
from swiftlet.aio import AsyncClient
from swiftlet.batcher import AsyncEventBatcher, EventBatcher
from swiftlet.client import Client
from swiftlet.errors import (
    Aborted,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    SwiftletError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from swiftlet.v1.catalog_pb2 import Item
from swiftlet.v1.recommendation_pb2 import (
    Contribution,
    ItemFilter,
    PredictedRating,
    PredictResponse,
    RecommendResponse,
    ScoredItem,
    ScoreItemsResponse,
    Search,
    SimilarItemsResponse,
)
from swiftlet.v1.types_pb2 import Event, ItemMetadata

__all__ = [
    "Aborted",
    "AsyncClient",
    "AsyncEventBatcher",
    "Cancelled",
    "Client",
    "ClientOptions",
    "Contribution",
    "DataLoss",
    "DeadlineExceeded",
    "Event",
    "EventBatcher",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "Item",
    "ItemFilter",
    "ItemMetadata",
    "LoadResult",
    "NotFound",
    "PermissionDenied",
    "PredictResponse",
    "PredictedRating",
    "RecommendResponse",
    "ResourceExhausted",
    "ScoreItemsResponse",
    "ScoredItem",
    "Search",
    "ServingStatus",
    "SimilarItemsResponse",
    "SwiftletError",
    "Tls",
    "Trace",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "__version__",
    "event",
    "item",
    "new_event_id",
    "security_from_environment",
    "trace",
]
