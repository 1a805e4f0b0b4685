"""The state of load_events(): what was taken from the caller and is not known to be on the server's disk."""

from __future__ import annotations

import collections
import dataclasses
import random
from typing import Optional

from swiftlet import _api, errors
from swiftlet.v1 import event_pb2, types_pb2

# Attempts without progress before load_events() gives up.
MAX_ATTEMPTS = 5


@dataclasses.dataclass(frozen=True)
class LoadResult:
    """What load_events() has done so far; all of it is on the server's disk.

    num_duplicates: events that the server had acknowledged before. After a connection broke, these can be events
    of this load: sent, stored, and not acknowledged in time.
    """

    num_batches: int = 0
    num_recorded: int = 0
    num_duplicates: int = 0


class LoadState:
    """Numbers the batches of a load, and keeps those that are not acknowledged, over any number of streams.

    Not thread-safe: the clients lock it.
    """

    def __init__(self, batch_size: int) -> None:
        if not 1 <= batch_size <= 1000:
            raise ValueError(f"batch_size: {batch_size} is not in [1, 1000]")
        self.batch_size = batch_size
        self.total = LoadResult()
        self.source_error: Optional[BaseException] = None
        self._batches: collections.deque[event_pb2.LoadEventsRequest] = collections.deque()
        self._stream_start = LoadResult()
        self._failures = 0

    @property
    def num_taken(self) -> int:
        """Batches taken from the caller so far."""
        return self.total.num_batches + len(self._batches)

    def append(self, events: list[types_pb2.Event]) -> None:
        self._batches.append(event_pb2.LoadEventsRequest(events=_api.with_ids(events)))

    def batch(self, number: int) -> Optional[event_pb2.LoadEventsRequest]:
        """Batch `number`, from 0; None when it was acknowledged (a stream of the past asks for it)."""
        index = number - self.total.num_batches
        return self._batches[index] if index >= 0 else None

    def begin_stream(self) -> int:
        """The number of the first batch to send on a new stream."""
        self._stream_start = self.total
        return self.total.num_batches

    def progress(self, message: event_pb2.LoadEventsProgress) -> None:
        start = self._stream_start
        done = start.num_batches + message.num_batches - self.total.num_batches
        for _ in range(done):
            self._batches.popleft()
        if done > 0:
            self._failures = 0
        self.total = LoadResult(
            start.num_batches + message.num_batches,
            start.num_recorded + message.num_recorded,
            start.num_duplicates + message.num_duplicates,
        )

    def pause_after(self, error: errors.SwiftletError) -> Optional[float]:
        """Seconds to wait before the next stream; None: give up."""
        self._failures += 1
        retryable = isinstance(error, (errors.Unavailable, errors.ResourceExhausted))
        if not retryable or self._failures >= MAX_ATTEMPTS:
            return None
        return backoff(self._failures)


def backoff(failures: int) -> float:
    """A random pause in seconds after the n-th failure in a row: up to 50 ms, doubling up to 1 s."""
    return random.uniform(0, min(1.0, 0.05 * 2 ** min(failures - 1, 10)))
