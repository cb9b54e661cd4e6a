"""Middleware for any WSGI application::

    application = kadabra.wsgi.Middleware(application)

The collector of a request is ``environ["kadabra.metrics"]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable, Optional, Union

from .client import Kadabra
from .request import Request, client_of

Environ = dict[str, Any]


class Middleware:
    """Sends the metrics of each request when its response has been given to the server.

    :param client: the client to use, or its configuration.
    :param method: what the dimension ``method`` of a request is: its route's template or name, never its path. WSGI knows
        no routes, so there is none by default but what the application sets itself.
    """

    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        client: Union[Kadabra, Mapping[str, Any], None] = None,
        method: Optional[Callable[[Environ], Optional[str]]] = None,
    ) -> None:
        self.application = application
        self.client = client_of(client)
        self.method = method

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(self.client)
        environ["kadabra.metrics"] = request.metrics

        def started(status: str, *others: Any) -> Any:
            try:
                request.status = int(status[:3])
            except ValueError:
                pass
            return start_response(status, *others)

        def end() -> None:
            try:
                method = self.method(environ) if self.method else None
            except Exception:
                method = None
            request.end(method)

        try:
            body = self.application(environ, started)
        except BaseException:
            request.status = 500
            end()
            raise
        file = environ.get("wsgi.file_wrapper")
        if isinstance(body, (list, tuple)) or isinstance(file, type) and isinstance(body, file):
            # All is there, and a file is the server's to send in its own way.
            end()
            return body
        return _Body(body, request, end)


class _Body:
    """A body that ends its request when it has been sent."""

    def __init__(self, body: Iterable[bytes], request: Request, end: Callable[[], None]) -> None:
        self._body = body
        self._parts = iter(body)
        self._request = request
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._parts)
        except StopIteration:
            self._end()
            raise
        except BaseException:
            self._request.status = 500
            self._end()
            raise

    def close(self) -> None:
        """What the server calls at the end, also when the client has gone."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._end()
