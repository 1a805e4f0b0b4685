"""Single events in, batches out."""

from __future__ import annotations

import asyncio
import collections
import logging
import re
import threading
import time
from typing import Awaitable, Callable, Optional

from swiftlet import _api, errors
from swiftlet._load import backoff
from swiftlet.v1 import event_pb2, types_pb2

_log = logging.getLogger("swiftlet")
_INDEX = re.compile(r"events\[(\d+)\]")

OnRejected = Callable[[types_pb2.Event, errors.InvalidArgument], None]


class _Queue:
    """What both batchers do with events; not thread-safe, never waits."""

    def __init__(
        self, batch_size: int, max_delay: float, max_pending: int, on_rejected: Optional[OnRejected]
    ) -> None:
        if not 1 <= batch_size <= 1000:
            raise ValueError(f"batch_size: {batch_size} is not in [1, 1000]")
        if max_delay < 0:
            raise ValueError(f"max_delay: {max_delay} is negative")
        if max_pending < batch_size:
            raise ValueError(f"max_pending: {max_pending} is less than batch_size: {batch_size}")
        self.batch_size, self.max_delay, self.max_pending = batch_size, max_delay, max_pending
        self.pending: collections.deque[types_pb2.Event] = collections.deque()
        self.added = 0
        self.num_recorded = 0
        self.num_duplicates = 0
        self.num_rejected = 0
        self.last_error: Optional[errors.SwiftletError] = None
        self._on_rejected = on_rejected
        self._limit = batch_size
        self._failures = 0
        self._since = 0.0  # when the oldest of pending began to wait

    @property
    def done(self) -> int:
        """Events, in the order of their adding, that need no more work."""
        return self.added - len(self.pending)

    @property
    def full(self) -> bool:
        return len(self.pending) >= self.max_pending

    def add(self, event: types_pb2.Event) -> None:
        if not self.pending:
            self._since = time.monotonic()
        # A copy, as the caller may change theirs; its id stays the same over all attempts.
        copy = types_pb2.Event()
        copy.CopyFrom(event)
        if not copy.event_id:
            copy.event_id = _api.new_event_id()
        self.pending.append(copy)
        self.added += 1

    def seconds_until_due(self) -> Optional[float]:
        """0 or less: send now. None: there is nothing to send."""
        if not self.pending:
            return None
        if len(self.pending) >= self.batch_size:
            return 0.0
        return self._since + self.max_delay - time.monotonic()

    def batch(self) -> list[types_pb2.Event]:
        """The oldest events, which stay pending until sent() or failed()."""
        return [self.pending[i] for i in range(min(len(self.pending), self._limit))]

    def sent(self, count: int, response: event_pb2.RecordEventsResponse) -> None:
        for _ in range(count):
            self.pending.popleft()
        self.num_recorded += response.num_recorded
        self.num_duplicates += response.num_duplicates
        self.last_error, self._failures = None, 0
        self._limit = min(self._limit * 2, self.batch_size)
        self._since = time.monotonic()

    def failed(self, count: int, error: errors.SwiftletError) -> float:
        """Seconds to wait before the next attempt."""
        self.last_error = error
        if not isinstance(error, errors.InvalidArgument):
            self._failures += 1
            return backoff(self._failures)
        # One bad event keeps the others back: the message tells which, or smaller batches find it.
        match = _INDEX.match(error.message)
        index = int(match.group(1)) if match else (0 if count == 1 else -1)
        if not 0 <= index < count:
            self._limit = max(1, count // 2)
            return 0.0
        rejected = self.pending[index]
        del self.pending[index]
        self.num_rejected += 1
        self._limit = self.batch_size
        if self._on_rejected is None:
            _log.error("the server refuses event %s: %s", rejected.event_id, error)
        else:
            try:
                self._on_rejected(rejected, error)
            except Exception:
                _log.exception("on_rejected failed")
        return 0.0

    def why_full(self) -> Exception:
        if self.last_error is not None:
            return self.last_error
        return TimeoutError(f"{len(self.pending)} events wait to be sent (max_pending)")

    def why_not_flushed(self) -> Exception:
        if self.last_error is not None:
            return self.last_error
        return TimeoutError(f"{len(self.pending)} events could not be sent in time")


class EventBatcher:
    """Collects events and records them in batches from a thread of its own. Thread-safe. See Client.batcher.

        with client.batcher() as events:
            events.record("u42", "i7", "click")

    A batch goes off when it is full or `max_delay` seconds old. What fails is sent again, after a growing pause,
    with the same event ids, until it is stored: nothing is dropped and nothing counts twice. Only events that the
    server calls invalid are: they go to `on_rejected` (called in the batcher's thread; without it they are logged),
    and the rest of their batch is sent. When `max_pending` events wait, add() blocks.
    """

    def __init__(
        self,
        send: Callable[[list[types_pb2.Event]], event_pb2.RecordEventsResponse],
        *,
        batch_size: int = 500,
        max_delay: float = 0.2,
        max_pending: int = 10_000,
        on_rejected: Optional[OnRejected] = None,
    ) -> None:
        self._send = send
        self._queue = _Queue(batch_size, max_delay, max_pending, on_rejected)
        self._changed = threading.Condition()
        self._flush_to = 0  # events up to this one do not wait for max_delay
        self._closed = False
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="swiftlet-batcher", daemon=True)
        self._thread.start()

    def record(
        self, user_id: str, item_id: str, type: str, *, value: float = 0.0, timestamp_ms: int = 0, event_id: str = ""
    ) -> None:
        """add(swiftlet.event(...)); an event without a time gets that of this machine, as it is sent later."""
        now = timestamp_ms or time.time_ns() // 1_000_000
        self.add(_api.event(user_id, item_id, type, value=value, timestamp_ms=now, event_id=event_id))

    def add(self, event: types_pb2.Event, *, timeout: Optional[float] = 30.0) -> None:
        """Blocks while max_pending events wait; after `timeout` seconds raises the error that holds them up, and
        the event is not taken."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._queue.full or self._closed, timeout):
                raise self._queue.why_full()
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._queue.add(event)
            self._changed.notify_all()

    def flush(self, *, timeout: Optional[float] = 30.0) -> None:
        """Returns when every event that was added before is stored or rejected. After `timeout` seconds raises the
        error that holds them up; they stay, and are sent when that is over."""
        with self._changed:
            target = self._queue.added
            self._flush_to = max(self._flush_to, target)
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._queue.done >= target, timeout):
                raise self._queue.why_not_flushed()

    def close(self, *, timeout: Optional[float] = 30.0) -> None:
        """Takes no more events, flushes, and ends the thread. When flush() raises, events are left: see pending."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        try:
            if not self._stop:
                self.flush(timeout=timeout)
        finally:
            with self._changed:
                self._stop = True
                self._changed.notify_all()
            self._thread.join(timeout)

    def __enter__(self) -> EventBatcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pending(self) -> list[types_pb2.Event]:
        """Events that are not stored yet, oldest first; for record_events() later, with the ids that they have."""
        with self._changed:
            return list(self._queue.pending)

    @property
    def num_recorded(self) -> int:
        return self._queue.num_recorded

    @property
    def num_duplicates(self) -> int:
        return self._queue.num_duplicates

    @property
    def num_rejected(self) -> int:
        return self._queue.num_rejected

    def __repr__(self) -> str:
        q = self._queue
        return f"EventBatcher(recorded={q.num_recorded}, rejected={q.num_rejected}, pending={len(q.pending)})"

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stop:
                    due = self._queue.seconds_until_due()
                    if due is not None and (due <= 0 or self._queue.done < self._flush_to):
                        break
                    self._changed.wait(due)
                if self._stop:
                    return
                batch = self._queue.batch()
            try:
                response = self._send(batch)
            except errors.SwiftletError as error:
                with self._changed:
                    pause = self._queue.failed(len(batch), error)
                    self._changed.notify_all()
                    if pause > 0:
                        self._changed.wait_for(lambda: self._stop, pause)
            except Exception as error:  # the client was closed, or the like: nothing will mend it
                with self._changed:
                    self._queue.last_error = errors.SwiftletError(str(error), "RecordEvents")
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._stop, 1.0)
            else:
                with self._changed:
                    self._queue.sent(len(batch), response)
                    self._changed.notify_all()


