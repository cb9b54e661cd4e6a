"""One message, what it consists of, and how it is written down: as Kadabra 0.5.0 does, byte for byte."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Optional

_UTC = datetime.timezone.utc
_now = datetime.datetime.now

if sys.version_info < (3, 12):
    # A fifth of the time that the other takes there, at each metric of each request.
    get_now = datetime.datetime.utcnow
else:
    # ``utcnow`` warns at each call.
    def get_now() -> datetime.datetime:
        """The time in UTC without a time zone, as the messages have it."""
        return _now(_UTC).replace(tzinfo=None)


class Dimension:
    """A name and a value by which metrics are grouped: an indexed tag in the database."""

    __slots__ = ("name", "value")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self.value = value

    def serialize(self) -> dict[str, Any]:
        """This dimension as a dictionary."""
        return {"name": self.name, "value": self.value}

    @staticmethod
    def deserialize(value: Mapping[str, Any]) -> Dimension:
        """The dimension that a dictionary holds."""
        return Dimension(value["name"], value["value"])


class Metric:
    """What counters and timers have in common. ``timestamp`` is in UTC without a time zone."""

    __slots__ = ("name", "timestamp", "metadata")

    def __init__(self, name: str, timestamp: datetime.datetime, metadata: Mapping[str, Any]) -> None:
        self.name = name
        self.timestamp = timestamp
        self.metadata = metadata


class Counter(Metric):
    """A name and a floating-point value."""

    __slots__ = ("value",)

    def __init__(self, name: str, timestamp: datetime.datetime, metadata: Mapping[str, Any], value: float) -> None:
        self.name = name
        self.timestamp = timestamp
        self.metadata = metadata
        self.value = value

    def serialize(self, timestamp_format: str) -> dict[str, Any]:
        """This counter as a dictionary, its time written as ``strftime`` does."""
        return {
            "name": self.name,
            "metadata": self.metadata,
            "timestamp": self.timestamp.strftime(timestamp_format),
            "value": float(self.value),
        }

    @staticmethod
    def deserialize(value: Mapping[str, Any], timestamp_format: str) -> Counter:
        """The counter that a dictionary holds."""
        timestamp = datetime.datetime.strptime(value["timestamp"], timestamp_format)
        return Counter(value["name"], timestamp, value["metadata"], value["value"])


class Timer(Metric):
    """A name, how long something took, and the unit in which that is reported."""

    __slots__ = ("value", "unit")

    def __init__(
        self, name: str, timestamp: datetime.datetime, metadata: Mapping[str, Any], value: datetime.timedelta, unit: Unit
    ) -> None:
        self.name = name
        self.timestamp = timestamp
        self.metadata = metadata
        self.value = value
        self.unit = unit

    def serialize(self, timestamp_format: str) -> dict[str, Any]:
        """This timer as a dictionary, its time written as ``strftime`` does and its value in its unit."""
        value = self.value
        # Not total_seconds(), which rounds otherwise beyond 270 years.
        seconds = (value.microseconds + (value.seconds + value.days * 24 * 3600) * 10**6) / 10.0**6
        return {
            "name": self.name,
            "unit": self.unit.serialize(),
            "metadata": self.metadata,
            "timestamp": self.timestamp.strftime(timestamp_format),
            "value": seconds * self.unit.seconds_offset,
        }

    @staticmethod
    def deserialize(value: Mapping[str, Any], timestamp_format: str) -> Timer:
        """The timer that a dictionary holds."""
        unit = Unit.deserialize(value["unit"])
        timestamp = datetime.datetime.strptime(value["timestamp"], timestamp_format)
        took = datetime.timedelta(seconds=value["value"] / unit.seconds_offset)
        return Timer(value["name"], timestamp, value["metadata"], took, unit)


class Unit:
    """A unit of time: how many of it a second has."""

    __slots__ = ("name", "seconds_offset")

    def __init__(self, name: str, seconds_offset: float) -> None:
        self.name = name
        self.seconds_offset = seconds_offset

    def serialize(self) -> dict[str, Any]:
        """This unit as a dictionary."""
        return {"name": self.name, "seconds_offset": self.seconds_offset}

    @staticmethod
    def deserialize(value: Mapping[str, Any]) -> Unit:
        """The unit that a dictionary holds."""
        return Unit(value["name"], value["seconds_offset"])


class Units:
    """The usual units."""

    #: Seconds.
    SECONDS = Unit("seconds", 1.0)

    #: Milliseconds.
    MILLISECONDS = Unit("milliseconds", 1000.0)


class Metrics:
    """One message: dimensions, counters and timers. It is not to be changed once it is made."""

    __slots__ = ("dimensions", "counters", "timers", "timestamp_format", "serialized_at", "__weakref__")

    def __init__(
        self,
        dimensions: Sequence[Dimension],
        counters: Sequence[Counter],
        timers: Sequence[Timer],
        timestamp_format: str = "%Y-%m-%dT%H:%M:%S.%fZ",
        serialized_at: Optional[str] = None,
    ) -> None:
        self.dimensions = dimensions
        self.counters = counters
        self.timers = timers
        self.timestamp_format = timestamp_format
        self.serialized_at = serialized_at

    def serialize(self) -> dict[str, Any]:
        """This message as a dictionary. ``serialized_at`` is now, unless it was given."""
        timestamp_format = self.timestamp_format
        return {
            "dimensions": [dimension.serialize() for dimension in self.dimensions],
            "counters": [counter.serialize(timestamp_format) for counter in self.counters],
            "timers": [timer.serialize(timestamp_format) for timer in self.timers],
            "timestamp_format": timestamp_format,
            "serialized_at": get_now().strftime(timestamp_format) if self.serialized_at is None else self.serialized_at,
        }

    @staticmethod
    def deserialize(value: Mapping[str, Any]) -> Metrics:
        """The message that a dictionary holds."""
        timestamp_format = value["timestamp_format"]
        return Metrics(
            [Dimension.deserialize(dimension) for dimension in value["dimensions"]],
            [Counter.deserialize(counter, timestamp_format) for counter in value["counters"]],
            [Timer.deserialize(timer, timestamp_format) for timer in value["timers"]],
            timestamp_format,
            value.get("serialized_at"),
        )
