"""Both clients behind the synchronous one's interface, so that a test is written once."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import swiftlet


class Blocking:
    """An AsyncClient or what it makes, each call run to its end on a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: Any) -> None:
        self._loop = loop
        self._target = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            result = self.run(value, *args, **kwargs)
            return Blocking(self._loop, result) if isinstance(result, swiftlet.AsyncEventBatcher) else result

        return call

    def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        async def on_loop() -> Any:
            result = function(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return self._loop.run_until_complete(on_loop())


class Both:
    """Mix-in of unittest.TestCase classes: subclasses set `kind` to "sync" or "async"."""

    kind = ""

    def connect(self, address: str, **options: Any) -> Any:
        if self.kind == "sync":
            client = swiftlet.Client(address, **options)
            self.addCleanup(client.close)
            return client
        loop = asyncio.new_event_loop()

        async def make() -> swiftlet.AsyncClient:
            return swiftlet.AsyncClient(address, **options)

        client = Blocking(loop, loop.run_until_complete(make()))
        self.addCleanup(loop.close)
        self.addCleanup(lambda: loop.run_until_complete(loop.shutdown_asyncgens()))
        self.addCleanup(client.close)
        return client


def for_both(cls: type) -> type:
    """Replaces a test class by one for each client."""
    import sys

    module = sys.modules[cls.__module__]
    for kind in ("sync", "async"):
        name = f"{kind.capitalize()}{cls.__name__}"
        setattr(module, name, type(name, (cls,), {"kind": kind, "__module__": cls.__module__}))
    return None
