"""Kadabra for Flask, with the names of the original Flask-Kadabra 0.1::

    app = Flask(__name__)
    Kadabra(app)

    @app.route("/")
    @record_metrics
    def index():
        g.metrics.add_count("userSignup", 1)
        return "Hello, world!"
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any, Callable, Optional, TypeVar, cast

from flask import Flask, Response, current_app, g, request

import kadabra
from kadabra.request import UNMATCHED, Request

__version__ = "0.6.0"

__all__ = ["Kadabra", "record_metrics"]

View = TypeVar("View", bound=Callable[..., Any])


class Kadabra:
    """Gives each request of an application a collector, ``g.metrics``, and sends it at the request's end if the view is
    decorated with :func:`record_metrics`.

    In the application's configuration, read at each request:

    - ``DISABLE_KADABRA``: nothing is sent.
    - ``KADABRA_RECORD_ALL``: requests of all views are sent, and those that no view is for, with the status class as a further
      dimension.

    :param config: the client's configuration, see :class:`kadabra.Kadabra`.
    """

    def __init__(self, app: Optional[Flask] = None, config: Optional[Mapping[str, Any]] = None) -> None:
        self.app = app
        if app is not None:
            self.init_app(app, config)

    def init_app(self, app: Flask, config: Optional[Mapping[str, Any]] = None) -> None:
        """Does the same for an application that is made later than this object."""
        client = kadabra.Kadabra(config)
        app.kadabra = client  # type: ignore[attr-defined]
        self.app = app

        @app.before_request
        def initialize_metrics() -> None:
            # An application may have put another client in its place.
            measured = Request(getattr(current_app, "kadabra", client))
            g.metrics = measured.metrics
            g._kadabra_request = measured
            g._kadabra_record = False

        @app.after_request
        def transport_metrics(response: Response) -> Response:
            measured = g.get("_kadabra_request")
            everything = bool(current_app.config.get("KADABRA_RECORD_ALL"))
            if measured is None or not (everything or g._kadabra_record) or current_app.config.get("DISABLE_KADABRA"):
                return response
            measured.metrics = g.metrics
            measured.status = response.status_code
            measured.end((request.endpoint or UNMATCHED) if everything else None, with_status=everything)
            return response


def record_metrics(func: View) -> View:
    """Makes the requests of a view be sent. Its name is their dimension ``method``."""

    def record() -> None:
        if "_kadabra_request" in g:
            g._kadabra_record = True
            g.metrics.set_dimension("method", func.__name__)

    if inspect.iscoroutinefunction(func):

        @functools.wraps(func)
        async def async_view(*args: Any, **kwargs: Any) -> Any:
            record()
            return await func(*args, **kwargs)

        return cast(View, async_view)

    @functools.wraps(func)
    def view(*args: Any, **kwargs: Any) -> Any:
        record()
        return func(*args, **kwargs)

    return cast(View, view)
