"""Middleware for any ASGI application, such as one of FastAPI or Starlette::

    app.add_middleware(kadabra.asgi.Middleware)

The collector of a request is ``request.state.metrics``, and ``scope["kadabra.metrics"]`` without a framework.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, MutableMapping
from typing import Any, Callable, Union

from .client import Kadabra
from .request import UNMATCHED, Request, client_of
from .sender import flush_all

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: What proxies write down when a client has gone before it was answered.
_CLIENT_HAS_GONE = 499


class Flush:
    """Flushes what waits at the server's shutdown, since uvicorn ends itself by a signal, without what Python does at the end of
    a process. For that it takes part in the protocol's ``lifespan``, also where the application does not."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        was_asked = False

        async def receiving() -> Message:
            nonlocal was_asked
            was_asked = True
            return await receive()

        async def sending(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await _flush()
            await send(message)

        try:
            await self.app(scope, receiving, sending)
            return
        except Exception:
            if was_asked:
                raise
        # The application has no lifespan: it gave up before it asked what is wanted.
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await _flush()
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "lifespan.startup.complete"})


class Middleware(Flush):
    """Sends the metrics of each HTTP request when its response has been given to the server, and does what :class:`Flush` does.

    :param client: the client to use, or its configuration.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], client: Union[Kadabra, Mapping[str, Any], None] = None) -> None:
        super().__init__(app)
        self.client = client_of(client)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(self.client)
        scope["kadabra.metrics"] = request.metrics
        scope.setdefault("state", {})["metrics"] = request.metrics

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except Exception:
            request.status = 500
            raise
        except BaseException:
            request.status = _CLIENT_HAS_GONE
            raise
        finally:
            request.end(_route(scope))


def _route(scope: Scope) -> str:
    """The template of the route, such as /users/{id}, or the name of what answers, where the framework tells them."""
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str):
        return path
    endpoint = scope.get("endpoint")
    name = getattr(endpoint, "__qualname__", None) or type(endpoint).__name__
    return UNMATCHED if endpoint is None else str(name)


async def _flush() -> None:
    await asyncio.get_running_loop().run_in_executor(None, flush_all)
