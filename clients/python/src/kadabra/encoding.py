"""Messages on their way to bytes: what `send` keeps of one, cheaply, and what the thread makes of that later."""

from __future__ import annotations

import datetime
import json
import time
from typing import Any, Optional, Union

from .metrics import Counter, Dimension, Metrics, Timer, Unit

_time = time.time
_SCALARS = frozenset({str, int, float, bool, type(None)})

#: A message as it was sent: when, and all that it consists of, one after another. One flat tuple, since Python collects garbage
#: the more often the more objects are kept that might be part of a cycle, and a request waits for that.
Unencoded = tuple[Any, ...]

#: How many values of a message come before its dimensions, and how many each of its parts has.
_HEAD, _DIMENSION, _COUNTER, _TIMER = 5, 2, 4, 6


def as_sent(metrics: Metrics) -> Union[Unencoded, bytes]:
    """A message with all that may change until it is encoded.

    :raises Exception: for what is no message, or metadata that cannot be written as JSON.
    """
    if type(metrics) is not Metrics:
        return _written(metrics)
    dimensions, counters = metrics.dimensions, metrics.counters
    kept: list[Any] = [_time(), metrics.serialized_at, metrics.timestamp_format, len(dimensions), len(counters)]
    for dimension in dimensions:
        if type(dimension) is not Dimension:
            return _written(metrics)
        kept += dimension.name, dimension.value
    for counter in counters:
        metadata = counter.metadata
        if type(counter) is not Counter or metadata != {} and not _stays(metadata):
            return _written(metrics)
        kept += counter.name, counter.timestamp, dict(metadata) if metadata else None, counter.value
    for timer in metrics.timers:
        metadata, unit = timer.metadata, timer.unit
        if type(timer) is not Timer or type(unit) is not Unit or metadata != {} and not _stays(metadata):
            return _written(metrics)
        kept += timer.name, timer.timestamp, dict(metadata) if metadata else None, timer.value, unit.name, unit.seconds_offset
    return tuple(kept)


def encoded(message: Union[Unencoded, bytes]) -> bytes:
    """The bytes of a message.

    :raises Exception: whatever JSON or an object of the application raises.
    """
    if isinstance(message, bytes):
        return message
    sent_at, serialized_at, timestamp_format, dimensions, counters = message[:_HEAD]
    counters_at = _HEAD + dimensions * _DIMENSION
    timers_at = counters_at + counters * _COUNTER
    metrics = Metrics(
        [Dimension(*message[at : at + _DIMENSION]) for at in range(_HEAD, counters_at, _DIMENSION)],
        [_counter(*message[at : at + _COUNTER]) for at in range(counters_at, timers_at, _COUNTER)],
        [_timer(*message[at : at + _TIMER]) for at in range(timers_at, len(message), _TIMER)],
        timestamp_format,
        serialized_at,
    )
    if serialized_at is None:
        sent = datetime.datetime.fromtimestamp(sent_at, datetime.timezone.utc).replace(tzinfo=None)
        metrics.serialized_at = sent.strftime(timestamp_format)
    return _written(metrics)


def _written(metrics: Metrics) -> bytes:
    return json.dumps(metrics.serialize()).encode()


def _stays(metadata: Any) -> bool:
    """Whether a copy of metadata stays as it is, since nothing in it can change."""
    return type(metadata) is dict and _SCALARS.issuperset(map(type, metadata.values()))


def _counter(name: str, timestamp: datetime.datetime, metadata: Optional[dict[str, Any]], value: float) -> Counter:
    return Counter(name, timestamp, metadata or {}, value)


def _timer(
    name: str,
    timestamp: datetime.datetime,
    metadata: Optional[dict[str, Any]],
    value: datetime.timedelta,
    unit: str,
    seconds_offset: float,
) -> Timer:
    return Timer(name, timestamp, metadata or {}, value, Unit(unit, seconds_offset))
