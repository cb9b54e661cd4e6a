"""The keys of a client's configuration and their defaults."""

from __future__ import annotations

from typing import Any

#: What :class:`kadabra.Kadabra` takes in its dictionary. Keys of the original's agent are accepted and have no effect.
DEFAULT_CONFIG: dict[str, Any] = {
    "CLIENT_DEFAULT_DIMENSIONS": {},
    "CLIENT_TIMESTAMP_FORMAT": "%Y-%m-%dT%H:%M:%S.%fZ",
    "CLIENT_CHANNEL_TYPE": "redis",
    "CLIENT_CHANNEL_ARGS": None,
}
