"""What all middleware measures of a request: how long it took and how it ended."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Mapping
from typing import Any, Optional, Union

from .client import CollectorClosedError, Kadabra, MetricsCollector
from .metrics import Units

#: The dimension ``method`` of a request that no route of the application is for: never its path, of which there are endless.
UNMATCHED = "unmatched"

_logger = logging.getLogger("kadabra.request")


def client_of(client: Union[Kadabra, Mapping[str, Any], None]) -> Kadabra:
    """The client that a middleware uses: the given one, or one with the given configuration."""
    return client if isinstance(client, Kadabra) else Kadabra(client)


class Request:
    """The metrics of one request, from its begin to its end."""

    __slots__ = ("_client", "_begun", "metrics", "status")

    def __init__(self, client: Kadabra) -> None:
        self._client: Optional[Kadabra] = client
        self._begun = time.perf_counter()
        #: The collector that the view may use.
        self.metrics: MetricsCollector = client.metrics()
        #: The status of the response; as long as there is none, that of a server which failed.
        self.status = 500

    def end(self, method: Optional[str], with_status: bool = True) -> None:
        """Sends the metrics, once. A view that has closed its collector has sent them itself. Never raises.

        :param method: the route's template or name, unless the view has set the dimension itself.
        :param with_status: whether the status class, such as 2xx, becomes a dimension.
        """
        client, self._client = self._client, None
        if client is None:
            return
        metrics, status = self.metrics, self.status
        try:
            took = datetime.timedelta(seconds=time.perf_counter() - self._begun)
            if method is not None and "method" not in metrics.dimensions:
                metrics.set_dimension("method", method)
            if with_status:
                metrics.set_dimension("status", "%dxx" % (status // 100))
            metrics.set_timer("RequestTime", took, Units.MILLISECONDS)
            metrics.add_count("Failure", 1 if status >= 500 else 0)
            metrics.add_count("ClientError", 1 if 400 <= status < 500 else 0)
            client.send(metrics.close())
        except CollectorClosedError:
            pass
        except Exception:
            _logger.debug("a request's metrics cannot be sent", exc_info=True)
