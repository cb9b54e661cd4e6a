"""What an application calls: the client, and the collector of one message's metrics."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Mapping
from typing import Any, Optional

from .channels import RedisChannel
from .config import DEFAULT_CONFIG
from .metrics import Counter, Dimension, Metrics, Timer, Unit, get_now


class Kadabra:
    """Makes collectors, and hands what they collected to the agent::

        client = kadabra.Kadabra()
        metrics = client.metrics()
        metrics.add_count("userSignup", 1.0)
        client.send(metrics.close())

    :param configuration: what is to differ from :data:`kadabra.config.DEFAULT_CONFIG`.
    :raises Exception: for an unknown type of channel; :class:`TypeError` and :class:`ValueError` for what the channel does
        not take. Nothing is connected here.
    """

    def __init__(self, configuration: Optional[Mapping[str, Any]] = None) -> None:
        config = dict(DEFAULT_CONFIG)
        if configuration:
            config.update(configuration)
        self.default_dimensions: dict[str, str] = config.get("CLIENT_DEFAULT_DIMENSIONS") or {}
        self.timestamp_format: str = config["CLIENT_TIMESTAMP_FORMAT"]
        if config["CLIENT_CHANNEL_TYPE"] != "redis":
            raise Exception("Unrecognized channel type: '%s'" % (config["CLIENT_CHANNEL_TYPE"],))
        told = config["CLIENT_CHANNEL_ARGS"] or {}
        find_local = told.keys().isdisjoint({"host", "port", "db", "unix_socket_path"})
        self.channel = RedisChannel(**{"find_local": find_local, **RedisChannel.DEFAULT_ARGS, **told})
        self.channel.report_dimensions(self.default_dimensions)

    def metrics(self) -> MetricsCollector:
        """A new collector, with the default dimensions set."""
        collector = MetricsCollector(self.timestamp_format)
        # Not as keywords, since a dimension may be called like a parameter.
        collector.dimensions.update(self.default_dimensions)
        return collector

    def send(self, metrics: Metrics) -> None:
        """Leaves a message for the thread that pushes it to the agent. Never raises and never waits: what cannot be pushed
        in the end is counted, and said in ``logging``."""
        self.channel.send(metrics)

    def flush(self, timeout: float = 5.0) -> bool:
        """Waits until all that was sent is answered for, at most so many seconds. For programs that send faster than the
        agent takes; at the end of a process it happens by itself. Returns whether nothing is left."""
        return self.channel.flush(timeout)

    def stats(self) -> dict[str, int]:
        """How many messages of this process were stored, wait, and were dropped for which reason. Clients of one address
        share these numbers."""
        return self.channel.stats()


class MetricsCollector:
    """Collects the metrics of one message, from one or more threads, until it is closed. Counts of one name are added up.

    :param timestamp_format: how times are written, in the words of ``strftime``.
    :param dimensions: dimensions to begin with.
    """

    def __init__(self, timestamp_format: str, **dimensions: str) -> None:
        self.counters: dict[str, dict[str, Any]] = {}
        self.timers: dict[str, dict[str, Any]] = {}
        self.dimensions = dimensions
        self.timestamp_format = timestamp_format
        self.closed = False
        self.lock = threading.Lock()

    def set_dimension(self, name: str, value: str) -> None:
        """Sets a dimension, or changes it.

        :raises CollectorClosedError: if this collector is closed.
        """
        with self.lock:
            if self.closed:
                raise CollectorClosedError()
            self.dimensions[name] = value

    def add_count(
        self,
        name: str,
        value: float,
        timestamp: Optional[datetime.datetime] = None,
        metadata: Optional[Mapping[str, Any]] = None,
        replace_timestamp: bool = False,
    ) -> None:
        """Adds to a counter, or begins one.

        :param timestamp: when it was counted, in UTC; now by default.
        :param metadata: fields that go with the counter; they take the place of earlier ones.
        :param replace_timestamp: whether the time of a counter that is there already is replaced.
        :raises CollectorClosedError: if this collector is closed.
        """
        with self.lock:
            if self.closed:
                raise CollectorClosedError()
            counter = self.counters.get(name)
            if counter is None:
                self.counters[name] = {
                    "metadata": metadata or {},
                    "timestamp": get_now() if timestamp is None else timestamp,
                    "value": float(value),
                }
                return
            counter["value"] += float(value)
            if metadata:
                counter["metadata"] = metadata
            if replace_timestamp:
                counter["timestamp"] = get_now() if timestamp is None else timestamp

    def set_timer(
        self,
        name: str,
        value: datetime.timedelta,
        unit: Unit,
        timestamp: Optional[datetime.datetime] = None,
        metadata: Optional[Mapping[str, Any]] = None,
    ) -> None:
        """Sets a timer, or changes it.

        :param unit: the unit to report it in, such as ``kadabra.Units.MILLISECONDS``.
        :param timestamp: when it was measured, in UTC; now by default.
        :param metadata: fields that go with the timer; they take the place of earlier ones.
        :raises CollectorClosedError: if this collector is closed.
        """
        with self.lock:
            if self.closed:
                raise CollectorClosedError()
            timer = self.timers.get(name)
            if timer is not None and not metadata:
                metadata = timer["metadata"]
            timestamp = get_now() if timestamp is None else timestamp
            # A timer that is changed keeps its place.
            self.timers[name] = {"unit": unit, "metadata": metadata or {}, "timestamp": timestamp, "value": value}

    def close(self) -> Metrics:
        """Closes this collector, and returns what it has collected.

        :raises CollectorClosedError: if this collector is closed already.
        """
        with self.lock:
            if self.closed:
                raise CollectorClosedError()
            self.closed = True
            return Metrics(
                [Dimension(name, value) for name, value in self.dimensions.items()],
                [Counter(n, c["timestamp"], c["metadata"], c["value"]) for n, c in self.counters.items()],
                [Timer(n, t["timestamp"], t["metadata"], t["value"], t["unit"]) for n, t in self.timers.items()],
                self.timestamp_format,
            )


class CollectorClosedError(BaseException):
    """A collector was used that is closed already. (It is a ``BaseException`` since it is one in the original.)"""

    def __init__(self) -> None:
        super().__init__("MetricsCollector object has been closed")
