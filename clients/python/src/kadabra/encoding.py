"""Messages on their way to bytes: what `send` keeps of one, cheaply, and what the thread makes of that later."""

from __future__ import annotations

import datetime
import json
import time
from typing import Any, NamedTuple, Optional, Union

from .metrics import Metrics

_time = time.time
_SCALARS = frozenset({str, int, float, bool, type(None)})


class Unencoded(NamedTuple):
    """A message as it was sent: when, and its metadata, in the order of its counters and timers, if it has any."""

    metrics: Metrics
    sent_at: float
    metadata: Optional[list[Any]]


def as_sent(metrics: Metrics) -> Union[Unencoded, bytes]:
    """A message with all that may change until it is encoded.

    :raises Exception: for what is no message, or metadata that cannot be written as JSON.
    """
    metadata: Optional[list[Any]] = None
    if type(metrics) is not Metrics:
        return json.dumps(metrics.serialize()).encode()
    for group in (metrics.counters, metrics.timers):
        for metric in group:
            if metric.metadata:
                # What is in there stays as it is now only if it cannot change.
                if type(metric.metadata) is not dict or not _SCALARS.issuperset(map(type, metric.metadata.values())):
                    return json.dumps(metrics.serialize()).encode()
                if metadata is None:
                    metadata = [m.metadata and dict(m.metadata) for g in (metrics.counters, metrics.timers) for m in g]
    return Unencoded(metrics, _time(), metadata)


def encoded(message: Union[Unencoded, bytes]) -> bytes:
    """The bytes of a message.

    :raises Exception: whatever JSON or an object of the application raises.
    """
    if isinstance(message, bytes):
        return message
    metrics, sent_at, metadata = message
    serialized = metrics.serialize()
    if metrics.serialized_at is None:
        sent = datetime.datetime.fromtimestamp(sent_at, datetime.timezone.utc).replace(tzinfo=None)
        serialized["serialized_at"] = sent.strftime(metrics.timestamp_format)
    if metadata is not None:
        for metric, kept in zip(serialized["counters"] + serialized["timers"], metadata):
            metric["metadata"] = kept
    return json.dumps(serialized).encode()