class AsyncEventBatcher:
    """EventBatcher for asyncio: `async with client.batcher() as events: await events.record(...)`. One event loop."""

    def __init__(
        self,
        send: Callable[[list[types_pb2.Event]], Awaitable[event_pb2.RecordEventsResponse]],
        *,
        batch_size: int = 500,
        max_delay: float = 0.2,
        max_pending: int = 10_000,
        on_rejected: Optional[OnRejected] = None,
    ) -> None:
        self._send = send
        self._queue = _Queue(batch_size, max_delay, max_pending, on_rejected)
        self._changed = asyncio.Condition()
        self._wake = asyncio.Event()
        self._flush_to = 0
        self._closed = False
        self._task: Optional[asyncio.Task[None]] = None

    async def record(
        self, user_id: str, item_id: str, type: str, *, value: float = 0.0, timestamp_ms: int = 0, event_id: str = ""
    ) -> None:
        """add(swiftlet.event(...)); an event without a time gets that of this machine, as it is sent later."""
        now = timestamp_ms or time.time_ns() // 1_000_000
        await self.add(_api.event(user_id, item_id, type, value=value, timestamp_ms=now, event_id=event_id))

    async def add(self, event: types_pb2.Event, *, timeout: Optional[float] = 30.0) -> None:
        """Waits while max_pending events wait; after `timeout` seconds raises the error that holds them up, and the
        event is not taken."""
        while self._queue.full and not self._closed:  # others may add before this one runs again
            if not await self._wait_for(lambda: not self._queue.full or self._closed, timeout):
                raise self._queue.why_full()
        if self._closed:
            raise RuntimeError("the batcher is closed")
        self._queue.add(event)
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
        self._wake.set()

    async def flush(self, *, timeout: Optional[float] = 30.0) -> None:
        """Returns when every event that was added before is stored or rejected. After `timeout` seconds raises the
        error that holds them up; they stay, and are sent when that is over."""
        target = self._queue.added
        self._flush_to = max(self._flush_to, target)
        self._wake.set()
        if not await self._wait_for(lambda: self._queue.done >= target, timeout):
            raise self._queue.why_not_flushed()

    async def close(self, *, timeout: Optional[float] = 30.0) -> None:
        """Takes no more events, flushes, and ends the task. When flush() raises, events are left: see pending."""
        self._closed = True
        async with self._changed:
            self._changed.notify_all()
        try:
            await self.flush(timeout=timeout)
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
                self._task = None

    async def __aenter__(self) -> AsyncEventBatcher:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def pending(self) -> list[types_pb2.Event]:
        """Events that are not stored yet, oldest first; for record_events() later, with the ids that they have."""
        return list(self._queue.pending)

    @property
    def num_recorded(self) -> int:
        return self._queue.num_recorded

    @property
    def num_duplicates(self) -> int:
        return self._queue.num_duplicates

    @property
    def num_rejected(self) -> int:
        return self._queue.num_rejected

    def __repr__(self) -> str:
        q = self._queue
        return f"AsyncEventBatcher(recorded={q.num_recorded}, rejected={q.num_rejected}, pending={len(q.pending)})"

    async def _wait_for(self, condition: Callable[[], bool], timeout: Optional[float]) -> bool:
        async def wait() -> None:
            async with self._changed:
                await self._changed.wait_for(condition)

        try:
            await asyncio.wait_for(wait(), timeout)
        except asyncio.TimeoutError:
            return False
        return True

    async def _run(self) -> None:
        while True:
            due = self._queue.seconds_until_due()
            if due is None or (due > 0 and self._queue.done >= self._flush_to):
                self._wake.clear()
                try:
                    await asyncio.wait_for(self._wake.wait(), due)
                except asyncio.TimeoutError:
                    pass
                continue
            batch, pause = self._queue.batch(), 0.0
            try:
                response = await self._send(batch)
            except errors.SwiftletError as error:
                pause = self._queue.failed(len(batch), error)
            except Exception as error:
                self._queue.last_error = errors.SwiftletError(str(error), "RecordEvents")
                pause = 1.0
            else:
                self._queue.sent(len(batch), response)
            async with self._changed:
                self._changed.notify_all()
            if pause > 0:
                await asyncio.sleep(pause)
