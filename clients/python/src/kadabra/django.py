"""Middleware for Django, with or without async views::

    MIDDLEWARE = ["kadabra.django.Middleware", ...]

The collector of a request is ``request.metrics``. ``settings.KADABRA`` is the client's configuration, if there is one.
"""

from __future__ import annotations

from typing import Any, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings  # type: ignore[import-untyped]

from .client import Kadabra
from .request import UNMATCHED, Request


class Middleware:
    """Sends the metrics of each request when it has a response."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        self.client = Kadabra(getattr(settings, "KADABRA", None))
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        if self.is_async:
            return self._later(request)
        measured = Request(self.client)
        request.metrics = measured.metrics
        try:
            response = self.get_response(request)
            measured.status = response.status_code
        finally:
            measured.end(_route(request))
        return response

    async def _later(self, request: Any) -> Any:
        measured = Request(self.client)
        request.metrics = measured.metrics
        try:
            response = await self.get_response(request)
            measured.status = response.status_code
        finally:
            measured.end(_route(request))
        return response


def _route(request: Any) -> str:
    """The pattern of the route, such as users/<int:id>/."""
    match = getattr(request, "resolver_match", None)
    return UNMATCHED if match is None else str(match.route or match.view_name)
